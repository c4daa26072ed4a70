"""What base, unlearned and cleared model write, side by side."""

import pandas as pd
from markupsafe import Markup

from overpaint.report import markup
from overpaint.report.markup import macros, untrusted
from overpaint.report.section import lead, section
from overpaint.report.select import (
    cell_shown,
    cleared_by,
    first_or_none,
    first_where,
    in_cell,
    overall,
    roles,
    rows_shown,
    with_base,
)
from overpaint.report.view import View
from overpaint.report.wording import STATES, counts, interval, number, percent, state_name

LIMIT = 12  # prompts shown per role
ASKED = ["role", "topic", "part", "prompt", "answer"]


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
    """How many continuations hold the answer; those of each prompt side by side, for the main cell and its first seed.

    `LIMIT` prompts per role are shown, of every topic the first ones; the rest is counted in a closing line.
    """
    rows = in_cell(view.completions, view.cell) if view.cell else view.completions.iloc[:0]
    rows = rows[rows.seed == next(iter(rows.seed), "")]
    base = view.completions[view.completions.method == "base"]
    models = [
        ("base", "base", base),
        ("unlearned", view.label, rows[rows.clearing == "none"]),
        ("cleared", f"cleared: {view.primary}", rows[rows.clearing == view.primary]),
    ]
    prompts = pd.concat([base, rows])[ASKED].drop_duplicates(ignore_index=True)
    prompts = prompts.sort_values("role", ascending=False, kind="stable", ignore_index=True)
    if prompts.empty:
        return macros.paragraph("No completions were written.")
    in_turn = prompts.iloc[prompts.groupby(["role", "topic"]).cumcount().argsort(kind="stable")]
    shown = prompts.loc[in_turn.groupby("role").head(LIMIT).index.sort_values()]
    left = len(prompts) - len(shown)
    note = f"Seed {rows.seed.iloc[0]}, {view.cell}. " if len(rows) else ""
    more = f"{left} further prompts are in completions.csv." if left else ""
    blocks = Markup("").join(_block(prompt, models) for prompt in shown.itertuples(index=False))
    return _shares(view) + blocks + macros.note(note + more)


def _shares(view: View) -> Markup:
    """Share of continuations that hold the answer, by state and role; nothing where no prompt's answer is known."""
    rows = rows_shown(view.coherence[view.coherence.metric == "holds_answer"], view.cell)
    if rows.empty:
        return Markup("")
    by_role = {role: overall(rows, role) for role in roles(rows)}
    found = [
        {"written by": state_name(state)}
        | {role: number(first_where(part, state=state), percent) for role, part in by_role.items()}
        for state in STATES
        if rows.state.eq(state).any()
    ]
    said = (
        "Share of continuations that hold the correct answer, word for word, at "
        f"{cell_shown(view.coherence, view.cell)} (95 % bootstrap intervals in brackets), over all prompts that were "
        f"continued, also those not shown below; n = {counts(rows)} units. A long text may hold the answer by chance."
    )
    return macros.paragraph(said) + markup.table(pd.DataFrame(found), "answers_held")


def _block(prompt: tuple, models: list[tuple[str, str, pd.DataFrame]]) -> Markup:
    """One prompt with what each model, (kind, name, rows), wrote."""
    columns = []
    for kind, name, rows in models:
        row = first_where(rows, prompt=prompt.prompt, topic=prompt.topic, answer=prompt.answer)
        held = None if row is None or pd.isna(row.holds_answer) else bool(row.holds_answer)
        columns.append((kind, name, None if row is None else untrusted(row.completion), held))
    about = f"{prompt.role}: {prompt.topic}" + (f", {prompt.part}" if prompt.part else "")
    answer = untrusted(prompt.answer) if prompt.answer else ""
    return macros.completion(about, untrusted(prompt.prompt), answer, columns)
