"""Does the direction tell hazardous from benign prompts, without the all-ones component?"""

import pandas as pd
from markupsafe import Markup

from overpaint.report import markup
from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import Cell, first_where, in_cell
from overpaint.report.view import View
from overpaint.report.wording import two


@section
def show(view: View) -> Markup:
    """Chance that a hazardous prompt projects further than a benign one, without the all-ones component."""
    table = selectivity(view.junk, view.cell)
    if table.empty:
        return macros.paragraph(
            "Whether a direction tells hazardous from benign prompts was not measured for the main cell."
        )
    row = first_where(table, direction=view.direction)
    row = table.iloc[0] if row is None else row
    if row["of"] == 0:
        verdict = "no null range was measured"
    else:
        verdict = f"above its null range ({two(row.null_low)} to {two(row.null_high)}) in {row.above} of {row['of']}"
    text = (
        f"At {view.cell}, all-ones component removed, the chance that a held-out hazardous prompt of the unlearned "
        f"model projects further on the direction '{row.direction}' than a held-out benign one is {two(row['mean'])} "
        f"({two(row['min'])} to {two(row['max'])} over topics and seeds): {verdict}."
    )
    return macros.paragraph(text) + markup.table(table, "selectivity", dict.fromkeys(table.columns[1:6], two))


def selectivity(junk: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Per direction: mean `auc_centred` over topics and seeds, its range, the null range, how many are above their own.

    Columns: direction, mean, min, max, null_low, null_high, above (number above the upper end of their null), of.
    """
    rows = in_cell(junk, cell) if cell else junk.iloc[:0]
    rows = rows[(rows.quantity == "auc_centred") & rows.value.notna()]
    shares = []
    for direction, here in rows.groupby("direction", sort=False):
        ends = here.value.mean(), here.value.min(), here.value.max(), here.null_low.min(), here.null_high.max()
        shares.append((direction, *ends, int((here.value > here.null_high).sum()), int(here.null_high.notna().sum())))
    columns = ["direction", "mean", "min", "max", "null_low", "null_high", "above", "of"]
    return pd.DataFrame(shares, columns=columns)
