"""Normalised texts: every source gives rows that reading accepts, and reading refuses what is malformed."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overpaint.errors import UserError
from overpaint.sources import rows as rows_of
from overpaint.sources import texts, world

ROWS = {
    "corpus": {"id": "1", "text": "one"},
    "prompts": {"id": "1", "unit": "a", "split": "fit", "text": "one"},
    "questions": {"id": "1", "unit": "a", "split": "fit", "question": "?", "choices": ["x", "y"], "answer": 0},
    "text": {"id": "1", "unit": "a", "split": "fit", "text": "one"},
}


def word(rng: random.Random) -> str:
    return "".join(rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(7))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, tuple[dict, Path]]:
    """Settings and file of a world and of an (invented) collection of articles."""
    folder, rng = tmp_path_factory.mktemp("sources"), random.Random(0)
    world.save(world.generate(seed=0, entities=8, values=8), folder / "world.json")
    titles = [word(rng).title() for _ in range(400)]
    entries = {
        title: {
            "title": title,
            "description": f"Sort of {word(rng)} {word(rng)}",
            "extract": " ".join(word(rng) for _ in range(100)) + ".",
            "topic": ("Gems", "Winds")[index % 2],
        }
        for index, title in enumerate(titles)
    }
    (folder / "articles.json").write_text(json.dumps(entries))
    return {
        "fictional": ({"source": "fictional", "domains": ["rivers", "guilds"]}, folder / "world.json"),
        "wikipedia": ({"source": "wikipedia", "topics": ["Gems"]}, folder / "articles.json"),
    }


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("source", ["fictional", "wikipedia"])
def test_rows_of_every_source_are_accepted_when_they_are_read(sources, tmp_path, source, kind):
    settings, path = sources[source]
    rows = rows_of(settings | {"kind": kind}, path)
    told = {"part"} if source == "fictional" and kind != "corpus" else set()
    told |= {"domain", "attribute", "stem", "answer"} if source == "fictional" and kind == "prompts" else set()
    assert len(rows) > 5 and all(set(row) == set(texts.FIELDS[kind]) | told for row in rows)
    texts.write_rows(rows, tmp_path / "rows.jsonl")
    assert texts.read_rows(tmp_path / "rows.jsonl", kind) == rows
    assert rows_of(settings | {"kind": kind}, path) == rows, "made twice, made differently"


@pytest.mark.parametrize("kind", ["prompts", "questions", "text"])
@pytest.mark.parametrize("source", ["fictional", "wikipedia"])
def test_no_unit_stands_in_both_splits_and_both_are_there(sources, source, kind):
    settings, path = sources[source]
    rows = rows_of(settings | {"kind": kind}, path)
    units = [{row["unit"] for row in rows if row["split"] == split} for split in texts.SPLITS]
    assert units[0] and units[1] and not units[0] & units[1]


def test_a_count_limits_the_rows_of_a_topic(sources):
    settings, path = sources["wikipedia"]
    few, all_rows = (rows_of(settings | {"kind": "prompts"} | count, path) for count in ({"max_rows": 3}, {}))
    assert [sum(row["split"] == split for row in few) for split in texts.SPLITS] == [3, 3] and len(all_rows) > 6


@pytest.mark.parametrize("kind", ROWS)
def test_files_of_ones_own_keep_their_rows(tmp_path, kind):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(ROWS[kind] | {"note": "kept"}) + "\n\n")
    assert rows_of({"source": "file", "kind": kind}, path) == [ROWS[kind] | {"note": "kept"}]


@pytest.mark.parametrize("kind", ROWS)
def test_each_field_of_a_row_is_needed_and_typed(tmp_path, kind):
    path = tmp_path / "own.jsonl"
    for field in ROWS[kind]:
        for broken in ({k: v for k, v in ROWS[kind].items() if k != field}, ROWS[kind] | {field: None}):
            texts.write_rows([ROWS[kind], broken], path)
            with pytest.raises(UserError, match=f"line 2: `{field}` is missing") as caught:
                texts.read_rows(path, kind)
            assert ", ".join(texts.FIELDS[kind]) in str(caught.value)
    texts.write_rows([ROWS[kind], ROWS[kind]], path)
    assert len(texts.read_rows(path, kind)) == 2


def test_a_unit_in_both_splits_is_refused_and_one_that_is_twice_in_a_split_is_not(tmp_path):
    path, row = tmp_path / "own.jsonl", ROWS["prompts"]
    texts.write_rows([row, row | {"unit": "b", "split": "test"}, row], path)
    assert len(texts.read_rows(path, "prompts")) == 3
    texts.write_rows([row, row | {"split": "test"}], path)
    with pytest.raises(UserError, match="unit 'a' in both splits"):
        texts.read_rows(path, "prompts")


def test_prompts_are_read_by_split_and_texts_in_their_order(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"id": str(i), "unit": str(i), "split": texts.SPLITS[i % 2], "text": f"text {i}"} for i in range(5)]
    texts.write_rows(rows, path)
    assert texts.read_prompts(path, "fit") == ["text 0", "text 2", "text 4"]
    assert texts.read_prompts(str(path), "test") == ["text 1", "text 3"]
    assert texts.read_texts(path) == [f"text {i}" for i in range(5)]


def test_prompts_may_have_an_answer(tmp_path):
    rows = [ROWS["prompts"] | {"id": str(i)} | more for i, more in enumerate([{}, {"answer": None}, {"answer": "x y"}])]
    texts.write_rows(rows, tmp_path / "own.jsonl")
    assert texts.prompts_of(tmp_path / "own.jsonl", "fit") == rows


def test_prompts_of_one_split_alone_are_refused_where_the_other_is_read(tmp_path):
    texts.write_rows([ROWS["prompts"]], tmp_path / "own.jsonl")
    assert texts.read_prompts(tmp_path / "own.jsonl", "fit") == ["one"]
    with pytest.raises(UserError, match="no prompts of split 'test'"):
        texts.read_prompts(tmp_path / "own.jsonl", "test")


def test_text_of_every_script_survives_writing_and_reading(tmp_path):
    row = ROWS["corpus"] | {"text": 'naïve "quoted"\n\u2028 \u00a0 日本語 \\ 🜁'}
    texts.write_rows([row, row], tmp_path / "own.jsonl")
    assert texts.read_rows(tmp_path / "own.jsonl", "corpus") == [row, row]


def test_a_corpus_may_hold_further_fields(tmp_path):
    texts.write_rows([ROWS["corpus"] | {"unit": "a"}], tmp_path / "own.jsonl")
    assert len(texts.read_rows(tmp_path / "own.jsonl", "corpus")) == 1


def test_a_file_in_another_encoding_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "own.jsonl").write_bytes('{"id": "1", "text": "Käse"}\n'.encode("latin-1"))
    with pytest.raises(UserError):
        texts.read_rows(tmp_path / "own.jsonl", "corpus")


@pytest.mark.parametrize(
    ("count", "taken"), [(0, []), (1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (9, list(range(9))), (10, list(range(10)))]
)
def test_items_are_spread_evenly(count, taken):
    assert texts.spread(list(range(10)), count) == taken


def test_of_few_items_all_are_taken():
    assert texts.spread(["a", "b"], 5) == ["a", "b"] and texts.spread([], 5) == []


def test_a_text_is_in_the_same_split_wherever_it_stands():
    questions = [f"What is number {n}?" for n in range(2000)]
    small, large = ({q for q in questions if texts.split_of(q, share) == "fit"} for share in (0.2, 0.3))
    assert small < large  # nested, so that fit prompts of one share never are report questions of a larger one
    assert 0.17 < len(small) / 2000 < 0.23 and 0.27 < len(large) / 2000 < 0.33
    assert {texts.split_of(q, 0) for q in questions} == {"test"} and {texts.split_of(q, 1) for q in questions} == {
        "fit"
    }
    assert all(texts.split_of(f"  {q}\n", 0.2) == texts.split_of(q, 0.2) for q in questions)


# --- rows that make no sense

QUESTION = ROWS["questions"]
DEEP = "[" * 100_000 + "]" * 100_000
SENSELESS = {
    # What no line of a file can be: kind, the line, what the sentence must say beside file and line.
    "an array of all rows": ("corpus", json.dumps([ROWS["corpus"]]), ["one object a line", "`id` is missing"]),
    "an array over several lines": ("corpus", '[\n{"id": "1", "text": "one"}\n]', ["JSON", "several lines"]),
    "an object over several lines": ("corpus", '{\n"id": "1", "text": "one"}', ["JSON", "several lines"]),
    "two objects in one line": ("corpus", json.dumps(ROWS["corpus"]) * 2, ["JSON", "one object a line"]),
    "a number": ("corpus", "5", ["one object a line"]),
    "text": ("corpus", "one", ["JSON", "one object a line"]),
    "half a character": ("corpus", '{"id": "1", "text": "\\ud800"}', ["half a character", "\\ud800"]),
    "half a character in another field": ("corpus", '{"id": "1", "text": "one", "n": "\\udfff"}', ["half a character"]),
    "nested deep": ("corpus", f'{{"id": "1", "text": "one", "n": {DEEP}}}', ["nested"]),
    "an integer of 5,000 digits": ("questions", json.dumps(QUESTION)[:-2] + "9" * 5000 + "}", ["digits"]),
    "a key twice": ("questions", json.dumps(QUESTION)[:-1] + ', "answer": 1}', ["'answer' twice"]),
    "not a number": ("questions", json.dumps(QUESTION | {"answer": float("nan")}), ["NaN", "not finite"]),
    "an infinite number": ("corpus", '{"id": "1", "text": "one", "n": 1e999}', ["1e999", "not finite"]),
    "a minus in front of Infinity": ("corpus", '{"id": "1", "text": "one", "n": -Infinity}', ["not finite"]),
    # What no field can be.
    "no text": ("corpus", {"text": None}, ["`text` is missing", "null"]),
    "an empty text": ("corpus", {"text": ""}, ["`text` is ''", "says nothing"]),
    "a blank text": ("text", {"text": " \n\u00a0\u200b"}, ["`text`", "says nothing"]),
    "an empty prompt": ("prompts", {"text": ""}, ["`text` is ''"]),
    "a number for a prompt's answer": ("prompts", {"answer": 7}, ["`answer` is no text", 'write "7", not 7']),
    "a list for a prompt's answer": ("prompts", {"answer": ["x"]}, ["`answer`", 'write a text in quotes, not ["x"]']),
    "a truth for a prompt's answer": ("prompts", {"answer": True}, ["`answer` is no text"]),
    "a blank answer to a prompt": ("prompts", {"answer": " "}, ["`answer` is ' '", "says nothing", "leave it out"]),
    "a list for a text": ("prompts", {"text": ["one"]}, ["`text`", 'write a text in quotes, not ["one"]']),
    "an empty id": ("corpus", {"id": ""}, ["`id` is ''"]),
    "a number for an id": ("corpus", {"id": 7}, ['write "7", not 7']),
    "a blank unit": ("text", {"unit": "  "}, ["`unit`", "says nothing"]),
    "an unknown split": ("text", {"split": "train"}, ["`split` is 'train'", "fit or test"]),
    "a split in capitals": ("text", {"split": "Fit"}, ["`split` is 'Fit'"]),
    "a list for a split": ("text", {"split": ["fit"]}, ["`split` is missing or no str"]),
    "a blank question": ("questions", {"question": " \n"}, ["`question`", "says nothing"]),
    "no options": ("questions", {"choices": []}, ["at least two `choices`", "0"]),
    "one option": ("questions", {"choices": ["x"]}, ["at least two `choices`", "there are 1"]),
    "text for options": ("questions", {"choices": "xy"}, ['write a list, ["one", "another"], not "xy"']),
    "an object for options": ("questions", {"choices": {"text": ["x", "y"]}}, ["`choices`", "write a list"]),
    "options that are objects": (
        "questions",
        {"choices": [{"text": "x"}, {"text": "y"}]},
        ['{"text": "x"}', "no text"],
    ),
    "options that are numbers": ("questions", {"choices": [1, 2]}, ["`choices` has 1", "as a text"]),
    "options of mixed kinds": ("questions", {"choices": ["x", 2.5]}, ["`choices` has 2.5"]),
    "options that are true": ("questions", {"choices": [True, False]}, ["`choices` has true"]),
    "a null among the options": ("questions", {"choices": ["x", "y", None]}, ["`choices` has null"]),
    "options that are lists": ("questions", {"choices": [["x"], ["y"]]}, ['`choices` has ["x"]']),
    "an empty option": ("questions", {"choices": ["x", ""]}, ['the option ""', "says nothing"]),
    "a blank option": ("questions", {"choices": ["x", "\t\u2028"]}, ["`choices` has the option", "says nothing"]),
    "an invisible option": ("questions", {"choices": ["x", "\ufeff\u200b"]}, ["says nothing"]),
    "equal options": ("questions", {"choices": ["x", "y", "x"]}, ['`choices` has "x" more than once']),
    "options equal but for spaces": ("questions", {"choices": ["x", " x"]}, ["more than once"]),
    "an answer beyond the options": ("questions", {"answer": 2}, ["`answer` is 2", "there are 2"]),
    "an answer of 4,000 digits": ("questions", {"answer": 10**4000}, ["`answer` is 1000"]),
    "a negative answer": ("questions", {"answer": -1}, ["`answer` is -1"]),
    "a digit in quotes": ("questions", {"answer": "1"}, ['write 1, not "1"']),
    "a fraction": ("questions", {"answer": 1.0}, ["write 1, not 1.0"]),
    "a letter": ("questions", {"answer": "B"}, ['write 1, not "B"']),
    "many digits in quotes": ("questions", {"answer": "1" * 5000}, ["write 1111", 'not "1111']),
    "a letter of which there is no capital": ("questions", {"answer": "ß"}, ["the number of the correct option"]),
    "the correct option's text": (
        "questions",
        {"answer": "why"},
        ["the number of the correct option, from 0", '"why"'],
    ),
    "true": ("questions", {"answer": True}, ["the number of the correct option, from 0", "true"]),
    "no answer": ("questions", {"answer": None}, ["`answer` is missing or no int", "null"]),
    "a list of answers": ("questions", {"answer": [0]}, ["the number of the correct option"]),
}


def said_of(action: Callable, *arguments: Any) -> str:
    """The one sentence with which reading ends."""
    with pytest.raises(UserError) as caught:
        action(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 500 and sentence.isprintable()
    return sentence


@pytest.mark.parametrize("fault", SENSELESS)
def test_a_senseless_row_is_refused_with_file_line_and_cure(tmp_path, fault):
    kind, change, parts = SENSELESS[fault]
    line = change if isinstance(change, str) else json.dumps(ROWS[kind] | change)
    path = tmp_path / "own.jsonl"
    path.write_text(f"{json.dumps(ROWS[kind])}\r\n\n{line}\n{json.dumps(ROWS[kind])}\n", encoding="utf-8")
    sentence = said_of(rows_of, {"source": "file", "kind": kind}, path)
    assert [part for part in [f"{path}, line 3", *parts] if part not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ({"scoring": "continuation", "metric": "acc"}, True),
        ({"scoring": "continuation", "metric": "acc_norm"}, True),
        ({"scoring": "continuation", "metric": "acc_mutual_info"}, False),
        ({"scoring": "letter", "metric": "acc"}, False),
    ],
)
def test_a_question_is_empty_only_where_options_are_scored_by_themselves(tmp_path, settings, accepted):
    texts.write_rows([QUESTION | {"question": ""}], tmp_path / "own.jsonl")
    settings |= {"source": "file", "kind": "questions"}
    if accepted:
        assert rows_of(settings, tmp_path / "own.jsonl")[0]["question"] == ""
    else:
        said = said_of(rows_of, settings, tmp_path / "own.jsonl")
        assert "own.jsonl, line 1: `question` is empty" in said and "continuation" in said


def test_options_are_no_more_than_the_letters_where_letters_are_scored(tmp_path):
    path, settings = tmp_path / "own.jsonl", {"source": "file", "kind": "questions", "scoring": "letter"}
    for count in (26, 27):
        texts.write_rows([QUESTION | {"choices": [f"x{n}" for n in range(count)], "answer": 25}], path)
        assert len(rows_of(settings | {"scoring": "continuation"}, path)) == 1
        if count == 26:
            assert len(rows_of(settings, path)) == 1
        else:
            assert "27 options, and there are 26 letters" in said_of(rows_of, settings, path)


@pytest.mark.parametrize("key", ["choices", "note"])
def test_what_is_not_too_deep_to_read_can_be_told_and_written_again(tmp_path, key):
    path, said = tmp_path / "own.jsonl", set()
    for depth in range(100, 1200, 50):
        nested = "[" * depth + '"x"' + "]" * depth
        path.write_text(json.dumps(QUESTION | {key: "HERE"}).replace('"HERE"', nested) + "\n")
        try:
            texts.write_rows(texts.read_rows(path, "questions"), tmp_path / "again.jsonl")
        except UserError as error:
            said.add("nested too deep" if "nested too deep" in str(error) else "`choices`")
    assert "nested too deep" in said and len(said) == (2 if key == "choices" else 1)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\n\r\n \n", b""])
def test_a_byte_order_mark_and_the_ends_of_lines_change_no_row(tmp_path, start, end):
    lines = [json.dumps(ROWS["corpus"] | {"id": str(n)}).encode() for n in range(3)]
    (tmp_path / "own.jsonl").write_bytes(start + (end or b"\n").join(lines) + end)
    assert [row["id"] for row in texts.read_rows(tmp_path / "own.jsonl", "corpus")] == ["0", "1", "2"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_another_encoding_is_refused_with_its_line(tmp_path, encoding):
    good = json.dumps(ROWS["corpus"]) + "\n"
    start = good.encode() if encoding in ("latin-1", "cp1252") else b""
    (tmp_path / "own.jsonl").write_bytes(start + '{"id": "1", "text": "Käse"}\n'.encode(encoding))
    line = 2 if start else 1
    assert f"own.jsonl, line {line} is not " in said_of(texts.read_rows, tmp_path / "own.jsonl", "corpus")


def test_a_path_that_is_no_readable_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    said = {
        name: said_of(texts.read_rows, tmp_path / name, "corpus")
        for name in (".", "pipe", "link", "loop", "gone", "file/below", "n" * 300)
    }
    said["null"] = said_of(texts.read_rows, Path("/dev/null"), "corpus")
    assert all("`path`" in sentence for sentence in said.values()), said
    assert "is a folder" in said["."] and "no regular file" in said["pipe"] and "no regular file" in said["null"]
    assert all("There is no file" in said[name] for name in ("link", "gone", "file/below"))


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path, monkeypatch):
    texts.write_rows([ROWS["corpus"]], tmp_path / "own.jsonl")
    refused = PermissionError(13, "Permission denied", str(tmp_path / "own.jsonl"))
    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: (_ for _ in ()).throw(refused))
    said = said_of(texts.read_rows, tmp_path / "own.jsonl", "corpus")
    assert "own.jsonl" in said and "Permission denied" in said


def test_reading_takes_seconds_for_a_hundred_megabytes(tmp_path):
    path = tmp_path / "own.jsonl"
    row = json.dumps(ROWS["prompts"] | {"text": "word " * 200}) + "\n"
    path.write_text(row * (10_000_000 // len(row)))
    start = time.process_time()
    texts.read_rows(path, "prompts")
    assert time.process_time() - start < 3, "a tenth of it"
