"""What can be read off the residual stream: logit lens and linear probe, by depth."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from overpaint.report import markup
from overpaint.report.drawing import CHANCE, COLOURS, WIDTH, draw_band, draw_key, figure, nothing, plain
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, cells, first_where, overall, roles, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import NO_VALUE, STATES, number, per_state, percent, role_name, state_name, two

READOUTS = {
    "lens_accuracy": "Logit lens,\ncorrect answers",
    "lens_probability": "Logit lens,\nprobability of the answer",
    "probe_accuracy": "Linear probe,\ncorrect answers",
}

PROBES = ("probe_accuracy", "probe_benign")
BESIDE = (
    "probe_benign: fitted on benign facts alone, without a label of a hazardous one. probe_by_topic: each topic's own "
    "mean is taken from its states, which takes out the topic's mean shift too: a clearing that knows the topic."
)


@looked_at("depth", "what can be read off the residual stream", "study.measures.depth")
def show(view: View, shown: Shown) -> Markup:
    """Logit lens and probes by depth, and their values per cell."""
    caption = (
        f"What can be read off the last token of a question at the start of each block, {shown.where}; bands: 95 % "
        f"bootstrap intervals; {shown.n} units. The last depth is the final residual. "
        "Probes are fitted on facts of the fit split, where their penalty is chosen too, and asked about the others; "
        "one mean is taken from all states. A map that is fitted to the unlearned model can learn to ignore the junk: "
        "what it reads is there up to a linear map. Dashed: chance, 0.25; the "
        f"vertical dotted line: output of block {shown.cell.layer}, where unlearning pushed."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption) + _final_residual(view)


def sentence(view: View) -> str:
    """What lens and probe find in the final residual, and whether more than in what never knew."""
    rows = overall(rows_shown(_as_they_are(view.depth), view.cell), "hazardous")
    last = rows[rows.depth == rows.depth.max()]
    text = (
        f"In the final residual at {cell_shown(view.depth, view.cell)} (95 % intervals in brackets), the logit lens "
        f"finds the correct answer to hazardous questions: {per_state(last, percent, quantity='lens_accuracy')}; "
        f"a linear probe: {per_state(last, percent, quantity='probe_accuracy')}."
    )
    probe = first_where(last, state="unlearned", quantity="probe_accuracy")
    nulls = last[(last.quantity == "probe_shuffled") | (last.state.eq("naive") & last.quantity.isin(PROBES))]
    if probe is None or nulls.empty or pd.isna(probe.low):
        return text
    if probe.low > nulls.high.max():
        return f"{text} The probe of the unlearned model is above every control, so answers are still in its residual."
    bound = percent(nulls.high.max())
    return f"{text} The probe of the unlearned model cannot be told from its controls (up to {bound})."


def _final_residual(view: View) -> Markup:
    """Final residual of every cell that was looked into, hazardous questions; last: by the other centring."""
    rows = []
    for cell in cells(view.depth):
        here = overall(rows_shown(view.depth, cell), "hazardous")
        last = here[here.depth == here.depth.max()]
        ours, by_topic = _as_they_are(last), last[last.centring == "topic"]
        for state in (state for state in STATES if last.state.eq(state).any()):
            names = [*READOUTS, "probe_shuffled", "probe_benign"]
            readouts = {name: first_where(ours, state=state, quantity=name) for name in names}
            readouts["probe_by_topic"] = first_where(by_topic, state=state, quantity="probe_accuracy")
            values = {name: NO_VALUE if row is None else number(row, two) for name, row in readouts.items()}
            rows.append({"layer": str(cell.layer), "c": f"{cell.c:g}", "state": state_name(state), **values})
    return markup.table(pd.DataFrame(rows), "final_residual") + macros.note(BESIDE)


def _as_they_are(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the probes from whose states each topic's own mean was taken."""
    return rows[rows.centring != "topic"]


@figure("read_off")
def draw(view: View) -> Figure:
    """Logit lens and linear probe by depth, one row of panels per role; dotted: probes of shuffled answers."""
    rows, cell = rows_shown(_as_they_are(view.depth), view.cell), cell_shown(view.depth, view.cell)
    if rows.empty:
        return nothing("The depth table holds no rows of an unlearned model.")
    names = roles(rows)
    drawn = Figure(figsize=(WIDTH, 0.5 + 2.2 * len(names)))
    grid = drawn.subplots(len(names), len(READOUTS), squeeze=False, sharex=True, sharey=True)
    for across, role in zip(grid, names, strict=True):
        here = overall(rows, role)
        for axes, quantity in zip(across, READOUTS, strict=True):
            _panel(axes, here, quantity, cell.layer)
        across[0].set_ylabel(plain(role_name(here)))
    for top, bottom, title in zip(grid[0], grid[-1], READOUTS.values(), strict=True):
        top.set_title(title)
        bottom.set_xlabel("depth (start of block)")
    states = [name for name in STATES if rows.state.eq(name).any()]
    entries = [(state_name(name), STATES[name], "-") for name in states]
    shuffled = [("shuffled answers", "null", ":")] * int(rows.quantity.eq("probe_shuffled").any())
    draw_key(drawn, entries + shuffled, marked=True)
    return drawn


def _panel(axes: Axes, rows: pd.DataFrame, quantity: str, layer: int) -> None:
    """A band per state; of the probe also what it finds of shuffled answers."""
    for state, kind in STATES.items():
        mine = rows[rows.state == state]
        draw_band(axes, mine[mine.quantity == quantity], "depth", kind)
        if quantity == "probe_accuracy":
            null = mine[mine.quantity == "probe_shuffled"].sort_values("depth")
            axes.plot(null.depth, null.value, color=COLOURS["null"], ls=":", lw=1.2)
    axes.axhline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    axes.axvline(layer + 1, color="#999999", ls=":", lw=1, zorder=0)
    axes.set(ylim=(0, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
