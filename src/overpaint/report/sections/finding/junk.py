"""The junk directions: their rank-1 share and alignment with the control vector u."""

from markupsafe import Markup
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.drawing import draw_key, draw_range, figure, name_rows, nothing, panel_grid
from overpaint.report.section import section
from overpaint.report.select import in_cell, single_seeds
from overpaint.report.view import View

TITLES = {
    "rank1_share": "Rank-1 share,\nfitting prompts",
    "rank1_share_held": "Rank-1 share,\nheld-out prompts",
    "cos_u": "Cosine with u,\nraw",
    "cos_u_centred": "Cosine with u,\nall-ones removed",
}


@section
def show(view: View) -> Markup:
    """Rank-1 share and alignment with u."""
    return markup.figure(
        draw(view),
        f"Junk directions at {view.cell}: dots are seeds, large dots and numbers their mean. Rank-1 share: of the "
        "squared shift, also on prompts on which no direction was fitted. Grey: what unrelated directions reach. "
        "Entries of u are uniform in [0, 1), so two independent ones have an expected cosine of 0.75: the cosine with "
        "the all-ones direction removed is the telling one.",
    )


@figure("junk")
def draw(view: View) -> Figure:
    """Rank-1 share of the shift and alignment of each junk direction with u, with the null range in grey."""
    rows = in_cell(view.junk, view.cell) if view.cell else view.junk.iloc[:0]
    rows = rows[rows.quantity.isin(TITLES)].dropna(subset="value")
    if rows.empty:
        return nothing("The junk table holds no rows for this cell.")
    seeds = single_seeds(rows)
    order = list(seeds.direction.unique())
    names = seeds[["direction", "topic"]].drop_duplicates().itertuples(index=False)
    names = sorted(names, key=lambda name: order.index(name.direction))
    quantities = [name for name in TITLES if name in set(seeds.quantity)]

    def kind(name: tuple) -> str:
        return "null" if name.direction == "benign" else "cleared"

    drawn, grid = panel_grid(len(quantities), 1.3 + 0.26 * len(names), sharey=True)
    for axes, quantity in zip(grid, quantities, strict=True):
        here = seeds[seeds.quantity == quantity]
        for y, name in enumerate(names):
            draw_range(axes, y, here[(here.direction == name.direction) & (here.topic == name.topic)], kind(name))
        axes.set(title=TITLES[quantity], xlim=(min(0, here.value.min(), here.null_low.min()) - 0.04, 1.04))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    texts = [name.direction if name.topic in ("", "all") else f"{name.direction}, {name.topic}" for name in names]
    name_rows(grid[0], texts, map(kind, names))
    draw_key(drawn, [("direction: mean and seeds", "cleared"), ("range of null directions", "null")])
    return drawn
