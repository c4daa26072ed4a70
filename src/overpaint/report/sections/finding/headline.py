"""The three most important numbers as plain sentences, computed from the tables alone, all of the main cell.

They are: forgetting and benign damage; the fraction that the primary clearing recovers, beside the best null draw;
rank-1 share and alignment with the control vector.
"""

import pandas as pd
from markupsafe import Markup

from overpaint.report.markup import macros
from overpaint.report.section import lead, section
from overpaint.report.select import (
    cleared_by,
    first_or_none,
    first_where,
    in_cell,
    null_draws,
    overall,
    pooled,
    seeds_above,
    single_seeds,
)
from overpaint.report.view import View
from overpaint.report.wording import DAMAGE_LIMIT, count, interval, listed, percent, points, shown_name, spread


@section
def answer(view: View) -> Markup:
    """What clearing gives back in the main cell."""
    if view.cell is None:
        return lead("Nothing was unlearned, so there is nothing to clear.")
    rows = in_cell(view.scores, view.cell)
    return lead(recovered_sentence(rows, view.primary).removesuffix(".") + f", at {view.cell}.", view)


@section
def show(view: View) -> Markup:
    """The three sentences as a numbered list."""
    return macros.numbered(sentences(view))


def sentences(view: View) -> list[str]:
    """The three sentences, or the only one where nothing was unlearned."""
    if view.cell is None:
        return ["The scores table holds no unlearned model, so there is nothing to report."]
    rows = in_cell(view.scores, view.cell)
    return [
        _forgetting(pooled(rows), f"{view.label} at {view.cell}"),
        recovered_sentence(rows, view.primary),
        _alignment(in_cell(view.junk, view.cell), view.direction),
    ]


def _forgetting(rows: pd.DataFrame, where: str) -> str:
    lost = rows[(rows.metric == "forgotten_accuracy") & (rows.clearing == "none")]
    row, benign = first_or_none(overall(lost, "hazardous")), first_or_none(overall(lost, "benign"))
    if row is None or pd.isna(row.value):
        return f"{where}: the accuracy lost on hazardous questions was not measured."
    size = f"{points(row.value)} points of accuracy on hazardous questions ({interval(row, points)})"
    if pd.notna(row.low) and row.low <= 0:
        first = f"{where} took no measurable accuracy on hazardous questions: {size}"
    else:
        first = f"{where} took {size}"
    return f"{first}; {_damage(benign)}."


def _damage(row: pd.Series | None) -> str:
    """Clause on benign questions; a value is a loss of accuracy."""
    if row is None or pd.isna(row.value):
        return "its damage on benign questions was not measured"
    bounds = sorted([-row.low, -row.high])
    gain = pd.Series({"value": -row.value, "low": bounds[0], "high": bounds[1]})
    if row.value < 0:
        return f"benign accuracy rose by {points(gain.value)} points ({interval(gain, points)})"
    text = f"benign accuracy fell by {points(row.value)} points ({interval(row, points)})"
    if round(row.value, 6) > DAMAGE_LIMIT:
        return f"{text}, more than the 3 points allowed: the damage is not confined to the hazardous topics"
    if pd.notna(row.high) and row.high > DAMAGE_LIMIT:
        return f"{text}, within the 3 points allowed, although the interval reaches beyond them"
    return f"{text}, within the 3 points allowed"


def recovered_sentence(rows: pd.DataFrame, primary: str) -> str:
    """What the primary clearing recovered against the best null draw, from the rows of one cell."""
    fractions = overall(rows[rows.metric == "recovered_accuracy"], "hazardous")
    here = pooled(fractions)
    row = first_where(cleared_by(here, primary))
    if row is None:
        return f"No recovered fraction of the clearing '{primary}' was measured in this cell."
    if pd.isna(row.value):
        reason = str(row.note).removeprefix("undefined: ") or "the gap to base is too small"
        return f"The fraction that clearing '{primary}' recovered is undefined: {reason}{_points_back(rows, primary)}."
    text = f"Clearing '{primary}' recovered {percent(row.value)} of the lost accuracy ({interval(row, percent)})"
    if pd.notna(row.low) and row.low <= 0:
        text = f"{text}, which cannot be told from nothing"
    single = null_draws(fractions[fractions.seed != "all"]).value.max()
    against = _against_nulls(row, null_draws(here).dropna(subset="value"), single)
    above, seeds = seeds_above(rows, primary)
    own = f"; in {above} of {count(seeds, 'seed')} it is above each null of that seed" if seeds > 1 else ""
    return f"{text}{against}{own}."


def _points_back(rows: pd.DataFrame, primary: str) -> str:
    """`; 5.0 points of accuracy come back (..)`, if that was measured."""
    gained = overall(pooled(rows[rows.metric == "gained_accuracy"]), "hazardous")
    row = first_where(cleared_by(gained, primary))
    return "" if row is None else f"; {points(row.value)} points of accuracy come back ({interval(row, points)})"


def _against_nulls(row: pd.Series, draws: pd.DataFrame, single: float) -> str:
    """Against draws pooled over seeds; single: the largest fraction of one draw in one seed."""
    if draws.empty:
        return "; no null direction was measured, so what any direction would recover is unknown"
    best = draws.loc[draws.value.idxmax()]
    name = f"{shown_name(best.clearing, best.draw)}, {percent(best.value)}"
    if best.seed == "all" and pd.notna(single):
        name += f" on average over seeds; of one draw in one seed: {percent(single)}"
    if row.value <= best.value:
        return (
            f", but it does not beat every null direction: the best of {len(draws)} ({name}) recovered as much or more"
        )
    overlap = pd.notna(row.low) and pd.notna(best.high) and row.low <= best.high
    caution = ", although the two intervals overlap" if overlap else ""
    return f", more than each of {len(draws)} null directions (best: {name}){caution}"


def _main_direction(junk: pd.DataFrame, direction: str) -> pd.DataFrame:
    """Rows of a kind of direction, or of the table's first one where it has none of that kind."""
    names = list(junk.direction.unique())
    return single_seeds(junk[junk.direction == (direction if direction in names else next(iter(names), ""))])


def _alignment(junk: pd.DataFrame, direction: str) -> str:
    rows = _main_direction(junk.dropna(subset="value"), direction)
    texts = {
        "rank1_share_held": "holds {} of the squared shift on held-out prompts (rank-1 share)",
        "rank1_share": "{} on those that it is fitted on",
        "cos_u": "has a cosine of {} with the control vector u",
        "cos_u_centred": "has one of {} once the all-ones direction is removed from both",
    }
    values = {name: rows[rows.quantity == name] for name in texts}
    parts = [
        text.format(spread(values[name])) + _beside_null(values[name])
        for name, text in texts.items()
        if len(values[name])
    ]
    if not parts:
        return "The junk direction's rank-1 share and its alignment with u were not measured in this cell."
    over = f"{count(rows.topic.nunique(), 'topic')} and {count(rows.seed.nunique(), 'seed')}"
    name = rows.direction.iloc[0]
    return f"The junk direction '{name}' {listed(parts)} (means, with the range over {over})."


def _beside_null(rows: pd.DataFrame) -> str:
    low, high = rows.null_low.min(), rows.null_high.max()
    if pd.isna(low) or pd.isna(high):
        return ""
    word = "above" if rows.value.min() > high else "not clear of"
    return f" ({word} its null range, {low:.2f} to {high:.2f})"
