"""What was claimed beforehand, and what became of it."""

import hashlib
import re

import pandas as pd

from overpaint.report import markup
from overpaint.report.markup import Html, macros, visible, wide
from overpaint.report.view import View
from overpaint.report.wording import count, method_name, percent

FORMS = {"value": percent, "needed": percent, "claim": wide}
CONFIRMATORY = "Confirmatory: the plan was fixed for this study before it ran."
EXPLORATORY = "Exploratory: the plan was not written for this study, so these verdicts describe it and test nothing."


def sentence(views: list[View]) -> str:
    """How many of the claims hold, over all base models where there are several."""
    rows = _final(views)
    if rows.empty:
        return "No claim was judged."
    counts = [_counted(number, verdict) for verdict, number in rows.verdict.value_counts().items()]
    kind = "fixed before the study ran" if rows.confirmatory.all() else "of a plan that was not fixed for this study"
    return f"Of {count(len(rows), 'claim')} {kind}: {', '.join(counts)}."


def _counted(number: int, verdict: str) -> str:
    """`3 hold`, `1 holds`, `2 with too few cells`, `1 undecided`."""
    if verdict in ("holds", "fails"):
        return f"{number} {verdict if number == 1 else verdict.removesuffix('s')}"
    return f"{number} with {verdict}" if verdict.startswith("too") else f"{number} {verdict}"


def _every(views: list[View]) -> pd.DataFrame:
    return pd.concat([view.hypotheses for view in views]).drop_duplicates()


def _final(views: list[View]) -> pd.DataFrame:
    """The judgements over all models, or those of the only one."""
    rows = _every(views)
    return rows[rows.model == "all"] if rows.model.eq("all").any() else rows


def show(views: list[View]) -> Html:
    """The claims and their verdicts, also those of single base models."""
    return _table(_every(views))


def final(views: list[View]) -> Html:
    """The claims and their verdicts over all base models."""
    return _table(_final(views))


def _table(rows: pd.DataFrame) -> Html:
    if rows.empty:
        return Html(macros.paragraph("No claim was judged."))
    rows = rows.sort_values("model", key=lambda name: name.eq("all"), kind="stable")  # verdict over all models last
    several = [name for name in ("model", "method") if rows[name].nunique() > 1]
    told = ["interval"] if rows.low.notna().any() else []
    columns = ["claim", "verdict", *several, "cells", "value", *told, "needed"]
    texts = ["" if pd.isna(row.low) else f"{percent(row.low)} to {percent(row.high)}" for row in rows.itertuples()]
    shown = rows.assign(method=[method_name(name) for name in rows.method], interval=texts)[columns]
    label = CONFIRMATORY if rows.confirmatory.all() else EXPLORATORY
    return Html(macros.claims(label, markup.table(shown, "hypotheses", FORMS)))


def plan(views: list[View]) -> Html:
    """The plan as it was when the tables were made, with its hash."""
    path = views[0].folder / "preregistration.yaml"
    if not path.is_file():
        return Html(macros.paragraph("No plan lies beside the tables."))
    content = path.read_bytes()
    text = content.decode(errors="replace")
    written = re.search(r"^written: *[\"']?([\d-]+)", text, re.MULTILINE)
    when = f"fixed on {written[1]}" if written else "without a date"
    summary = f"The plan, {when}, SHA-256 {hashlib.sha256(content).hexdigest()}"
    return Html(macros.details(summary, macros.quote(visible(text))))
