"""Corpora, prompts and benchmarks: made from their source, checked, and normalised to JSONL.

Rows, one JSON object a line:
corpus       {id, text}
prompts      {id, unit, split, text}
questions    {id, unit, split, question, choices, answer}
text         {id, unit, split, text}
(of a task of lm-evaluation-harness, `harness.py` makes {id, unit, split, task, document})
`split` is `fit` or `report`; `unit` (a fact, an article) never stands in both, and is what intervals resample.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from overpaint import datafiles, wikipedia, world
from overpaint.errors import UserError

FIELDS = {
    "corpus": {"id": str, "text": str},
    "prompts": {"id": str, "unit": str, "split": str, "text": str},
    "questions": {"id": str, "unit": str, "split": str, "question": str, "choices": list, "answer": int},
    "text": {"id": str, "unit": str, "split": str, "text": str},
}
SPLITS = ("fit", "report")


def corpus_rows(settings: dict, source: Path) -> list[dict]:
    """Rows of a corpus of the catalogue."""
    return _rows("corpus", settings, source)


def prompt_rows(settings: dict, source: Path) -> list[dict]:
    """Rows of a prompt set of the catalogue."""
    return _rows("prompts", settings, source)


def benchmark_rows(settings: dict, source: Path) -> list[dict]:
    """Rows of a benchmark of the catalogue."""
    return _rows(settings["kind"], settings, source)


def read_rows(path: Path, kind: str) -> list[dict]:
    """Rows of a JSONL file; a row that does not have the fields of its kind is one sentence."""
    if not path.is_file():
        raise UserError(f"There is no file {path}: write the {kind} there, one JSON object a line, or correct `path`.")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from None
    rows = [_parse(line, kind, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(f"{path} holds no rows: it needs one JSON object a line with {', '.join(FIELDS[kind])}.")
    units = {
        split: {row["unit"] for row in rows if row["split"] == split} for split in SPLITS if "unit" in FIELDS[kind]
    }
    shared = set.intersection(*units.values()) if units else set()
    if shared:
        raise UserError(f"{path} has unit {min(shared)!r} in both splits: give each unit to `fit` or to `report`.")
    return rows


def write_rows(rows: list[dict], path: Path) -> None:
    """Write rows as JSONL."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_texts(path: Path | str) -> list[str]:
    """The texts of a normalised corpus."""
    return [row["text"] for row in read_rows(Path(path), "corpus")]


def read_prompts(path: Path | str, split: str) -> list[str]:
    """The prompts of one split."""
    return [row["text"] for row in prompts_of(path, split)]


def prompts_of(path: Path | str, split: str) -> list[dict]:
    """The rows of prompts of one split."""
    prompts = [row for row in read_rows(Path(path), "prompts") if row["split"] == split]
    if not prompts:
        raise UserError(f"{path} has no prompts of split {split!r}: directions need `fit` rows, figures `report` rows.")
    return prompts


def spread(items: list, count: int) -> list:
    """`count` items at even distances, all where there are fewer."""
    return [items[index * len(items) // count] for index in range(count)] if count < len(items) else items


def split_of(text: str, fit: float) -> str:
    """`fit` for a share `fit` of all texts, `report` for the others, by a hash of the text.

    So two files that ask about the same text put it into the same split. Of two shares, the texts of the smaller one
    are all among those of the larger one.
    """
    return SPLITS[int.from_bytes(_digest(text)[:8]) / 2**64 >= fit]


def unit_of(text: str) -> str:
    """A name of the text, by the same hash: equal texts are one unit, whatever their spaces."""
    return _digest(text)[:8].hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode()).digest()


def _rows(kind: str, settings: dict, source: Path) -> list[dict]:
    if settings["source"] == "file":
        return read_rows(source, kind)
    if settings["source"] == "miniature":
        facts, domains = world.load(source), settings["domains"]
        make = {"corpus": world.corpus_rows, "prompts": world.prompt_rows, "text": world.text_rows}
        return make.get(kind, world.question_rows)(facts, domains)
    if settings["source"] == "dataset":
        return _dataset_rows(kind, settings, source)
    return _wikipedia_rows(kind, wikipedia.read_articles(source), settings["topics"], settings.get("count"))


def _wikipedia_rows(kind: str, articles: list, topics: list[str], count: int | None) -> list[dict]:
    if kind == "corpus":
        return wikipedia.corpus_rows(articles, topics, size=count)
    make = {"prompts": wikipedia.prompt_rows, "text": wikipedia.text_rows, "questions": wikipedia.question_rows}
    return make[kind](articles, topics, fit=count, report=count)


def _dataset_rows(kind: str, settings: dict, folder: Path) -> list[dict]:
    """`count` rows in the order of the files, all for None: the first or, with splits, an even spread of each."""
    found, count = _shaped_rows(kind, settings, folder), settings.get("count")
    if "split" not in FIELDS[kind]:
        rows = list(islice(found, count))
        _check_count("", len(rows), settings)
        return rows
    rows, kept = list(found), set()
    for split, share in zip(SPLITS, (settings["fit"], 1 - settings["fit"]), strict=True):
        places = [place for place, row in enumerate(rows) if row["split"] == split]
        if share:
            _check_count(split, len(places), settings)
        kept |= set(spread(places, count or len(places)))
    return [row for place, row in enumerate(rows) if place in kept]


def _check_count(split: str, size: int, settings: dict) -> None:
    """Refuse a data set with fewer rows than `count`."""
    count = settings.get("count") or 1
    if size < count:
        raise UserError(
            f"The data set {settings['dataset']} has only {size} {split} rows longer than {settings['min_length']} "
            f"characters in {', '.join(settings['files'])}, and {count} are asked for: lower `count` or `min_length`, "
            "or name more `files`."
        )


def _shaped_rows(kind: str, settings: dict, folder: Path) -> Iterator[dict]:
    """Rows of a kind, from those of the files whose text is longer than `min_length`."""
    columns = ["question", "choices", "answer"] if kind == "questions" else [settings["column"]]
    for where, values in datafiles.read(folder, settings["files"], columns):
        text = values[columns[0]]
        if text is None:
            continue
        if not isinstance(text, str):
            raise UserError(
                f"{where}: the column {columns[0]!r} holds {type(text).__name__}, not text: name another as `column`."
            )
        if len(text) > settings["min_length"]:
            row = values | {"id": where, "unit": unit_of(text), "split": split_of(text, settings["fit"]), "text": text}
            yield _checked({key: row[key] for key in FIELDS[kind]}, kind, where)


def _parse(line: str, kind: str, where: str) -> dict:
    try:
        return _checked(json.loads(line), kind, where)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON ({error.msg}): each line must be one object.") from None


def _checked(row: dict, kind: str, where: str) -> dict:
    """A row that has the fields of its kind; others are one sentence."""
    fields = FIELDS[kind]
    for key, type_ in fields.items():
        if not isinstance(row, dict) or not isinstance(row.get(key), type_) or isinstance(row.get(key), bool):
            raise UserError(
                f"{where}: `{key}` is missing or no {type_.__name__}; rows of {kind} have {', '.join(fields)}."
            )
    if row.get("split", "fit") not in SPLITS:
        raise UserError(f"{where}: `split` is {row['split']!r}; use fit or report.")
    if kind == "questions" and not (len(row["choices"]) > 1 and 0 <= row["answer"] < len(row["choices"])):
        raise UserError(f"{where}: `answer` is {row['answer']}; it must number one of at least two `choices`, from 0.")
    return row
