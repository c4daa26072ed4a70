"""How much more comes back at one layer than at another."""

import pandas as pd

from overpaint.report import markup
from overpaint.report.markup import Html, macros
from overpaint.report.view import View
from overpaint.report.wording import count, interval, listed, points, share_of

NOTE = (
    "Recovered fraction at the upper layer less that at the lower one, in percentage points of what was lost, at the "
    "same c and on average over those at which neither cell has a mark. Both are resampled together (seeds and units); "
    "over base models the interval is of a t distribution. above: share of resamples, or of base models, above 0."
)


def show(views: list[View]) -> Html:
    """The differences between every two layers, of single base models too."""
    rows = _every(views)
    if rows.empty:
        return Html(macros.paragraph("No two layers have a c in common at which a recovered fraction can be told."))
    columns = [*(name for name in ("model", "method") if rows[name].nunique() > 1), "lower", "upper", "sizes"]
    forms = dict.fromkeys(["value", "low", "high"], points) | {"above": "{:.3f}".format}
    table = markup.table(rows[[*columns, "value", "low", "high", "above"]], "layers", forms)
    return Html(macros.paragraph(sentence(views)) + table + macros.note(NOTE))


def sentence(views: list[View]) -> str:
    """The differences over all base models, or of the only one; nothing where there are no two layers."""
    rows = _every(views)
    rows = rows[rows.model == "all"] if rows.model.eq("all").any() else rows
    texts = [
        f"layer {row.upper} less layer {row.lower}: {points(row.value)} points ({interval(row, points)}; above 0 in "
        f"{share_of(row)})"
        for _, row in rows.iterrows()
    ]
    if not texts:
        return ""
    where = f", on average over {count(int(rows.models.max()), 'base model')}" if rows.models.max() > 1 else ""
    return f"Share of what was lost that comes back, at the same c{where}: {listed(texts)}."


def _every(views: list[View]) -> pd.DataFrame:
    rows = pd.concat([view.layers for view in views]).drop_duplicates()
    return rows.sort_values("model", key=lambda name: name.eq("all"), kind="stable")
