"""Figures of the study, drawn from its tidy tables.

Every function takes frames and returns a matplotlib `Figure`; none reads a file. A figure is 7 inches wide,
which a report shows at 700 pixels. One colour and one marker per kind of model hold across all figures
(Okabe-Ito, safe for colour-blind readers): base dark grey, unlearned vermilion, cleared blue, null grey. A
table that lacks rows gives a figure that says so, never an exception.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

FIGURES: dict[str, Callable[..., Figure]] = {}
WIDTH = 7.0  # inches; 700 px in a report at the 9-point text below is about 12 px high
COLOURS = {
    "base": "#333333",
    "unlearned": "#C84E00",
    "cleared": "#0072B2",
    "alternative": "#3D8FC4",
    "null": "#757575",
}
MARKERS = {"base": "s", "unlearned": "v", "cleared": "o", "alternative": "o", "null": "."}
STYLE = {
    **sns.axes_style("ticks"),
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # letters stay letters, as journals ask
    "svg.hashsalt": "overpaint",
}
CHANCE = 0.25  # four options per question

# Another model and other questions: shown beside ours, never as a target. None has a published interval.
PUBLISHED_RECOVERED = {"WMDP-Bio": 0.71, "WMDP-Cyber": 0.45}  # Arditi and Chughtai 2024
PUBLISHED_ACCURACY = {
    "WMDP-Bio": (0.637, 0.312),
    "WMDP-Cyber": (0.440, 0.282),
    "MMLU": (0.581, 0.571),
}  # Li et al. 2024


class Cell(NamedTuple):
    """One setting of the sweep: the target layer and the size c of the control vector."""

    layer: int
    c: float

    def __str__(self) -> str:
        return f"layer {self.layer:g}, c = {self.c:g}" if pd.notna(self.c) else f"layer {self.layer:g}"


@dataclass(frozen=True)
class Line:
    """One row of the accuracy figure: its text, its kind (a key of `COLOURS`), its rows of the scores."""

    text: str
    kind: str
    rows: pd.DataFrame


# ---------------------------------------------------------------- reading the tables


def cells(scores: pd.DataFrame) -> list[Cell]:
    """Cells of the sweep, by layer, then c."""
    pairs = scores.loc[scores.method.ne("base") & scores.layer.notna(), ["layer", "c"]].drop_duplicates()
    return sorted(Cell(int(layer), float(c)) for layer, c in pairs.itertuples(index=False))


def main_cell(scores: pd.DataFrame) -> Cell | None:
    """The cell shown as main: the largest c and, of those, the smallest layer, whatever was recovered."""
    return min(cells(scores), key=lambda cell: (-cell.c, cell.layer), default=None)


def in_cell(frame: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """Rows of one cell, without the base model's."""
    here = frame.layer.eq(cell.layer).fillna(False).astype(bool) & frame.method.ne("base")
    return frame[here & (frame.c.eq(cell.c) | (frame.c.isna() & pd.isna(cell.c)))]


def pooled(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per quantity: the row of seed `all` where there is one, else the mean over seeds.

    A mean over several seeds carries no interval (NaN), since averaged bounds are not one.
    """
    numbers = [name for name in frame.columns if pd.api.types.is_float_dtype(frame[name]) and name != "c"]
    keys = [name for name in frame.columns if name not in {*numbers, "seed", "n", "note"}]
    if frame.empty or not keys:
        return frame
    has_all = frame.assign(pick=frame.seed.eq("all")).groupby(keys, dropna=False)["pick"].transform("any")
    single = frame.groupby(keys, dropna=False)["seed"].transform("size") == 1
    pick, rest = frame[frame.seed.eq("all") | single], frame[~has_all & ~single]
    if rest.empty:
        return pick
    bounds = [name for name in numbers if name.endswith(("low", "high")) and not name.startswith("null")]
    means = rest.groupby(keys, dropna=False, sort=False)
    table = means.agg({name: "mean" if name in numbers else "first" for name in rest.columns if name not in keys})
    table = table.reset_index()[list(frame.columns)].assign(seed="all")
    if "depth" not in frame:  # quartiles over prompts may be averaged over seeds, confidence bounds may not
        table[bounds] = np.nan
    return pd.concat([pick, table.astype(pick.dtypes.to_dict())], ignore_index=True)


def hazardous_topics(scores: pd.DataFrame) -> list[str]:
    """Hazardous topics in table order, without the pooled `all`."""
    return [topic for topic in scores.loc[scores.role == "hazardous", "topic"].unique() if topic != "all"]


def overall(frame: pd.DataFrame, role: str) -> pd.DataFrame:
    """Rows of one role pooled over its topics: topic `all`, or the only topic there is."""
    rows = frame[frame.role == role]
    return rows[rows.topic == "all"] if rows.topic.eq("all").any() else rows[rows.topic == next(iter(rows.topic), "")]


def cleared_by(rows: pd.DataFrame, clearing: str) -> pd.DataFrame:
    """Rows of one clearing: draws together, and topics by their own directions."""
    return rows[rows.clearing.eq(clearing) & rows.draw.isna() & rows.other_topic.eq(False)]


def null_draws(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of single null directions: each draw, and of a null without draws its only row."""
    rows = frame[frame.kind == "null"]
    return rows[rows.draw.notna() | ~rows.clearing.isin(rows.clearing[rows.draw.notna()])]


def shown_name(clearing: str, draw: int | None = None, other_topic: bool = False) -> str:
    """A clearing as it is called in figures and sentences: `rand`, `draw 3 of rand`, `other topic's: topic`."""
    if other_topic:
        return f"other topic's: {clearing}"
    return clearing if pd.isna(draw) else f"draw {draw} of {clearing}"


def method_label(frame: pd.DataFrame) -> str:
    """Name of the unlearning method as shown: `RMU`."""
    name = next((name for name in frame.method if name != "base"), "unlearned")
    return name.upper() if len(name) <= 4 else name


def one(rows: pd.DataFrame, **wanted: str) -> pd.Series | None:
    """The first row that has these values, or None."""
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    return None if rows.empty else rows.iloc[0]


# ---------------------------------------------------------------- drawing helpers


def figure(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Register a figure under its name and draw it in the shared style."""

    @wraps(function)
    def styled(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    FIGURES[function.__name__] = styled
    return styled


def plain(name: object) -> str:
    """A name as literal text: matplotlib would read `$x$` as a formula."""
    return str(name).replace("$", r"\$")


def svg(drawn: Figure) -> str:
    """A figure as an `<svg>` element, without XML header, date and other metadata."""
    file = StringIO()
    with matplotlib.rc_context(STYLE):
        drawn.savefig(file, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"]))
    text = file.getvalue()
    return text[text.index("<svg") :]


def save(drawn: Figure, path: Path | str) -> None:
    """Write a figure as .svg, .pdf or .png (200 dots per inch), whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with matplotlib.rc_context(STYLE):
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        drawn.savefig(part, format=path.suffix[1:], metadata=metadata)
    part.replace(path)


def _nothing(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    drawn = Figure(figsize=(WIDTH, 0.6))
    drawn.text(0.01, 0.5, plain(text), color=COLOURS["null"], va="center")
    return drawn


def _grid(n: int, height: float, columns: int = 3, **options) -> tuple[Figure, list[Axes]]:
    """A figure of n panels in rows of at most `columns`, each row `height` inches high."""
    across = max(1, min(n, columns))
    rows = -(-n // across)
    drawn = Figure(figsize=(WIDTH, rows * height))
    axes = drawn.subplots(rows, across, squeeze=False, **options).ravel()
    for spare in axes[n:]:
        spare.set_visible(False)
    return drawn, list(axes[:n])


def _interval(axes: Axes, y: float, row: pd.Series, kind: str, **options) -> None:
    """A marker with its interval as a horizontal line at height y."""
    if pd.notna(row.low) and pd.notna(row.high):
        axes.plot(
            [row.low, row.high],
            [y, y],
            color=COLOURS[kind],
            lw=2,
            solid_capstyle="butt",
            alpha=0.75,
            zorder=2,
        )
    options = {
        "color": COLOURS[kind],
        "marker": MARKERS[kind],
        "ms": 5.5,
        "ls": "",
        "zorder": 3,
        "mew": 0.8,
        **options,
    }
    axes.plot([row.value], [y], **options)


def _rows_axis(axes: Axes, texts: Iterable[str], kinds: Iterable[str], bold: int | None = None) -> None:
    """Name the rows of a dot plot in the colour of what they show, the first on top."""
    texts, kinds = list(texts), list(kinds)
    axes.set_yticks(range(len(texts)), [plain(text) for text in texts])
    axes.set_ylim(len(texts) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for index, (label, kind) in enumerate(zip(axes.get_yticklabels(), kinds, strict=True)):
        label.set(color=COLOURS[kind], fontweight="bold" if index == bold else "normal")


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]], gap: float = 0.1) -> None:
    """Name lines at their right ends, [(y, text, colour)], pushed at least `gap` of the height apart."""
    low, high = axes.get_ylim()
    scale = np.log if axes.get_yscale() == "log" else float
    placed = [((scale(y) - scale(low)) / (scale(high) - scale(low)), text, colour) for y, text, colour in ends]
    last = -np.inf
    for height, text, colour in sorted(placed):
        last = max(height, last + gap)
        axes.text(1.02, last, plain(text), color=colour, transform=axes.transAxes, va="center", fontsize=8)


def _key(drawn: Figure, entries: list[tuple[str, ...]], marked: bool = False) -> None:
    """Name the lines of all panels once above them, in their colours, [(text, kind)] or [(text, kind, line style)].

    marked: with the marker of each kind.
    """
    lines = [
        matplotlib.lines.Line2D(
            [], [], color=COLOURS[kind], ls=style[0] if style else "-", marker=MARKERS[kind] if marked else "", ms=4
        )
        for _, kind, *style in entries
    ]
    drawn.legend(
        lines,
        [plain(text) for text, *_ in entries],
        loc="outside upper left",
        ncols=len(entries),
        frameon=False,
        labelcolor="linecolor",
        handlelength=1.8 if marked else 1.4,
        columnspacing=1.2 if marked else 2,
        borderaxespad=0.1,
    )


def _log_if_wide(axes: Axes, values: pd.Series, ratio: float = 20) -> None:
    """A log scale where the largest value is more than `ratio` times the smallest; plain ticks."""
    values = values[values > 0]
    if len(values) and values.max() > ratio * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if values.max() < 500 * values.min() else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


# ---------------------------------------------------------------- figures


def _lines(rows: pd.DataFrame, primary: str, method: str) -> list[Line]:
    """Rows of the accuracy figure in their fixed order: models, clearings, controls, nulls.

    Of other clearings than the primary those that were asked about all its topics; few were asked about benign ones.
    """
    unlearned = rows[rows.method != "base"]
    own = {name: part for name, part in unlearned[unlearned.other_topic.eq(False)].groupby("clearing", sort=False)}
    kinds = {name: part.kind.iloc[0] for name, part in own.items()}
    others = [name for name, kind in kinds.items() if kind in ("primary", "alternative") and name != primary]
    if primary in own:
        others = [name for name in others if set(own[primary].topic) <= set(own[name].topic)]
    lines = [Line("base", "base", rows[rows.method == "base"])]
    lines += [Line(method, "unlearned", unlearned[unlearned.clearing == "none"])]
    for name in [primary] * (primary in own) + others:
        lines.append(Line(f"cleared: {name}", "cleared" if name == primary else "alternative", own[name]))
    for name, part in unlearned[unlearned.other_topic.eq(True)].groupby("clearing", sort=False):
        lines.append(Line(shown_name(name, other_topic=True), "null", part))
    for kind, called in (("control", "base, cleared"), ("null", "null")):
        for name in (name for name, found in kinds.items() if found == kind and name != primary):
            random = own[name].draw.notna().any()
            lines.append(Line(f"{'random' if random else called}: {name}", "null", own[name]))
    return lines


def _draw_line(axes: Axes, y: int, line: Line) -> None:
    """One row of one panel: draws as dots, the mean or value with its interval, the number at the right."""
    rows = line.rows.dropna(subset="value")
    draws, single = rows[rows.draw.notna()], rows[rows.draw.isna()]
    if single.empty and len(draws) == 1:  # one draw was measured, with an interval of its own
        draws, single = single, draws
    axes.plot(draws.value, [y] * len(draws), ".", color=COLOURS["null"], ms=6, alpha=0.55, mew=0, zorder=2)
    if len(single):
        _interval(
            axes,
            y,
            single.iloc[0],
            line.kind,
            **({"marker": "|", "ms": 10, "mew": 1.5} if len(draws) else {}),
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


@figure
def accuracy(scores: pd.DataFrame, cell: Cell | None, primary: str) -> Figure:
    """Accuracy of base, unlearned, cleared and null-cleared models in one cell, one panel per topic.

    Lines are 95 % bootstrap intervals, dots single null draws, bars their means, the dashed line chance.
    """
    rows = scores[scores.metric == "accuracy"]
    if cell is None or rows.empty:
        return _nothing("The scores table holds no accuracies of an unlearned model.")
    rows = pooled(pd.concat([rows[rows.method == "base"], in_cell(rows, cell)]))
    panels = [
        ("hazardous", topic, rows[(rows.role == "hazardous") & (rows.topic == topic)])
        for topic in hazardous_topics(rows)
    ]
    benign = overall(rows, "benign")
    if len(benign):
        topic = benign.topic.iloc[0]
        panels.append(("benign", "" if topic == "all" else topic, benign))
    lines = _lines(rows, primary, method_label(scores))
    drawn, grid = _grid(len(panels), 0.75 + 0.23 * len(lines), sharex=True, sharey=True)
    for axes, (role, topic, here) in zip(grid, panels, strict=True):
        here = here[here.benchmark == here.benchmark.iloc[0]]
        for y, line in enumerate(lines):
            _draw_line(axes, y, Line(line.text, line.kind, here.loc[here.index.intersection(line.rows.index)]))
        axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=1)
        n = f"n = {int(here.n.max())}" if here.n.notna().any() else ""
        axes.set_title("\n".join([f"{role}{': ' if topic else ''}{plain(topic)}", n]))
        axes.set(xlim=(0, 1.02), xlabel="accuracy", xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_xticklabels(["0", ".25", ".5", ".75", "1"])
        axes.tick_params(labelbottom=True)
    bold = next((index for index, line in enumerate(lines) if line.kind == "cleared"), None)
    _rows_axis(grid[0], [line.text for line in lines], [line.kind for line in lines], bold)
    for axes in grid[1:]:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    grid[0].annotate(
        "chance",
        (CHANCE, 1),
        xycoords=grid[0].get_xaxis_transform(),
        xytext=(2, -1),
        textcoords="offset points",
        fontsize=7.5,
        color="#666666",
        va="top",
    )
    return drawn


def _recovery_panel(axes: Axes, rows: pd.DataFrame, sweep: list[Cell], primary: str) -> None:
    """One topic: the primary clearing's fraction and the range of null draws, one row per cell."""
    for y, cell in enumerate(sweep):
        here = in_cell(rows, cell)
        row = one(cleared_by(here, primary))
        if row is None or pd.isna(row.value):
            text = "not measured" if row is None else "undefined"
            axes.text(0.02, y, text, color=COLOURS["null"], style="italic", va="center", fontsize=8)
            continue
        draws = null_draws(here).value.dropna()
        if len(draws):
            axes.plot(
                [draws.min(), draws.max()],
                [y + 0.22] * 2,
                color="#B0B0B0",
                lw=5,
                solid_capstyle="butt",
                zorder=1,
            )
            axes.plot(draws, [y + 0.22] * len(draws), ".", color=COLOURS["null"], ms=4, mew=0, zorder=2)
        _interval(axes, y - 0.12, row, "cleared")
        axes.text(
            1.03,
            y,
            f"{row.value:.0%}",
            transform=axes.get_yaxis_transform(),
            color=COLOURS["cleared"],
            va="center",
            fontsize=8,
        )


@figure
def recovery(scores: pd.DataFrame, primary: str, metric: str = "recovered_accuracy") -> Figure:
    """Recovered fraction in every cell: the primary clearing in blue, the range of null draws in grey."""
    rows = scores[(scores.metric == metric) & (scores.role == "hazardous")]
    sweep = cells(scores)
    if rows.empty or not sweep:
        return _nothing("The scores table holds no recovered fractions.")
    topics = hazardous_topics(rows) or ["all"]
    rows = pooled(rows)
    drawn, grid = _grid(len(topics), 1.0 + 0.36 * len(sweep), sharex=True, sharey=True)
    for axes, topic in zip(grid, topics, strict=True):
        _recovery_panel(axes, rows[rows.topic == topic], sweep, primary)
        for edge in (0, 1):
            axes.axvline(edge, color="#BBBBBB", lw=0.8, zorder=0)
        axes.set(title=f"hazardous: {plain(topic)}", xlabel="recovered fraction")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelbottom=True)
        axes.spines["left"].set_visible(False)
    shown = cleared_by(rows, primary)[["value", "low", "high"]].to_numpy().ravel()
    shown = np.concatenate([shown, null_draws(rows).value, [0, 1]])
    grid[0].set_xlim(max(np.nanmin(shown), -0.75) - 0.04, min(np.nanmax(shown), 1.5) + 0.04)
    _rows_axis(grid[0], [str(cell) for cell in sweep], ["base"] * len(sweep))
    _key(
        drawn,
        [(f"cleared: {primary}, 95 % interval", "cleared"), ("null directions: range and draws", "null")],
    )
    return drawn


@figure
def published(scores: pd.DataFrame, cell: Cell | None, primary: str) -> Figure:
    """Our numbers beside the published ones, which come from another model and other questions."""
    rows = pooled(pd.concat([scores[scores.method == "base"], in_cell(scores, cell)])) if cell else scores.iloc[:0]
    topics = hazardous_topics(rows)
    drawn = Figure(figsize=(WIDTH, 2.3 + 0.26 * len(topics)))
    recovered, scored = drawn.subplots(1, 2)
    _published_recovered(recovered, rows, topics, primary)
    _published_accuracy(scored, rows, topics, primary)
    drawn.supxlabel(
        "Hollow marks: published, another model (Zephyr-7B) and other questions, without intervals.\n"
        "Recovered: Arditi and Chughtai 2024. Accuracies: Li et al. 2024 (WMDP, MMLU).",
        fontsize=8,
        color="#555555",
        x=0.01,
        ha="left",
    )
    return drawn


def _published_recovered(axes: Axes, rows: pd.DataFrame, topics: list[str], primary: str) -> None:
    names = [f"published: {name}" for name in PUBLISHED_RECOVERED] + [f"here: {topic}" for topic in topics]
    for y, value in enumerate(PUBLISHED_RECOVERED.values()):
        axes.plot([value], [y], "o", mfc="white", color=COLOURS["cleared"], ms=7)
        axes.text(value + 0.05, y, f"about {value:.0%}", va="center", fontsize=8)
    for y, topic in enumerate(topics, len(PUBLISHED_RECOVERED)):
        row = one(cleared_by(rows, primary), metric="recovered_accuracy", topic=topic)
        if row is None or pd.isna(row.value):
            axes.text(
                0.02,
                y,
                "undefined" if row is not None else "not measured",
                style="italic",
                va="center",
                color=COLOURS["null"],
                fontsize=8,
            )
            continue
        _interval(axes, y, row, "cleared")
        axes.annotate(
            f"{row.value:.0%}",
            (row.value, y),
            xytext=(0, 6),
            textcoords="offset points",
            fontsize=8,
            ha="center",
        )
    _rows_axis(axes, names, ["base"] * len(names))
    axes.set(
        xlim=(min(0, *axes.get_xlim()), max(1.02, axes.get_xlim()[1])),
        xlabel="recovered fraction",
        title="Recovered by clearing",
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _published_accuracy(axes: Axes, rows: pd.DataFrame, topics: list[str], primary: str) -> None:
    rows = rows[rows.metric == "accuracy"]
    ours = [(f"here: {topic}", rows[(rows.role == "hazardous") & (rows.topic == topic)]) for topic in topics]
    benign = overall(rows, "benign")
    ours += [("here: benign", benign)] * bool(len(benign))
    for y, (before, after) in enumerate(PUBLISHED_ACCURACY.values()):
        axes.plot([before, after], [y, y], color="#BBBBBB", lw=1, zorder=1)
        axes.plot([before], [y], "s", mfc="white", color=COLOURS["base"], ms=6)
        axes.plot([after], [y], "v", mfc="white", color=COLOURS["unlearned"], ms=7)
    for y, (_, here) in enumerate(ours, len(PUBLISHED_ACCURACY)):
        here = here[here.benchmark == here.benchmark.iloc[0]]
        values = {
            "base": one(here, method="base"),
            "unlearned": one(here[here.method != "base"], clearing="none"),
            "cleared": one(cleared_by(here[here.method != "base"], primary)),
        }
        for kind, row in values.items():
            if row is not None:
                _interval(axes, y, row, kind)
    names = [f"published: {name}" for name in PUBLISHED_ACCURACY] + [name for name, _ in ours]
    _rows_axis(axes, names, ["base"] * len(names))
    axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    axes.set(xlim=(0, 1.02), xlabel="accuracy")
    axes.set_title("Accuracy", pad=18)
    for x, text, kind in [
        (0.0, "base", "base"),
        (0.22, "cleared", "cleared"),
        (0.5, method_label(rows), "unlearned"),  # last, since a method's name may be long
    ]:
        axes.text(x, 1.03, plain(text), transform=axes.transAxes, color=COLOURS[kind], fontsize=8.5)


def _depth_panel(axes: Axes, rows: pd.DataFrame, quantity: str, primary: str) -> None:
    """Median with quartile band of one quantity over depth for base, unlearned and cleared."""
    kinds = {
        "base": rows[rows.method == "base"],
        "unlearned": rows[(rows.method != "base") & (rows.clearing == "none")],
        "cleared": rows[(rows.method != "base") & (rows.clearing == primary)],
    }
    for kind, line in kinds.items():
        line = line.sort_values("depth")
        axes.fill_between(
            line.depth.astype(float),
            line[f"{quantity}_low"],
            line[f"{quantity}_high"],
            color=COLOURS[kind],
            alpha=0.15,
            lw=0,
        )
        axes.plot(line.depth.astype(float), line[quantity], color=COLOURS[kind], marker=MARKERS[kind], ms=3.5)


@figure
def activations(table: pd.DataFrame, cell: Cell | None, primary: str, position: str = "last") -> Figure:
    """Norm of the residual stream and its cosine to the base model by depth, one column per set of prompts.

    Lines are medians over prompts, bands their quartiles; the dotted line is where the method pushed
    (output of the target block). The norm is on a log scale where it spans more than a factor of 20.
    """
    rows = table[table.position == position]
    if cell is None or rows.empty:
        return _nothing(f"The activations table holds no rows for the {position} token.")
    rows = pooled(pd.concat([rows[rows.method == "base"], in_cell(rows, cell)]))
    sets = list(rows[["role", "prompts"]].drop_duplicates().itertuples(index=False))
    sets.sort(key=lambda item: item.role != "hazardous")
    chunks = [sets[start : start + 3] for start in range(0, len(sets), 3)]
    drawn = Figure(figsize=(WIDTH, 0.4 + 3.9 * len(chunks)))
    grid = drawn.subplots(2 * len(chunks), len(chunks[0]), squeeze=False, sharex=True)
    for axes in grid.ravel():
        axes.set_visible(False)
    for index, names in enumerate(chunks):
        _depth_row(grid[2 * index], rows, names, "norm", cell, primary)
        _depth_row(grid[2 * index + 1], rows, names, "cosine", cell, primary)
    cleared = [(f"cleared: {primary}", "cleared")] * int(rows.clearing.eq(primary).any())
    _key(drawn, [("base", "base"), (method_label(table), "unlearned"), *cleared])
    return drawn


def _depth_row(grid: Iterable[Axes], rows: pd.DataFrame, sets: list, quantity: str, cell: Cell, primary: str) -> None:
    """One row of the activations figure: one quantity, one panel per set of prompts, one scale."""
    shown = rows[rows.prompts.isin([item.prompts for item in sets])]
    bounds = pd.concat([shown[quantity], shown[f"{quantity}_low"], shown[f"{quantity}_high"]]).dropna()
    for column, (axes, item) in enumerate(zip(grid, sets, strict=False)):
        axes.set_visible(True)
        _depth_panel(axes, rows[(rows.prompts == item.prompts) & (rows.role == item.role)], quantity, primary)
        axes.axvline(cell.layer + 1, color="#999999", ls=":", lw=1, zorder=0)
        if quantity == "norm":
            _log_if_wide(axes, bounds)
            name = "" if item.prompts == item.role else f": {plain(item.prompts)}"
            axes.set_title(f"{item.role}{name}", pad=14)
            axes.annotate(
                f"output of block {cell.layer}",
                (cell.layer + 1, 1),
                fontsize=7.5,
                color="#666666",
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
            )
        else:
            axes.set_xlabel("depth (start of block)")
        if axes.get_yscale() == "log":
            axes.set_ylim(bounds[bounds > 0].min() / 1.15, bounds.max() * 1.15)
        elif len(bounds):
            margin = 0.06 * (bounds.max() - bounds.min()) or 0.05
            axes.set_ylim(bounds.min() - margin, bounds.max() + margin)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.tick_params(labelleft=column == 0, labelbottom=quantity == "cosine")
    grid[0].set_ylabel("norm" if quantity == "norm" else "cosine to base")


# Quantities of the history, in the order of their panels.
HISTORY = {
    "norm": "norm of activations",
    "norm_first": "norm, first token",
    "cosine_to_base": "cosine to base",
    "cosine_u": "cosine to u",
    "attained": "projection on u / its target",
    "loss": "loss",
}


@figure
def history(table: pd.DataFrame, cell: Cell | None) -> Figure:
    """Norms, cosines, projections and losses over training steps; thin lines are seeds, thick ones topics."""
    rows = in_cell(table, cell) if cell else table.iloc[:0]
    rows = rows[rows.seed != "all"].dropna(subset="value")
    if rows.empty:
        return _nothing("The history table holds no training steps for this cell.")
    rows = rows.assign(topic=rows.topic.fillna(""))
    panels = sorted(rows.quantity.unique(), key=list(HISTORY).index)
    drawn, grid = _grid(len(panels), 2.0, columns=2)
    for axes, panel in zip(grid, panels, strict=True):
        shown = rows[rows.quantity == panel]
        if panel in ("norm", "norm_first", "loss"):  # cosines and shares keep their plain scale
            _log_if_wide(axes, shown.value, 50)
        _history_panel(axes, shown)
        axes.set_title(plain(HISTORY[panel]))
        axes.set_xlabel("training step")
    return drawn


def _history_panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Lines of one panel by topic, the retain texts in the base's colour, hazardous topics in the unlearned model's."""
    ends = []
    for topic, lines in rows.groupby("topic", sort=False):
        colour = COLOURS["base" if topic == "retain" else "unlearned"]
        for _, line in lines.groupby("seed"):
            axes.plot(line.step, line.value, color=colour, lw=0.7, alpha=0.4)
        mean = lines.groupby("step").value.mean()
        axes.plot(mean.index, mean, color=colour)
        ends.append((mean.iloc[-1], topic, colour))
    _label_ends(axes, ends, gap=0.14)


@figure
def junk(table: pd.DataFrame, cell: Cell | None) -> Figure:
    """Rank-1 share of the shift and alignment of each junk direction with u, with the null range in grey."""
    titles = {
        "rank1_share": "Rank-1 share\nof the shift",
        "cos_u": "Cosine with u,\nraw",
        "cos_u_centred": "Cosine with u,\nall-ones removed",
    }
    rows = in_cell(table, cell) if cell else table.iloc[:0]
    rows = rows[rows.quantity.isin(titles)].dropna(subset="value")
    if rows.empty:
        return _nothing("The junk table holds no rows for this cell.")
    seeds = rows[rows.seed != "all"] if rows.seed.ne("all").any() else rows
    order = list(seeds.direction.unique())
    names = seeds[["direction", "topic"]].drop_duplicates().itertuples(index=False)
    names = sorted(names, key=lambda name: order.index(name.direction))
    quantities = [name for name in titles if name in set(seeds.quantity)]

    def kind(name: tuple) -> str:
        return "null" if name.direction == "benign" else "cleared"

    drawn, grid = _grid(len(quantities), 1.3 + 0.26 * len(names), sharey=True)
    for axes, quantity in zip(grid, quantities, strict=True):
        here = seeds[seeds.quantity == quantity]
        for y, name in enumerate(names):
            _junk_row(axes, y, here[(here.direction == name.direction) & (here.topic == name.topic)], kind(name))
        axes.set(title=titles[quantity], xlim=(min(0, here.value.min(), here.null_low.min()) - 0.04, 1.04))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    texts = [name.direction if name.topic in ("", "all") else f"{name.direction}, {name.topic}" for name in names]
    _rows_axis(grid[0], texts, map(kind, names))
    _key(drawn, [("direction: mean and seeds", "cleared"), ("range of null directions", "null")])
    return drawn


def _junk_row(axes: Axes, y: int, rows: pd.DataFrame, kind: str) -> None:
    if rows.empty:
        return
    if rows.null_low.notna().any():
        axes.plot(
            [rows.null_low.min(), rows.null_high.max()],
            [y, y],
            color="#B0B0B0",
            lw=6,
            solid_capstyle="butt",
            zorder=1,
        )
    axes.plot(rows.value, [y] * len(rows), ".", color=COLOURS[kind], ms=5, alpha=0.5, mew=0, zorder=2)
    axes.plot([rows.value.mean()], [y], "o", color=COLOURS[kind], ms=6, zorder=3)
    axes.text(
        1.03,
        y,
        f"{rows.value.mean():.2f}",
        transform=axes.get_yaxis_transform(),
        color=COLOURS[kind],
        va="center",
        fontsize=8,
    )
