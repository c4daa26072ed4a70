"""The mean shift by depth: its cosines, length and cosine with u."""

import numpy as np
import pandas as pd
import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, figure, label_ends, log_if_wide, nothing, panel_grid, plain
from overpaint.report.markup import macros
from overpaint.report.section import in_main_cell
from overpaint.report.select import in_cell
from overpaint.report.view import View
from overpaint.report.wording import count, listed


@in_main_cell("depths", missing="The mean shift at every depth was not measured for the main cell.")
def show(view: View, rows: pd.DataFrame) -> Markup:
    """The mean shift by depth: its cosines, length and cosine with u."""
    seeds = count(rows.seed.nunique(), "seed")
    cosines = (
        f"Cosines of the mean shift from base to unlearned between the starts of blocks, {view.cell}, mean over "
        f"{seeds}, fitting prompts, all tokens but the first. Blue: same direction, vermilion: opposite; depths "
        "where nothing moved are left out."
    )
    size = (
        f"Length of the same mean shift and its cosine with the control vector, {view.cell}; thick: mean over "
        f"{seeds}, thin: seeds. Dotted: output of block {view.cell.layer}. Grey: the null range of the cosine as "
        "the table of junk gives it; two vectors drawn as u have an expected cosine of 0.75, not 0."
    )
    pictures = markup.figure(draw_cosines(view), cosines) + markup.figure(draw_size(view), size)
    return macros.paragraph(sentence(view)) + pictures


def sentence(view: View) -> str:
    """Whether the shift keeps its direction from the target block on: cosine of its first and its last depth."""
    rows = in_cell(view.depths, view.cell)
    start = view.cell.layer + 1
    parts = [_turned(topic, here, start) for topic, here in rows.groupby("topic", sort=False)]
    parts = list(filter(None, parts))
    if not parts:
        return f"At {view.cell}, no shift was measured beyond block {view.cell.layer}."
    last = rows[["depth", "other_depth"]].max().max()
    return (
        f"At {view.cell}, the mean shift at the start of block {start} and that at depth {last} have a cosine of "
        f"{listed(parts)} (mean over {count(rows.seed.nunique(), 'seed')}, with their range)."
    )


def _turned(topic: str, rows: pd.DataFrame, start: int) -> str:
    """`0.80 (0.79 to 0.82) for north`, nothing where the shift has no depth beyond `start`."""
    matrix = shift_matrix(rows)
    end = matrix.index.max()
    if start not in matrix.index or end <= start:
        return ""
    values = rows[(rows.quantity == "cosine") & (rows.depth == start) & (rows.other_depth == end)]
    spread = f" ({values.value.min():.2f} to {values.value.max():.2f})" if values.seed.nunique() > 1 else ""
    return f"{matrix.loc[start, end]:.2f}{spread} for {topic}"


def shift_matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """Symmetric [depth, depth] cosines of the mean shift, mean over the rows' seeds."""
    rows = rows[rows.quantity == "cosine"].dropna(subset="value")
    half = rows.groupby(["depth", "other_depth"]).value.mean()
    depths = sorted({int(depth) for pair in half.index for depth in pair})
    matrix = pd.DataFrame(np.nan, index=depths, columns=depths)
    for (one_depth, other), value in half.items():
        matrix.loc[one_depth, other] = matrix.loc[other, one_depth] = value
    return matrix


@figure("shift_cosines")
def draw_cosines(view: View) -> Figure:
    """Heat map of the cosines of the mean shift between depths, one panel per topic, mean over seeds."""
    rows = in_cell(view.depths, view.cell) if view.cell else view.depths.iloc[:0]
    rows = rows[(rows.quantity == "cosine") & rows.value.notna()]
    if rows.empty:
        return nothing("The depths table holds no cosines for this cell.")
    topics = list(rows.topic.unique())
    drawn, grid = panel_grid(len(topics), 7.2 / min(len(topics), 2) * (0.9 if len(topics) > 1 else 0.5), columns=2)
    colours = LinearSegmentedColormap.from_list("", [COLOURS["unlearned"], "white", COLOURS["cleared"]])
    for axes, topic in zip(grid, topics, strict=True):
        matrix = shift_matrix(rows[rows.topic == topic])
        few = len(matrix) <= 10  # numbers fit
        options = {"annot": few, "fmt": ".2f", "annot_kws": {"fontsize": 8}, "cbar": not few, "linewidths": few}
        sns.heatmap(matrix, ax=axes, vmin=-1, vmax=1, cmap=colours, square=True, **options)
        axes.set_facecolor("#EEEEEE")
        axes.invert_yaxis()
        axes.set(title=plain(topic), xlabel="depth (start of block)", ylabel="depth (start of block)")
        axes.tick_params(length=0)
    return drawn


@figure("shift_size")
def draw_size(view: View) -> Figure:
    """Length of the mean shift and its cosine with u by depth; thin lines are seeds, grey the null of the cosine."""
    rows = in_cell(view.depths, view.cell).dropna(subset="value") if view.cell else view.depths.iloc[:0]
    panels = {"norm": "length of the mean shift", "cos_u": "its cosine with u"}
    panels = {name: title for name, title in panels.items() if rows.quantity.eq(name).any()}
    if not panels:
        return nothing("The depths table holds no mean shift for this cell.")
    drawn, grid = panel_grid(len(panels), 2.5, columns=2)
    for axes, (quantity, title) in zip(grid, panels.items(), strict=True):
        here = rows[rows.quantity == quantity]
        ends = _lines(axes, here)
        if quantity == "cos_u":
            _null_range(axes, in_cell(view.junk, view.cell).query("quantity == 'cos_u'"))
            axes.set_ylim(min(0, axes.get_ylim()[0]), 1.03)
        else:
            log_if_wide(axes, here.value, 50)
        axes.axvline(view.cell.layer + 1, color="#999999", ls=":", lw=1, zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set(title=title, xlabel="depth (start of block)")
        label_ends(axes, ends, gap=0.12)
    return drawn


def _lines(axes: Axes, rows: pd.DataFrame) -> list[tuple[float, str, str]]:
    """A thin line per seed, a thick mean per topic; the ends of these, as `label_ends` takes them."""
    ends = []
    for topic, lines in rows.groupby("topic", sort=False):
        for _, line in lines.groupby("seed"):
            axes.plot(line.depth.astype(int), line.value, color=COLOURS["unlearned"], lw=0.7, alpha=0.4)
        mean = lines.groupby("depth").value.mean()
        axes.plot(mean.index.astype(int), mean, color=COLOURS["unlearned"])
        ends.append((mean.iloc[-1], topic, COLOURS["unlearned"]))
    return ends


def _null_range(axes: Axes, null: pd.DataFrame) -> None:
    if null.null_low.notna().any():
        axes.axhspan(null.null_low.min(), null.null_high.max(), color="#B0B0B0", alpha=0.4, lw=0, zorder=0)
