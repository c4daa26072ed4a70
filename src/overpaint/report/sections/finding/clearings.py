"""What other clearings recover in the main cell: estimators and scopes, and curves over rank and strength."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, WIDTH, draw_interval, figure, name_rows, nothing
from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import in_cell, null_draws, overall, pooled
from overpaint.report.view import View
from overpaint.report.wording import shown_name

CURVES = {  # title of the panel: what the caption says of it
    "By rank": " Rank: the first k singular vectors of the paired differences.",
    "By strength": " Strength: the share s of the component that is taken out.",
}


@section
def show(view: View) -> Markup:
    """What other clearings recover in the main cell."""
    drawn = draw(view)
    curves = "".join(CURVES.get(axes.get_title(loc="left"), "") for axes in drawn.axes)
    caption = (
        f"Recovered fraction of accuracy at {view.cell}, all hazardous topics, seeds pooled, with 95 % intervals. "
        f"Grey band: the range of null draws, each pooled over seeds.{curves}"
    )
    refits = _refits(view)
    return markup.figure(drawn, caption) + (macros.paragraph(refits) if refits else "")


def _refits(view: View) -> str:
    rows = view.scores[view.scores.metric == "spread_accuracy"]
    rows = overall(pooled(in_cell(rows, view.cell)), "hazardous").dropna(subset="value") if view.cell else rows[:0]
    return "".join(
        f"Fitted anew on resamples of the prompts ('{row.clearing}'), the recovered fraction has a standard "
        f"deviation of {100 * row.value:.1f} points."
        for row in rows.itertuples()
    )


@figure("clearings")
def draw(view: View) -> Figure:
    """Recovered fraction by clearing; grey: the range of null draws, each pooled over seeds."""
    scores = view.scores[view.scores.metric == "recovered_accuracy"]
    rows = overall(pooled(in_cell(scores, view.cell)), "hazardous") if view.cell else scores[:0]
    rows = rows.dropna(subset="value")
    draws, random = null_draws(rows).value, rows.clearing[rows.draw.notna()]
    named = rows[~rows.clearing.isin(random)]
    named = named.set_axis([shown_name(row.clearing, other_topic=row.other_topic) for row in named.itertuples()])
    ranks, strengths = by_rank(named.index, view.clearings), by_strength(named.index, view.clearings)
    curved = {*ranks.values(), *strengths.values()} - {view.primary}
    names = [name for name in named.index if name not in curved]
    names.sort(key=lambda name: name != view.primary)
    if not names:
        return nothing("No recovered fraction is defined in this cell.")
    curves = [(title, curve) for title, curve in (("rank k", ranks), ("strength s", strengths)) if len(curve) > 1]
    drawn = Figure(figsize=(WIDTH, max(2.4, 0.7 + 0.24 * len(names))))
    grid = drawn.subplots(1, 1 + len(curves), width_ratios=[1.5] + [1] * len(curves), squeeze=False)[0]
    _rows_panel(grid[0], named.loc[names], draws, view.primary)
    for axes, (label, curve) in zip(grid[1:], curves, strict=True):
        axes.sharey(grid[1])
        _curve_panel(axes, label, curve, named, draws)
    return drawn


def _rows_panel(axes: Axes, rows: pd.DataFrame, draws: pd.Series, primary: str) -> None:
    """A row per clearing with its interval."""
    names, kinds = list(rows.index), [_kind(row, primary) for _, row in rows.iterrows()]
    for y, (kind, (_, row)) in enumerate(zip(kinds, rows.iterrows(), strict=True)):
        draw_interval(axes, y, row, kind)
    name_rows(axes, names, kinds, names.index(primary) if primary in names else None)
    axes.set(title="Estimator and scope", xlabel="recovered fraction")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if len(draws):
        axes.axvspan(draws.min(), draws.max(), color="#DDDDDD", lw=0, zorder=0)


def _curve_panel(axes: Axes, label: str, curve: dict[float, str], named: pd.DataFrame, draws: pd.Series) -> None:
    """The recovered fraction over rank or strength, {x: name of the row}."""
    rows = named.loc[list(curve.values())]
    if len(draws):
        axes.axhspan(draws.min(), draws.max(), color="#DDDDDD", lw=0, zorder=0)
    bars = [rows.value - rows.low, rows.high - rows.value]
    axes.errorbar(list(curve), rows.value, yerr=np.abs(bars), color=COLOURS["cleared"], marker="o", ms=4, lw=1.2)
    axes.set(title=f"By {label.split()[0]}", xlabel=label, xticks=[x for x in curve if x >= 0.5 or len(curve) < 4])
    axes.set_xticklabels([f"{x:g}" for x in axes.get_xticks()])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", labelsize=8)


def _kind(row: pd.Series, primary: str) -> str:
    if row.kind in ("null", "control"):
        return "null"
    return "cleared" if row.clearing == primary else "alternative"


def by_rank(names: Iterable[str], settings: dict[str, dict]) -> dict[int, str]:
    """{rank: clearing} of those that clear the first singular vectors of the paired differences, in order."""
    ranks = {settings[n]["rank"]: n for n in names if settings.get(n, {}).get("direction") == "top_k"}
    return dict(sorted(ranks.items()))


def by_strength(names: Iterable[str], settings: dict[str, dict]) -> dict[float, str]:
    """{strength: clearing} of those that differ in their strength alone, in order; none where there is one strength."""
    groups: dict[tuple, dict[float, str]] = {}
    for name in names:
        entry = dict(settings.get(name, {}))
        groups.setdefault(tuple(sorted((k, str(v)) for k, v in entry.items() if k != "strength")), {})[
            entry.get("strength", 1)
        ] = name
    largest = max(groups.values(), key=len, default={})
    return dict(sorted(largest.items())) if len(largest) > 1 else {}
