"""Where the base looks facts up: what can be read off it before the first edited block, beside what comes back."""

import numpy as np
import pandas as pd

from overpaint.report import markup
from overpaint.report.markup import Html, macros
from overpaint.report.select import first_where, overall
from overpaint.report.view import View
from overpaint.report.wording import NO_VALUE, number, percent, two
from overpaint.tables import statistics


def show(views: list[View]) -> Html:
    """What can be read off each base before the first edited block, beside what clearing gives back there."""
    rows = [row for view in views for row in _rows(view)]
    if not rows:
        return Html(macros.not_measured("where the base model looks facts up", "study.measures.depth"))
    table = pd.DataFrame(rows)
    text = sentence(table)
    alike = [name for name in ("model", "method") if table[name].nunique() == 1]
    units = int(overall(views[0].depth, "hazardous").n.max())
    note = (
        "Share of the correct answers to hazardous questions that logit lens and linear probe find in the base model's "
        "residual stream at the start of the first block that is edited for a target layer (depth), less one mean of "
        f"all states, with 95 % bootstrap intervals; n = {units} units. Recovered: least and largest over c, in cells "
        "without a mark."
    )
    shown = markup.table(table.drop(columns=["known", "back", *alike]), "looked_up") + macros.note(note)
    return Html(shown + (macros.paragraph(text) if text else ""))


def _rows(view: View) -> list[dict]:
    """A row per target layer; `known` by the probe and `back`, the mean recovered fraction over c, are numbers."""
    base = overall(view.depth[view.depth.state == "base"], "hazardous")
    rows = []
    for layer, cells in view.cells[view.cells.quantity == "recovered_accuracy"].groupby("layer"):
        here = base[base.depth.eq(view.first_edited(layer)) & base.centring.ne("topic")]
        lens, probe = (first_where(here, quantity=name) for name in ("lens_accuracy", "probe_accuracy"))
        if lens is None or probe is None:
            continue
        back = cells[cells.mark == ""].value.dropna()
        ends = dict.fromkeys(percent(end) for end in (back.min(), back.max())) if len(back) else [NO_VALUE]
        row = {"model": view.model, "method": view.label, "layer": layer, "depth": view.first_edited(layer)}
        row |= {"logit_lens": number(lens, two), "linear_probe": number(probe, two)}
        row |= {"recovered": " to ".join(ends), "cells": len(back), "known": probe.value, "back": back.mean()}
        rows.append(row)
    return rows


def sentence(table: pd.DataFrame) -> str:
    """Whether more comes back where a base knows more before what is edited; nothing for less than four base models."""
    if table.model.nunique() < 4 or table.duplicated(["model", "layer"]).any():
        return ""
    readable, back = (table.pivot(index="model", columns="layer", values=name) for name in ("known", "back"))
    rho, p = statistics.rank_correlation(readable.to_numpy(), back.to_numpy())
    if np.isnan(rho):
        return ""
    return (
        f"Over {back.count().sum()} pairs of base model and layer, what the probe reads before the first edited block "
        f"and what comes back (mean over c) have a rank correlation of {rho:.2f} (one-sided p = {p:.3f}, by exchanging "
        "whole base models)."
    )
