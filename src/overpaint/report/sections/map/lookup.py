"""Where the base looks facts up: what can be read off it before the first edited block, beside what comes back."""

import pandas as pd

from overpaint.report import markup
from overpaint.report.markup import Html, macros
from overpaint.report.select import first_where, overall
from overpaint.report.view import View
from overpaint.report.wording import NO_VALUE, number, percent, two
from overpaint.tables import statistics

FEW = 6  # base models below which no correlation is told


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
    shown = markup.table(table.drop(columns=["known", "lost", "back", *alike]), "looked_up") + macros.note(note)
    return Html(shown + (macros.paragraph(text) if text else ""))


def _rows(view: View) -> list[dict]:
    """A row per target layer, where the method's runs were looked into.

    `known` by the probe, `lost` and `back`, means over c of what was lost and of the recovered fraction, are numbers.
    """
    if view.depth.method.isin(["base"]).all():
        return []
    lost = view.cells[view.cells.quantity == "forgotten_accuracy"].set_index(["layer", "c"]).value
    base = overall(view.depth[view.depth.state == "base"], "hazardous")
    rows = []
    for layer, cells in view.cells[view.cells.quantity == "recovered_accuracy"].groupby("layer"):
        here = base[base.depth.eq(view.first_edited(layer)) & base.centring.ne("topic")]
        lens, probe = (first_where(here, quantity=name) for name in ("lens_accuracy", "probe_accuracy"))
        if lens is None or probe is None:
            continue
        kept = cells[cells.mark == ""].dropna(subset="value")
        back = kept.value
        ends = dict.fromkeys(percent(end) for end in (back.min(), back.max())) if len(back) else [NO_VALUE]
        row = {"model": view.model, "method": view.label, "layer": layer, "depth": view.first_edited(layer)}
        row |= {"logit_lens": number(lens, two), "linear_probe": number(probe, two)}
        row |= {"recovered": " to ".join(ends), "cells": len(back), "known": probe.value, "back": back.mean()}
        row["lost"] = lost.reindex([*zip(kept.layer, kept.c, strict=True)]).mean()
        rows.append(row)
    return rows


def sentence(table: pd.DataFrame) -> str:
    """Whether more comes back where a base knows more before what is edited, less what was lost explains of both.

    By layer; nothing of fewer than `FEW` base models, or where the probe knows as much of all.
    """
    texts = []
    for layer, rows in table.dropna(subset="back").groupby("layer"):
        if len(rows) >= FEW and rows.known.nunique() > 1 and not rows.model.duplicated().any():
            rho, p = statistics.partial_rank_correlation(*(rows[name].to_numpy() for name in ("known", "back", "lost")))
            texts.append(f"{rho:.2f} at layer {layer} over {len(rows)} base models (two-sided p = {p:.3f})")
    if not texts:
        return ""
    return (
        "What the probe reads before the first edited block and what comes back (mean over c) have, less what points "
        f"lost explain of both, a rank correlation of {'; '.join(texts)}."
    )
