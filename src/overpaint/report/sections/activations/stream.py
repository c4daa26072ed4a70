"""Norm of the residual stream and its cosine to the base model, by depth."""

from collections.abc import Iterable

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, MARKERS, WIDTH, draw_key, figure, log_if_wide, nothing, plain
from overpaint.report.section import lead, section
from overpaint.report.select import Cell, with_base
from overpaint.report.view import View
from overpaint.report.wording import method_label


@section
def answer(view: View) -> Markup:
    """Norm and cosine behind the target block, hazardous beside benign."""
    rows = with_base(view.activations[view.activations.position == "last"], view.cell)
    if rows.empty:
        return lead("No activations of the last token were collected.")
    depth = view.cell.layer + 1 if rows.depth.eq(view.cell.layer + 1).any() else rows.depth.max()
    texts = [_moved(rows[(rows.depth == depth) & (rows.role == role)], view) for role in ("hazardous", "benign")]
    return lead(f"At the start of block {depth}, last token, {view.cell}: {'; '.join(filter(None, texts))}.", view)


def _moved(rows: pd.DataFrame, view: View) -> str:
    """One role's clause of the answer: medians over prompts, averaged over sets of prompts."""
    base = rows[rows.method == "base"]
    after = rows[(rows.method != "base") & (rows.clearing == "none")]
    cleared = rows[(rows.method != "base") & (rows.clearing == view.primary)]
    if base.empty or after.empty:
        return ""
    before, now = (table.select_dtypes("number").mean() for table in (base, after))
    sets = f", means of {len(after)} sets" if len(after) > 1 else ""
    back = "" if cleared.empty else f", after clearing '{view.primary}' {cleared.cosine.mean():.2f}"
    return (
        f"on {rows.role.iloc[0]} prompts the median norm goes from {before.norm:.3g} to {now.norm:.3g} (quartiles "
        f"{now.norm_low:.3g} to {now.norm_high:.3g}{sets}), and the cosine to base is {now.cosine:.2f} "
        f"({now.cosine_low:.2f} to {now.cosine_high:.2f}){back}"
    )


@section
def show(view: View, position: str = "last") -> Markup:
    """Norm and cosine by depth at one position."""
    token = {"mean": "mean over tokens"}.get(position, f"{position} token")
    return markup.figure(
        draw(view, position),
        f"Residual stream at the start of each block, {token}, {view.cell}; the last depth is the final residual. "
        "Lines: median over prompts; bands: quartiles. Cosine: to the base model on the same prompts.",
    )


@figure("activations")
def draw(view: View, position: str = "last") -> Figure:
    """Norm of the residual stream and its cosine to the base model by depth, one column per set of prompts.

    Lines are medians over prompts, bands their quartiles; the dotted line is where the method pushed
    (output of the target block). The norm is on a log scale where it spans more than a factor of 20.
    """
    rows = with_base(view.activations[view.activations.position == position], view.cell)
    if rows.empty:
        return nothing(f"The activations table holds no rows for the {position} token.")
    sets = list(rows[["role", "prompts"]].drop_duplicates().itertuples(index=False))
    sets.sort(key=lambda item: item.role != "hazardous")
    chunks = [sets[start : start + 3] for start in range(0, len(sets), 3)]
    drawn = Figure(figsize=(WIDTH, 0.4 + 3.9 * len(chunks)))
    grid = drawn.subplots(2 * len(chunks), len(chunks[0]), squeeze=False, sharex=True)
    for axes in grid.ravel():
        axes.set_visible(False)
    for index, names in enumerate(chunks):
        _depth_row(grid[2 * index], rows, names, "norm", view)
        _depth_row(grid[2 * index + 1], rows, names, "cosine", view)
    cleared = [(f"cleared: {view.primary}", "cleared")] * int(rows.clearing.eq(view.primary).any())
    draw_key(drawn, [("base", "base"), (method_label(view.activations), "unlearned"), *cleared])
    return drawn


@figure("activations_first")
def draw_first(view: View) -> Figure:
    """The same of the first token."""
    return draw(view, "first")


def _depth_row(grid: Iterable[Axes], rows: pd.DataFrame, sets: list, quantity: str, view: View) -> None:
    """One row of the figure: one quantity, one panel per set of prompts, one scale."""
    shown = rows[rows.prompts.isin([item.prompts for item in sets])]
    bounds = pd.concat([shown[quantity], shown[f"{quantity}_low"], shown[f"{quantity}_high"]]).dropna()
    for column, (axes, item) in enumerate(zip(grid, sets, strict=False)):
        axes.set_visible(True)
        lines = rows[(rows.prompts == item.prompts) & (rows.role == item.role)]
        _depth_panel(axes, lines, quantity, view.primary)
        axes.axvline(view.cell.layer + 1, color="#999999", ls=":", lw=1, zorder=0)
        if quantity == "norm":
            log_if_wide(axes, bounds)
            name = "" if item.prompts == item.role else f": {plain(item.prompts)}"
            _head(axes, f"{item.role}{name}", view.cell)
        else:
            axes.set_xlabel("depth (start of block)")
        _limits(axes, bounds)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.tick_params(labelleft=column == 0, labelbottom=quantity == "cosine")
    grid[0].set_ylabel("norm" if quantity == "norm" else "cosine to base")


def _head(axes: Axes, title: str, cell: Cell) -> None:
    """Title of a panel, and where the method pushed."""
    axes.set_title(title, pad=14)
    axes.annotate(
        f"output of block {cell.layer}", (cell.layer + 1, 1), fontsize=7.5, color="#666666",
        xycoords=axes.get_xaxis_transform(), xytext=(0, 3), textcoords="offset points", ha="center",
    )  # fmt: skip


def _limits(axes: Axes, bounds: pd.Series) -> None:
    """All values of a row within the axis, with a margin."""
    if axes.get_yscale() == "log":
        axes.set_ylim(bounds[bounds > 0].min() / 1.15, bounds.max() * 1.15)
    elif len(bounds):
        margin = 0.06 * (bounds.max() - bounds.min()) or 0.05
        axes.set_ylim(bounds.min() - margin, bounds.max() + margin)


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
