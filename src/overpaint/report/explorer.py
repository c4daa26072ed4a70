"""The explorer: single questions as each cell answered them, on one page that filters and sorts them itself.

All it shows is in the page as JSON, a list per column. Texts of hub data sets are left out: no page tells the answers
of hazardous or licensed questions.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from overpaint.report.markup import TEMPLATES, visible
from overpaint.report.pages import page_html, write_text
from overpaint.report.select import Cell, main_cell
from overpaint.report.wording import count, method_name
from overpaint.sources.texts import spread
from overpaint.tables.core import Study, by_model

MOST = 10_000  # questions of a base model
LIMIT = 8_000_000  # characters of what is shown, all base models together: the page stays below 10 MB
KEY = ["benchmark", "id"]
READ = [*KEY, "topic", "unit", "split", "part", "answer", "clearing", "direction_of", "correct", "scores"]
Files = Mapping[str, Mapping[str, Path]]  # of one base model: by kind, and by run, benchmark or prompt set


@dataclass(frozen=True)
class Asked:
    """What the page shows of a study.

    study: whose runs are those that are shown, the base first.    models: the base models.
    texts: {benchmark: whether the page may show its texts}.    prompts: {prompt set: topic}.
    main: the cell shown first, None for that of `select.main_cell`.
    """

    study: Study
    models: list[str]
    texts: Mapping[str, bool]
    prompts: Mapping[str, str]
    main: Cell | None = None

    @property
    def runs(self) -> list[str]:
        """The unlearned runs, those of the main cell first."""
        rows = {run: self.study.columns(run) for run in self.study.runs if run != "base"}
        cell = self.main or main_cell(pd.DataFrame(rows.values(), columns=["method", "layer", "c"]))
        return sorted(rows, key=lambda run: (rows[run]["layer"], rows[run]["c"]) != cell)


def render(given: Any, asked: Asked, page: Path) -> None:
    """Write the page.

    given: paths `answers` and `completions` of the runs, `questions` of the benchmarks and `prompts` of the prompt
        sets, each of one model after the other.
    """
    names = {"answers": asked.study.runs, "completions": asked.study.runs}
    names |= {"questions": asked.texts, "prompts": asked.prompts}
    paths = {kind: by_model(asked.models, of, getattr(given, kind), Path) for kind, of in names.items()}
    data = [
        {"name": visible(name)} | _model({kind: files[name] for kind, files in paths.items()}, asked)
        for name in asked.models
    ]
    write_text(page, _page(asked.study, data, page.name))


def _page(study: Study, data: list[dict], name: str) -> str:
    """The page, of the data of each base model."""
    script, style = ((TEMPLATES / f"explorer.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    said = {
        "withheld": any(question is None for model in data for question in model["question"]),
        "left": [
            f"{model['name']}: {count(len(model['id']), 'question')} of {model['asked']}, "
            f"{count(len(model['runs']), 'run')} of {model['measured']}"
            for model in data
            if (len(model["id"]), len(model["runs"])) != (model["asked"], model["measured"])
        ],
    }
    shown = _json({"primary": visible(study.primary), "split": study.split, "models": data})
    values = {"data": Markup(shown), "more": Markup(style), "primary": study.primary}
    return page_html(f"Questions one by one. Study '{study.name}'", name, "explorer.html.j2", script, **values, **said)


def _json(data: object) -> str:
    """Compact JSON in which no text can end the element that it stands in."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _model(read: Files, asked: Asked) -> dict:
    """What is shown of a base model: no more than its share of `LIMIT`, half of it for questions, at even distances."""
    every, most, room = _answers(read["answers"]["base"]).drop_duplicates(KEY), MOST, LIMIT // len(asked.models)
    shown = _questions(every, most, read, asked)
    while most > 1 and len(_json(shown)) > room / 2:
        most //= 2
        shown = _questions(every, most, read, asked)
    keys, prompts = pd.MultiIndex.from_frame(spread_rows(every, most)[KEY]), shown["prompts"]
    shown |= {"asked": len(every), "measured": len(asked.runs), "runs": []}
    shown["base"] = _run("base", keys, prompts, read, asked.study)
    room -= len(_json(shown))
    for run in asked.runs if len(keys) else []:
        part = _run(run, keys, prompts, read, asked.study)
        room -= len(_json(part))
        if room < 0:
            break
        shown["runs"].append(part)
    return shown


def spread_rows(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, at even distances."""
    return frame.loc[spread(list(frame.index), most)]


def _answers(path: Path) -> pd.DataFrame:
    """The answers to questions of a run."""
    return pd.read_parquet(path, columns=READ, filters=[("kind", "==", "question")])


def _lines(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _questions(every: pd.DataFrame, most: int, read: Files, asked: Asked) -> dict:
    """What is told of at most so many questions: a list per column, whose texts are None where they are left out."""
    rows = spread_rows(every, most)
    found = {
        (name, row["id"]): row for name, path in read["questions"].items() if asked.texts[name] for row in _lines(path)
    }
    texts = [found.get(key) for key in rows[KEY].itertuples(index=False, name=None)]
    about: dict[tuple, list[int]] = {}
    for number, (text, topic, unit) in enumerate(zip(texts, rows.topic, rows.unit, strict=True)):
        if text:
            about.setdefault((topic, unit), []).append(number)
    return {
        **{name: _coded(rows[name]) for name in ("topic", "part", "split")},
        "hazardous": [topic in asked.study.hazardous for topic in rows.topic.unique()],
        "id": rows.id.map(visible).tolist(),
        "question": [text and visible(text["question"]) for text in texts],
        "choices": [text and [visible(choice) for choice in text["choices"]] for text in texts],
        "options": rows.scores.map(len).tolist(),
        "answer": rows.answer.tolist(),
        "prompts": _prompts(about, read, asked.prompts),
    }


def _coded(column: pd.Series) -> dict[str, list]:
    """A column as its different values, and the number of each row's."""
    at, names = pd.factorize(column)
    return {"names": [visible(name) for name in names], "at": at.tolist()}


def _prompts(about: Mapping[tuple, list[int]], read: Files, topics: Mapping[str, str]) -> list[dict]:
    """The prompts that models continued about the same unit as questions: `row` of which line, and their numbers `of`.

    about: the numbers of the questions by topic and unit.
    """
    units = {(topics[name], row["text"]): row["unit"] for name, path in read["prompts"].items() for row in _lines(path)}
    found = []
    for number, row in enumerate(_lines(read["completions"]["base"])):
        of = about.get((row["topic"], units[row["topic"], row["prompt"]]), [])
        text = {"prompt": visible(row["prompt"]), "answer": visible(row["answer"])}
        found += [text | {"row": number, "of": of}] if of else []
    return found


def _run(run: str, keys: pd.MultiIndex, prompts: list[dict], read: Files, study: Study) -> dict:
    """How a run's model answered the questions `keys`, and what it wrote after the prompts, under each clearing."""
    columns, written = study.columns(run), {}
    for row in _lines(read["completions"][run]):
        written.setdefault(row["clearing"], []).append(visible(row["completion"]))
    name = f"{method_name(columns['method'])}, {Cell(columns['layer'], columns['c'])}" if run != "base" else run
    return {
        "name": visible(name + f", seed {columns['seed']}" * bool(columns["seed"])),
        "written": {
            visible(clearing): [texts[prompt["row"]] for prompt in prompts] for clearing, texts in written.items()
        },
        **_answered(_answers(read["answers"][run]), keys, study),
    }


def _answered(rows: pd.DataFrame, keys: pd.MultiIndex, study: Study) -> dict:
    """Of each state, and of all draws of null directions together: how each question was answered.

    right: a character per question: 1, 0, or - where it was not asked.    scores: of those that were asked, the
    log-likelihoods of all options in hundredths of a nat; of a null its first draw's.
    nulls: `of` how many null directions how many answer each question `right`; -1 where it was not asked.
    """
    other = (
        rows.direction_of.isin(study.hazardous) & rows.topic.isin(study.hazardous) & rows.direction_of.ne(rows.topic)
    )
    rows = rows[~other]
    kinds = {name: study.kind(name) for name in rows.clearing.unique()}
    states = [name for name, kind in kinds.items() if kind in ("none", "primary", "null")]
    null = rows[rows.clearing.map(kinds).eq("null")].astype({"correct": float}).groupby(KEY).correct
    right = null.sum().reindex(keys, fill_value=-1).astype(int)
    return {
        "states": {visible(name): _state(rows[rows.clearing == name], keys) for name in states},
        "nulls": {"of": int(null.size().max()), "right": right.tolist()} if len(null) else {"of": 0, "right": []},
    }


def _state(rows: pd.DataFrame, keys: pd.MultiIndex) -> dict:
    rows = rows.drop_duplicates(KEY).set_index(KEY).reindex(keys)
    right = "".join("-" if pd.isna(correct) else "01"[bool(correct)] for correct in rows.correct)
    return {"right": right, "scores": [round(100 * score) for scores in rows.scores.dropna() for score in scores]}
