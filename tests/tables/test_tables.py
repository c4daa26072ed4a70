"""Tidy tables: numbers equal to a direct computation from the rows, and columns that every table shares."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.answers import (
    CLEARINGS,
    FIRST,
    HAZARDOUS,
    QUESTIONS,
    RUN,
    RUNS,
    SKILL,
    STUDY,
    TEXTS,
    UNITS,
    VARIANTS,
    WHOLE,
    answer_rows,
    pick,
)

from overpaint.jobs.provenance import write_record
from overpaint.junk.clearing import DIRECTIONS
from overpaint.sources import PARTS
from overpaint.study import sweep
from overpaint.tables import comparisons, core, statistics
from overpaint.tables import scores as scoring
from overpaint.tables.core import GIVEN, Applied

COUNTED = ["answers", "near_ties"]
SCORES = [*RUN, "topic", "role", *core.APPLIED, "benchmark", *COUNTED, "metric", "value", "low", "high", "n", "note"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, pd.DataFrame]:
    """Answers of every run, through the file format in which they are kept."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("answers")
    found = {"base": answer_rows(rng, {"none": WHOLE}, {"none": 0.9})}
    found |= {run: answer_rows(rng, VARIANTS, SKILL) for run in RUNS if run != "base"}
    for number, frame in enumerate(found.values()):
        frame.to_parquet(folder / f"{number}.parquet", index=False)
    return {run: pd.read_parquet(folder / f"{number}.parquet") for number, run in enumerate(found)}


@pytest.fixture(scope="module")
def scores(answers) -> pd.DataFrame:
    return scoring.scores(answers, STUDY)


def direct(frame: pd.DataFrame, column: str, benchmark: str, clearing: str, **variant) -> float:
    """Mean of a column over the rows of one benchmark under one clearing."""
    rows = frame[(frame.benchmark == benchmark) & (frame.clearing == clearing)]
    for key, value in variant.items():
        rows = rows[rows[key] == value]
    return float(rows[column].astype(float).mean())


# --- shape


def test_columns_stand_in_their_order_with_their_types(scores):
    assert list(scores.columns) == [*SCORES, "part"]
    assert scores.layer.dtype == "Int64" and scores.c.dtype == scores.value.dtype == "float64"
    assert pd.api.types.is_string_dtype(scores.seed) and pd.api.types.is_integer_dtype(scores.n)
    for name in ("study", "model", "method", "topic", "role", "clearing", "benchmark", "metric", "note"):
        assert scores[name].map(type).eq(str).all(), name


def test_the_base_has_no_layer_c_or_seed_and_only_the_clearing_none(scores):
    base = scores[scores.method == "base"]
    assert base.layer.isna().all() and base.c.isna().all() and (base.seed == "").all()
    assert set(base.clearing) == {"none"} and set(base.metric) == {"accuracy", "nll", "perplexity"}
    assert not (scores[scores.method == "rmu"][["layer", "c"]]).isna().any(axis=None)


def test_every_row_stands_once(scores):
    assert not scores.duplicated([*RUN, *core.APPLIED, "benchmark", "part", "metric"]).any()


def test_either_part_is_told_beside_all_without_single_draws(scores):
    assert set(scores.part) == {"all", *PARTS} and scores[scores.part != "all"].draw.isna().all()
    rows = scores[scores.metric.eq("accuracy") & scores.draw.isna()]
    wide = rows.pivot_table(
        index=[*RUN, "clearing", "other_topic", "benchmark"], columns="part", values="value", dropna=False
    )
    wide = wide.dropna()
    assert np.allclose(wide[[*PARTS]].mean(axis=1), wide["all"]) and (wide[PARTS[0]] != wide[PARTS[1]]).any()


def test_seeds_are_text_and_all_stands_beside_them(scores):
    assert set(scores[scores.layer == 2].seed) == {"0", "1", "all"}
    assert set(scores[scores.layer == 3].seed) == {"0", "all"}


def test_draws_are_kept_and_averaged(scores):
    assert set(scores.clearing) == set(VARIANTS)
    assert set(scores[scores.clearing == "rand"].draw.fillna(-1)) == {-1, 0, 1, 2}
    assert scores[scores.clearing != "rand"].draw.isna().all()
    assert set(scores[scores.other_topic].clearing) == {"topic"}


def test_roles_are_those_of_the_topics(scores):
    assert set(scores[scores.topic.isin(["fire", "ice", "all"])].role) == {"hazardous"}
    assert set(scores[scores.topic == "calm"].role) == {"benign"}
    assert set(scores[scores.benchmark == "all"].topic) == {"all"}
    assert scores[scores.benchmark != "all"].topic.map({"calm", "fire", "ice"}.__contains__).all()


def test_the_number_of_units_is_told(scores):
    scores = scores[scores.part == "all"]
    assert set(scores[scores.benchmark == "all"].n) == {2 * UNITS}
    assert set(scores[scores.benchmark != "all"].n) == {UNITS}


def test_answers_and_near_ties_are_counted_over_draws_topics_and_seeds(answers, scores):
    assert pick(scores, "accuracy", "fire", "span").answers == 2 * UNITS and not scores.near_ties.any()
    assert pick(scores, "accuracy", "fire", "rand").answers == 3 * pick(scores, "nll", "fire", "rand", draw=1).answers
    assert pick(scores, "accuracy", "all", "span", seed="all").answers == 2 * 2 * 2 * UNITS
    near = {run: frame.copy() for run, frame in answers.items()}
    chosen = near[FIRST].index[(near[FIRST].clearing == "rand") & (near[FIRST].benchmark == "fire")][::7]
    near[FIRST].loc[chosen, "scores"] = pd.Series([np.array([-1.0, -1.00005])] * len(chosen), chosen)
    found = scoring.scores(near, STUDY)
    for seed, benchmark in (("0", "fire"), ("0", "all"), ("all", "fire")):
        assert pick(found, "accuracy", benchmark, "rand", seed=seed).near_ties == len(chosen) > 9
    assert not found[(found.clearing != "rand") | (found.benchmark == "ice") | (found.seed == "1")].near_ties.any()


def test_intervals_hold_their_values_and_undefined_rows_hold_none(scores):
    defined = scores[scores.note == ""]
    assert (defined.low <= defined.value + 1e-12).all() and (defined.value <= defined.high + 1e-12).all()
    assert scores[scores.note != ""][["value", "low", "high"]].isna().all(axis=None)
    assert defined[["value", "low", "high"]].notna().all(axis=None)


# --- names are only names

ODD = {"fire": "2024", "ice": "NA", "calm": "fit1", "span": "v1.2", "topic": "rand", "rand": "0", "on_base": "nan"}


def renamed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with odd names of topics, clearings and the benchmarks that are called like topics."""
    columns = [c for c in ("clearing", "direction_of", "topic", "benchmark", "null") if c in frame]
    return frame.assign(**{column: frame[column].replace(ODD) for column in columns})


def test_no_number_depends_on_a_name(answers, scores):
    clearings = {ODD.get(name, name): entry for name, entry in CLEARINGS.items()}
    study = replace(STUDY, hazardous=["2024", "NA"], clearings=clearings, primary="v1.2")
    odd = {run: renamed(frame) for run, frame in answers.items()}
    found = scoring.scores(odd, study)
    pd.testing.assert_frame_equal(found, renamed(scores), check_exact=True)
    pairs = [
        (comparisons.nulls(found, study), comparisons.nulls(scores, STUDY)),
        (comparisons.mcnemar(odd, study), comparisons.mcnemar(answers, STUDY)),
    ]
    for one, other in pairs:
        assert len(one)
        pd.testing.assert_frame_equal(one, renamed(other), check_exact=True)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"direction": "none"}, "none"),
        ({"direction": "span"}, "alternative"),
        ({"direction": "span_boot"}, "alternative"),
        ({"direction": "topic", "on_base": True}, "control"),
        *(({"direction": name}, "null") for name in ("ones", "rand", "randn", "benign")),
    ],
)
def test_the_kind_of_a_clearing_is_that_of_its_settings(settings, kind):
    study = replace(STUDY, clearings={"mine": {"on_base": False} | settings}, nulls=sweep.NULLS)
    assert study.kind("mine") == kind
    assert replace(study, primary="mine").kind("mine") == ("none" if kind == "none" else "primary")
    assert study.recovers("mine") == (kind not in ("none", "control"))
    assert study.how(Applied("mine", other_topic=True))["kind"] == "control"


def test_directions_are_read_as_they_are_registered():
    assert list(sweep.DIRECTIONS) == ["none", *DIRECTIONS]


def test_names_are_read_as_text_and_numbers_as_numbers(tmp_path):
    odd = ["NA", "nan", "None", "", "2024", "1e5", "True", "=1+1", " x"]
    rows = pd.DataFrame({"topic": odd, "step": range(len(odd)), "quantity": "norm", "value": [np.nan] * 3 + [0.1] * 6})
    rows.to_csv(tmp_path / "history.csv", index=False)
    found = core.read(tmp_path / "history.csv", GIVEN["history"])
    assert found.topic.tolist() == odd and found.value.isna().sum() == 3 and found.step.dtype == int
    found = core.with_role(core.labelled({FIRST: found}, STUDY, GIVEN["history"]), ["NA", "2024"])
    assert found.role.tolist() == ["hazardous" if name in ("NA", "2024") else "benign" for name in odd]


@pytest.mark.parametrize("name", GIVEN)
def test_a_file_without_rows_has_the_columns_and_types_of_one_with_rows(name, tmp_path):
    (tmp_path / "some.csv").write_text("run\n")
    found = core.read(tmp_path / "some.csv", GIVEN[name])
    assert found.empty and list(found.columns) == list(GIVEN[name])
    for frames in ({FIRST: found}, {}):
        table = core.labelled(frames, STUDY, GIVEN[name])
        assert list(table.columns) == [*RUN, *GIVEN[name]]
        assert [pd.api.types.is_numeric_dtype(table[key]) for key in GIVEN[name]] == [
            kind is not str for kind in GIVEN[name].values()
        ]


# --- several benchmarks on the same units


@pytest.fixture(scope="module")
def twice(answers) -> dict[str, pd.DataFrame]:
    """The answers with those to `fire` once more, as if by another benchmark."""
    return {
        run: pd.concat([frame, frame[frame.benchmark == "fire"].assign(benchmark="again")], ignore_index=True)
        for run, frame in answers.items()
    }


def test_a_unit_that_two_benchmarks_ask_about_counts_once(scores, answers, twice):
    found = scoring.scores(twice, STUDY).query("benchmark != 'again'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found.drop(columns=COUNTED), scores.drop(columns=COUNTED), check_exact=True)
    tests = comparisons.mcnemar(twice, STUDY)
    pd.testing.assert_frame_equal(
        tests[tests.benchmark != "again"].reset_index(drop=True), comparisons.mcnemar(answers, STUDY), check_exact=True
    )


def test_all_rows_of_a_unit_are_averaged_over_benchmarks(answers):
    few = {run: frame[frame.id.astype(int) % 2 == 0].assign(benchmark="again") for run, frame in answers.items()}
    few = {run: frame[(frame.topic == "fire") & (frame.kind == "question")] for run, frame in few.items()}
    both = {run: pd.concat([answers[run], few[run].assign(nll=few[run].nll + 1)]) for run in answers}
    row = pick(scoring.scores(both, STUDY), "nll", "all", "span")
    own = both[FIRST][(both[FIRST].clearing == "span") & both[FIRST].topic.isin(HAZARDOUS)]
    units = own[own.kind == "question"].groupby(["topic", "unit"]).nll.mean()
    assert row.n == len(units) == 2 * UNITS and row.value == pytest.approx(units.mean())


def test_units_of_the_same_name_on_other_topics_are_other_units(answers):
    same = {run: frame.assign(unit=frame.unit.str.split("/").str[-1]) for run, frame in answers.items()}
    found = scoring.scores(same, STUDY)
    assert set(found[found.benchmark.eq("all") & found.part.eq("all")].n) == {2 * UNITS}


# --- numbers


@pytest.mark.parametrize("benchmark", QUESTIONS)
@pytest.mark.parametrize(("metric", "column"), [("accuracy", "correct"), ("nll", "nll")])
def test_means_equal_a_direct_computation(scores, answers, benchmark, metric, column):
    assert pick(scores, metric, benchmark, "none", None).value == pytest.approx(
        direct(answers["base"], column, benchmark, "none")
    )
    for clearing in ("none", "span", "on_base"):
        found = pick(scores, metric, benchmark, clearing).value
        assert found == pytest.approx(direct(answers[FIRST], column, benchmark, clearing))


@pytest.mark.parametrize(("topic", "other"), [HAZARDOUS, HAZARDOUS[::-1]])
def test_a_topics_own_direction_stands_apart_from_the_other_topics(scores, answers, topic, other):
    own = pick(scores, "accuracy", topic, "topic").value
    others = pick(scores, "accuracy", topic, "topic", other=True).value
    assert own == pytest.approx(direct(answers[FIRST], "correct", topic, "topic", direction_of=topic))
    assert others == pytest.approx(direct(answers[FIRST], "correct", topic, "topic", direction_of=other))
    assert own > others


def test_benign_questions_average_over_the_topics_directions(scores, answers):
    found = pick(scores, "accuracy", "calm", "topic").value
    assert found == pytest.approx(direct(answers[FIRST], "correct", "calm", "topic"))
    assert scores[(scores.benchmark == "calm") & scores.other_topic].empty


@pytest.mark.parametrize("benchmark", QUESTIONS)
def test_each_draw_is_its_own_mean_and_their_average_the_mean_of_all(scores, answers, benchmark):
    draws = [pick(scores, "accuracy", benchmark, "rand", draw=draw).value for draw in range(3)]
    assert draws == pytest.approx([direct(answers[FIRST], "correct", benchmark, "rand", draw=i) for i in range(3)])
    assert pick(scores, "accuracy", benchmark, "rand").value == pytest.approx(np.mean(draws))
    if benchmark != "calm":
        assert len(set(draws)) > 1


@pytest.mark.parametrize("benchmark", TEXTS)
def test_perplexity_is_per_token_over_all_texts(scores, answers, benchmark):
    rows = answers[FIRST][(answers[FIRST].benchmark == benchmark) & (answers[FIRST].clearing == "span")]
    expected = math.exp(rows.nll.sum() / rows.tokens.sum())
    assert pick(scores, "perplexity", benchmark, "span").value == pytest.approx(expected)
    assert expected != pytest.approx(np.exp(rows.nll / rows.tokens).mean(), rel=1e-6)


def test_recovered_fractions_equal_a_direct_computation(scores, answers):
    for metric, column in (("recovered_accuracy", "correct"), ("recovered_nll", "nll")):
        base, start, end = (
            direct(answers[run], column, "ice", clearing)
            for run, clearing in (("base", "none"), (FIRST, "none"), (FIRST, "span"))
        )
        assert pick(scores, metric, "ice", "span").value == pytest.approx((end - start) / (base - start))
    assert 0.2 < pick(scores, "recovered_accuracy", "ice", "span").value < 0.8


def test_recovered_log_perplexity_equals_a_direct_computation(scores, answers):
    base, start, end = (
        direct(answers[run], "nll", "fire_text", clearing)
        for run, clearing in (("base", "none"), (FIRST, "none"), (FIRST, "span"))
    )
    found = pick(scores, "recovered_log_perplexity", "fire_text", "span").value
    assert found == pytest.approx((end - start) / (base - start))


def test_what_was_forgotten_is_the_base_less_the_unlearned_model(scores, answers):
    for benchmark in QUESTIONS:
        found = pick(scores, "forgotten_accuracy", benchmark, "none").value
        base, own = (direct(answers[run], "correct", benchmark, "none") for run in ("base", FIRST))
        assert found == pytest.approx(base - own)
    assert pick(scores, "forgotten_accuracy", "fire", "none").value > 0.4
    assert abs(pick(scores, "forgotten_accuracy", "calm", "none").value) < 0.2


def test_recovery_is_told_of_hazardous_topics_and_real_clearings_only(scores):
    recovered = scores[scores.metric.isin(["recovered_accuracy", "recovered_nll"])]
    assert set(recovered.role) == {"hazardous"} and not set(recovered.clearing) & {"none", "on_base"}
    assert set(recovered.method) == {"rmu"} and {"span", "topic", "rand"} <= set(recovered.clearing)
    assert set(scores[scores.metric == "forgotten_accuracy"].clearing) == {"none"}
    of_texts = scores[scores.metric == "recovered_log_perplexity"]
    assert set(of_texts.role) == {"hazardous"} and "none" not in set(of_texts.clearing)


def test_the_cleared_base_has_nothing_to_recover(scores):
    assert not scores[(scores.clearing == "on_base") & scores.metric.str.startswith("recovered")].size


@pytest.mark.parametrize("clearing", ["none", "span", "topic"])
def test_all_hazardous_questions_stand_together(scores, answers, clearing):
    parts = [pick(scores, "accuracy", topic, clearing).value for topic in HAZARDOUS]
    assert pick(scores, "accuracy", "all", clearing).value == pytest.approx(np.mean(parts))
    assert scores[(scores.benchmark == "all") & (scores.metric == "perplexity")].empty


@pytest.mark.parametrize("benchmark", ["fire", "calm", "all"])
def test_pooled_over_seeds_is_the_mean_over_seeds(scores, benchmark):
    seeds = [pick(scores, "accuracy", benchmark, "span", seed=seed) for seed in ("0", "1")]
    pooled = pick(scores, "accuracy", benchmark, "span", seed="all")
    assert pooled.value == pytest.approx(np.mean([row.value for row in seeds])) and pooled.n == seeds[0].n
    if benchmark != "calm":
        assert seeds[0].value != seeds[1].value


def test_pooled_recovery_is_that_of_the_pooled_means(scores, answers):
    base = direct(answers["base"], "correct", "fire", "none")
    start, end = (
        np.mean([direct(answers[run], "correct", "fire", clearing) for run in list(RUNS)[1:3]])
        for clearing in ("none", "span")
    )
    found = pick(scores, "recovered_accuracy", "fire", "span", seed="all").value
    assert found == pytest.approx((end - start) / (base - start))


def test_one_seed_pooled_is_that_seed(scores):
    columns = ["value", "low", "high", "n", "note"]
    for metric in ("accuracy", "recovered_accuracy"):
        one, pooled = (pick(scores, metric, "fire", "span", 3, seed)[columns] for seed in ("0", "all"))
        assert one.equals(pooled)


def test_intervals_are_the_bootstraps_over_units(scores, answers):
    frame = answers[FIRST]
    rows = frame[(frame.benchmark == "fire") & (frame.clearing == "span")]
    by_unit = rows.assign(correct=rows.correct.astype(float)).groupby("unit", sort=False).correct.mean()
    expected, found = statistics.mean(by_unit.to_numpy()[None]), pick(scores, "accuracy", "fire", "span")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_run_like_the_base_has_no_recovery_but_a_note(answers):
    found = scoring.scores(answers | {FIRST: unlearned_nothing(answers)}, STUDY)
    row = pick(found, "recovered_accuracy", "fire", "span")
    assert math.isnan(row.value) and "undefined" in row.note
    assert pick(found, "forgotten_accuracy", "fire", "none").value == 0


def unlearned_nothing(answers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The base's answers, uncleared and as those of `span`."""
    return pd.concat([answers["base"], answers["base"].assign(clearing="span")], ignore_index=True)


# --- the other tables

TYPES = {"topic": str, "value": float}


def test_labelled_tables_start_with_the_columns_of_the_run():
    frames = {run: pd.DataFrame({"topic": ["fire"], "value": [float(i)]}) for i, run in enumerate(RUNS)}
    found = core.labelled(frames, STUDY, TYPES)
    assert list(found.columns) == [*RUN, "topic", "value"] and len(found) == len(RUNS)
    assert found.layer.dtype == "Int64" and found.layer.tolist() == [pd.NA, 2, 2, 3]
    assert found.seed.tolist() == ["", "0", "1", "0"] and found.c.tolist()[1:] == [4, 4, 6.5]
    assert found.value.tolist() == [0, 1, 2, 3]


def test_runs_without_rows_leave_none():
    frames = {"base": pd.DataFrame({"topic": []}), FIRST: pd.DataFrame({"topic": ["fire"]})}
    assert core.labelled(frames, STUDY, TYPES).method.tolist() == ["rmu"]
    assert list(core.labelled({}, STUDY, TYPES).columns) == [*RUN, "topic", "value"]


def test_a_table_without_rows_can_be_given_roles():
    assert "role" in core.with_role(core.labelled({"base": pd.DataFrame()}, STUDY, TYPES), HAZARDOUS)


def test_roles_are_added_by_topic():
    found = core.with_role(pd.DataFrame({"topic": ["fire", "calm"]}), HAZARDOUS)
    assert found.role.tolist() == ["hazardous", "benign"]


def test_both_formats_hold_the_same_table(scores, tmp_path):
    core.write({"t": scores}, SimpleNamespace(t=tmp_path / "t.parquet", t_csv=tmp_path / "t.csv"))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), scores)
    text = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert list(text.columns) == list(scores.columns) and text.clearing.tolist() == scores.clearing.tolist()
    assert pd.to_numeric(text.value).to_numpy() == pytest.approx(scores.value.to_numpy(), nan_ok=True)


def test_provenance_has_a_row_per_job_in_order(tmp_path: Path):
    facts = {
        "rule": "unlearn", "outputs": {"b": "00"}, "cpu_seconds": 2.0, "startup_cpu_seconds": 0.5,
        "seconds": 1.5, "peak_mb": 10, "started": "now", "git": None,
        "dirty": None, "python": "3.11", "prefix": "/env", "packages": {"torch": "2"}, "hardware": {"gpu": None},
        "settings": {"lr": 0.1}, "inputs": {"a": "00"}, "cluster_job": None,
    }  # fmt: skip
    for name, change in (("c", {}), ("b", {}), ("a", {"rule": "evaluate"}), ("d", {"rule": "evaluate"})):
        write_record(facts | change, tmp_path / f"{name}.job.json")
    *paths, last = sorted(tmp_path.glob("*.json"))
    found = core.provenance(paths, [last])
    assert list(found.before) == [False, True, False, False]
    assert list(found.rule) == ["evaluate", "evaluate", "unlearn", "unlearn"]
    assert list(found.output) == [str(tmp_path / name) for name in "adbc"]
    assert json.loads(found.settings[0]) == {"lr": 0.1} and json.loads(found.packages[0]) == {"torch": "2"}


def test_costs_add_up_by_rule_and_the_dearest_comes_first():
    rows = [("a", 1.0, 2.0, 0.5, 30), ("b", 2.0, 9.0, 1.0, 10), ("a", 3.0, 1.0, 0.5, 20)]
    jobs = pd.DataFrame(rows, columns=["rule", *core.COSTS]).assign(output="x", before=False)
    earlier = jobs.assign(before=True, cpu_seconds=100.0)  # of no cost to the study
    assert core.costs(pd.concat([jobs, earlier])).to_dict("split")["data"] == [
        ["all", 3, 6.0, 12.0, 2.0, 30, pytest.approx(1 / 6)],
        ["b", 1, 2.0, 9.0, 1.0, 10, pytest.approx(1 / 9)],
        ["a", 2, 4.0, 3.0, 1.0, 30, pytest.approx(1 / 3)],
    ]


def test_files_are_told_apart_by_model_and_run_and_none_may_be_missing():
    found = core.by_model(["a", "b"], ["base", "run"], ["1", "2", "3", "4"], int)
    assert found == {"a": {"base": 1, "run": 2}, "b": {"base": 3, "run": 4}}
    for paths in (["1", "2", "3"], ["1", "2", "3", "4", "5"]):
        with pytest.raises(ValueError):
            core.by_model(["a", "b"], ["base", "run"], paths, int)


def test_parts_without_rows_leave_no_trace_in_a_joined_table():
    full, empty = pd.DataFrame({"layer": [1]}, dtype="Int64"), pd.DataFrame({"layer": []}, dtype=float)
    assert core.joined([empty, full, full]).layer.tolist() == [1, 1]
    assert core.joined([empty, full]).layer.dtype == "Int64" and core.joined([empty, empty]).empty
