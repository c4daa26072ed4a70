"""How far predictions on running text lie from the base's."""

from markupsafe import Markup
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.charts.dotplot import by_role
from overpaint.report.drawing import figure, nothing
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, overall, roles, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import per_model, two

TITLES = {"kl": "KL(base || model), nats per token", "top1_agreement": "same likeliest next token, share of tokens"}


@looked_at("agreement", "predictions on running text", "study.evaluate")
def show(view: View, shown: Shown) -> Markup:
    """How far predictions lie from the base's."""
    caption = (
        f"Next-token predictions on running text against the base's at {shown.where}, 95 % bootstrap intervals over "
        f"seeds and texts; {shown.n} texts. The base itself has a KL of 0 and an agreement of 1."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption)


def sentence(view: View) -> str:
    """KL from the base on hazardous and benign text, before and after clearing."""
    rows = rows_shown(view.agreement, view.cell)
    where = f"at {cell_shown(view.agreement, view.cell)} (95 % intervals in brackets)"
    parts = [
        f"on {role} text {per_model(overall(rows, role), 'kl', view.primary, two, base=False)}" for role in roles(rows)
    ]
    return f"Distance from the base's predictions {where}, KL in nats per token: {'; '.join(parts)}."


@figure("agreement")
def draw(view: View) -> Figure:
    """KL from the base and agreement of the likeliest next token, per clearing, with 95 % intervals."""
    rows = rows_shown(view.agreement, view.cell)
    if rows[rows.method != "base"].empty:
        return nothing("The agreement table holds no rows of an unlearned model.")
    return by_role(rows, TITLES, view.primary, with_base=False)
