"""Texts of data sets: formats give the same rows, splits go by the text, and what is not there is one sentence."""

import csv
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers.downloads import hub_content
from pyarrow import parquet

from overpaint.errors import UserError
from overpaint.sources import datafiles, texts, world
from overpaint.sources import rows as rows_of

ROWS = [{"name": f"page {n}", "text": f"page {n} is \u2028 {'long ' * n}"} for n in range(8)]
SETTINGS = {"source": "dataset", "dataset": "pages", "files": ["*"], "column": "text", "min_chars": 0, "fit": 0.25}
CORPUS, PROMPTS = (SETTINGS | {"kind": kind} for kind in ("corpus", "prompts"))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".jsonl", ".json"):
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(row["text"] + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def pages(tmp_path) -> Callable[..., Path]:
    """pages(name, rows): the folder of a data set, with one more file in it."""

    def add(name: str = "part/test.jsonl", rows: list[dict[str, Any]] = ROWS) -> Path:
        write(tmp_path / "pages" / name, rows)
        return tmp_path / "pages"

    return add


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Data sets in the published layouts; each is a folder below `datasets`."""
    folder = tmp_path_factory.mktemp("hub")
    facts = world.generate(seed=0, entities=8, values=8)
    for make in (hub_content.write_wmdp, hub_content.write_mmlu, hub_content.write_wikitext, hub_content.write_corpora):
        make(folder, facts)
    return folder / "datasets"


def refusal(action: Callable, *arguments: Any) -> str:
    """The sentence with which something ends."""
    with pytest.raises(UserError) as caught:
        action(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 500
    return sentence


def read(folder: Path, patterns: list[str], columns: list[str]) -> list[tuple[str, dict]]:
    """All rows at once."""
    return list(datafiles.read(folder, patterns, columns))


# --- files


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv", ".txt"])
def test_every_format_gives_the_same_rows_numbered_from_zero(pages, suffix):
    found = read(pages(f"part/test{suffix}"), ["*"], ["text"])
    assert found == [(f"part/test{suffix}:{n}", {"text": row["text"]}) for n, row in enumerate(ROWS)]


def test_files_are_chosen_by_patterns_and_come_in_the_order_of_their_paths(pages):
    for name in ("b/test-1.jsonl", "b/test-0.jsonl", "a/test-0.jsonl", "README.md", "b/dev-0.jsonl"):
        folder = pages(name, ROWS[:1])
    assert [where for where, _ in read(folder, ["b/test*", "a/*"], ["text"])] == [
        "a/test-0.jsonl:0", "b/test-0.jsonl:0", "b/test-1.jsonl:0",
    ]  # fmt: skip
    assert len(read(folder, ["*"], ["text"])) == 4, "a file that cannot be read is none of the data"


def test_no_file_names_those_that_are_there(pages):
    said = refusal(read, pages(), ["other/*", "*.parquet"], ["text"])
    assert "other/* or *.parquet" in said and "part/test.jsonl" in said and "pages" in said


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".txt"])
def test_a_column_that_is_not_there_names_those_that_are(pages, suffix):
    said = refusal(read, pages(f"part/test{suffix}"), ["*"], ["stem"])
    assert "'stem'" in said and f"part/test{suffix}"[-8:] in said
    assert ("name, text" if suffix != ".txt" else "use one of text") in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 not really"),
        ("a.jsonl", b'{"text": "one"}\n{"text": \n'),
        ("a.jsonl", b"[1]\n"),
        ("a.txt", b"\xff\xfe"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refusal(read, tmp_path, ["*"], ["text"])


def test_rows_are_read_as_they_are_asked_for(pages):
    folder = pages("a.jsonl", ROWS[:2])
    (folder / "b.jsonl").write_text("not JSON\n")
    assert len(list(islice(datafiles.read(folder, ["*"], ["text"]), 2))) == 2
    refusal(read, folder, ["*"], ["text"])


# --- texts


def test_a_corpus_has_all_rows_longer_than_asked_in_order(pages):
    rows = rows_of(CORPUS | {"min_chars": len(ROWS[3]["text"])}, pages())
    assert rows == [{"id": f"part/test.jsonl:{n}", "text": ROWS[n]["text"]} for n in range(4, 8)]
    assert [row["text"] for row in rows_of(CORPUS | {"column": "name", "max_rows": 2}, pages())] == [
        "page 0", "page 1",
    ]  # fmt: skip


def test_lines_of_wikitext_are_the_rows_of_the_reference(published):
    folder = published / "Salesforce/wikitext"
    settings = SETTINGS | {"files": ["wikitext-2-raw-v1/test-*"], "min_chars": 50}
    path = folder / "wikitext-2-raw-v1/test-00000-of-00001.parquet"
    lines = [row["text"] for row in parquet.read_table(path).to_pylist()]
    kept = [line for line in lines if len(line) > 50]
    rows = rows_of({"kind": "corpus"} | settings, folder)
    assert [row["text"] for row in rows] == kept and 0 < len(kept) < len(lines)


def test_rows_without_a_text_are_left_out_and_other_things_than_text_are_refused(pages):
    rows = [{"text": None}, {"text": ""}, {"text": "one"}]
    assert [row["text"] for row in rows_of(CORPUS, pages("a.jsonl", rows))] == ["one"]
    said = refusal(rows_of, CORPUS | {"column": "n"}, pages("a.jsonl", [{"text": "one", "n": 1}]))
    assert "a.jsonl:0" in said and "'n'" in said and "int" in said


def test_prompts_are_split_by_their_text_wherever_it_stands(published):
    folder = published / "cais/wmdp"
    settings = SETTINGS | {"files": ["wmdp-bio/*"], "column": "question"}
    prompts = rows_of({"kind": "prompts"} | settings, folder)
    asked = rows_of(settings | {"kind": "questions"}, folder)
    assert len(prompts) == len(asked) == 64
    assert [(row["unit"], row["split"], row["text"]) for row in prompts] == [
        (row["unit"], row["split"], row["question"]) for row in asked
    ]
    shares = [row["split"] == "fit" for row in prompts]
    assert 0.1 < sum(shares) / len(shares) < 0.4
    more = rows_of({"kind": "prompts"} | settings | {"fit": 0.6}, folder)
    assert all(new["split"] == "fit" for old, new in zip(prompts, more, strict=True) if old["split"] == "fit")
    assert [row["split"] for row in more] != [row["split"] for row in prompts]


def test_equal_texts_are_one_unit_whatever_their_spaces():
    assert texts.unit_of("one  two\n") == texts.unit_of("one two") != texts.unit_of("one two three")


def test_a_count_is_of_each_split_and_spread_over_the_files(published):
    settings = SETTINGS | {"files": ["wmdp-*"], "column": "question"}
    everything = rows_of({"kind": "prompts"} | settings, published / "cais/wmdp")
    some = rows_of({"kind": "prompts"} | settings | {"max_rows": 5}, published / "cais/wmdp")
    for split in texts.SPLITS:
        own = [row for row in everything if row["split"] == split]
        chosen = [own.index(row) for row in some if row["split"] == split]
        assert chosen == [place * len(own) // 5 for place in range(5)] and len(own) > 9


@pytest.mark.parametrize("kind", ["corpus", "prompts", "text", "questions"])
def test_rows_of_a_data_set_are_accepted_when_they_are_read(published, tmp_path, kind):
    settings = SETTINGS | {"kind": kind, "files": ["anatomy/test-*"], "column": "question"}
    rows = rows_of(settings, published / "cais/mmlu")
    texts.write_rows(rows, tmp_path / "rows.jsonl")
    assert texts.read_rows(tmp_path / "rows.jsonl", kind) == rows and len(rows) == 54


def test_all_texts_may_be_in_one_split(published):
    settings = SETTINGS | {"kind": "questions", "files": ["wmdp-*"]}
    for fit, split in ((0, "test"), (1, "fit")):
        rows = rows_of(settings | {"fit": fit}, published / "cais/wmdp")
        assert {row["split"] for row in rows} == {split} and len(rows) == 3 * 64


def test_too_few_rows_say_how_many_there_are(pages):
    assert "only 8 " in refusal(rows_of, CORPUS | {"max_rows": 9}, pages())
    assert "only 0 " in refusal(rows_of, CORPUS | {"min_chars": 10**6}, pages())
    said = refusal(rows_of, PROMPTS | {"max_rows": 8}, pages())
    assert " fit rows" in said and "8 are asked for" in said
    assert len(rows_of(CORPUS | {"max_rows": 8}, pages())) == 8


def test_questions_without_four_options_are_named(pages):
    row = {"question": "?", "choices": ["one"], "answer": 0}
    said = refusal(rows_of, SETTINGS | {"kind": "questions"}, pages("a.jsonl", [row]))
    assert "a.jsonl:0" in said and "choices" in said


# --- what files can have that is not as it seems


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_byte_order_mark_and_windows_ends_of_lines_are_no_part_of_a_text(pages, suffix, start):
    folder = pages(f"part/test{suffix}", ROWS[:3])
    path = folder / f"part/test{suffix}"
    text = path.read_bytes().decode().replace("\r", "").replace("\n", "\r\n")
    path.write_bytes((start + text).encode())
    assert [row["text"] for _, row in read(folder, ["*"], ["text"])] == [row["text"] for row in ROWS[:3]]


FILES = {
    "another encoding": ("a.txt", "one\nzwei\nKäse\n".encode("latin-1"), ["a.txt", "line 3 is not UTF-8"]),
    "a table in another encoding": ("a.csv", "text\nKäse\n".encode("latin-1"), ["a.csv", "line 2 is not UTF-8"]),
    "lines in UTF-16": ("a.jsonl", '{"text": "one"}\n'.encode("utf-16"), ["a.jsonl", "line 1 is not UTF-8"]),
    "one array": ("a.json", b'[{"text": "one"}, {"text": "two"}]', ["a.json", "line 1", "one JSON object"]),
    "a key twice": ("a.jsonl", b'{"text": "one"}\n{"text": "a", "text": "b"}\n', ["line 2", "'text' twice"]),
    "half a character": ("a.jsonl", b'\n{"text": "\\ud800"}\n', ["line 2", "half a character"]),
    "no number": ("a.jsonl", b'{"text": "one", "n": NaN}\n', ["line 1", "NaN"]),
    "nested deep": ("a.jsonl", b'{"text": ' + b"[" * 100_000 + b"}\n", ["line 1", "nested"]),
    "digits": ("a.jsonl", b'{"text": "one", "n": ' + b"9" * 5000 + b"}\n", ["line 1", "digits"]),
    "a field too many": ("a.csv", b"name,text\n1,one\n2,two, three\n", ["line 3 has 3 fields", "the first line 2"]),
    "a field too few": ("a.csv", b"name,text\n1\n", ["line 2 has 1 fields"]),
    "an open quote": ("a.csv", b'text\none\n"two\nthree\n', ["a.csv", "cannot be read"]),
    "two columns of a name": ("a.csv", b"text,text\none,two\n", ["2 columns 'text'"]),
    "other separators": ("a.csv", b"name;text\n1;one\n", ["no column 'text'", "name;text"]),
    "nothing": ("a.parquet", b"", ["a.parquet", "cannot be read"]),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_fault_in_a_file_is_named_with_its_line(tmp_path, fault):
    name, content, parts = FILES[fault]
    (tmp_path / name).write_bytes(content)
    said = refusal(read, tmp_path, ["*"], ["text"])
    assert [part for part in [*parts, "`files`" if "column 'text'" not in parts[0] else ""] if part not in said] == []


def test_two_columns_of_a_name_in_a_table_are_refused(tmp_path):
    parquet.write_table(
        pa.table([pa.array(["one"]), pa.array(["two"])], names=["text", "text"]), tmp_path / "a.parquet"
    )
    assert "2 columns 'text'" in refusal(read, tmp_path, ["*"], ["text"])


def test_a_file_that_was_cut_short_is_one_sentence(pages):
    path = pages("a.parquet") / "a.parquet"
    whole = path.read_bytes()
    for size in (4, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        assert "a.parquet" in refusal(read, path.parent, ["*"], ["text"])


QUESTION = {"question": "Which?", "choices": ["one", "two", "three"], "answer": 1}
QUESTIONS = {
    "numbers": ({"choices": [1, 2, 3]}, ["`choices` has 1"]),
    "a null": ({"choices": ["one", None, "three"]}, ["`choices` has null"]),
    "objects": ({"choices": [{"text": "one"}, {"text": "two"}]}, ["`choices` has {"]),
    "lists": ({"choices": [["one"], ["two"]]}, ["`choices` has ["]),
    "ARC's object": ({"choices": {"text": ["one", "two"], "label": ["A", "B"]}}, ["`choices`", "write a list"]),
    "an empty option": ({"choices": ["one", " "]}, ["says nothing"]),
    "equal options": ({"choices": ["one", "two", "one"]}, ["more than once"]),
    "27 options": ({"choices": [f"x{n}" for n in range(27)]}, ["26 letters"]),
    "a letter": ({"answer": "B"}, ["write 1"]),
    "a fraction": ({"answer": 1.0}, ["write 1, not 1.0"]),
    "true": ({"answer": True}, ["`answer`"]),
    "no answer": ({"answer": None}, ["`answer`", "null"]),
    "beyond the options": ({"answer": 3}, ["`answer` is 3"]),
    "no text": ({"question": 5}, ["'question' holds int"]),
}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("fault", QUESTIONS)
def test_a_senseless_question_is_named_by_data_set_file_and_row(pages, suffix, fault):
    change, parts = QUESTIONS[fault]
    rows = [QUESTION] if suffix == ".jsonl" else []  # a column of a table has values of one kind
    folder = pages(f"part/a{suffix}", [*rows, QUESTION | change])
    said = refusal(rows_of, SETTINGS | {"kind": "questions", "scoring": "letter", "metric": "acc"}, folder)
    where = f"The data set pages, part/a{suffix}:{len(rows)} (rows count from 0)"
    assert [
        part for part in [where, *parts, "`files`" if change.get("question") != 5 else "`column`"] if part not in said
    ] == []


def test_options_in_a_table_of_text_are_refused(pages):
    rows = [QUESTION | {"choices": "one|two|three"}]
    said = refusal(rows_of, SETTINGS | {"kind": "questions"}, pages("a.csv", rows))
    assert "a.csv:0" in said and "`choices`" in said and "write a list" in said


def test_blank_texts_of_a_data_set_are_no_rows(pages):
    rows = [{"text": text} for text in (" \n", "one", "\u200b\u00a0", "", None, "two")]
    assert [row["text"] for row in rows_of(CORPUS, pages("a.jsonl", rows))] == ["one", "two"]
