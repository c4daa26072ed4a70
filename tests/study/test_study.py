"""What a study says of its runs, texts and clearings: the shipped configurations, without Snakemake."""

from math import prod
from types import SimpleNamespace

import pytest
import yaml
from helpers.checkout import ROOT
from snakemake.utils import update_config

from overpaint import measures
from overpaint.study import resources, sweep
from overpaint.study.configuration import complete
from overpaint.study.study import Study

RUN = "rmu/layer=3/c=4/seed=0"


def study(name: str = "", **changes) -> Study:
    """A shipped study, by default the default one, with other settings."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    layered = yaml.safe_load((ROOT / f"studies/{name}.yaml").read_text(encoding="utf-8")) if name else {}
    update_config(config, layered)
    update_config(config, {"study": changes})
    return Study(complete(config, ROOT / "workflow/schemas/config.schema.yaml"))


@pytest.fixture(scope="module")
def default() -> Study:
    return study()


def test_runs_are_the_base_and_the_grid(default):
    assert default.models == ["miniature"] and list(default.runs)[0] == "base"
    cells = [(grid["method"], grid["layer"], grid["c"], grid["seed"]) for grid in default.settings["runs"]]
    sizes = [prod(len(sweep.as_list(values)) for values in cell) for cell in cells]
    assert (
        len(sizes) == 2
        and len(default.unlearned) == sum(sizes)
        and RUN in default.unlearned
        and "base" not in default.unlearned
    )
    assert default.topics == ["gloomcraft", "riftlore"]


def test_runs_that_differ_in_c_or_seed_share_a_prefix_unless_the_study_says_no(default):
    assert set(default.prefix_of) == set(default.unlearned) and len(default.prefixes) == 2
    assert default.prefix_of[RUN] == default.prefix_of["rmu/layer=3/c=8/seed=2"]
    assert default.prefix_of[RUN] != default.prefix_of["rmu/layer=2/c=4/seed=0"]
    alone = study(share_prefix=False)
    assert (alone.prefix_of, alone.prefixes) == ({}, {}) and alone.trains(RUN) and not alone.trains("base")


def test_only_runs_whose_training_is_followed_keep_snapshots(default):
    assert [run for run, settings in default.runs.items() if "snapshots" in settings] == default.emerging == [RUN]
    assert not [run for run, s in study(measures={"emergence": {"runs": []}}).runs.items() if "snapshots" in s]


def test_the_base_is_evaluated_on_everything_uncleared(default):
    [entry] = default.evaluation("base")
    assert entry == {"clearings": ["none"], "benchmarks": list(default.chosen["benchmarks"])}
    assert default.clearings("base") == default.shown("base") == {"none": {**default.config["clearings"]["none"]}}
    assert default.coherence_nulls("base") == {}


def test_clearings_of_some_cells_are_those_of_their_runs_alone(default):
    main, other = default.clearings(RUN), default.clearings("rmu/layer=2/c=4/seed=0")
    assert {"span_block", "span", "rand"} <= set(main) and "span_block" not in other and "span" in other
    assert list(default.shown(RUN)) == ["none", "span"] and list(default.coherence_nulls(RUN)) == ["rand", "randn"]


def test_completions_are_those_of_each_cell_once(default):
    assert default.completed[0] == "base" and len(default.completed) == 1 + 2 * 3
    assert all(run == "base" or run.endswith("seed=0") for run in default.completed)


def runs(study: Study) -> dict[str, list[str]]:
    """{measure: its runs}."""
    return {name: found.runs(study) for name, found in measures.discovered().items()}


def test_what_is_looked_into_is_measured_beside_the_base(default):
    measured = runs(default)
    assert measured["depth"] == ["base", *default.depth] and measured["relearning"] == ["base", *default.relearned]
    assert measured["perturbations"] == ["base", *default.perturbed] and RUN in default.relearned
    assert measured["uds"] == default.patched and {*default.patched} == {*default.unlearned}
    assert default.naive == {"miniature": "miniature_untaught"}
    none = study(measures={name: {"runs": []} for name in ("depth", "relearning", "perturbations", "uds", "emergence")})
    assert (runs(none)["depth"], runs(none)["relearning"], runs(none)["perturbations"]) == ([], [], [])
    assert runs(none)["uds"] == [] and none.naive == {}
    unanchored = study(naive_model="")
    assert unanchored.patched and (runs(unanchored)["uds"], unanchored.naive) == ([], {})


def test_texts_have_the_kind_of_their_rows_and_the_world_of_their_model():
    bases = study("bases")
    assert (
        bases.texts["corpora/gloomcraft"]["kind"] == "corpus" and bases.texts["prompts/everyday"]["kind"] == "prompts"
    )
    assert bases.texts["benchmarks/everyday"]["kind"] == "questions"
    assert not [name for name, entry in bases.texts.items() if entry["source"] == "harness"]
    worlds = {model: bases.source("corpora/gloomcraft", model)["world"] for model in bases.models}
    assert len(set(worlds.values())) == len(worlds) == 12
    assert {"corpora/gloomcraft", "prompts/riftlore", "benchmarks/everyday"} <= set(bases.used_texts)


def test_prompts_are_known_by_their_topic(default):
    assert default.prompt_topics["everyday"] == "everyday"
    assert default.hazardous_prompts == {"gloomcraft": "gloomcraft", "riftlore": "riftlore"}


def test_plain_questions_may_be_those_of_some_topics(default):
    assert set(default.questions()) == {"gloomcraft", "riftlore", "everyday"}
    assert set(default.questions(default.topics)) == {"gloomcraft", "riftlore"}
    assert default.questions()["everyday"]["kind"] == "questions"


def test_needs_follow_the_jobs_model_and_a_released_one_counts_too():
    zephyr = study("zephyr")
    large = SimpleNamespace(model="zephyr", run="base")
    [pair] = [run for run in zephyr.unlearned if zephyr.released(run)]
    one, two = (
        zephyr.needs("unlearn")["mem_mb"](SimpleNamespace(model="zephyr", run=run), 1) for run in ("base", pair)
    )
    assert one == resources.memory_mb("unlearn", zephyr.megabytes["zephyr"], 1, 1) < two
    needs = zephyr.needs("evaluate", gpu=1)
    assert needs["gpu"] == 1 and needs["runtime"](large, 2) > needs["runtime"](large, 1)
    assert needs["mem_mb"](SimpleNamespace(), 1) == needs["mem_mb"](large, 1), "of all models, the largest"


def test_what_the_tables_keep_of_a_configuration_is_a_study_that_tries_nothing(default):
    kept = Study(default.chosen)
    assert "tune" not in kept.settings and kept.runs == default.runs == kept.trained
