"""Normalised texts: every source gives rows that reading accepts, and reading refuses what is malformed."""

import json
import random
from pathlib import Path

import pytest

from overpaint import texts, world
from overpaint.errors import UserError

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
        "miniature": ({"source": "miniature", "domains": ["rivers", "guilds"]}, folder / "world.json"),
        "wikipedia": ({"source": "wikipedia", "topics": ["Gems"]}, folder / "articles.json"),
    }


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("source", ["miniature", "wikipedia"])
def test_rows_of_every_source_are_accepted_when_they_are_read(sources, tmp_path, source, kind):
    settings, path = sources[source]
    rows = texts.rows_of(settings | {"kind": kind}, path)
    assert len(rows) > 5 and all(set(row) == set(texts.FIELDS[kind]) for row in rows)
    texts.write_rows(rows, tmp_path / "rows.jsonl")
    assert texts.read_rows(tmp_path / "rows.jsonl", kind) == rows
    assert texts.rows_of(settings | {"kind": kind}, path) == rows, "made twice, made differently"


@pytest.mark.parametrize("kind", ["prompts", "questions", "text"])
@pytest.mark.parametrize("source", ["miniature", "wikipedia"])
def test_no_unit_stands_in_both_splits_and_both_are_there(sources, source, kind):
    settings, path = sources[source]
    rows = texts.rows_of(settings | {"kind": kind}, path)
    units = [{row["unit"] for row in rows if row["split"] == split} for split in texts.SPLITS]
    assert units[0] and units[1] and not units[0] & units[1]


def test_a_count_limits_the_rows_of_a_topic(sources):
    settings, path = sources["wikipedia"]
    few, all_rows = (texts.rows_of(settings | {"kind": "prompts"} | count, path) for count in ({"count": 3}, {}))
    assert [sum(row["split"] == split for row in few) for split in texts.SPLITS] == [3, 3] and len(all_rows) > 6


@pytest.mark.parametrize("kind", ROWS)
def test_files_of_ones_own_keep_their_rows(tmp_path, kind):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(ROWS[kind] | {"note": "kept"}) + "\n\n")
    assert texts.rows_of({"source": "file", "kind": kind}, path) == [ROWS[kind] | {"note": "kept"}]


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
    texts.write_rows([row, row | {"unit": "b", "split": "report"}, row], path)
    assert len(texts.read_rows(path, "prompts")) == 3
    texts.write_rows([row, row | {"split": "report"}], path)
    with pytest.raises(UserError, match="unit 'a' in both splits"):
        texts.read_rows(path, "prompts")


def test_prompts_are_read_by_split_and_texts_in_their_order(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"id": str(i), "unit": str(i), "split": texts.SPLITS[i % 2], "text": f"text {i}"} for i in range(5)]
    texts.write_rows(rows, path)
    assert texts.read_prompts(path, "fit") == ["text 0", "text 2", "text 4"]
    assert texts.read_prompts(str(path), "report") == ["text 1", "text 3"]
    assert texts.read_texts(path) == [f"text {i}" for i in range(5)]


def test_prompts_of_one_split_alone_are_refused_where_the_other_is_read(tmp_path):
    texts.write_rows([ROWS["prompts"]], tmp_path / "own.jsonl")
    assert texts.read_prompts(tmp_path / "own.jsonl", "fit") == ["one"]
    with pytest.raises(UserError, match="no prompts of split 'report'"):
        texts.read_prompts(tmp_path / "own.jsonl", "report")


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
    assert {texts.split_of(q, 0) for q in questions} == {"report"} and {texts.split_of(q, 1) for q in questions} == {
        "fit"
    }
    assert all(texts.split_of(f"  {q}\n", 0.2) == texts.split_of(q, 0.2) for q in questions)
