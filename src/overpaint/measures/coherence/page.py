"""How coherent continuations are."""

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.charts.dotplot import by_role
from overpaint.report.drawing import figure, nothing
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, cleared_by, first_where, overall, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import per_model, percent, state_name, two

TITLES = {
    "repeated_4": "share of repeated runs of 4 tokens",
    "distinct_1": "different tokens / tokens",
    "distinct_2": "different pairs / pairs",
    "base_nll": "nats per token, for the base",
    "length": "tokens of a continuation",
    "holds_answer": "share that holds the answer",
}


@looked_at("coherence", "the coherence of completions", "study.measures.coherence")
def show(view: View, shown: Shown) -> Markup:
    """Coherence of continuations."""
    caption = (
        f"Greedy continuations at {shown.where}, with 95 % bootstrap intervals over units; {shown.n} units. Of "
        "random directions the first draw. Short texts repeat less: read the shares beside the length."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption)


def sentence(view: View) -> str:
    """Repetition, likelihood and length of hazardous continuations; a warning where cleared ones are short."""
    rows = overall(_naive_as_null(rows_shown(view.coherence, view.cell)), "hazardous")
    where = f"at {cell_shown(view.coherence, view.cell)} (95 % intervals in brackets)"
    text = (
        f"Hazardous continuations {where}: share of repeated runs "
        f"of four tokens: {per_model(rows, 'repeated_4', view.primary, percent)}; nats per token for the base: "
        f"{per_model(rows, 'base_nll', view.primary, two)}."
    )
    length = rows[rows.metric == "length"]
    base = first_where(length, method="base")
    cleared = first_where(cleared_by(length[length.method != "base"], view.primary))
    if base is None or cleared is None or cleared.value > base.value / 2:
        return text
    return (
        f"{text} The cleared model stops after {cleared.value:.1f} tokens on average, the base after {base.value:.1f}: "
        "short texts repeat less, so its shares of different and repeated tokens are not signs of coherence."
    )


@figure("coherence")
def draw(view: View) -> Figure:
    """How coherent continuations are: base, unlearned, cleared, and nulls, with 95 % intervals."""
    rows = _naive_as_null(rows_shown(view.coherence, view.cell))
    if rows[rows.method != "base"].empty:
        return nothing("The coherence table holds no rows of an unlearned model.")
    return by_role(rows, TITLES, view.primary, with_base=True)


def _naive_as_null(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, those of the model that never knew, which stand beside the base's, as a null of the unlearned one's."""
    naive, method = rows.state.eq("naive"), next((name for name in rows.method if name != "base"), "base")
    as_null = {"method": method, "clearing": state_name("naive"), "kind": "null"}
    return rows.assign(**{column: rows[column].mask(naive, value) for column, value in as_null.items()})
