"""Dot plots with a row per model or clearing: base, unlearned, cleared, controls, nulls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overpaint.report.drawing import COLOURS, WIDTH, draw_interval, name_rows, plain
from overpaint.report.select import overall, roles
from overpaint.report.wording import method_label, role_name, shown_name


@dataclass(frozen=True)
class Line:
    """One row of the accuracy figure: its text, its kind (a key of `COLOURS`), its rows of the scores."""

    text: str
    kind: str
    rows: pd.DataFrame


def lines_of(rows: pd.DataFrame, primary: str, method: str) -> list[Line]:
    """Rows of the accuracy figure in their fixed order: models, clearings, controls, nulls.

    Of other clearings than the primary those that were asked about all its topics; few were asked about benign ones.
    """
    unlearned = rows[rows.method != "base"]
    parts = {name: part for name, part in unlearned[unlearned.other_topic.eq(False)].groupby("clearing", sort=False)}
    kinds = {name: part.kind.iloc[0] for name, part in parts.items()}
    others = [name for name, kind in kinds.items() if kind in ("primary", "alternative") and name != primary]
    if primary in parts:
        others = [name for name in others if set(parts[primary].topic) <= set(parts[name].topic)]
    lines = [Line("base", "base", rows[rows.method == "base"])]
    lines += [Line(method, "unlearned", unlearned[unlearned.clearing == "none"])]
    for name in [primary] * (primary in parts) + others:
        lines.append(Line(f"cleared: {name}", "cleared" if name == primary else "alternative", parts[name]))
    for name, part in unlearned[unlearned.other_topic.eq(True)].groupby("clearing", sort=False):
        lines.append(Line(shown_name(name, other_topic=True), "null", part))
    for kind, called in (("control", "base, cleared"), ("null", "null")):
        for name in (name for name, other in kinds.items() if other == kind and name != primary):
            random = parts[name].draw.notna().any()
            lines.append(Line(f"{'random' if random else called}: {name}", "null", parts[name]))
    return lines


def draw_line(axes: Axes, y: int, line: Line) -> None:
    """One row of one panel: draws as dots, the mean or value with its interval, the number at the right."""
    rows = line.rows.dropna(subset="value")
    draws, single = rows[rows.draw.notna()], rows[rows.draw.isna()]
    if single.empty and len(draws) == 1:  # one draw was measured, with an interval of its own
        draws, single = single, draws
    axes.plot(draws.value, [y] * len(draws), ".", color=COLOURS["null"], ms=6, alpha=0.55, mew=0, zorder=2)
    if len(single):
        draw_interval(
            axes, y, single.iloc[0], line.kind, **({"marker": "|", "ms": 10, "mew": 1.5} if len(draws) else {})
        )
    elif len(draws):
        axes.plot([draws.value.mean()], [y], "|", color=COLOURS["null"], ms=10, mew=1.5, zorder=3)
    if len(rows):
        value = single.value.iloc[0] if len(single) else draws.value.mean()
        axes.text(
            1.03,
            y,
            f"{value:.2f}",
            transform=axes.get_yaxis_transform(),
            color=COLOURS[line.kind],
            va="center",
            fontsize=8,
        )


def by_role(rows: pd.DataFrame, metrics: Mapping[str, str], primary: str, with_base: bool) -> Figure:
    """Dot plots with intervals: a row of panels per metric, a column per role, a line per model or clearing."""
    names = roles(rows)
    rows = pd.concat([overall(rows, role) for role in names])
    lines = [line for line in lines_of(rows, primary, method_label(rows)) if len(line.rows)]
    lines = [line for line in lines if with_base or line.kind != "base"]
    panels = [metric for metric in metrics if rows.metric.eq(metric).any()]
    height = 0.62 + 0.2 * len(lines)
    drawn = Figure(figsize=(WIDTH, height * len(panels) + 0.2))
    grid = drawn.subplots(len(panels), len(names), squeeze=False, sharex="row", sharey=True)
    for across, metric in zip(grid, panels, strict=True):
        for axes, role in zip(across, names, strict=True):
            for y, line in enumerate(lines):
                here = line.rows[(line.rows.metric == metric) & (line.rows.role == role)]
                draw_line(axes, y, replace(line, rows=here))
            axes.set_xlabel(metrics[metric])
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.08)
            if metric == panels[0]:
                axes.set_title(plain(role_name(rows[rows.role == role])))
    name_rows(grid[0][0], [line.text for line in lines], [line.kind for line in lines])
    for axes in grid[:, 0]:
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set_color(COLOURS[line.kind])
    return drawn
