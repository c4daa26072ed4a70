"""Activations, the junk directions fitted on them, and clearings."""
