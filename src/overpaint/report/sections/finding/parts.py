"""What the corpora tell of and what they do not: both parts of the questions, in the main cell."""

import pandas as pd
from markupsafe import Markup

from overpaint.report import markup
from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import cleared_by, first_or_none, first_where, overall, roles, with_base
from overpaint.report.view import View
from overpaint.report.wording import NO_VALUE, number, percent, two


@section
def show(view: View) -> Markup:
    """Accuracy and recovered fraction on either part."""
    rows = table(view)
    if rows.empty:
        return macros.paragraph("The rows of this study's questions do not say whether its corpora tell of them.")
    note = (
        "Questions on what the corpora of the training tell of, and on what they do not: nothing "
        "taught the model to forget the unseen hazardous ones, nor to keep the unseen benign ones. With 95 % bootstrap "
        "intervals; n counts units."
    )
    return markup.table(rows, "parts") + macros.note(note)


def table(view: View) -> pd.DataFrame:
    """A row per role and part: accuracy of base, unlearned and cleared model, and what clearing gives back."""
    rows, found = with_base(view.parts, view.cell), []
    for role in roles(rows):
        for part, here in overall(rows, role).groupby("part", sort=False):
            accuracy, back = (here[here.metric == name] for name in ("accuracy", "recovered_accuracy"))
            base, after = accuracy[accuracy.method == "base"], accuracy[accuracy.method != "base"]
            if base.empty:
                continue
            row = {"questions": role, "part": part, "n": int(base.n.iloc[0]), "base": number(first_or_none(base), two)}
            row["unlearned"] = number(first_where(after, clearing="none"), two)
            row["cleared"] = number(first_where(cleared_by(after, view.primary)), two)
            row["recovered"] = number(first_where(cleared_by(back, view.primary)), percent) if len(back) else NO_VALUE
            found.append(row)
    return pd.DataFrame(found)
