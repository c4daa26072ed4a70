"""The map over c and layer, what clearing gives back beside chance, and what other clearings do.

Figures take frames, page functions a `Part`.
"""

import json
from collections.abc import Callable, Iterable
from html import escape

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from overpaint import figures, reporting
from overpaint.figures import (
    COLOURS,
    WIDTH,
    Cell,
    _grid,
    _interval,
    _nothing,
    _rows_axis,
    figure,
    in_cell,
    null_draws,
    null_families,
    overall,
    pooled,
)  # fmt: skip
from overpaint.reporting import Html, Part, _count, _percent, each, figure_html, lead, table_html

# quantity: (title, colour, factor of the shown numbers, value of the darkest ground; None: the largest there is)
MAPS = {
    "forgotten_accuracy": ("Forgetting, points", COLOURS["unlearned"], 100, 80),
    "recovered_accuracy": ("Recovered, % of lost", COLOURS["cleared"], 100, 100),
    "damage": ("Benign damage, points", COLOURS["base"], 100, 40),
    "attained": ("Attained magnitude,\n% of c", COLOURS["unlearned"], 100, 100),
    "rank1_share": ("Rank-1 share\nof the shift, %", COLOURS["unlearned"], 100, 100),
    "c_in_norms": ("c in units of the\nbase's norm", COLOURS["null"], 1, None),
}
MARKS = {"not unlearned": "//", "collapsed": "xx"}


@figure
def over_c_and_layer(cells: pd.DataFrame, all_cells: pd.DataFrame | None = None) -> Figure:
    """Heat maps over c and layer, a panel per quantity of `MAPS`; marked cells are hatched and in grey.

    all_cells: cells of all base models, whose largest value sets a scale that has no top of its own.
    """
    if cells.empty:
        return _nothing("The table of cells holds no unlearned model.")
    quantities = [name for name in MAPS if name in set(cells.quantity)]
    layers, sizes = (sorted({getattr(cell, axis) for cell in figures.cells(cells)}) for axis in ("layer", "c"))
    drawn, grid = _grid(len(quantities), 0.95 + 0.46 * len(layers), columns=2 if len(sizes) > 4 else 3)
    for axes, quantity in zip(grid, quantities, strict=True):
        everything = cells if all_cells is None else all_cells
        largest = everything[everything.quantity == quantity].value.max()
        _heat(axes, cells[cells.quantity == quantity], layers, sizes, quantity, largest)
    return drawn


def _heat(axes: Axes, rows: pd.DataFrame, layers: list[int], sizes: list[float], quantity: str, largest: float) -> None:
    title, colour, factor, top = MAPS[quantity]
    values = np.full((len(layers), len(sizes)), np.nan)
    texts = values.astype(object)
    for row in rows.itertuples():
        i, j = layers.index(row.layer), sizes.index(row.c)
        values[i, j] = np.nan if row.mark else factor * row.value
        texts[i, j] = _text(row, factor)
        if row.mark:
            hatch = MARKS.get(row.mark, "..")
            axes.add_patch(Rectangle((j, i), 1, 1, fc="#EEEEEE", ec="#BBBBBB", hatch=hatch, lw=0, zorder=1.5))
    top = top or (largest if largest > 0 else 1)
    palette = sns.light_palette(colour, as_cmap=True)
    axes.set_facecolor("#EEEEEE")
    sns.heatmap(values, ax=axes, cmap=palette, vmin=0, vmax=top, cbar=False, linewidths=1.5)
    for (i, j), text in np.ndenumerate(texts):
        text = "not\nmeasured" if pd.isna(text) else text
        grey = np.isnan(values[i, j])
        box = {"fc": "#EEEEEE", "ec": "none", "pad": 0.8} if grey else None
        ground = "#EEEEEE" if grey else palette(values[i, j] / top)
        style = {"color": _legible(ground), "fontsize": 8, "bbox": box, "zorder": 4}
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", linespacing=1.05, **style)
    axes.set(title=title, xlabel="c", ylabel="layer")
    axes.set_xticklabels([f"{size:g}" for size in sizes])
    axes.set_yticklabels([f"{layer:g}" for layer in layers], rotation=0)
    axes.tick_params(length=0)


def _legible(ground: str | tuple) -> str:
    """White or ink, whichever has the larger contrast with the ground (WCAG 2: relative luminance)."""

    def luminance(colour: str | tuple) -> float:
        parts = np.array(to_rgb(colour))
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    on, ink = luminance(ground), "#333333"
    return "white" if 1.05 / (on + 0.05) > (on + 0.05) / (luminance(ink) + 0.05) else ink


def _text(row: tuple, factor: float) -> str:
    if pd.isna(row.value):
        return "unde-\nfined" if str(row.note).startswith("undefined") else "not\nmeasured"
    digits = 0 if factor == 100 else 1
    half = factor * (row.high - row.low) / 2
    spread = "" if pd.isna(half) or round(half, digits) == 0 else f"\n\u00b1{half:.{digits}f}"
    return f"{factor * row.value:.{digits}f}{spread}"


@figure
def clearings(scores: pd.DataFrame, cell: Cell | None, primary: str, settings: dict[str, dict]) -> Figure:
    """Recovered fraction by clearing in one cell: estimators and scopes, and curves over rank and dose.

    settings: what each clearing is, as the configuration says. Grey: the range of single draws of nulls.
    """
    rows = overall(pooled(in_cell(scores, cell)), "hazardous") if cell else scores[:0]
    rows = rows[(rows.metric == "recovered_accuracy")].dropna(subset="value")
    draws, named = null_draws(rows), rows[~rows.clearing.str.contains("/")].set_index("clearing")
    ranks, doses = by_rank(named.index, settings), by_dose(named.index, settings)
    nulls = {*null_families(rows), "on_base", "none"}
    curved = {*ranks.values(), *doses.values()} - {primary}
    names = [name for name in named.index if name not in nulls | curved]
    names.sort(key=lambda name: name != primary)
    if not names:
        return _nothing("No recovered fraction is defined in this cell.")
    curves = [(title, found) for title, found in (("rank k", ranks), ("dose s", doses)) if len(found) > 1]
    drawn = Figure(figsize=(WIDTH, max(2.4, 0.7 + 0.24 * len(names))))
    grid = drawn.subplots(1, 1 + len(curves), width_ratios=[1.5] + [1] * len(curves), squeeze=False)[0]
    for y, name in enumerate(names):
        _interval(grid[0], y, named.loc[name], _kind(name, primary, settings))
    kinds = [_kind(name, primary, settings) for name in names]
    _rows_axis(grid[0], names, kinds, names.index(primary) if primary in names else None)
    grid[0].set(title="Estimator and scope", xlabel="recovered fraction")
    grid[0].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if len(draws):
        grid[0].axvspan(draws.value.min(), draws.value.max(), color="#DDDDDD", lw=0, zorder=0)
    for axes, (label, found) in zip(grid[1:], curves, strict=True):
        axes.sharey(grid[1])
        shown = named.loc[list(found.values())]
        if len(draws):
            axes.axhspan(draws.value.min(), draws.value.max(), color="#DDDDDD", lw=0, zorder=0)
        bars = [shown.value - shown.low, shown.high - shown.value]
        axes.errorbar(list(found), shown.value, yerr=np.abs(bars), color=COLOURS["cleared"], marker="o", ms=4, lw=1.2)
        axes.set(title=f"By {label.split()[0]}", xlabel=label, xticks=[x for x in found if x >= 0.5 or len(found) < 4])
        axes.set_xticklabels([f"{x:g}" for x in axes.get_xticks()])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="y", labelsize=8)
    return drawn


def _kind(name: str, primary: str, settings: dict[str, dict]) -> str:
    if name == primary:
        return "cleared"
    return "null" if name == "other_topic" or settings.get(name, {}).get("direction") == "benign" else "alternative"


def by_rank(names: Iterable[str], settings: dict[str, dict]) -> dict[int, str]:
    """{rank: clearing} of those that clear the first singular vectors of the paired differences, in order."""
    found = {settings[n]["rank"]: n for n in names if settings.get(n, {}).get("direction") == "top_k"}
    return dict(sorted(found.items()))


def by_dose(names: Iterable[str], settings: dict[str, dict]) -> dict[float, str]:
    """{dose: clearing} of those that differ in their dose alone, in order; none where there is one dose."""
    groups: dict[tuple, dict[float, str]] = {}
    for name in names:
        entry = dict(settings.get(name, {}))
        groups.setdefault(tuple(sorted((k, str(v)) for k, v in entry.items() if k != "dose")), {})[
            entry.get("dose", 1)
        ] = name
    found = max(groups.values(), key=len, default={})
    return dict(sorted(found.items())) if len(found) > 1 else {}


def clearing_settings(part: Part) -> dict[str, dict]:
    """What each clearing of the study is, from the configuration beside the tables; none where it is not there."""
    path = part.folder / "config.json"
    return json.loads(path.read_text(encoding="utf-8")).get("clearings", {}) if path.is_file() else {}


# ---------------------------------------------------------------- sentences


def map_answer(part: Part) -> Html:
    """Range of the recovered fraction over the cells without a mark, and how many are marked."""
    cells = part.cells
    total = len(figures.cells(cells))
    if not total:
        return lead("Nothing was unlearned, so there is no map.")
    rows = cells[(cells.quantity == "recovered_accuracy") & cells.mark.eq("")].dropna(subset="value")
    marked = cells[cells.quantity == "forgotten_accuracy"].mark
    left = [f"{_count(int((marked == name).sum()), 'cell')} {name}" for name in MARKS if (marked == name).any()]
    aside = f" Left out: {', '.join(left)}." if left else ""
    if rows.empty:
        return lead(f"In none of {_count(total, 'cell')} can a recovered fraction be told.{aside}")
    low, high = (rows.loc[pick] for pick in (rows.value.idxmin(), rows.value.idxmax()))
    if len(rows) == 1:
        return lead(f"In the one cell that counts, clearing '{part.primary}' gave back {_at(low)}.{aside}")
    return lead(
        f"Over {_count(len(rows), 'cell')} of layer and c, clearing '{part.primary}' gave back from {_at(low)} to "
        f"{_at(high)} of the lost accuracy.{aside}"
    )


def _at(row: pd.Series) -> str:
    return f"{_percent(row.value)} ({reporting._interval(row, _percent)}; {Cell(int(row.layer), row.c)})"


def chance_sentence(part: Part) -> str:
    """The primary clearing in the main cell among the draws of each null, and its exact test."""
    here = _main_rows(part, part.nulls)
    here = here[here.metric == "accuracy"]
    texts = [
        f"{_times(row.z)} the mean of {row.draws} draws of {row.null} (p = {row.p:.3f}; the least that so many "
        f"can say is {1 / (1 + row.draws):.3f})"
        for row in here.itertuples()
    ]
    tested = _main_rows(part, part.mcnemar)
    if len(tested):
        row = tested.iloc[0]
        holm = "" if pd.isna(row.p_holm) else f", {_p(row.p_holm)} after Holm's correction over the cells"
        texts.append(
            f"of {row.n} units {row.gained} were gained and {row.lost} lost (exact McNemar test: {_p(row.p)}{holm})"
        )
    if not texts:
        return "Neither null directions nor exact tests were run in this cell."
    return f"At {part.cell}, accuracy after clearing '{part.primary}': {'; '.join(texts)}."


def _times(z: float) -> str:
    """`1.2 standard deviations above`, as z has its sign."""
    if not np.isfinite(z):
        return "an unknown number of standard deviations from"
    return f"{abs(z):.1f} standard deviations {'below' if z < 0 else 'above'}"


def _p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 1e-4 else "p < 0.0001"


def _main_rows(part: Part, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the primary clearing in the main cell, all hazardous topics and seeds together."""
    if part.cell is None or table.empty:
        return table[:0]
    rows = in_cell(table, part.cell)
    return overall(rows[(rows.seed == "all") & (rows.clearing == part.primary)], "hazardous")


# ---------------------------------------------------------------- markup


def maps_html(parts: list[Part]) -> Html:
    """The heat maps of every base model, on the same scales."""
    together = pd.concat([part.cells for part in parts])
    return each(parts, lambda part: map_html(part, together))


def map_html(part: Part, all_cells: pd.DataFrame | None = None) -> Html:
    """The heat maps; all_cells: as in `over_c_and_layer`."""
    return figure_html(
        over_c_and_layer(part.cells, all_cells),
        "Each cell pools its seeds and all hazardous topics. Numbers: the value and half the width of its 95 % "
        "bootstrap interval; of attained magnitude, rank-1 share and c half the range over seeds and topics. "
        f"Recovered: by clearing '{part.primary}'. Grey and hatched: left out by the plan, as not unlearned (//) or "
        "collapsed (crossed). Attained magnitude: mean projection on u over the length of the control vector.",
    )


def clearings_html(part: Part) -> Html:
    """What other clearings recover in the main cell."""
    drawn = clearings(part.scores, part.cell, part.primary, clearing_settings(part))
    refits = _refits(part)
    return Html(
        figure_html(
            drawn,
            f"Recovered fraction of accuracy at {part.cell}, all hazardous topics, seeds pooled, with 95 % intervals. "
            f"Grey band: the range of single null draws.{_curves(drawn)}",
        )
        + (f"<p>{escape(refits)}</p>" if refits else "")
    )


def _curves(drawn: Figure) -> str:
    """What the curves beside the rows are over, where there are any."""
    over = {
        "By rank": " Rank: the first k singular vectors of the paired differences.",
        "By dose": " Dose: the share s of the component that is taken out.",
    }
    return "".join(over.get(axes.get_title(loc="left"), "") for axes in drawn.axes)


def _refits(part: Part) -> str:
    rows = part.scores[part.scores.metric == "spread_accuracy"]
    rows = overall(pooled(in_cell(rows, part.cell)), "hazardous").dropna(subset="value") if part.cell else rows[:0]
    return "".join(
        f"Fitted anew on resamples of the prompts ('{row.clearing}'), the recovered fraction has a standard "
        f"deviation of {100 * row.value:.1f} points."
        for row in rows.itertuples()
    )


def chance_html(part: Part) -> Html:
    """The sentence on chance with the rows behind it."""
    rows = _main_rows(part, part.nulls)
    columns = ["metric", "null", "draws", "value", "null_mean", "null_sd", "null_best", "z", "p"]
    forms: dict[str, Callable] = dict.fromkeys(["value", "null_mean", "null_sd", "null_best", "p"], "{:.3f}".format)
    table = table_html(rows[columns], "nulls", forms | {"z": "{:.1f}".format}) if len(rows) else ""
    tested = _main_rows(part, part.mcnemar)[["n", "gained", "lost", "p", "p_holm"]]
    exact = table_html(tested, "mcnemar", dict.fromkeys(["p", "p_holm"], "{:.2g}".format)) if len(tested) else ""
    return Html(f"<p>{escape(chance_sentence(part))}</p>{table}{exact}")


def all_figures(part: Part) -> dict[str, Figure]:
    """Every figure of this module, by name."""
    return {
        "map": over_c_and_layer(part.cells),
        "clearings": clearings(part.scores, part.cell, part.primary, clearing_settings(part)),
    }
