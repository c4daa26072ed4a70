"""What unlearning costs: forgetting, recovery and depth over benign damage, along a method and its variants."""

from collections.abc import Iterator
from itertools import cycle

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overpaint.report import markup, select
from overpaint.report.charts import heat
from overpaint.report.drawing import COLOURS, draw_key, figure, nothing, panel_grid, plain
from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import Cell, overall
from overpaint.report.view import View
from overpaint.report.wording import count, number, points
from overpaint.tables.verdicts import CHOSEN

PANELS = {
    "forgotten_accuracy": ("hazardous accuracy\nlost, points", "unlearned"),
    "recovered_accuracy": ("of it given back\nby clearing, %", "cleared"),
    "beneath": ("missing beneath the paint\n(UDS of the cleared), %", "alternative"),
}
COLUMNS = {
    "damage_fit": "benign_lost_on_fit",
    "damage": "benign_lost",
    "damage_in_corpus": "in_corpus",
    "damage_unseen": "unseen",
    "forgotten_accuracy": "hazardous_lost",
    "recovered_accuracy": "recovered",
    "beneath": "beneath",
}
AT_BUDGET = ("forgotten_accuracy", "recovered_accuracy", "damage", "beneath")
STYLES = ("-", "--", ":", "-.")
VALUES = ["value", "low", "high"]


@section
def show(view: View) -> Markup:
    """The curves over damage, which setting is chosen within the budget, and its numbers."""
    if not dict(_curves(view)):
        return macros.not_measured("what variants of its method cost", "study.runs")
    note = (
        "Points of benign accuracy lost on the split that is shown, against points of hazardous accuracy lost, the "
        f"share of them that clearing '{view.primary}' gives back, and what activation patching still misses beneath "
        "it; a line per layer and c, a mark per variant, with 95 % bootstrap intervals. Ringed: chosen on the split "
        "'fit', as the variant that forgets most within the budget of benign damage, or that damages least where none "
        "is within it. Where the recovered fraction is undefined there is no mark."
    )
    curves = markup.figure(draw(view), note) + macros.paragraph(sentence(view))
    return curves + _at_budget(view) + markup.table(numbers(view), "damage")


def _at_budget(view: View) -> Markup:
    """The map of what is chosen, where that is in several cells."""
    if len(select.cells(_chosen(view))) < 2:
        return Markup()
    return markup.figure(
        draw_at_budget(view),
        "Over layer and c at equal damage: of each cell the variant that forgets most of those within the budget of "
        "benign damage on the split 'fit', with the end of its name below the number. Cells without one are left out.",
    )


def sentence(view: View) -> str:
    """Which variants are chosen, and what they cost on the shown split."""
    cells = view.family["cells"]
    chosen = cells[cells.choice.ne("") & cells.quantity.eq("damage")]
    over = int(chosen.choice.ne(CHOSEN).sum())
    texts = [
        f"{row.method} at {Cell(int(row.layer), row.c)} costs {number(row, points)}" for row in chosen.itertuples()
    ]
    text = "Chosen on the split 'fit', with the points of benign accuracy that they cost on the shown split: "
    beyond = f" In {count(over, 'cell')} no variant was within the budget." if over else ""
    return f"{text}{'; '.join(texts)}.{beyond}"


def numbers(view: View) -> pd.DataFrame:
    """A row per layer, c and variant: points lost by part, and per cent given back."""
    rows = []
    for (layer, c, method, choice), cell in quantities(view).groupby(["layer", "c", "method", "choice"], sort=False):
        named = cell.set_index("quantity")
        row = {"layer": layer, "c": f"{c:g}", "method": method, "choice": choice}
        rows.append(
            row | {title: number(named.loc[name], points) for name, title in COLUMNS.items() if name in named.index}
        )
    return pd.DataFrame(rows).sort_values(["layer", "c"], kind="stable")


def quantities(view: View) -> pd.DataFrame:
    """Rows of the table of cells of the method and its variants, and as `beneath` of what the depth score misses."""
    cells, uds = view.family["cells"], view.family["uds"]
    keys = ["layer", "c", "method"]
    beneath = uds[uds.quantity.eq("beneath") & uds.part.eq("all") & uds.seed.eq("all")]
    choices = cells[[*keys, "choice", "mark"]].drop_duplicates()
    beneath = overall(beneath, "hazardous").merge(choices, on=keys).assign(note="")
    columns = [*keys, "choice", "mark", "quantity", *VALUES, "note"]
    return pd.concat([part[columns] for part in (cells, beneath) if len(part)] or [cells[columns]], ignore_index=True)


def _curves(view: View) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """(layer and c, a row per variant with its quantities, the least damage first) where there are several variants."""
    keys = ["layer", "c", "method", "choice"]
    wide = quantities(view).set_index([*keys, "quantity"])[VALUES].unstack("quantity")
    for (layer, c), rows in wide.groupby(["layer", "c"]):
        if len(rows) > 1 and rows["value"].get("damage", pd.Series()).notna().any():
            yield Cell(int(layer), c), rows.sort_values(("value", "damage")).reset_index()


@figure("damage")
def draw(view: View) -> Figure:
    """Points forgotten, the share given back and what is beneath, over points of benign accuracy lost."""
    curves = dict(_curves(view))
    if not curves:
        return nothing("The study has no variants of a method, or asks no benign questions.")
    panels = [name for name in PANELS if any(name in rows["value"] for rows in curves.values())]
    drawn, grid = panel_grid(len(panels), 2.6)
    styles = dict(zip(curves, cycle(STYLES)))
    for axes, quantity in zip(grid, panels, strict=True):
        for cell, rows in curves.items():
            _curve(axes, rows, quantity, styles[cell])
        axes.set(title=PANELS[quantity][0], xlabel="benign accuracy lost, points")
    draw_key(drawn, [(plain(cell), "base", style) for cell, style in styles.items()])
    return drawn


@figure("map_at_budget")
def draw_at_budget(view: View) -> Figure:
    """Heat maps over c and layer of the variant that is chosen in each cell within the budget of damage."""
    chosen = _chosen(view)
    if chosen.empty:
        return nothing("The study has no variants of a method within the budget of damage.")
    shown = [name for name in AT_BUDGET if name in set(chosen.quantity)]
    return heat.panels(chosen, chosen, shown, view.method)


def _chosen(view: View) -> pd.DataFrame:
    """Rows of what is chosen, in the cells of layer and c that had several variants to choose from."""
    rows = quantities(view)
    several = rows.groupby(["layer", "c"]).method.transform("nunique") > 1
    return rows[several & rows.choice.eq(CHOSEN)]


def _curve(axes: Axes, rows: pd.DataFrame, quantity: str, style: str) -> None:
    """One line with its intervals; named are its ends and what is chosen."""
    if quantity not in rows["value"]:
        return
    colour, values = COLOURS[PANELS[quantity][1]], {end: 100 * rows[end] for end in VALUES}
    at, height = (values["value"][name] for name in ("damage", quantity))
    across, along = (
        [(values["value"] - values["low"])[name].clip(lower=0), (values["high"] - values["value"])[name].clip(lower=0)]
        for name in ("damage", quantity)
    )
    axes.errorbar(at, height, along, across, color=colour, elinewidth=0.6, lw=1.4, ls=style, marker="o", ms=3.5)
    ringed = rows["choice"] != ""
    axes.plot(at[ringed], height[ringed], "o", ms=9, mfc="none", mec=COLOURS["base"], mew=1.2)
    last = len(rows) - 1
    for place, (x, y, method) in enumerate(zip(at, height, rows["method"], strict=True)):
        if pd.notna(y) and (place in (0, last) or ringed.iloc[place]):
            axes.annotate(plain(method), (x, y), (4, 4), textcoords="offset points", fontsize=6.5, color="#666666")
