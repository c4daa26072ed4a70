"""The explorer page: it holds what was answered, as text that nothing ends, and not more than it may."""

import json
import re

import pandas as pd
import pytest
from helpers.answers import explored
from helpers.pages import Page

from overpaint.report import explorer
from overpaint.report.markup import visible
from overpaint.report.select import Cell

ATTACK = "</script><script>alert(1)</script><!--<script>\u2028\u202e"


@pytest.fixture
def made(tmp_path):
    """made(**changes): the text of a page and its data, of files in tmp_path."""

    def make(asked=None, **given):
        files, shown = explored(tmp_path, **given)
        explorer.render(files, asked or shown, tmp_path / "explorer.html")
        text = (tmp_path / "explorer.html").read_text(encoding="utf-8")
        return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])

    return make


def test_the_page_holds_how_each_question_was_answered(made, tmp_path):
    _, data = made()
    [model], rows = data["models"], pd.read_parquet(tmp_path / "1.parquet")
    run = model["runs"][1]
    assert [model["base"]["name"], run["name"]] == ["base", "RMU, layer 2, c = 4, seed 0"]
    assert set(run["states"]) == {"none", "span", "rand"}, "other clearings are left out"
    for name, state in run["states"].items():
        first = rows[rows.clearing == name].drop_duplicates(["benchmark", "id"])
        assert [mark == "1" for mark in state["right"]] == first.correct.tolist()
        assert state["scores"] == [round(100 * score) for scores in first.scores for score in scores]
    nulls = rows[rows.clearing == "rand"].groupby(["benchmark", "id"], sort=False).correct.sum()
    assert run["nulls"] == {"of": 3, "right": nulls.tolist()} and len(set(nulls)) > 1
    assert model["answer"] == rows[rows.clearing == "none"].answer.tolist()


def test_answers_under_another_topics_direction_are_left_out(tmp_path):
    _, asked = explored(tmp_path)
    rows = pd.read_parquet(tmp_path / "1.parquet")
    keys = pd.MultiIndex.from_frame(rows[explorer.KEY].drop_duplicates())
    topics = rows[rows.clearing == "topic"].assign(clearing="span")  # by the direction of `ice`
    right = explorer._answered(topics, keys, asked.study)["states"]["span"]["right"]
    assert right.count("-") == 48 and "-" not in right[48:], "of `calm`, any direction"


def test_completions_stand_beside_questions_about_their_unit(made):
    _, data = made()
    [model] = data["models"]
    assert [prompt["of"] for prompt in model["prompts"]] == [[0, 1], [2, 3]], "two of each unit, none that is withheld"
    assert model["runs"][1]["written"]["span"] == [f"rmu/layer=2/c=4/seed=0 cleared {n}" for n in (0, 1)]


def test_no_text_ends_the_data_or_stays_invisible(made):
    text, data = made(more=ATTACK)
    assert data["models"][0]["question"][0] == visible(f"fire 0 ?{ATTACK}")
    assert Page(text).tags.count("script") == 2, "the data and the page's own"
    assert "<!--" not in text.partition('id="data">')[2] and "\u202e" not in text


def test_texts_of_data_sets_are_left_out(made):
    text, data = made()
    assert "fire 3 ?" in text and "secret 3 ?" not in text and "without their texts" in text
    assert data["models"][0]["choices"][24] is None and data["models"][0]["options"][24] == 2


def test_the_main_cell_comes_first(tmp_path):
    _, asked = explored(tmp_path)
    assert asked.runs[0] == "rmu/layer=3/c=6.5/seed=0", "the largest c"
    named = explorer.Asked(asked.study, ["model"], {}, {}, Cell(2, 4.0))
    assert named.runs[:2] == ["rmu/layer=2/c=4/seed=0", "rmu/layer=2/c=4/seed=1"]


@pytest.mark.parametrize(("limit", "questions", "runs"), [(10**6, 72, 3), (8_000, 72, 1), (4_000, 36, 1)])
def test_a_page_without_room_holds_less_and_says_so(made, monkeypatch, limit, questions, runs):
    monkeypatch.setattr(explorer, "LIMIT", limit)
    monkeypatch.setattr(explorer, "MOST", 72)
    text, data = made()
    [model] = data["models"]
    assert (len(model["id"]), len(model["runs"])) == (questions, runs) and len(explorer._json(model)) <= limit
    said = f"model: {questions} questions of 72, {runs} run"
    assert (said in text) == (limit < 10**6)


def test_a_study_without_questions_has_a_page(made, tmp_path):
    files, asked = explored(tmp_path)
    for path in files.answers:
        pd.read_parquet(path).assign(kind="text").to_parquet(path)
    explorer.render(files, asked, tmp_path / "none.html")
    assert '"id":[]' in (tmp_path / "none.html").read_text()
