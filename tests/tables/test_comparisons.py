"""Comparisons with nulls and exact tests: numbers equal to a direct computation, and none where nothing was gained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.answers import (
    FIRST,
    HAZARDOUS,
    QUESTIONS,
    RUN,
    RUNS,
    SKILL,
    STUDY,
    UNITS,
    VARIANTS,
    WHOLE,
    answer_rows,
    pick,
)

from overpaint.tables import comparisons, core, statistics
from overpaint.tables import scores as scoring

SEEDS = list(RUNS)[1:3]
REFITS = {"span_boot": [{"refit": number} for number in range(3)]}
DRAWS = {"rand": [{"draw": number} for number in range(10)]}


@pytest.fixture(scope="module")
def answers() -> dict[str, pd.DataFrame]:
    """Answers of every run; `span` and its refits answer more than any draw."""
    rng = np.random.default_rng(1)
    found = {"base": answer_rows(rng, {"none": WHOLE}, {"none": 0.9})}
    variants, skill = VARIANTS | DRAWS | REFITS, SKILL | {"span_boot": 0.6}
    return found | {run: answer_rows(rng, variants, skill) for run in RUNS if run != "base"}


@pytest.fixture(scope="module")
def scores(answers) -> pd.DataFrame:
    return scoring.scores(answers, STUDY)


@pytest.fixture(scope="module")
def nulls(scores) -> pd.DataFrame:
    return comparisons.nulls(scores, STUDY)


@pytest.fixture(scope="module")
def tests(answers) -> pd.DataFrame:
    return comparisons.mcnemar(answers, STUDY)


def row_of(table: pd.DataFrame, seed: str = "0", layer: int = 2, **wanted: str) -> pd.Series:
    rows = table[(table.layer == layer) & (table.seed == seed)]
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, f"{len(rows)} rows"
    return rows.iloc[0]


# --- nulls


@pytest.mark.parametrize("seed", ["0", "all"])
@pytest.mark.parametrize("benchmark", ["fire", "all"])
def test_a_clearing_stands_among_the_draws_of_its_cell(nulls, scores, seed, benchmark):
    for metric, sign in (("accuracy", 1), ("nll", -1)):
        found = row_of(nulls, seed, metric=metric, benchmark=benchmark, clearing="span", null="rand")
        draws = np.array([pick(scores, metric, benchmark, "rand", seed=seed, draw=i).value for i in range(10)])
        value = pick(scores, metric, benchmark, "span", seed=seed).value
        assert (found.value, found.draws, found.null_mean) == pytest.approx((value, 10, draws.mean()))
        assert found.null_best == pytest.approx(draws.max() if sign > 0 else draws.min())
        assert found.z == pytest.approx(sign * (value - draws.mean()) / draws.std(ddof=1)) and found.z > 2
        assert found.p == pytest.approx(1 / 11)


def test_single_draws_and_their_means_over_seeds_are_told_apart(nulls, scores):
    for metric, best in (("accuracy", max), ("nll", min)):
        found = row_of(nulls, "all", metric=metric, benchmark="all", clearing="span", null="rand")
        own = [row_of(nulls, s, metric=metric, benchmark="all", clearing="span", null="rand") for s in ("0", "1")]
        assert found.seeds == 2 and found.single_best == pytest.approx(best(row.null_best for row in own))
        assert best(found.single_best, found.null_best) == found.single_best != found.null_best
        assert found.seeds_above == sum(best(row.value, row.null_best) == row.value for row in own) == 2
        back = [
            pick(scores, f"recovered_{metric}", "all", "rand", seed=s, draw=i).value for s in "01" for i in range(10)
        ]
        assert found.single_back == pytest.approx(max(back))


def test_a_seed_below_one_of_its_draws_is_counted(answers):
    frame = answers[FIRST]
    lucky = frame.assign(correct=frame.correct | ((frame.clearing == "rand") & (frame.draw == 3)))
    found = comparisons.nulls(scoring.scores(answers | {FIRST: lucky}, STUDY), STUDY)
    row = row_of(found, "all", metric="accuracy", benchmark="all", clearing="span", null="rand")
    assert row.seeds_above == 1 and row.single_best == 1 and row.null_best < 1


def test_z_is_that_of_the_recovered_fraction(nulls, scores):
    found = row_of(nulls, metric="accuracy", benchmark="fire", clearing="span", null="rand")
    draws = np.array([pick(scores, "recovered_accuracy", "fire", "rand", draw=i).value for i in range(10)])
    value = pick(scores, "recovered_accuracy", "fire", "span").value
    assert found.z == pytest.approx((value - draws.mean()) / draws.std(ddof=1))


def test_a_clearing_like_the_null_has_no_large_z_and_a_worse_one_a_negative(answers):
    rng = np.random.default_rng(2)
    skill = SKILL | {"span": SKILL["rand"], "topic": 0.05}
    like = {run: answer_rows(rng, VARIANTS | DRAWS, skill) for run in RUNS if run != "base"}
    found = comparisons.nulls(scoring.scores(answers | like, STUDY), STUDY)
    for metric in ("accuracy", "nll"):
        alike = found[(found.clearing == "span") & (found.benchmark == "all") & (found.metric == metric)]
        assert alike.z.abs().max() < 4 and alike.p.max() > 0.1
        worse = row_of(found, "all", metric=metric, benchmark="fire", clearing="topic", kind="alternative", null="rand")
        assert worse.z < -2 and worse.p == 1


def test_only_hazardous_questions_and_whole_clearings_are_compared(nulls):
    assert set(nulls.role) == {"hazardous"} and set(nulls.metric) == {"accuracy", "nll"}
    assert set(nulls.clearing) == {"span", "topic", "span_boot"} and set(nulls.null) == {"rand"}
    assert list(nulls.columns[:6]) == RUN and not nulls.duplicated([*RUN, *comparisons.LABELS, "metric"]).any()


def test_a_study_without_draws_has_no_rows(answers):
    few = {run: frame[frame.clearing.isin(["none", "span"])] for run, frame in answers.items()}
    table = comparisons.nulls(scoring.scores(few, STUDY), STUDY)
    assert table.empty and "z" in table.columns


# --- refits


def test_refits_are_averaged_and_their_spread_is_told(scores, answers):
    rows = answers[FIRST]
    rows = rows[(rows.clearing == "span_boot") & (rows.benchmark == "fire")]
    assert pick(scores, "accuracy", "fire", "span_boot").value == pytest.approx(rows.correct.astype(float).mean())
    assert "refit" not in scores and scores[scores.clearing == "span_boot"].draw.isna().all()
    found = [pick(scores, metric, "fire", "span_boot") for metric in ("recovered_accuracy", "spread_accuracy")]
    base, start = (pick(scores, "accuracy", "fire", "none", *where).value for where in ((None,), ()))
    fits = rows.assign(correct=rows.correct.astype(float)).groupby("refit").correct.mean()
    fractions = (fits - start) / (base - start)
    assert (found[0].value, found[1].value) == pytest.approx((fractions.mean(), fractions.std(ddof=1)))
    assert {"spread_nll", "spread_log_perplexity"} <= set(scores.metric)
    assert set(scores[scores.metric.str.startswith("spread")].clearing) == {"span_boot"}


def test_the_interval_of_refits_is_wider_than_that_of_their_average(scores, answers):
    units = scoring.by_clearing(answers[FIRST], HAZARDOUS)
    base = scoring.by_clearing(answers["base"], HAZARDOUS)
    arrays = [
        scoring.stack([u], core.Applied(name), ["fire"], "correct")
        for u, name in ((base, "none"), (units, "none"), (units, "span_boot"))
    ]
    averaged, found = statistics.recovered_fraction(*arrays), pick(scores, "recovered_accuracy", "fire", "span_boot")
    assert found.value == pytest.approx(averaged.value) and found.high - found.low > averaged.high - averaged.low


# --- exact tests


def test_units_that_gained_and_lost_are_counted(tests, answers):
    rows = answers[FIRST].assign(correct=lambda frame: frame.correct.astype(float))
    rows = rows[rows.benchmark == "ice"]
    span, none = (rows[rows.clearing == name].groupby("unit").correct.sum() for name in ("span", "none"))
    found = row_of(tests, benchmark="ice", clearing="span")
    assert (found.n, found.gained, found.lost) == (UNITS, (span > none).sum(), (span < none).sum())
    assert found.p == pytest.approx(statistics.mcnemar(found.gained, found.lost)) and found.gained > found.lost


def test_seeds_pool_by_unit(tests, answers):
    changes = []
    for run in SEEDS:
        rows = answers[run].assign(correct=lambda frame: frame.correct.astype(float))
        rows = rows[rows.benchmark == "fire"]
        span, none = (rows[rows.clearing == name].groupby("unit").correct.mean() for name in ("span", "none"))
        changes.append(span - none)
    net, found = sum(changes), row_of(tests, "all", benchmark="fire", clearing="span")
    assert (found.gained, found.lost) == ((net > 1e-9).sum(), (net < -1e-9).sum())
    assert found.gained + found.lost <= UNITS


def test_holm_is_over_the_cells_for_the_primary_clearing_on_all_hazardous_questions(tests):
    family = tests[tests.p_holm.notna()]
    assert len(family) == 2 and set(family.layer) == {2, 3}
    assert set(family.seed) == {"all"} and set(family.clearing) == {"span"} and set(family.benchmark) == {"all"}
    assert family.p_holm.tolist() == pytest.approx(statistics.holm(family.p.to_numpy()).tolist())
    assert (family.p < 0.01).all() and (family.p_holm >= family.p).all()


def test_one_hazardous_topic_is_a_family_of_its_own_questions(answers):
    table = comparisons.mcnemar(answers, replace(STUDY, hazardous=["fire"]))
    assert set(table[table.p_holm.notna()].benchmark) == {"fire"} and len(table[table.p_holm.notna()]) == 2


def test_benign_questions_that_clearing_leaves_alone_reject_nothing(tests):
    benign = tests[(tests.role == "benign") & (tests.clearing == "span")]
    assert len(benign) == 5 and (benign.p > 0.02).all()
    assert set(tests.benchmark) == {*QUESTIONS, "all"} and set(tests.clearing) == {"span", "topic"}
