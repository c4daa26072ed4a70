"""Rows and files that are damaged at random: refused in a sentence, or read as rows that hold what they must.

OVERPAINT_SEED chooses the damage; it is printed where a test fails.
"""

import copy
import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from overpaint.errors import UserError
from overpaint.sources import harness, texts
from overpaint.sources import rows as rows_of

SEED = int(os.environ.get("OVERPAINT_SEED", "1"))  # a fixed one, so that a change alone decides what passes
WORDS = {"id": "1", "unit": "a", "split": "fit", "text": "one", "question": "Which?", "choices": ["x", "y", "z"]}
GOOD = {kind: {key: (WORDS | {"answer": 1})[key] for key in fields} for kind, fields in texts.FIELDS.items()}
VALUES = [
    None, True, False, 0, -1, 1, 2.0, 0.5, 10**400, float("nan"), float("inf"), "", " ", "x", "fit", "Report", "1",
    "\ud800", "\x00", "\u2028", "\ufeff", "é🜁", "a" * 5000, [], {}, [[]], ["x"], ["x", "x"], ["x", None], ["x", 1],
    ["x", " "], {"text": ["x", "y"]}, list(map(str, range(27))), [["x"], ["y"]], "{{ 7 * 7 }}", "x\r\ny", 1e308,
]  # fmt: skip
BYTES = [
    b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b"\n\n", b"\x00", b"[", b"]", b"{", b"}", b",", b'"', b"\\",
    b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b"\x85", b"\xe2\x80\xa8",
    b';', b'"a": 1, "a": 2', b"\xed\xa0\x80",
]  # fmt: skip


def mutated(row: dict[str, Any], rng: random.Random) -> Any:
    """A row with one thing changed: a field's value, its name, a field more or less, or no object at all."""
    row, key = copy.deepcopy(row), rng.choice(list(row))
    how = rng.randrange(7)
    if how < 3:
        row[key] = rng.choice(VALUES)
    elif how == 3:
        row[rng.choice([key.upper(), f" {key}", key + "s", ""])] = row.pop(key)
    elif how == 4:
        row[rng.choice(["note", "question", "label"])] = rng.choice(VALUES)
    elif how == 5 and isinstance(row.get("choices"), list):
        row["choices"][rng.randrange(3)] = rng.choice(VALUES)
    else:
        return rng.choice([rng.choice(VALUES), [row], list(row), {}, {"rows": [row]}, row])
    return row


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file with bytes put in, left out, or changed at one place, or in another encoding."""
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice([0, 0, 1, 3, 50]))
    how = rng.randrange(8)
    if how == 0:
        return content[:start]
    if how == 1:
        return content.decode(errors="replace").encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"]))
    return content[:start] + rng.choice(BYTES) + content[end:]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def check(kind: str, rows: list[dict], letters: bool) -> None:
    """What rows that were accepted hold, whoever reads them later."""
    assert rows
    for row in rows:
        for key, type_ in texts.FIELDS[kind].items():
            assert type(row[key]) is type_, (key, row)
            assert type_ is not str or key == "question" or row[key].strip()
        assert row.get("split", "fit") in texts.SPLITS
        if kind == "questions":
            options = row["choices"]
            assert all(isinstance(option, str) and option.strip() for option in options)
            assert 2 <= len({option.strip() for option in options}) == len(options) <= (26 if letters else 10**6)
            assert 0 <= row["answer"] < len(options) and (
                row["question"].strip() or (not letters and not row["question"])
            )


def outcome(read: Callable[[], list[dict]], kind: str, letters: bool, folder: Path) -> bool:
    """Whether rows were accepted, which can then be written and read again; whatever else was said is a sentence."""
    try:
        rows = read()
    except UserError as error:
        sentence = str(error)
        assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 1000 and sentence.isprintable()
        return False
    check(kind, rows, letters)
    texts.write_rows(rows, folder / "again.jsonl")
    assert texts.read_rows(folder / "again.jsonl", kind) == rows
    return True


@pytest.fixture(autouse=True)
def seed(capsys) -> None:
    print(f"OVERPAINT_SEED={SEED}")


@pytest.mark.parametrize("kind", GOOD)
def test_files_of_ones_own(tmp_path, kind):
    rng, path, found = random.Random(f"{SEED} {kind}"), tmp_path / "own.jsonl", {True: 0, False: 0}
    for number in range(400):
        good = [GOOD[kind] | {"id": str(n)} for n in range(3)]
        if number % 2:
            path.write_bytes(damaged(lines(good), rng))
        else:
            path.write_bytes(lines([good[0], mutated(good[1], rng), good[2]]))
        scoring = rng.choice(["letter", "continuation"])
        settings = {"source": "file", "kind": kind, "scoring": scoring, "metric": "acc"}
        said = outcome(lambda settings=settings: rows_of(settings, path), kind, scoring == "letter", tmp_path)
        found[said] += 1
    assert min(found.values()) > 20, "all or none was accepted"


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt", ".parquet"])
@pytest.mark.parametrize("kind", GOOD)
def test_data_sets(tmp_path, kind, suffix):
    rng, found = random.Random(f"{SEED} {kind} {suffix}"), {True: 0, False: 0}
    path = tmp_path / f"pages/part/test{suffix}"
    path.parent.mkdir(parents=True)
    columns = ["question", "choices", "answer"] if kind == "questions" else ["text"]
    for number in range(60):
        good = [{key: GOOD[kind].get(key, "n") for key in [*columns, "note"]} for _ in range(3)]
        write(path, good if number % 2 else [good[0], mutated(good[1], rng), good[2]])
        if number % 2 and suffix != ".parquet":
            path.write_bytes(damaged(path.read_bytes(), rng))
        scoring = rng.choice(["letter", "continuation"])
        settings = {
            "source": "dataset", "dataset": "pages", "files": ["*"], "column": "text", "min_chars": 0, "fit": 1,
            "kind": kind, "scoring": scoring, "metric": "acc",
        }  # fmt: skip
        folder = tmp_path / "pages"
        said = outcome(lambda s=settings, f=folder: rows_of(s, f), kind, scoring == "letter", tmp_path)
        found[said] += 1
    assert found[False] and (found[True] > 3 or (kind == "questions" and suffix in (".csv", ".txt")))


def write(path: Path, rows: list[Any]) -> None:
    """Rows as a file of its kind, as far as it can hold them: the columns of a table have values of one kind."""
    if path.suffix in (".jsonl", ".json"):
        path.write_bytes(lines(rows))
    elif path.suffix == ".parquet":
        for some in (rows, rows[1:2], [{"other": 1}]):
            with suppress(pa.ArrowException, ValueError, OverflowError, TypeError, AttributeError):
                parquet.write_table(pa.Table.from_pylist(some), path)
                return
    else:
        head = ",".join(rows[0]) if path.suffix == ".csv" else ""
        cells = (",".join(map(str, row.values())) if isinstance(row, dict) else str(row) for row in rows)
        path.write_bytes("\n".join([head, *cells]).encode(errors="surrogatepass"))


def test_documents_of_a_task(tmp_path):
    rng, found = random.Random(f"{SEED} task"), {True: 0, False: 0}
    settings = {"task": "wmdp_bio", "metric": "acc", "fit": 0}
    for number in range(80):
        path = tmp_path / f"{number}/wmdp-bio/test-0.{rng.choice(['jsonl', 'parquet'])}"
        path.parent.mkdir(parents=True)
        good = [{"question": f"Which {n}?", "choices": ["x", "y", "z", "w"], "answer": n} for n in range(3)]
        write(path, [good[0], mutated(good[1], rng), good[2]])
        if number % 2 and path.suffix == ".jsonl":
            path.write_bytes(damaged(path.read_bytes(), rng))
        try:
            rows = harness.rows("questions", settings, tmp_path / str(number))
        except UserError as error:
            found[False] += 1
            assert "\n" not in str(error) and str(error).endswith(".")
            continue
        found[True] += 1
        texts.write_rows(rows, tmp_path / "rows.jsonl")
        documents = [json.loads(line)["document"] for line in (tmp_path / "rows.jsonl").open(encoding="utf-8")]
        task = harness.LocalTask(harness.definitions("wmdp_bio")["wmdp_bio"], documents, "acc")
        task.build_all_requests()
        assert all(task.answer(document) >= 0 for document in task.eval_docs)
    assert min(found.values()) > 3
