"""One question of a run on the terminal: its options under every state."""

import json
from pathlib import Path

import pandas as pd

from overpaint.archive.reading import load
from overpaint.errors import UserError
from overpaint.report.markup import visible
from overpaint.study.study import Study

KEY = ["benchmark", "id"]


def show(output: Path, run: str, question: str = "", model: str = "") -> str:
    """The question `question` of a run as text; by default the first that it lost and the primary clearing gives back.

    Raises UserError for a run, a model or a question that is not there.
    """
    results = load(output)
    study = Study(results.config)
    model = model or study.models[0]
    if model not in study.models or run not in study.unlearned:
        valid = f"{', '.join(study.models)} and the runs {', '.join(study.unlearned)}"
        raise UserError(f"There is no run {run!r} of {model!r} in {output}: its base models are {valid}.")
    base, rows = (_rows(output / model / name / "answers.parquet") for name in ("base", run))
    benchmark, identity = _chosen(rows, question, study.settings["headline"]["clearing"])
    base, rows = (part[(part.benchmark == benchmark) & (part.id == identity)] for part in (base, rows))
    path, entry = output / model / f"benchmarks/{benchmark}.jsonl", study.chosen["benchmarks"][benchmark]
    first = base.iloc[0]
    head = [f"{benchmark}, {identity} ({', '.join(filter(None, [first.topic, first.part, first.split]))})"]
    table = _table([base.assign(clearing="base"), rows], first.answer, len(first.scores))
    return "\n".join(map(visible, head + _text(path, identity, entry))) + "\n" + table


def _rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"There is no {path}: run the study again, or unpack a bundle of it.")
    return pd.read_parquet(path, filters=[("kind", "==", "question")])


def _chosen(rows: pd.DataFrame, question: str, primary: str) -> tuple[str, str]:
    """The benchmark and id of a question."""
    if question:
        found = rows[rows.id == question]
    else:
        right = {
            name: rows[rows.clearing == name].groupby(KEY, sort=False).correct.first() for name in ("none", primary)
        }
        back = [key for key in right[primary].index if right[primary][key] and not right["none"][key]]
        found = rows.set_index(KEY).loc[back[:1]].reset_index() if back else rows
    if found.empty:
        raise UserError(
            f"The run has no question {question!r}: ids are like {rows.id.iloc[0]!r}, and on explorer.html."
        )
    return found.benchmark.iloc[0], found.id.iloc[0]


def _text(path: Path, identity: str, entry: dict) -> list[str]:
    """The question and its options; texts of data sets of the hub are left out, as on the pages."""
    if "dataset" in entry:
        return ["(texts of data sets of the hub are left out)"]
    rows = (json.loads(line) for line in path.open(encoding="utf-8"))
    row = next(row for row in rows if row["id"] == identity)
    return [row["question"], *(f"  {number}. {choice}" for number, choice in enumerate(row["choices"], 1))]


def _table(parts: list[pd.DataFrame], answer: int, options: int) -> str:
    """A line per state: log-likelihoods in nats, the mean over draws, and how many of these answer right."""
    rows = pd.concat(parts)
    lines = []
    for (clearing, topic), part in rows.groupby(["clearing", "direction_of"], sort=False):
        name = f"{clearing} ({topic})" if topic else "unlearned" if clearing == "none" else clearing
        means = [f"{score:.2f}" for score in pd.DataFrame(part.scores.tolist()).mean()]
        lines.append([visible(name), *means, f"{int(part.correct.sum())} of {len(part)}"])
    marks = [f"{number + 1}*" if number == answer else str(number + 1) for number in range(options)]
    table = pd.DataFrame(lines, columns=["state", *marks, "right"])
    return table.to_string(index=False) + "\n* the right option; log-likelihoods in nats, of several draws their mean"
