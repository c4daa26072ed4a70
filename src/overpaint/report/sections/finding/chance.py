"""What clearing gives back beside chance: null directions and the exact test."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from overpaint.report import markup
from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import in_cell, overall
from overpaint.report.view import View

NUMBERS = ["value", "null_mean", "null_sd", "null_best", "single_best"]
COLUMNS = ["metric", "null", "draws", *NUMBERS, "seeds_above", "z", "p"]
FORMS = dict.fromkeys([*NUMBERS, "p"], "{:.3f}".format) | {"z": "{:.1f}".format}


@section
def show(view: View) -> Markup:
    """The sentence on chance with the rows behind it."""
    shown, rows, tested = macros.paragraph(sentence(view)), _main_rows(view, view.nulls), _main_rows(view, view.mcnemar)
    if len(rows):
        shown += markup.table(rows[COLUMNS], "nulls", FORMS)
    if len(tested):
        exact = tested[["n", "gained", "lost", "p", "p_holm"]]
        shown += markup.table(exact, "mcnemar", dict.fromkeys(["p", "p_holm"], "{:.2g}".format))
    return shown


def sentence(view: View) -> str:
    """The primary clearing in the main cell among the draws of each null, and its exact test."""
    here = _main_rows(view, view.nulls)
    here = here[here.metric == "accuracy"]
    texts = [
        f"{_times(row.z)} the mean of {row.draws} draws of {row.null}{_averaged(row)} (p = {row.p:.3f}; the least that "
        f"so many can say is {1 / (1 + row.draws):.3f})"
        for row in here.itertuples()
    ]
    tested = _main_rows(view, view.mcnemar)
    if len(tested):
        row = tested.iloc[0]
        holm = "" if pd.isna(row.p_holm) else f", {_p(row.p_holm)} after Holm's correction over the cells"
        texts.append(
            f"of {row.n} units {row.gained} were gained and {row.lost} lost (exact McNemar test: {_p(row.p)}{holm})"
        )
    if not texts:
        return "Neither null directions nor exact tests were run in this cell."
    return f"At {view.cell}, accuracy after clearing '{view.primary}': {'; '.join(texts)}."


def _averaged(row: tuple) -> str:
    """`, each a mean over 3 seeds (in 3 of them above each of their own; best single draw: 0.81)`, of several."""
    if row.seeds == 1:
        return ""
    own = f"in {row.seeds_above} of them above each of their own; best single draw: {row.single_best:.2f}"
    return f", each a mean over {row.seeds} seeds ({own})"


def _times(z: float) -> str:
    """`1.2 standard deviations above`, as z has its sign."""
    if not np.isfinite(z):
        return "an unknown number of standard deviations from"
    return f"{abs(z):.1f} standard deviations {'below' if z < 0 else 'above'}"


def _p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 1e-4 else "p < 0.0001"


def _main_rows(view: View, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the primary clearing in the main cell, all hazardous topics and seeds together."""
    if view.cell is None or table.empty:
        return table[:0]
    rows = in_cell(table, view.cell)
    primary = rows.clearing.eq(view.primary) & rows.other_topic.eq(False)
    return overall(rows[(rows.seed == "all") & primary], "hazardous")
