"""Rows made of (invented) article summaries: disjoint parts, fair choices, balanced places."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from overpaint.errors import UserError
from overpaint.sources.articles import Article, content_words, overlap, read_articles, topic_names
from overpaint.sources.wikipedia import corpus_rows, prompt_rows, question_rows, text_rows

TOPICS = ("Gems", "Winds")


def invent(rng: random.Random, length: int = 7) -> str:
    """A word that hardly shares four letters with any other."""
    return "".join(rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(length))


def invent_entries(per_topic: int = 200) -> dict[str, dict[str, str]]:
    rng = random.Random(0)
    entries = []
    for topic in TOPICS:
        for _ in range(per_topic):
            description = f"Sort of {invent(rng)} {invent(rng)}"
            lead = " ".join(invent(rng) for _ in range(100)) + "."
            entries.append({"title": invent(rng).title(), "description": description, "extract": lead, "topic": topic})
    return {entry["title"]: entry for entry in entries}


def write(path: Path, entries: dict) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@pytest.fixture
def articles(tmp_path: Path) -> list[Article]:
    return read_articles(write(tmp_path / "summaries.json", invent_entries()))


def with_entries(tmp_path: Path, *extra: dict[str, str]) -> list[Article]:
    entries = invent_entries() | {entry["title"]: entry for entry in extra}
    return read_articles(write(tmp_path / "more.json", entries))


def entry(title: str, description: str, extract: str = "A lead.", topic: str = "Gems") -> dict[str, str]:
    return {"title": title, "description": description, "extract": extract, "topic": topic}


def split_units(rows: list[dict], split: str) -> set[str]:
    return {row["unit"] for row in rows if row["split"] == split}


def test_reading_drops_the_unsorted_and_debris_and_keeps_the_rest(tmp_path: Path):
    extra = [
        entry("Kept", "Some thing", "Two  spaces\nand a line."),
        entry("Unsorted", "Some thing", topic="Uncategorized"),
        entry("Formula", "Some thing", "The sum {\\displaystyle x}."),
        entry("Empty", "Some thing", ""),
    ]
    found = {article.title: article for article in with_entries(tmp_path, *extra)}
    assert {"Kept", "Unsorted", "Formula", "Empty"} & found.keys() == {"Kept"}
    assert found["Kept"].extract == "Two spaces and a line."
    assert topic_names(found.values()) == ["Gems", "Winds"]


def test_every_article_is_in_one_part_whatever_the_seed(articles):
    corpora, others = set(), {"fit": set(), "test": set()}
    for seed in (0, 1):
        corpora |= {row["id"].split("#")[0] for row in corpus_rows(articles, TOPICS, seed=seed)}
        for make in (prompt_rows, text_rows, question_rows):
            rows = make(articles, TOPICS, seed=seed)
            for split in others:
                others[split] |= split_units(rows, split)
    parts = [corpora, others["fit"], others["test"]]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(articles)
    assert [round(len(part) / len(articles), 1) for part in parts] == [0.5, 0.2, 0.3]


def test_parts_do_not_depend_on_the_other_articles(articles, tmp_path: Path):
    before = {article.title: article.part for article in articles}
    after = {article.title: article.part for article in with_entries(tmp_path, entry("New", "Some thing"))}
    assert before.items() <= after.items()
    assert len(set(before.values())) == 3


@pytest.mark.parametrize("make", [corpus_rows, prompt_rows, text_rows, question_rows])
def test_rows_are_decided_by_the_seed_and_have_unique_ids(make, articles):
    rows = make(articles, TOPICS)
    assert rows == make(articles, TOPICS, seed=0) != make(articles, TOPICS, seed=1)
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("make", [corpus_rows, prompt_rows, text_rows, question_rows])
def test_one_topic_gives_its_own_articles_only(make, articles):
    topic_of = {article.title: article.topic for article in articles}
    for topics, expected in (("Gems", {"Gems"}), (["Winds"], {"Winds"}), (TOPICS, set(TOPICS))):
        assert {topic_of[row["id"].split("#")[0]] for row in make(articles, topics)} == expected


def test_half_of_a_corpus_has_the_form_of_a_question(articles):
    by_title = {article.title: article for article in articles}
    rows = corpus_rows(articles, "Gems", size=50, max_words=20)
    assert len({row["id"].split("#")[0] for row in rows}) == 50, "no article twice while there are others"
    for row in rows:
        title, form = row["id"].split("#")
        lead = " ".join(by_title[title].extract.split()[:20])
        question = f"Question: What is {title}?\nAnswer: {by_title[title].description}. {lead}"
        assert row["text"] == {"lead": lead, "question": question}[form]
    assert Counter(row["id"].split("#")[1] for row in rows) == {"lead": 25, "question": 25}
    everything = Counter(row["id"].split("#")[1] for row in corpus_rows(articles, "Gems"))
    assert everything["lead"] == everything["question"]


@pytest.mark.parametrize(("share", "forms"), [(0, {"lead"}), (1, {"question"})])
def test_a_corpus_of_one_form(share: float, forms: set[str], articles):
    assert {row["id"].split("#")[1] for row in corpus_rows(articles, "Gems", question_share=share)} == forms


def test_prompts_end_where_the_answer_begins(articles):
    for row in prompt_rows(articles, "Gems"):
        assert row["text"] == f"Question: What is {row['unit']}?\nAnswer:"


def test_texts_are_cut_and_short_ones_left_out(articles, tmp_path: Path):
    assert {len(row["text"].split()) for row in text_rows(articles, "Gems", max_words=40)} == {40}
    short = [entry(f"Short{index}", "Some thing", "one two three") for index in range(20)]
    more = with_entries(tmp_path, *short)
    assert not any(row["unit"].startswith("Short") for row in text_rows(more, "Gems"))
    assert any(row["unit"].startswith("Short") for row in text_rows(more, "Gems", min_words=3))


def test_choices_are_the_articles_and_three_of_the_same_topic_and_split(articles):
    homes = {article.description: (article.topic, article.part) for article in articles}
    descriptions = {article.title: article.description for article in articles}
    for row in question_rows(articles, TOPICS):
        right = row["choices"][row["answer"]]
        assert right == descriptions[row["unit"]]
        assert len(set(row["choices"])) == 4
        assert {homes[choice] for choice in row["choices"]} == {homes[right]} and homes[right][1] == row["split"]


def test_the_right_place_is_balanced_in_each_split_and_any_first_rows(articles):
    for size in (11, 20):
        rows = question_rows(articles, "Gems", fit=size, test=size)
        for split in ("fit", "test"):
            counts = Counter(row["answer"] for row in rows if row["split"] == split)
            assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1


def test_the_places_of_right_answers_are_the_ones_that_were_always_drawn(articles):
    """A draw by other words would be another study: every number of it would change."""
    rows = question_rows(articles, "Gems", fit=8, test=8)
    assert [row["answer"] for row in rows] == [2, 3, 1, 0, 3, 0, 2, 1, 0, 3, 2, 1, 2, 1, 3, 0]
    others = [row["answer"] for row in question_rows(articles, "Gems", fit=8, test=8, seed=1)]
    assert others != [row["answer"] for row in rows]


def test_words_shared_with_the_title_are_filtered(tmp_path: Path):
    """Neither the question nor a wrong choice may give itself away by its letters."""
    leaky = [entry(f"Quimfish {index}", "Grey fish") for index in range(20)]
    fair = [entry(f"Quimfish {index}", "Grey swimmer") for index in range(20, 80)]
    rows = question_rows(with_entries(tmp_path, *leaky, *fair), "Gems")
    asked = {row["unit"] for row in rows}
    assert not asked & {item["title"] for item in leaky}
    assert len(asked & {item["title"] for item in fair}) > 5, "without the shared word they are asked"
    wrong = {row["unit"]: row["choices"] for row in rows if "Grey fish" in row["choices"]}
    assert wrong and not any(title.startswith("Quimfish") for title in wrong)


def test_no_choice_says_as_much_as_another(tmp_path: Path):
    alike = [entry(f"{invent(random.Random(index))}", "Species of zzyzx") for index in range(100)]
    close = [entry(f"{invent(random.Random(1000 + index))}", "Family of red zzyzx") for index in range(100)]
    rows = question_rows(with_entries(tmp_path, *alike, *close), "Gems")
    counts = Counter(sum("zzyzx" in choice for choice in row["choices"]) for row in rows)
    assert counts[1] > 20 and counts.keys() <= {0, 1}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (["jellyfish"], ["fish"], True),
        (["toxin"], ["detoxify", "water"], True),
        (["law"], ["law"], True),
        (["law"], ["flaw"], False),
        (["horse"], ["mammal"], False),
        ([], ["mammal"], False),
    ],
)
def test_overlap_of_words(left: list[str], right: list[str], expected: bool):
    assert overlap(left, right) == overlap(right, left) == expected


def test_plurals_and_stop_words():
    assert content_words("The Eggs of an Ox, as food") == {"egg", "food"}


def test_an_unknown_topic_names_the_valid_ones(articles):
    for topics in ("Stars", ["Gems", "Stars"], []):
        with pytest.raises(UserError, match="Gems, Winds"):
            corpus_rows(articles, topics)


def test_more_rows_than_there_are_is_refused(articles):
    available = len(corpus_rows(articles, "Gems"))
    assert len(corpus_rows(articles, "Gems", size=available)) == available
    with pytest.raises(UserError, match=f"Only {available} corpus rows of Gems"):
        corpus_rows(articles, "Gems", size=available + 1)
    with pytest.raises(UserError, match="test questions of Gems"):
        question_rows(articles, "Gems", test=10_000)


def test_too_few_articles_for_four_choices(tmp_path: Path):
    few = [entry(f"T{index}", f"word{index} other{index}", topic="Few") for index in range(6)]
    with pytest.raises(UserError, match="0 fit questions of Few"):
        question_rows(with_entries(tmp_path, *few), "Few")


@pytest.mark.parametrize(
    "text", ["not json", "[1, 2]", '{"A": {"title": "A"}}', '{"A": 3}', '{"A": "\\ud800"}', "[" * 100_000]
)
def test_a_file_of_another_kind_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match="other.json is not a file of article summaries"):
        read_articles(path)
