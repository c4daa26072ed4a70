"""Rows of corpora, prompts and benchmarks, whatever their source: checked, written and read as JSONL.

Rows, one JSON object a line:
corpus       {id, text}
prompts      {id, unit, split, text}
questions    {id, unit, split, question, choices, answer}
text         {id, unit, split, text}
(of a task of lm-evaluation-harness, `harness.py` makes {id, unit, split, task, document})
`split` is `fit` or `test`; `unit` (an entity, an article) never stands in both, and is what intervals resample.
Rows of a benchmark may have a `part`, by which they are also told apart: `in corpus` or `unseen`. Prompts may have one
too, and an `answer`, the text that a right continuation holds; whatever else they have as text tells their kinds apart.
"""

import hashlib
import json
import reprlib
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.sources import PARTS, datafiles

FIELDS = {
    "corpus": {"id": str, "text": str},
    "prompts": {"id": str, "unit": str, "split": str, "text": str},
    "questions": {"id": str, "unit": str, "split": str, "question": str, "choices": list, "answer": int},
    "text": {"id": str, "unit": str, "split": str, "text": str},
}
SPLITS = ("fit", "test")
# Prompts that a study needs by split: directions are compared with those of either half of their rows.
PROMPTS = {"fit": 2, "test": 1}
LETTERS = string.ascii_uppercase


def read_rows(path: Path, kind: str, settings: dict | None = None) -> list[dict]:
    """Rows of a JSONL file. Raises UserError for a row that does not have the fields of its kind.

    settings: of a benchmark that asks these questions, `scoring` and `metric`.
    """
    lines = datafiles.own_lines(path, kind)
    rows = [checked(row, kind, f"{path}, line {number}", settings or {}) for number, row in lines]
    if not rows:
        raise UserError(f"{path} holds no rows: it needs one JSON object a line with {', '.join(FIELDS[kind])}.")
    units = {
        split: {row["unit"] for row in rows if row["split"] == split} for split in SPLITS if "unit" in FIELDS[kind]
    }
    shared = set.intersection(*units.values()) if units else set()
    if shared:
        raise UserError(
            f"{path} has unit {reprlib.repr(min(shared))} in both splits: give each unit to `fit` or to `test`."
        )
    return rows


def check(rows: list[dict], kind: str, batches: dict[str, tuple[int, int]], where: str) -> None:
    """Refuse prompts and corpora, from `where` is said, that are too few; batches: as `check_batches` takes them."""
    if kind == "prompts":
        check_splits(rows, PROMPTS, where)
    if kind == "corpus":
        check_batches(longer(rows), batches, where)


def check_splits(rows: list[dict], needed: dict[str, int], where: str) -> None:
    """Refuse rows, from `where` is said, of which fewer than `needed` are in a split."""
    for split, least in needed.items():
        count = sum(row["split"] == split for row in rows)
        if count < least:
            raise UserError(
                f"{where} has {count} of the {least} or more rows of split {split!r} that the study needs: add some. "
                "Directions and probes are fitted on `fit` rows, and `test` rows are shown."
            )


def longer(rows: list[dict]) -> Callable[[int], int]:
    """n -> how many rows of a corpus have more than n characters."""
    sizes = [len(row["text"]) for row in rows]
    return lambda least: sum(size > least for size in sizes)


def check_batches(longer: Callable[[int], int], batches: dict[str, tuple[int, int]], where: str) -> None:
    """Refuse corpora, from `where` is said, that fill no batch of a method.

    longer: n -> their texts of more than n characters; batches: {method: texts of a batch, n}.
    """
    for method, (batch, least) in batches.items():
        if (count := longer(least)) < batch:
            raise UserError(
                f"{where} has {count} texts longer than {least} characters, and methods.{method}.batch is {batch}: add "
                "texts, or lower `batch` or `min_chars`."
            )


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
        raise UserError(f"{path} has no prompts of split {split!r}: directions need `fit` rows, figures `test` rows.")
    return prompts


def spread(items: list, count: int) -> list:
    """`count` items at even distances, all where there are fewer."""
    return [items[index * len(items) // count] for index in range(count)] if count < len(items) else items


def split_of(text: str, fit: float) -> str:
    """`fit` for a share `fit` of all texts, `test` for the others, by a hash of the text.

    So two files that ask about the same text put it into the same split. Of two shares, the texts of the smaller one
    are all among those of the larger one.
    """
    return SPLITS[int.from_bytes(_digest(text)[:8]) / 2**64 >= fit]


def unit_of(text: str) -> str:
    """A name of the text, by the same hash: equal texts are one unit, whatever their spaces."""
    return _digest(text)[:8].hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode()).digest()


def checked(row: Any, kind: str, where: str, settings: dict) -> dict:
    """A row, if it has the fields of its kind. Raises UserError otherwise."""
    fields = FIELDS[kind]
    for key, type_ in fields.items():
        value = row.get(key) if isinstance(row, dict) else None
        if not isinstance(value, type_) or isinstance(value, bool):
            hint = _hint(row, key, type_)
            raise UserError(
                f"{where}: `{key}` is missing or no {type_.__name__}{hint}; rows of {kind} have {', '.join(fields)}."
            )
        if type_ is str and blank(value) and not (key == "question" and value == ""):
            raise UserError(f"{where}: `{key}` is {reprlib.repr(value)}, which says nothing: fill it in.")
    if row.get("split", "fit") not in SPLITS:
        raise UserError(f"{where}: `split` is {reprlib.repr(row['split'])}; use fit or test.")
    if row.get("part", PARTS[0]) not in PARTS:
        raise UserError(f"{where}: `part` is {reprlib.repr(row['part'])}; use {' or '.join(PARTS)}, or leave it out.")
    if kind == "prompts":
        _check_answer(row, where)
    if kind == "questions":
        _check_question(row, where, settings)
    return row


def _hint(row: Any, key: str, type_: type) -> str:
    """What stands in the place of a field, and what to write instead."""
    if not isinstance(row, dict):
        return f" (it is {_json(row)}: write one object a line)"
    value = row.get(key)
    if value is None:
        return " (it is null)" if key in row else ""
    meant = {str: _as_text, int: _as_place, list: lambda _: 'a list, ["one", "another"]'}[type_]
    return f" (write {meant(value)}, not {_json(value)})"


def _as_text(value: Any) -> str:
    return _json(str(value)) if isinstance(value, int | float) else "a text in quotes"


def _as_place(value: Any) -> str:
    """The number of an option that was meant by something else."""
    text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value).strip()
    letter = LETTERS.find(text.upper()) if len(text) == 1 else -1
    return text[:20] if text.isdecimal() else str(letter) if letter >= 0 else "the number of the correct option, from 0"


def _json(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 40 else f"{text[:36]} ..."


def _check_answer(row: dict, where: str) -> None:
    """Refuse an answer to a prompt that no continuation can hold; a prompt whose answer is not known has none."""
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        raise UserError(
            f"{where}: `answer` is no text{_hint(row, 'answer', str)}: prompts have their answer in words, or none."
        )
    if answer is not None and blank(answer):
        raise UserError(
            f"{where}: `answer` is {reprlib.repr(answer)}, which says nothing: fill it in, or leave it out."
        )


def _check_question(row: dict, where: str, settings: dict) -> None:
    """Refuse options that cannot be told apart or scored, and an empty question where the score is made of it."""
    options, answer, letters = row["choices"], row["answer"], settings.get("scoring") == "letter"
    if not (len(options) > 1 and 0 <= answer < len(options)):
        raise UserError(
            f"{where}: `answer` is {reprlib.repr(answer)}; it must number one of at least two `choices`, from 0, and "
            f"there are {len(options)}."
        )
    for option in options:
        if not isinstance(option, str):
            raise UserError(f"{where}: `choices` has {_json(option)}, which is no text: write each option as a text.")
        if blank(option):
            raise UserError(f"{where}: `choices` has the option {_json(option)}, which says nothing: fill it in.")
    [(option, count)] = Counter(option.strip() for option in options).most_common(1)
    if count > 1:
        raise UserError(f"{where}: `choices` has {_json(option)} more than once: give each option once.")
    if letters and len(options) > len(LETTERS):
        raise UserError(
            f"{where}: `choices` has {len(options)} options, and there are {len(LETTERS)} letters: give fewer, or "
            "set `scoring` to continuation."
        )
    if not row["question"] and (letters or settings.get("metric") == "acc_mutual_info"):
        raise UserError(
            f"{where}: `question` is empty, which only options that are scored by their words alone may have: write "
            "it, or set `scoring` to continuation and `metric` to acc or acc_norm."
        )


def blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or all white space and invisible characters."""
    return not any(char.isprintable() and not char.isspace() for char in text)
