"""What base, unlearned and cleared model write, side by side."""

import pandas as pd
from markupsafe import Markup

from overpaint.report.markup import macros, untrusted
from overpaint.report.section import lead, section
from overpaint.report.select import cleared_by, first_or_none, first_where, in_cell, overall, with_base
from overpaint.report.view import View
from overpaint.report.wording import interval

LIMIT = 12  # prompts shown per role


@section
def answer(view: View) -> Markup:
    """Perplexity of hazardous text before, after and cleared: accuracy can return without fluency."""
    rows = overall(with_base(view.scores[view.scores.metric == "perplexity"], view.cell), "hazardous")
    later = rows[rows.method != "base"]
    before, after = first_or_none(rows[rows.method == "base"]), first_where(later, clearing="none")
    cleared = first_where(cleared_by(later, view.primary))
    if before is None or after is None:
        count = view.completions.prompt.nunique()
        return lead(f"{count} prompts were completed; the perplexity of hazardous text was not measured.")
    text = f"The perplexity of hazardous text goes from {_number(before)} to {_number(after)} at {view.cell}"
    if cleared is None:
        return lead(f"{text}; the cleared model's was not measured.", view)
    word = "lowers it to" if cleared.value < after.value else "does not lower it:"
    return lead(f"{text}; clearing '{view.primary}' {word} {_number(cleared)}.", view)


def _number(row: pd.Series) -> str:
    return f"{row.value:.3g} ({interval(row, '{:.3g}'.format)})"


@section
def show(view: View) -> Markup:
    """Completions of each prompt side by side, for the main cell and its first seed.

    `LIMIT` prompts per role are shown, in table order; the rest is counted in a closing line.
    """
    rows = in_cell(view.completions, view.cell) if view.cell else view.completions.iloc[:0]
    rows = rows[rows.seed == next(iter(rows.seed), "")]
    base = view.completions[view.completions.method == "base"]
    models = [
        ("base", "base", base),
        ("unlearned", view.label, rows[rows.clearing == "none"]),
        ("cleared", f"cleared: {view.primary}", rows[rows.clearing == view.primary]),
    ]
    prompts = pd.concat([base, rows])[["role", "topic", "prompt"]].drop_duplicates()
    prompts = prompts.sort_values("role", ascending=False, kind="stable")
    if prompts.empty:
        return macros.paragraph("No completions were written.")
    shown = prompts.groupby("role", sort=False).head(LIMIT)
    left = len(prompts) - len(shown)
    note = f"Seed {rows.seed.iloc[0]}, {view.cell}. " if len(rows) else ""
    more = f"{left} further prompts are in completions.csv." if left else ""
    blocks = Markup("").join(_block(prompt, models) for prompt in shown.itertuples(index=False))
    return blocks + macros.note(note + more)


def _block(prompt: tuple, models: list[tuple[str, str, pd.DataFrame]]) -> Markup:
    """One prompt with what each model, (kind, name, rows), wrote."""
    columns = []
    for kind, name, rows in models:
        row = first_where(rows, prompt=prompt.prompt, topic=prompt.topic)
        columns.append((kind, name, None if row is None else untrusted(row.completion)))
    return macros.completion(prompt.role, prompt.topic, untrusted(prompt.prompt), columns)
