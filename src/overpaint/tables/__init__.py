"""Tidy tables with intervals (pandas, no torch); those of measures stand with the measures."""

# The tables that every study has, beside those of what it measures.
TABLES = (
    "cells", "hypotheses", "layers", "models", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights",
    "history", "completions", "provenance", "costs",
)  # fmt: skip
