"""Reports of the study: sentences computed from its tables, notebooks executed, pages that load nothing.

A page is one HTML file with its styles and figures inside and a content policy that forbids requests and every script
but the one that sorts tables. Text written by a model is untrusted: it reaches a page through `untrusted` only.
"""

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import pandas as pd
from matplotlib.figure import Figure

from overpaint import figures
from overpaint.errors import UserError
from overpaint.figures import (
    Cell,
    cells,
    cleared_by,
    in_cell,
    main_cell,
    method_label,
    null_draws,
    one,
    overall,
    pooled,
    shown_name,
)  # fmt: skip

TABLES = (
    "cells", "hypotheses", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights", "history",
    "completions", "agreement", "coherence", "depth", "relearning", "emergence", "provenance",
)  # fmt: skip
NAV = {
    "Overview": "index.html",
    "Finding": "finding.html",
    "Activations": "activations.html",
    "Map": "map.html",
    "Depth": "depth.html",
    "Completions": "completions.html",
    "Provenance": "provenance.html",
}
DAMAGE_LIMIT = 0.03  # benign accuracy that unlearning may cost: 3 points, the published run lost 1.0 on MMLU
NO_VALUE = "\u2013"


class Html(str):
    """Markup that is safe to show as it is; a notebook displays it."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<Html, {len(self)} characters>"  # not the markup twice in every executed notebook


@dataclass(frozen=True)
class Part:
    """What a report shows: the tables of one model and one unlearning method.

    Attributes:
        model, method: as in the tables.
        primary: name of the clearing fixed beforehand as the study's main one.
        cell: the cell shown as main; fixed: whether the configuration names it, else see `figures.main_cell`.
        folder: where the tables are, with config.json and plan.yaml.
        clearings: what each clearing is, as config.json says; none where it is not there.
        The others are the tables, base rows included; `hypotheses` also with the rows on all models.
    """

    model: str
    method: str
    primary: str
    cell: Cell | None
    fixed: bool
    folder: Path
    clearings: Mapping[str, dict]
    cells: pd.DataFrame
    hypotheses: pd.DataFrame
    scores: pd.DataFrame
    nulls: pd.DataFrame
    mcnemar: pd.DataFrame
    activations: pd.DataFrame
    junk: pd.DataFrame
    depths: pd.DataFrame
    weights: pd.DataFrame
    history: pd.DataFrame
    completions: pd.DataFrame
    agreement: pd.DataFrame
    coherence: pd.DataFrame
    depth: pd.DataFrame
    relearning: pd.DataFrame
    emergence: pd.DataFrame
    provenance: pd.DataFrame

    @property
    def direction(self) -> str:
        """The kind of direction of the primary clearing, "" where that is not known."""
        return self.clearings.get(self.primary, {}).get("direction", "")


def load(tables: Path | str, primary: str, study: str = "") -> list[Part]:
    """Read the tables of a study, one part per model and unlearning method, in table order.

    The main cell is the one that `study.main` of the tables' config.json names, else `figures.main_cell`. Raises
    UserError where a table or the study is missing.
    """
    folder = Path(tables)
    frames = {name: _read(folder / f"{name}.parquet", study) for name in TABLES}
    scores = frames["scores"]
    pairs = scores.loc[scores.method != "base", ["model", "method"]].drop_duplicates().itertuples(index=False)
    config = _config(folder / "config.json")
    parts = [_part(folder, frames, model, method, primary, config) for model, method in pairs]
    if not parts:
        raise UserError(
            f"{folder}/scores.parquet holds no unlearned model; run the evaluation of at least one run first."
        )
    return parts


def _config(path: Path) -> dict:
    """The study's configuration, as far as it is known."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _fixed_cell(config: dict) -> Cell | None:
    """The cell that the study's configuration names as its main one, None where it names none."""
    main = config.get("study", {}).get("main")
    return Cell(main["layer"], float(main["c"])) if main else None


def _read(path: Path, study: str) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"The table {path} does not exist; build it first, as a report needs every table.")
    table = pd.read_parquet(path)
    known = sorted(table.study.dropna().unique()) if "study" in table else []
    if study and known and study not in known:
        raise UserError(f"{path} holds no rows of study {study!r}; it holds {', '.join(known)}.")
    table = table[table.study == study] if study and known else table
    types = {"layer": "Int64", "c": float}
    return table.astype({name: types[name] for name in types if name in table}).reset_index(drop=True)


def _part(
    folder: Path, frames: Mapping[str, pd.DataFrame], model: str, method: str, primary: str, config: dict
) -> Part:
    mine = {
        name: table[table.model.isin([model, "all"]) & table.method.isin(["base", method])].reset_index(drop=True)
        for name, table in frames.items()
        if name != "provenance"
    }
    main, clearings = _fixed_cell(config), config.get("clearings", {})
    cell = main if main in cells(mine["scores"]) else main_cell(mine["scores"])
    return Part(model, method, primary, cell, cell == main, folder, clearings, **mine, provenance=frames["provenance"])


# ---------------------------------------------------------------- sentences


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(row: pd.Series, form: Callable[[float], str]) -> str:
    """`95 % interval 0.1 to 0.2`, or that there is none."""
    if pd.isna(row.low) or pd.isna(row.high):
        return "no interval"
    return f"95 % interval {form(row.low)} to {form(row.high)}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def headline(
    scores: pd.DataFrame, junk: pd.DataFrame, primary: str, cell: Cell | None = None, direction: str = ""
) -> list[str]:
    """The three most important numbers as plain sentences, computed from the tables alone.

    They are: forgetting and benign damage; the fraction that the primary clearing recovers, beside the best
    null draw; rank-1 share and alignment with the control vector. All three are of one cell.

    Args:
        scores, junk: tables of one model and one method, base rows included (columns as in `tables`).
        primary: name of the study's primary clearing.
        cell: the main cell, by default `figures.main_cell`.
        direction: the kind of direction of the primary clearing.
    """
    cell = cell or main_cell(scores)
    if cell is None:
        return ["The scores table holds no unlearned model, so there is nothing to report."]
    rows = pooled(in_cell(scores, cell))
    where = f"{method_label(scores)} at {cell}"
    return [
        _forgetting(rows, where),
        recovered_sentence(rows, primary),
        _alignment(in_cell(junk, cell), direction),
    ]


def _forgetting(rows: pd.DataFrame, where: str) -> str:
    lost = rows[(rows.metric == "forgotten_accuracy") & (rows.clearing == "none")]
    row, benign = next_row(overall(lost, "hazardous")), next_row(overall(lost, "benign"))
    if row is None or pd.isna(row.value):
        return f"{where}: the accuracy lost on hazardous questions was not measured."
    size = f"{_points(row.value)} points of accuracy on hazardous questions ({_interval(row, _points)})"
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
        return f"benign accuracy rose by {_points(gain.value)} points ({_interval(gain, _points)})"
    text = f"benign accuracy fell by {_points(row.value)} points ({_interval(row, _points)})"
    if round(row.value, 6) > DAMAGE_LIMIT:
        return f"{text}, more than the 3 points allowed: the damage is not confined to the hazardous topics"
    if pd.notna(row.high) and row.high > DAMAGE_LIMIT:
        return f"{text}, within the 3 points allowed, although the interval reaches beyond them"
    return f"{text}, within the 3 points allowed"


def recovered_sentence(rows: pd.DataFrame, primary: str) -> str:
    """What the primary clearing recovered against the best null draw, from the pooled rows of one cell."""
    here = overall(rows[rows.metric == "recovered_accuracy"], "hazardous")
    row = one(cleared_by(here, primary))
    if row is None:
        return f"No recovered fraction of the clearing '{primary}' was measured in this cell."
    if pd.isna(row.value):
        reason = str(row.note).removeprefix("undefined: ") or "the gap to base is too small"
        return f"The fraction that clearing '{primary}' recovered is undefined: {reason}."
    text = f"Clearing '{primary}' recovered {_percent(row.value)} of the lost accuracy ({_interval(row, _percent)})"
    if pd.notna(row.low) and row.low <= 0:
        text = f"{text}, which cannot be told from nothing"
    return f"{text}{_against_nulls(row, null_draws(here).dropna(subset='value'))}."


def _against_nulls(row: pd.Series, draws: pd.DataFrame) -> str:
    if draws.empty:
        return "; no null direction was measured, so what any direction would recover is unknown"
    best = draws.loc[draws.value.idxmax()]
    name = f"{shown_name(best.clearing, best.draw)}, {_percent(best.value)}"
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
    rows = junk[junk.direction == (direction if direction in names else next(iter(names), ""))]
    return rows[rows.seed != "all"] if rows.seed.ne("all").any() else rows


def _span(rows: pd.DataFrame) -> str:
    """`0.96 (0.95 to 0.97)` over topics and seeds."""
    return f"{rows.value.mean():.2f} ({rows.value.min():.2f} to {rows.value.max():.2f})"


def _alignment(junk: pd.DataFrame, direction: str) -> str:
    rows = _main_direction(junk.dropna(subset="value"), direction)
    values = {name: rows[rows.quantity == name] for name in ("rank1_share", "cos_u", "cos_u_centred")}
    texts = {
        "rank1_share": "holds {} of the squared shift (rank-1 share)",
        "cos_u": "has a cosine of {} with the control vector u",
        "cos_u_centred": "has one of {} once the all-ones direction is removed from both",
    }
    parts = [
        text.format(_span(values[name])) + _beside_null(values[name])
        for name, text in texts.items()
        if len(values[name])
    ]
    if not parts:
        return "The junk direction's rank-1 share and its alignment with u were not measured in this cell."
    over = f"{_count(rows.topic.nunique(), 'topic')} and {_count(rows.seed.nunique(), 'seed')}"
    name = rows.direction.iloc[0]
    return f"The junk direction '{name}' {_listed(parts)} (means, with the range over {over})."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _beside_null(rows: pd.DataFrame) -> str:
    low, high = rows.null_low.min(), rows.null_high.max()
    if pd.isna(low) or pd.isna(high):
        return ""
    word = "above" if rows.value.min() > high else "not clear of"
    return f" ({word} its null range, {low:.2f} to {high:.2f})"


def next_row(rows: pd.DataFrame) -> pd.Series | None:
    """The first row or None."""
    return None if rows.empty else rows.iloc[0]


def checks(scores: pd.DataFrame, primary: str) -> pd.DataFrame:
    """One row per cell of the sweep: does clearing beat every null draw, and is benign accuracy kept.

    Columns: layer, c; forgotten (points lost on hazardous questions); recovered (fraction by the primary
    clearing, NaN where undefined); best_null (the best null draw's fraction, by name in best_null_name);
    beats_every_null ("yes", "no", "undefined", "not measured"), from accuracies averaged over seeds, so
    that a seed without a defined fraction still counts; benign_change (points, unlearned - base) and
    benign_within_3_points; the same two for the cleared model with prefix cleared_.
    """
    return pd.DataFrame([_check(scores, cell, primary) for cell in cells(scores)])


def _check(scores: pd.DataFrame, cell: Cell, primary: str) -> dict:
    rows = pooled(in_cell(scores, cell))
    lost = one(overall(rows[rows.metric == "forgotten_accuracy"], "hazardous"), clearing="none")
    fraction = one(cleared_by(overall(rows[rows.metric == "recovered_accuracy"], "hazardous"), primary))
    verdict, name, best = _beats(scores, cell, primary)
    if verdict in ("yes", "no") and fraction is not None and pd.isna(fraction.value):
        verdict = "undefined"
    check = {
        "layer": cell.layer,
        "c": cell.c,
        "forgotten": float("nan") if lost is None else lost.value,
        "recovered": float("nan") if fraction is None else fraction.value,
        "beats_every_null": verdict,
        "best_null_name": name,
        "best_null_accuracy": best,
    }
    for prefix, clearing in [("", "none"), ("cleared_", primary)]:
        change = _benign_change(scores, rows, clearing)
        kept = "not measured" if pd.isna(change) else "yes" if round(change, 6) >= -DAMAGE_LIMIT else "no"
        check |= {f"{prefix}benign_change": change, f"{prefix}benign_within_3_points": kept}
    return check


def _beats(scores: pd.DataFrame, cell: Cell, primary: str) -> tuple[str, str, float]:
    """Verdict, and name and accuracy of the best null draw; accuracies are means over seeds."""
    rows = in_cell(scores, cell)
    rows = overall(rows[rows.metric == "accuracy"], "hazardous")
    rows = rows[rows.seed != "all"] if rows.seed.ne("all").any() else rows
    own, draws = (
        part.groupby(["clearing", "draw"], sort=False, dropna=False).value.mean().dropna()
        for part in (cleared_by(rows, primary), null_draws(rows))
    )
    if own.empty or draws.empty:
        return "not measured", "", float("nan")
    return ("yes" if own.iloc[0] > draws.max() else "no"), shown_name(*draws.idxmax()), draws.max()


def _benign_change(scores: pd.DataFrame, rows: pd.DataFrame, clearing: str) -> float:
    base = next_row(overall(scores[(scores.method == "base") & (scores.metric == "accuracy")], "benign"))
    after = one(cleared_by(overall(rows[rows.metric == "accuracy"], "benign"), clearing))
    return float("nan") if base is None or after is None else after.value - base.value


# ---------------------------------------------------------------- answers that open the reports


def finding_answer(part: Part) -> Html:
    """What clearing gives back in the main cell."""
    if part.cell is None:
        return lead("Nothing was unlearned, so there is nothing to clear.")
    rows = pooled(in_cell(part.scores, part.cell))
    return lead(recovered_sentence(rows, part.primary).removesuffix(".") + f", at {part.cell}.", part)


def warning(part: Part) -> str:
    """That the plan leaves the main cell out, "" where it does not: its numbers are shown, but count for no claim."""
    rows = part.cells[:0] if part.cell is None else in_cell(part.cells, part.cell)
    mark = next((mark for mark in rows.mark if mark), "")
    return f"Beware: the plan leaves this cell out as {mark}, so its numbers say little." if mark else ""


def activations_answer(part: Part) -> Html:
    """Norm and cosine behind the target block, hazardous beside benign."""
    rows = part.activations[part.activations.position == "last"]
    if part.cell is None or rows.empty:
        return lead("No activations of the last token were collected.")
    rows = pooled(pd.concat([rows[rows.method == "base"], in_cell(rows, part.cell)]))
    depth = part.cell.layer + 1 if rows.depth.eq(part.cell.layer + 1).any() else rows.depth.max()
    texts = [_moved(rows[(rows.depth == depth) & (rows.role == role)], part) for role in ("hazardous", "benign")]
    return lead(f"At the start of block {depth}, last token, {part.cell}: {'; '.join(filter(None, texts))}.", part)


def _moved(rows: pd.DataFrame, part: Part) -> str:
    """One role's clause of the activations answer: medians over prompts, averaged over sets of prompts."""
    base = rows[rows.method == "base"]
    after = rows[(rows.method != "base") & (rows.clearing == "none")]
    cleared = rows[(rows.method != "base") & (rows.clearing == part.primary)]
    if base.empty or after.empty:
        return ""
    before, now = (table.select_dtypes("number").mean() for table in (base, after))
    sets = f", means of {len(after)} sets" if len(after) > 1 else ""
    back = "" if cleared.empty else f", after clearing '{part.primary}' {cleared.cosine.mean():.2f}"
    return (
        f"on {rows.role.iloc[0]} prompts the median norm goes from {before.norm:.3g} to "
        f"{now.norm:.3g} (quartiles "
        f"{now.norm_low:.3g} to {now.norm_high:.3g}{sets}), and the cosine to base is {now.cosine:.2f} "
        f"({now.cosine_low:.2f} to {now.cosine_high:.2f}){back}"
    )


def completions_answer(part: Part) -> Html:
    """Perplexity of hazardous text before, after and cleared: accuracy can return without fluency."""
    rows = part.scores[part.scores.metric == "perplexity"]
    rows = pooled(pd.concat([rows[rows.method == "base"], in_cell(rows, part.cell)])) if part.cell else rows.iloc[:0]
    rows = overall(rows, "hazardous")
    before, after = next_row(rows[rows.method == "base"]), one(rows[rows.method != "base"], clearing="none")
    cleared = one(cleared_by(rows[rows.method != "base"], part.primary))
    if before is None or after is None:
        count = part.completions.prompt.nunique()
        return lead(f"{count} prompts were completed; the perplexity of hazardous text was not measured.")

    def number(row: pd.Series) -> str:
        return f"{row.value:.3g} ({_interval(row, lambda bound: f'{bound:.3g}')})"

    text = f"The perplexity of hazardous text goes from {number(before)} to {number(after)} at {part.cell}"
    if cleared is None:
        return lead(f"{text}; the cleared model's was not measured.", part)
    word = "lowers it to" if cleared.value < after.value else "does not lower it:"
    return lead(f"{text}; clearing '{part.primary}' {word} {number(cleared)}.", part)


def provenance_answer(part: Part) -> Html:
    """Number of jobs, their revision and time."""
    jobs = part.provenance
    if jobs.empty:
        return lead("No job left a record.")
    revisions = [str(name)[:12] for name in jobs.git.dropna().unique()]
    dirty = sum(bool(value) for value in jobs.dirty.dropna())
    state = {0: "none"}.get(dirty, str(dirty)) + " of them with uncommitted changes"
    if jobs.dirty.isna().any():
        state = f"{state}, {jobs.dirty.isna().sum()} of them outside version control"
    where = f"revision {revisions[0]}" if len(revisions) == 1 else f"{len(revisions)} revisions"
    minutes = f"{jobs.seconds.sum() / 60:.1f} minutes of computing"
    return lead(f"{_count(len(jobs), 'job')} at {where} made these results in {minutes}, {state}.")


FIXED_CELL = "named in the configuration, beforehand"
RULE_CELL = "the largest c and, of those, the smallest layer; recovery plays no part in the choice"


def measured(part: Part) -> Html:
    """What was measured, from the tables: model, cells, seeds, questions, nulls, choice of the main cell."""
    runs = part.scores[part.scores.method != "base"]
    seeds = [seed for seed in runs.seed.unique() if seed not in ("all", "")]
    asked = part.scores[(part.scores.metric == "accuracy") & (part.scores.topic != "all")]
    n = asked.groupby(["role", "topic"], sort=False).n.max()
    texts = ", ".join(f"{topic} ({role}, n = {int(count)})" for (role, topic), count in n.dropna().items())
    clearings = [name for name in runs.clearing.unique() if name != "none"]
    draws = len(null_draws(runs)[["clearing", "draw"]].drop_duplicates())
    facts = {
        "Model": f"{part.model}, unlearned with {method_label(part.scores)}",
        "Runs": f"{_count(len(cells(part.scores)), 'cell')} of layer and c, {_count(len(seeds), 'seed')}"
        + (f": {', '.join(seeds)}" if seeds else ""),
        "Main cell": f"{part.cell}: {FIXED_CELL if part.fixed else RULE_CELL}",
        "Questions": f"{texts}; n counts units (facts or articles), which the bootstrap resamples",
        "Clearings": f"primary: {part.primary}, fixed beforehand; measured: {', '.join(clearings) or 'none'}",
        "Null directions": f"{draws} single directions",
    }
    return Html(
        "<dl class=facts>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"
    )


# ---------------------------------------------------------------- what was claimed beforehand


def verdict_sentence(parts: list[Part]) -> str:
    """How many of the claims hold, over all base models where there are several."""
    rows = final(parts)
    if rows.empty:
        return "No claim was judged."
    counts = [_counted(count, verdict) for verdict, count in rows.verdict.value_counts().items()]
    kind = "fixed before the study ran" if rows.confirmatory.all() else "of a plan that was not fixed for this study"
    return f"Of {_count(len(rows), 'claim')} {kind}: {', '.join(counts)}."


def _counted(count: int, verdict: str) -> str:
    """`3 hold`, `1 holds`, `2 with too few cells`, `1 undecided`."""
    if verdict in ("holds", "fails"):
        return f"{count} {verdict if count == 1 else verdict.removesuffix('s')}"
    return f"{count} with {verdict}" if verdict.startswith("too") else f"{count} {verdict}"


def final(parts: list[Part]) -> pd.DataFrame:
    """The judgements over all models, or those of the only one."""
    rows = pd.concat([part.hypotheses for part in parts]).drop_duplicates()
    return rows[rows.model == "all"] if rows.model.eq("all").any() else rows


def hypotheses_html(parts: list[Part], every: bool = True) -> Html:
    """The claims and their verdicts; every: also those of single base models."""
    rows = pd.concat([part.hypotheses for part in parts]).drop_duplicates() if every else final(parts)
    if rows.empty:
        return Html("<p>No claim was judged.</p>")
    confirmed = bool(rows.confirmatory.all())
    label = (
        "Confirmatory: the plan was fixed for this study before it ran."
        if confirmed
        else "Exploratory: the plan was not written for this study, so these verdicts describe it and test nothing."
    )
    rows = rows.sort_values("model", key=lambda name: name.eq("all"), kind="stable")  # what all say comes last
    shown = rows.assign(method=[name.upper() if len(name) <= 4 else name for name in rows.method])
    several = [name for name in ("model", "method") if rows[name].nunique() > 1]
    columns = ["claim", "verdict", *several, "cells", "value", "needed"]
    forms = {"value": _percent, "needed": _percent, "claim": _wide}
    note = (
        "Cells: those without a mark, where it was measured. Value: the share of them in which it is so; of the claim "
        "on layers, the mean range of the recovered fraction over layers, and needed the one over c."
    )
    return Html(f"<p><b>{label}</b></p>{table_html(shown[columns], 'hypotheses', forms)}<p class=note>{note}</p>")


def _wide(text: object) -> Html:
    """Prose that a narrow table does not squeeze to a word a line."""
    return Html(f"<div class=wide>{escape(str(text))}</div>")


def plan_html(part: Part) -> Html:
    """The plan as it was when the tables were made, with its hash."""
    path = part.folder / "plan.yaml"
    if not path.is_file():
        return Html("<p>No plan lies beside the tables.</p>")
    content = path.read_bytes()
    text = content.decode(errors="replace")
    written = re.search(r"^written: *[\"']?([\d-]+)", text, re.MULTILINE)
    when = f"fixed on {written[1]}" if written else "without a date"
    summary = f"The plan, {when}, SHA-256 {hashlib.sha256(content).hexdigest()}"
    return details(summary, f'<pre class="text">{escape(visible(text))}</pre>')


# ---------------------------------------------------------------- markup


def lead(sentence: str, part: Part | None = None) -> Html:
    """The sentence that opens a report; of a part, with the warning on its main cell where there is one."""
    text = " ".join(filter(None, [sentence, warning(part) if part else ""]))
    return Html(f'<p class="lead">{escape(text).replace(" %", "&nbsp;%")}</p>')


def each(parts: list[Part], show: Callable[[Part], Html]) -> Html:
    """What `show` returns for every part, under its model's and method's name where there are several."""
    if len(parts) == 1:
        return show(parts[0])
    names = [f"<h3>{escape(part.model)}, {escape(method_label(part.scores))}</h3>" for part in parts]
    return Html("".join(f"<section>{name}{show(part)}</section>" for name, part in zip(names, parts, strict=True)))


def figure_html(drawn: Figure, caption: str) -> Html:
    """A figure inside the page, its caption also read aloud in its place."""
    text = escape(caption)
    picture = figures.svg(drawn).replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
    return Html(f'<figure><div class="plot">{picture}</div><figcaption>{text}</figcaption></figure>')


def visible(text: str) -> str:
    """Text with control, format and private characters written out by their codes: ESC as <U+001B>.

    Line feeds and tabs stay; letters of right-to-left scripts stay as they are.
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in (
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
    ):
        return character
    return f"\u27e8U+{ord(character):04X}\u27e9"


def untrusted(text: object) -> Html:
    """Text written by a model, as text: escaped, control characters visible, its direction kept to itself."""
    body = escape(visible("" if pd.isna(text) else str(text)))
    return Html(f'<div class="text" dir="auto">{body}</div>')


def table_html(table: pd.DataFrame, name: str, forms: Mapping[str, Callable] | None = None) -> Html:
    """A table of values, each as its column's form gives it, and its download as `name`.csv.

    Only `Html` from a form stays unescaped.
    """
    forms = forms or {}

    def cell(name: str, value: object) -> str:
        value = NO_VALUE if pd.isna(value) else forms.get(name, str)(value)
        return value if isinstance(value, Html) else escape(value)

    names = (escape(str(name).replace("_", " ")) for name in table.columns)
    head = "".join(f'<th scope="col"><button>{name}</button></th>' for name in names)
    rows = ("".join(f"<td>{cell(name, row[name])}</td>" for name in table.columns) for row in table.to_dict("records"))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    csv = base64.b64encode(table.to_csv(index=False).encode(errors="replace")).decode()
    link = (
        f'<p class="note"><a download="{escape(name)}.csv" href="data:text/csv;base64,{csv}">{escape(name)}.csv</a></p>'
    )
    return Html(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{link}')


def details(summary: str, body: str) -> Html:
    """Markup folded away under a plain summary."""
    return Html(f"<details><summary>{escape(summary)}</summary>{body}</details>")


def json_html(text: str | None) -> Html:
    """A JSON string, indented; anything else as it stands."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError):
        text = "" if text is None else str(text)
    return Html(f'<pre class="text">{escape(visible(text))}</pre>')


def checks_html(part: Part) -> Html:
    """The checks table in words and per cent."""
    table = checks(part.scores, part.primary)
    signed = {name: lambda value: f"{100 * value:+.1f}" for name in ("benign_change", "cleared_benign_change")}
    forms = {
        "c": "{:g}".format,
        "forgotten": _points,
        "recovered": _percent,
        "best_null_accuracy": "{:.2f}".format,
        **signed,
    }
    names = {
        "forgotten": "hazardous, points lost",
        "recovered": f"recovered by '{part.primary}'",
        "best_null_name": "best null",
        "best_null_accuracy": "its accuracy",
        "benign_change": "benign, points",
        "benign_within_3_points": "within 3 points",
        "cleared_benign_change": "cleared: benign, points",
        "cleared_benign_within_3_points": "cleared: within 3 points",
    }
    shown = table.astype(object)
    for name, form in forms.items():
        shown[name] = [NO_VALUE if pd.isna(value) else form(value) for value in table[name]]
    shown.loc[table.beats_every_null == "undefined", "recovered"] = "undefined"
    return table_html(shown.rename(columns=names), "checks")


def _headline(part: Part) -> list[str]:
    return headline(part.scores, part.junk, part.primary, part.cell, part.direction)


def headline_html(part: Part) -> Html:
    """The three headline sentences as a numbered list."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in _headline(part))
    return Html(f'<ol class="headline">{items}</ol>')


def completions_html(part: Part, limit: int = 12) -> Html:
    """Base, unlearned and cleared completions of each prompt side by side, for the main cell and its first
    seed.

    `limit` prompts per role are shown, in table order; the rest is counted in a closing line.
    """
    rows = in_cell(part.completions, part.cell) if part.cell else part.completions.iloc[:0]
    rows = rows[rows.seed == next(iter(rows.seed), "")]
    base = part.completions[part.completions.method == "base"]
    columns = {
        "base": base,
        method_label(part.scores): rows[rows.clearing == "none"],
        f"cleared: {part.primary}": rows[rows.clearing == part.primary],
    }
    prompts = pd.concat([base, rows])[["role", "topic", "prompt"]].drop_duplicates()
    prompts = prompts.sort_values("role", ascending=False, kind="stable")
    if prompts.empty:
        return Html("<p>No completions were written.</p>")
    shown = prompts.groupby("role", sort=False).head(limit)
    left = len(prompts) - len(shown)
    blocks = "".join(_completion_block(prompt, columns) for prompt in shown.itertuples(index=False))
    note = f"Seed {rows.seed.iloc[0]}, {part.cell}. " if len(rows) else ""
    more = f"{left} further prompts are in completions.csv." if left else ""
    return Html(f"{blocks}<p class=note>{escape(note + more)}</p>")


def _completion_block(prompt: tuple, columns: Mapping[str, pd.DataFrame]) -> str:
    kinds = ("base", "unlearned", "cleared")
    cells_ = []
    for kind, (name, rows) in zip(kinds, columns.items(), strict=True):
        row = one(rows, prompt=prompt.prompt, topic=prompt.topic)
        text = "<p class=note>not written</p>" if row is None else untrusted(row.completion)
        cells_.append(f'<div class="{kind}"><h4>{escape(name)}</h4>{text}</div>')
    topic = f"<small>{escape(prompt.role)}: {escape(str(prompt.topic))}</small>"
    head = f'<h3 class="prompt">{topic}{untrusted(prompt.prompt)}</h3>'
    return f'<section class="completion">{head}<div class="columns">{"".join(cells_)}</div></section>'


def jobs_html(part: Part) -> Html:
    """Table of jobs: rule, output, seconds, start, revision, uncommitted changes, and the cluster's job if any."""
    columns = ["rule", "output", "seconds", "started", "git", "dirty"]
    queued = ["cluster_job"] if part.provenance.cluster_job.notna().any() else []
    jobs = part.provenance[columns + queued].astype(object)
    jobs["started"] = [str(time)[:19].replace("T", " ") for time in jobs.started]
    jobs["git"] = [NO_VALUE if pd.isna(name) else str(name)[:12] for name in jobs.git]
    jobs["dirty"] = [NO_VALUE if pd.isna(value) else "yes" if value else "no" for value in jobs.dirty]
    forms = {"seconds": "{:.1f}".format, "output": _breakable}
    names = {"git": "revision", "dirty": "uncommitted", "cluster_job": "cluster job"}
    return table_html(jobs.rename(columns=names), "jobs", forms)


def _breakable(path: object) -> Html:
    """A path that a narrow table may break after its slashes."""
    return Html(escape(str(path)).replace("/", "/<wbr>"))


def environment_html(part: Part) -> Html:
    """Package versions and hardware, once per distinct record, with the rules that ran under it."""
    blocks = []
    for column, title in [("packages", "Package versions"), ("hardware", "Hardware")]:
        for text, jobs in part.provenance.groupby(column, sort=False, dropna=False):
            rules = ", ".join(dict.fromkeys(jobs.rule.astype(str)))
            python = f" (Python {', '.join(jobs.python.astype(str).unique())})" if column == "packages" else ""
            blocks.append(details(f"{title}{python}: {rules}", json_html(text)))
    return Html("".join(blocks))


def settings_html(part: Part) -> Html:
    """Settings and input hashes of every job, folded."""
    return Html(
        "".join(
            details(
                f"{job.rule}: {job.output}",
                f"<h4>Settings</h4>{json_html(job.settings)}<h4>Inputs, SHA-256</h4>{json_html(job.inputs)}",
            )
            for job in part.provenance.itertuples(index=False)
        )
    )


# ---------------------------------------------------------------- pages

STYLE = """
:root { color-scheme: light; --ink: #1f2328; --soft: #57606a; --line: #d8dee4; --wash: #f6f8fa;
  --base: #333333; --unlearned: #b84500; --cleared: #0069a6; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1rem 3rem; max-width: 860px; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word; }
nav { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: .9rem 0 .6rem;
  border-bottom: 1px solid var(--line); font-size: .92rem; }
nav a { color: var(--soft); text-decoration: none; padding: .15rem 0; }
nav a:hover { text-decoration: underline; }
nav a[aria-current] { color: var(--ink); font-weight: 600; box-shadow: 0 2px 0 var(--cleared); }
a { color: var(--cleared); }
h1 { font-size: 1.65rem; line-height: 1.25; margin: 1.5rem 0 .6rem; }
h2 { font-size: 1.2rem; margin: 2.1rem 0 .5rem; }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .4rem; }
h4 { font-size: .85rem; margin: .2rem 0 .3rem; color: var(--soft); }
p, ol, ul, dl { margin: .6rem 0; } li { margin: .35rem 0; }
.lead { font-size: 1.12rem; line-height: 1.5; border-left: 4px solid var(--cleared);
  padding: .1rem 0 .1rem .9rem; margin: 1rem 0 1.4rem; }
figure { margin: 1.4rem 0; break-inside: avoid; } .plot { overflow-x: auto; }
.plot svg { display: block; width: 100%; min-width: 600px; max-width: 800px; height: auto; }
figcaption, .note { color: var(--soft); font-size: .88rem; line-height: 1.45; margin-top: .4rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem .35rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th { color: var(--soft); font-weight: 600; line-height: 1.3; vertical-align: bottom; }
th button { all: unset; cursor: pointer; } th button:hover, th button:focus-visible { text-decoration: underline; }
th[aria-sort] button::after { content: " \\2191"; } th[aria-sort=descending] button::after { content: " \\2193"; }
td .wide { min-width: 10rem; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre.text { background: var(--wash); padding: .7rem; margin: .4rem 0; }
.completion { border-top: 1px solid var(--line); padding: .5rem 0 .7rem; break-inside: avoid; }
.completion:last-of-type { border-bottom: 1px solid var(--line); }
.prompt { margin: .2rem 0 .6rem; } .prompt small { display: block; color: var(--soft); font-weight: 400; }
.prompt .text { font-size: .9rem; font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .6rem; }
.columns > div { border-top: 3px solid var(--soft); background: var(--wash); padding: .45rem .65rem .65rem;
  min-width: 0; }
.columns > .base { border-color: var(--base); } .columns > .base h4 { color: var(--base); }
.columns > .unlearned { border-color: var(--unlearned); }
.columns > .unlearned h4 { color: var(--unlearned); }
.columns > .cleared { border-color: var(--cleared); } .columns > .cleared h4 { color: var(--cleared); }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; }
summary { cursor: pointer; font-size: .9rem; overflow-wrap: anywhere; }
@media (max-width: 520px) { body { font-size: 15px; } dl.facts { grid-template-columns: 1fr; gap: 0; }
dd { margin-bottom: .5rem; } }
@media print { body { max-width: none; font-size: 11pt; padding: 0; } nav { display: none; }
.plot svg { min-width: 0; } a { color: inherit; } }
"""

# A click on a column's head sorts its table: by size where the column has numbers, rows without one last, else as text.
SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const text = row => row.cells[head.cellIndex].textContent.trim();
  const isNumber = row => /^[+-]?[\\d.]+( %)?$/.test(text(row));
  const sign = head.ariaSort == "ascending" ? -1 : 1;
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = sign > 0 ? "ascending" : "descending";
  const numbers = [...body.rows].filter(isNumber), rest = [...body.rows].filter(row => !isNumber(row));
  numbers.sort((a, b) => sign * (parseFloat(text(a)) - parseFloat(text(b))));
  rest.sort((a, b) => sign * text(a).localeCompare(text(b)));
  body.append(...numbers, ...rest);
});
"""
SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

# The policy forbids every request and every script but the one above, should any escaping ever fail.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-$hash'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1"> <title>$title</title>
<style>$style</style> </head>
<body> <nav aria-label="Reports">$nav</nav> <main> $body </main> <script>$script</script> </body>
</html>
""")


def page_html(title: str, nav: Mapping[str, str], body: str, here: str = "") -> str:
    """A whole page. `nav` maps link text to a relative address; `here` is the file name of this page."""
    links = "".join(
        f'<a href="{escape(target)}"{" aria-current=page" if target == here else ""}>{escape(text)}</a>'
        for text, target in nav.items()
    )
    return PAGE.substitute(title=escape(title), style=STYLE, nav=links, body=body, script=SCRIPT, hash=SCRIPT_HASH)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; lone surrogates become question marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", errors="replace")
    part.replace(path)


@contextmanager
def _own_kernel() -> Iterator[None]:
    """Make `python3` mean the running interpreter, with this package and without user start-up files."""
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(__file__).parents[1])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        spec = {
            "argv": [
                sys.executable,
                "-m",
                "ipykernel_launcher",
                "--log-level=CRITICAL",
                "-f",
                "{connection_file}",
            ],
            "display_name": "Python 3",
            "language": "python",
            "env": {"PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": folder},
        }
        file = Path(folder, "kernels", "python3", "kernel.json")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(spec), encoding="utf-8")
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = folder if before is None else os.pathsep.join([folder, before])
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)


def execute_report(
    notebook: Path,
    parameters: Mapping[str, object],
    executed: Path,
    page: Path,
    title: str,
    nav: Mapping[str, str] = NAV,
) -> None:
    """Execute a notebook with the running interpreter and write its page.

    Args:
        notebook: the notebook, stripped of outputs, with a cell tagged `parameters`.
        parameters: values for that cell; paths become text, absolute or relative to the working directory.
        executed: where the executed notebook goes, failed or not: it is the log.
        page: the HTML page; it does not exist after a failure.
        title, nav: the page's title, and its links as {text: relative address}.

    Raises UserError, with the failed cell's error, where a cell fails.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    page, executed = Path(page), Path(executed)
    page.unlink(missing_ok=True)
    executed.parent.mkdir(parents=True, exist_ok=True)
    values = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in parameters.items()}
    try:
        with _own_kernel():
            papermill.execute_notebook(str(notebook), str(executed), values, kernel_name="python3", progress_bar=False)
    except PapermillExecutionError as error:
        raise UserError(
            f"Report {Path(notebook).name} failed in its cell {error.exec_count} with {error.ename}: "
            f"{_no_ansi(error.evalue)}; the executed notebook with the traceback is {executed}."
        ) from error
    write_text(page, page_html(title, nav, _body(executed), page.name))


def _no_ansi(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _body(executed: Path) -> str:
    """Prose and outputs of an executed notebook as markup, without code, prompts and warnings."""
    import nbformat
    from nbconvert import HTMLExporter

    book = nbformat.read(executed, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":  # warnings stay in the executed notebook
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        embed_images=True,
    )
    return exporter.from_notebook_node(book)[0]


def render_index(
    tables: Path,
    primary: str,
    study: str,
    index: Path,
    summary: Path,
    description: str = "",
    nav: Mapping[str, str] = NAV,
    table_links: Mapping[str, str] | None = None,
    shown_as: Path | None = None,
) -> None:
    """Write the overview page and the summary that the terminal shows at the end.

    Args:
        tables: folder of the tables.
        primary, study: name of the primary clearing and of the study.
        index, summary: the page (`index.html`) and the plain text of at most 12 lines.
        description: one sentence on the study from its configuration, "" for none.
        nav: links between the reports; table_links: links to the tables, by default `../tables/<name>.csv`.
        shown_as: the address of the page that the summary names, by default `index`.
    """
    parts = load(tables, primary, study)
    links = table_links or {name: f"../tables/{name}.csv" for name in TABLES}
    title = f"How deep is unlearning? Study '{study}'"
    about = f"<p>{escape(description)}</p>" if description else ""
    reports = "".join(
        f'<li><a href="{escape(to)}">{escape(text)}</a></li>' for text, to in nav.items() if to != index.name
    )
    files = ", ".join(f'<a href="{escape(to)}">{escape(text)}</a>' for text, to in links.items())
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            each(parts, finding_answer),
            about,
            each(parts, accuracy_html),
            "<h2>Three numbers</h2>",
            each(parts, headline_html),
            "<h2>What was claimed beforehand</h2>",
            f"<p>{escape(verdict_sentence(parts))}</p>",
            hypotheses_html(parts, every=False),
            '<p>By base model, with the plan itself: <a href="map.html">the map</a>.</p>',
            "<h2>Checks in every cell</h2>",
            each(parts, checks_html),
            "<p class=note>A null direction is beaten when clearing leaves a higher accuracy on "
            "average over seeds. "
            "Points are percentage points of accuracy.</p>",
            "<h2>How it was measured</h2>",
            each(parts, measured),
            f"<h2>Reports and tables</h2><ul>{reports}</ul><p>Tables: {files}.</p>",
        ]
    )
    write_text(Path(index), page_html(title, nav, body, Path(index).name))
    write_text(Path(summary), _summary(parts, study, shown_as or index))


def _summary(parts: list[Part], study: str, index: Path) -> str:
    """Plain text of at most 12 lines: the path and the first part's three sentences."""
    part = parts[0]
    lines = [f"Study '{study}': {index}"]
    lines += [f"{n}. {visible(text)}" for n, text in enumerate(_headline(part), 1)]
    lines += filter(None, [warning(part)])
    lines.append(verdict_sentence(parts))
    if len(parts) > 1:
        lines.append(f"The numbers are of {part.model}; the page holds {len(parts) - 1} more.")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- figures with their captions


def accuracy_html(part: Part) -> Html:
    """Main figure of the finding."""
    drawn = figures.accuracy(part.scores, part.cell, part.primary)
    return figure_html(
        drawn,
        (
            f"Accuracy at {part.cell}, pooled over seeds; n counts units of questions. Horizontal "
            "lines: 95 % bootstrap "
            "intervals over units. Grey dots: single null draws, grey bars their mean. Dashed: chance, 0.25. Of other "
            "clearings than the primary those that were asked about all topics."
        ),
    )


def recovery_html(part: Part) -> Html:
    """Recovered fraction in every cell."""
    return figure_html(
        figures.recovery(part.scores, part.primary),
        (
            "Recovered fraction of the lost accuracy, (cleared - unlearned) / (base - unlearned), "
            "per cell and hazardous "
            "topic, pooled over seeds, with 95 % bootstrap intervals. It is undefined where the loss "
            "is within two standard "
            "errors. Vertical lines: nothing and everything recovered."
        ),
    )


def published_html(part: Part) -> Html:
    """Published figures beside ours."""
    return figure_html(
        figures.published(part.scores, part.cell, part.primary),
        (
            f"Published figures (hollow) beside this study's (filled, {part.cell}, 95 % intervals). "
            "The published ones "
            "come from another model and other questions: they say what was claimed, not what should "
            "come out here."
        ),
    )


def junk_html(part: Part) -> Html:
    """Rank-1 share and alignment with u."""
    return figure_html(
        figures.junk(part.junk, part.cell),
        (
            f"Junk directions at {part.cell}: dots are seeds, large dots and numbers their mean. "
            "Grey: what unrelated "
            "directions reach. Entries of u are uniform in [0, 1), so two independent ones have an "
            "expected cosine of 0.75: "
            "the cosine with the all-ones direction removed is the telling one."
        ),
    )


def activations_html(part: Part, position: str = "last") -> Html:
    """Norm and cosine by depth at one position."""
    token = {"mean": "mean over tokens"}.get(position, f"{position} token")
    return figure_html(
        figures.activations(part.activations, part.cell, part.primary, position),
        (
            f"Residual stream at the start of each block, {token}, {part.cell}; the last depth is the "
            "final residual. "
            "Lines: median over prompts; bands: quartiles. Cosine: to the base model on the same prompts."
        ),
    )


def history_html(part: Part) -> Html:
    """Training of the main cell."""
    return figure_html(
        figures.history(part.history, part.cell),
        (
            f"Training at {part.cell}: means over the tokens of each topic's first batch, without first tokens where "
            "these do not have a panel of their own. The control vector u is where forget texts are pushed. Thin lines "
            "are seeds, thick lines their mean; forget in vermilion, retain in grey. A norm or loss that spans more "
            "than a factor of 50 is on a log scale."
        ),
    )


def save_figures(
    tables: Path, primary: str, study: str, folder: Path, *more: Callable[[Part], dict[str, Figure]]
) -> list[Path]:
    """Write every figure of the study as .svg, .pdf and .png and return their paths.

    `more`: figures of other modules, by name as those here. With several models or methods the names carry
    both: `accuracy.tiny.rmu.svg`.
    """
    parts = load(tables, primary, study)
    paths = []
    for part in parts:
        suffix = f".{part.model}.{part.method}" if len(parts) > 1 else ""
        drawn_by = (_all_figures, *more)
        for name, drawn in (item for draw in drawn_by for item in draw(part).items()):
            for kind in ("svg", "pdf", "png"):
                paths.append(Path(folder) / f"{name}{suffix}.{kind}")
                figures.save(drawn, paths[-1])
                drawn.set_layout_engine("none")  # laid out once for all formats
    return paths


def _all_figures(part: Part) -> dict[str, Figure]:
    """Every figure of one part by name."""
    return {
        "accuracy": figures.accuracy(part.scores, part.cell, part.primary),
        "recovery": figures.recovery(part.scores, part.primary),
        "published": figures.published(part.scores, part.cell, part.primary),
        "activations": figures.activations(part.activations, part.cell, part.primary),
        "activations_first": figures.activations(part.activations, part.cell, part.primary, "first"),
        "history": figures.history(part.history, part.cell),
        "junk": figures.junk(part.junk, part.cell),
    }
