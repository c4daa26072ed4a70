"""Results as data frames: what the tables hold, and scores that are computed anew from the rows of questions."""

import re

import pandas as pd
import pytest
from helpers.checkout import OUT, ROOT

import overpaint
from overpaint.errors import UserError

PAGE = (ROOT / "docs/reading.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(study) -> overpaint.Results:
    return overpaint.load(study / OUT)


def test_the_tables_are_those_of_the_study(study, results):
    assert {f"{name}.csv" for name in results.tables} == {path.name for path in (study / OUT / "tables").glob("*.csv")}
    assert len(results.tables["scores"]) > 100


def test_scores_anew_are_the_tables_to_the_byte(study, results):
    anew = results.rescored()
    pd.testing.assert_frame_equal(anew, results.tables["scores"])
    assert anew.to_csv(index=False) == (study / OUT / "tables/scores.csv").read_text(encoding="utf-8")


def test_scores_anew_are_of_the_rows_that_are_given(results):
    rows, before = results.answers, results.rescored()
    changed = rows.assign(nll=rows.nll + (rows.run != "base"))
    after = results.rescored(changed)
    moved = (before.metric == "nll") & (before.method != "base")
    assert (after.value[moved] - before.value[moved]).round(9).eq(1).all() and moved.sum() > 10
    one = results.rescored(rows[rows.seed.isin(["", "0"])])
    kept = before[before.seed.isin(["", "0"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(one[one.seed != "all"].reset_index(drop=True), kept)


def test_what_is_not_there_is_one_sentence(study, results, tmp_path):
    with pytest.raises(UserError, match="There are no tables in .*: run the study first"):
        overpaint.load(tmp_path)
    with pytest.raises(UserError, match="no row of the base model of smoke"):
        results.rescored(results.answers[results.answers.run != "base"])
    (tmp_path / "tables").symlink_to(study / OUT / "tables")
    with pytest.raises(UserError, match="There is no .*base/answers.parquet"):
        overpaint.load(tmp_path).answers  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        overpaint.lode  # noqa: B018


def test_the_example_of_the_page_runs(study, tmp_path, monkeypatch, capsys):
    (tmp_path / "results").symlink_to(study / OUT)
    monkeypatch.chdir(tmp_path)
    example, _ = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert len(names["accuracy"]) > 10 and len(names["one"]) < len(names["anew"])
    assert "rmu_smoke/layer=1/c=4/seed=0" in capsys.readouterr().out


def test_the_page_describes_every_column_of_the_answers(results):
    told = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")))
    assert [*overpaint.tables.core.RUN, *told[1:]] == [name for name in results.answers if name != "run"]
    assert told[0] == "run"
