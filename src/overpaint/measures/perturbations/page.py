"""Perturbations: what moves when weights are rounded, shaken or scaled back, or other words stand before a question."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import CHANCE, WIDTH, draw_interval, draw_key, figure, name_rows, nothing, plain
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, first_where, overall, roles, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import STATES, count, number, per_state, percent, role_name, state_name

# How a perturbation of a size is called, in the order of the figure.
NAMES = {
    "none": lambda size: "as it is",
    "rounding": lambda size: f"rounded to {count(int(size), 'bit')}",
    "noise": lambda size: f"noise, {size:g} of the weights",
    "scaled": lambda size: f"{size:g} of the changes",
    "filler": lambda size: f"after {count(int(size), 'benign sentence')}",
    "hazardous_words": lambda size: f"after {count(int(size), 'hazardous word')}",
    "benign_words": lambda size: f"after {count(int(size), 'benign word')}",
}


@looked_at("perturbations", "perturbations", "study.measures.perturbations")
def show(view: View, shown: Shown) -> Markup:
    """What is answered under every perturbation."""
    caption = (
        f"Questions answered right under perturbations, {shown.where}; lines: 95 % bootstrap intervals; {shown.n} "
        "units. Matrices of all blocks are rounded, or get normal noise of so many of their root mean squares; of the "
        "unlearned model's changes a share is added to the base. Words before benign questions are those that only "
        "texts to forget have, or only texts to retain. Dashed: chance, 0.25; dotted: the unlearned model as it is."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption)


def sentence(view: View) -> str:
    """What the best rounding and noise give, and what words before benign questions cost."""
    rows = rows_shown(view.perturbations, view.cell)
    asked, told = overall(rows, "hazardous"), []
    for how, name in (("rounding", "rounded to the best number of bits"), ("noise", "with the best size of noise")):
        best = asked[asked.perturbation.eq(how) & asked["size"].isna()]
        if len(best):
            told.append(f"{name}, {per_state(best, percent)}")
    plainly = per_state(asked, percent, perturbation="none")
    text = (
        f"At {cell_shown(view.perturbations, view.cell)} (95 % intervals in brackets), of hazardous questions are "
        f"answered right: as they are, {'; '.join([plainly, *told])}. The best is that of each model itself."
    )
    return " ".join([text, *_words(overall(rows, "benign") if "benign" in roles(rows) else rows[:0])])


def _words(rows: pd.DataFrame) -> list[str]:
    """What one sort of words before benign questions makes of them, beside the other sort."""
    found = []
    for state in ("unlearned", "cleared"):
        after = {
            name: first_where(rows, state=state, perturbation=name) for name in ("hazardous_words", "benign_words")
        }
        if all(row is not None for row in after.values()):
            hazardous, benign = (number(row, percent) for row in after.values())
            size = NAMES["hazardous_words"](after["hazardous_words"]["size"])
            found.append(f"{size.capitalize()} the {state} model answers {hazardous} of benign questions, after as "
                         f"many benign ones {benign}.")  # fmt: skip
    return found


@figure("perturbations")
def draw(view: View) -> Figure:
    """A row per perturbation and size, a panel per role, a mark per state."""
    rows = rows_shown(view.perturbations, view.cell)
    if rows.empty:
        return nothing("The table of perturbations holds no rows of an unlearned model.")
    rows = pd.concat([overall(rows, role) for role in roles(rows)])
    rows = rows[rows["size"].notna()]
    pairs = rows[["perturbation", "size"]].drop_duplicates().itertuples(index=False)
    lines = [(name, size) for name, size in sorted(pairs, key=_place)]
    drawn = Figure(figsize=(WIDTH, 0.9 + 0.23 * len(lines)))
    grid = drawn.subplots(1, len(roles(rows)), squeeze=False, sharey=True)[0]
    for axes, role in zip(grid, roles(rows), strict=True):
        here = rows[rows.role == role]
        _panel(axes, here, lines)
        axes.set_title(plain(role_name(here)))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    name_rows(grid[0], [NAMES[name](size) for name, size in lines], ["base"] * len(lines))
    draw_key(drawn, [(state_name(s), kind) for s, kind in STATES.items() if rows.state.eq(s).any()], marked=True)
    return drawn


def _place(pair: tuple[str, float]) -> tuple[int, float]:
    """The more is changed, the further down."""
    name, size = pair
    return list(NAMES).index(name), -size if name in ("rounding", "scaled") else size


def _panel(axes: Axes, rows: pd.DataFrame, lines: list[tuple[str, float]]) -> None:
    for y, (name, size) in enumerate(lines):
        here = rows[rows.perturbation.eq(name) & rows["size"].eq(size)]
        for shift, (state, kind) in zip((-0.24, -0.08, 0.08, 0.24), STATES.items(), strict=True):
            row = first_where(here, state=state)
            if row is not None:
                draw_interval(axes, y + shift, row, kind, ms=4)
    axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    start = first_where(rows, state="unlearned", perturbation="none")
    if start is not None:
        axes.axvline(start.value, color="#999999", ls=":", lw=1, zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 1.03)
