"""What unlearning changed in the weights."""

from collections.abc import Iterable

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.drawing import draw_key, draw_range, figure, name_rows, nothing, panel_grid
from overpaint.report.markup import macros
from overpaint.report.section import in_main_cell
from overpaint.report.select import in_cell
from overpaint.report.view import View
from overpaint.report.wording import count, percent

TITLES = {
    "relative_change": "Relative\nchange",
    "effective_rank": "Effective\nrank",
    "share_1": "Share of the\n1st direction",
    "removed_share": "Share that\nclearing removes",
    "cos_r": "1st direction:\ncosine with r",
    "cos_r_centred": "... with r,\nones removed",
    "cos_u": "1st direction:\ncosine with u",
    "cos_u_centred": "... with u,\nones removed",
}
TENSORS = 12  # rows of the figure: those that changed most


@in_main_cell("weights", missing="The table of weights holds no rows for the main cell.")
def show(view: View, rows: pd.DataFrame) -> Markup:
    """What changed in the weights of the main cell."""
    _, pattern = short_names(rows.tensor)
    tensors = rows.tensor.nunique()
    named = f" Tensors are named by what tells them apart in {pattern}." if pattern else ""
    some = f" The {TENSORS} of {tensors} tensors that changed most are shown." if tensors > TENSORS else ""
    caption = (
        f"Changes of each tensor at {view.cell}. Relative change: Frobenius norm of the change over that of the "
        "tensor. Effective rank: exp of the entropy of the shares of its singular values. 1st direction: first "
        "left singular vector, r: the topic's junk direction; cosines without sign. Grey: 2.5 to 97.5 percentile "
        f"of uniform random vectors in its place.{named}{some}"
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption)


def sentence(view: View) -> str:
    """The tensor that changed most: by how much, over how many directions, and what clearing removes of it."""
    rows = in_cell(view.weights, view.cell).dropna(subset="value")
    mean = rows.pivot_table(index="tensor", columns="quantity", values="value", aggfunc="mean")
    if "relative_change" not in mean:
        return f"At {view.cell}, the size of the changes was not measured."
    name = mean.relative_change.idxmax()
    row, seeds = mean.loc[name], count(rows.seed.nunique(), "seed")
    text = (
        f"At {view.cell}, mean over {seeds}, {count(len(mean), 'tensor')} changed; most did {name}, by "
        f"{row.relative_change:.2f} of its Frobenius norm"
    )
    if pd.notna(row.get("effective_rank")):
        text = f"{text}, over an effective rank of {row.effective_rank:.1f}"
    removed = rows[(rows.tensor == name) & (rows.quantity == "removed_share")]
    if removed.empty:
        return f"{text}; what clearing removes of it was not measured."
    share = f"{percent(removed.value.mean())} of the change's square{_null_range(removed)}"
    return f"{text}; projecting out the junk takes away {share}."


def _null_range(rows: pd.DataFrame) -> str:
    """` (above what random vectors reach, 26 % to 31 %)`: every value against its own range."""
    low, high = rows.null_low.min(), rows.null_high.max()
    if pd.isna(low) or pd.isna(high):
        return ""
    word = "above" if (rows.value > rows.null_high).all() else "not clear of"
    return f" ({word} what random vectors reach, {percent(low)} to {percent(high)})"


@figure("weights")
def draw(view: View) -> Figure:
    """What unlearning changed in each tensor: dots are seeds and topics, large dots their mean, grey null ranges."""
    rows = in_cell(view.weights, view.cell).dropna(subset="value") if view.cell else view.weights.iloc[:0]
    rows = rows[rows.quantity.isin(TITLES)]
    if rows.empty:
        return nothing("The weights table holds no rows for this cell.")
    tensors = _most_changed(rows)
    names, _ = short_names(tensors)
    panels = [quantity for quantity in TITLES if rows.quantity.eq(quantity).any()]
    drawn, grid = panel_grid(len(panels), 0.95 + 0.26 * len(tensors), columns=4, sharey=True)
    for index, (axes, quantity) in enumerate(zip(grid, panels, strict=True)):
        here = rows[rows.quantity == quantity]
        for y, tensor in enumerate(tensors):
            draw_range(axes, y, here[here.tensor == tensor], "unlearned")
        top = 1.04 if quantity.startswith(("cos", "share", "removed")) else 1.1 * here.value.max()
        axes.set(title=TITLES[quantity], xlim=(0, top or 1))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        if index % 4 == 0:
            axes.set_ylabel("tensor")
    name_rows(grid[0], [names[name] for name in tensors], ["base"] * len(tensors))
    draw_key(drawn, [("mean, and seeds (of cosines also topics)", "unlearned"), ("range of random vectors", "null")])
    return drawn


def _most_changed(rows: pd.DataFrame) -> list[str]:
    """The tensors that changed most, in table order."""
    size = rows[rows.quantity == "relative_change"].groupby("tensor", sort=False).value.mean()
    kept = set(size.nlargest(TENSORS).index) if len(size) else set(rows.tensor.unique()[:TENSORS])
    return [name for name in rows.tensor.unique() if name in kept]


def short_names(tensors: Iterable[str]) -> tuple[dict[str, str], str]:
    """What tells names of tensors apart, and their pattern: {"h.0.w": "0", "h.1.w": "1"}, "h.*.w"."""
    names = list(dict.fromkeys(tensors))
    pieces = [name.split(".") for name in names]
    if len(names) < 2 or len({len(parts) for parts in pieces}) > 1:
        return {name: name for name in names}, ""
    vary = [len(set(column)) > 1 for column in zip(*pieces, strict=True)]
    short = {
        name: ".".join(part for part, varies in zip(parts, vary, strict=True) if varies)
        for name, parts in zip(names, pieces, strict=True)
    }
    return short, ".".join("*" if varies else part for part, varies in zip(pieces[0], vary, strict=True))
