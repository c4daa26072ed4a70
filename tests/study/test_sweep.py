"""Grids of runs: their order and number, their paths, what the study evaluates, and methods like others."""

import copy
from itertools import product

import pytest
from helpers.configurations import DEFAULT, SCHEMA

from overpaint.errors import UserError
from overpaint.study import sweep
from overpaint.study.configuration import complete
from overpaint.study.study import Study

METHODS = {
    "rmu": {"kind": "rmu", "steps": 400, "lr": 5e-3},
    "other": {"kind": "rmu", "steps": 10, "lr": 1e-3},
}
GRID = {"method": "rmu", "layer": [2, 3], "c": [2, 6.5, 20], "seed": [0, 1]}


def test_a_grid_is_every_combination_with_its_last_key_fastest():
    choices = sweep.expand_grid(GRID)
    expected = list(product(["rmu"], [2, 3], [2, 6.5, 20], [0, 1]))
    assert [tuple(choice.values()) for choice in choices] == expected
    assert all(list(choice) == list(GRID) for choice in choices)
    assert len(sweep.expand_grid(GRID | {"seed": [0]})) == len(expected) / 2


def test_a_single_value_is_an_axis_of_one():
    assert (
        sweep.expand_grid({"layer": 2, "c": 4}) == sweep.expand_grid({"layer": [2], "c": [4]}) == [{"layer": 2, "c": 4}]
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [(4, "4"), (4.0, "4"), (6.5, "6.5"), (0.1, "0.1"), (1e-3, "0.001"), (20.0, "20"), (100000, "100000")],
)
def test_run_paths_hold_numbers_in_their_shortest_form(value, written):
    assert sweep.run_path({"method": "rmu", "layer": 7, "c": value, "seed": 0}) == f"rmu/layer=7/c={written}/seed=0"


def test_runs_that_differ_have_different_paths():
    choices = sweep.expand_grid(GRID)
    assert len({sweep.run_path(choice) for choice in choices}) == len(choices)


def test_base_is_the_first_run_and_the_others_keep_the_order_of_their_grids():
    grids = [
        GRID | {"layer": 3, "c": 20, "seed": [1, 0]},
        GRID | {"method": ["other", "rmu"], "layer": 2, "c": 2, "seed": 0},
    ]
    assert list(sweep.expand_runs(grids, METHODS)) == [
        "base",
        "rmu/layer=3/c=20/seed=1",
        "rmu/layer=3/c=20/seed=0",
        "other/layer=2/c=2/seed=0",
        "rmu/layer=2/c=2/seed=0",
    ]


def test_settings_are_the_methods_with_layer_c_and_seed_added():
    runs = sweep.expand_runs([GRID | {"method": ["rmu", "other"]}], METHODS)
    assert runs["base"] == {"kind": "base", "method": "base"}
    assert runs["rmu/layer=3/c=6.5/seed=1"] == METHODS["rmu"] | {"method": "rmu", "layer": 3, "c": 6.5, "seed": 1}
    assert runs["other/layer=3/c=6.5/seed=1"]["steps"] == 10
    assert METHODS["rmu"] == {"kind": "rmu", "steps": 400, "lr": 5e-3}, "the catalogue itself was changed"


def test_a_run_that_two_grids_name_is_run_once():
    once = sweep.expand_runs([GRID | {"c": 4}], METHODS)
    assert sweep.expand_runs([GRID | {"c": 4}, GRID | {"c": 4.0}], METHODS) == once
    assert len(sweep.expand_runs([GRID | {"c": 4}, GRID | {"c": 4.5}], METHODS)) == 2 * len(once) - 1


def test_what_is_evaluated_is_named_once_in_order_of_first_mention():
    study = {
        "evaluate": [
            {"clearings": ["none", "span"], "benchmarks": ["b", "a"]},
            {"clearings": ["rand", "none"], "benchmarks": ["a", "c"]},
        ]
    }
    assert sweep.evaluated(study, "clearings") == ["none", "span", "rand"]
    assert sweep.evaluated(study, "benchmarks") == ["b", "a", "c"]


def test_hazardous_topics_are_those_of_the_forgotten_corpora():
    corpora = {name: {"topic": name.upper()} for name in ("a", "b", "c")}
    assert sweep.hazardous_topics({"study": {"forget": ["c", "a"]}, "corpora": corpora}) == ["C", "A"]


def test_the_order_of_a_grids_keys_does_not_make_another_run():
    turned = {key: GRID[key] for key in ("seed", "c", "layer", "method")}
    assert set(sweep.expand_runs([GRID, turned], METHODS)) == set(sweep.expand_runs([GRID], METHODS))


def test_long_seeds_stay_apart():
    assert len(sweep.expand_runs([GRID | {"layer": 2, "c": 2, "seed": [20240101, 20240102]}], METHODS)) == 3


# -- runs that are looked into


def test_grids_choose_runs_of_the_study_and_no_others():
    config = {"study": {"runs": [GRID]}, "methods": METHODS}
    chosen = [
        {"method": "rmu", "layer": 3, "c": [2, 20], "seed": 0},
        {"method": ["other"], "layer": 2, "c": 2, "seed": 1},
    ]
    assert sweep.picked(config, chosen) == ["rmu/layer=3/c=2/seed=0", "rmu/layer=3/c=20/seed=0"]
    assert sweep.picked(config | {"study": {"runs": [GRID | {"method": "other"}]}}, chosen) == [
        "other/layer=2/c=2/seed=1"
    ]
    assert sweep.picked(config, [{"method": ["other", "rmu"], "layer": 2, "c": 2, "seed": 0}]) == [
        "rmu/layer=2/c=2/seed=0"
    ]
    assert sweep.picked(config, [{"method": "rmu", "layer": [3, 9], "c": 2, "seed": 0}]) == ["rmu/layer=3/c=2/seed=0"]
    assert sweep.picked(config, []) == []


# -- what runs share

TRAINED = {
    "kind": "rmu", "layer": 3, "c": 4, "seed": 0, "alpha": 10, "lr": 1e-3, "c_unit": "absolute", "updated": [-2, -1, 0],
    "projections": ["mlp"], "steps": 5, "batch": 2, "max_tokens": 8, "forget_max_tokens": 8, "max_batches": 3,
    "min_chars": 0, "shuffle": True,
}  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"c": 8}, {"seed": 1}, {"alpha": [1, 2]}, {"lr": 1.0}, {"control_vector": "normal"}]
)
def test_runs_that_differ_in_c_alpha_or_seed_share_their_prefix(change):
    assert sweep.prefix_name(TRAINED | change) == sweep.prefix_name(TRAINED)
    assert sweep.prefix_name(TRAINED).startswith("blocks=1-3/")


@pytest.mark.parametrize(
    "change",
    [
        {"layer": 2}, {"updated": [0]}, {"steps": 6}, {"batch": 3}, {"max_tokens": 9}, {"forget_max_tokens": [8, 9]},
        {"max_batches": 4}, {"min_chars": 1}, {"shuffle": False}, {"c_unit": "mean_norm"},
    ],
)  # fmt: skip
def test_runs_whose_batches_or_blocks_differ_do_not(change):
    assert sweep.prefix_name(TRAINED | change) != sweep.prefix_name(TRAINED)


def test_a_method_that_trains_nothing_has_no_prefix():
    assert sweep.prefix_settings({"kind": "published", "layer": 7, "c": 6.5, "seed": 0}) is None


# -- methods like others


def of_methods(**methods) -> dict[str, dict]:
    return sweep.with_inherited({"methods": methods})["methods"]


def test_a_method_starts_from_the_one_that_it_is_like_and_says_the_rest_itself():
    found = of_methods(
        third={"like": "second", "lr": 3},
        second={"like": "first", "alpha": 30},
        first={"kind": "rmu", "alpha": 10, "lr": 1, "steps": 5},
    )
    assert sweep.own_settings(found["second"]) == {"kind": "rmu", "alpha": 30, "lr": 1, "steps": 5}
    assert sweep.own_settings(found["third"]) == {"kind": "rmu", "alpha": 30, "lr": 3, "steps": 5}
    assert (found["second"]["like"], found["third"]["like"], "like" in found["first"]) == ("first", "second", False)


def test_a_run_is_the_same_however_its_method_is_written():
    grid = {"method": "rmu_31", "layer": 3, "c": 4, "seed": 0}
    settings = DEFAULT["methods"]["rmu"] | {"alpha": 31}
    studies = []
    for entry in (settings, {"like": "rmu", "alpha": 31}):
        config = copy.deepcopy(DEFAULT)
        config["methods"]["rmu_31"] = entry
        config["study"]["runs"].append(grid)
        studies.append(Study(complete(config, SCHEMA)))
    plain, like = studies
    assert (plain.runs, plain.chosen, plain.prefix_of) == (like.runs, like.chosen, like.prefix_of)
    assert like.runs[sweep.run_path(grid)]["alpha"] == 31 != like.runs["rmu/layer=3/c=4/seed=0"]["alpha"]
    assert like.config["methods"]["rmu_31"]["like"] == "rmu"


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"a": {"like": "x"}, "b": {"kind": "rmu"}}, r"methods\.a\.like is 'x', which `methods` does not .* of a, b\."),
        ({"a": {"like": ["b"]}, "b": {}}, r"methods\.a\.like is \['b'\], which `methods` does not define"),
        ({"a": {"like": None}}, r"methods\.a\.like is None, which `methods` does not define"),
        ({"a": {"like": "a"}}, r"methods\.a\.like is 'a', which starts from 'a' itself"),
        ({"a": {"like": "b"}, "b": {"like": "c"}, "c": {"like": "b"}}, r"methods\.c\.like is 'b', .* from 'c' itself"),
    ],
)
def test_a_method_like_none_or_like_itself_is_refused_in_a_sentence(methods, sentence):
    with pytest.raises(UserError, match=sentence):
        of_methods(**methods)


@pytest.mark.parametrize("methods", [None, 3, [], {"a": 3}, {"a": {"like": "b"}, "b": 3}])
def test_what_is_no_catalogue_of_methods_is_left_to_the_schema(methods):
    assert sweep.with_inherited({"methods": methods})["methods"] == methods


def test_the_family_of_a_method_is_the_one_of_its_kind_that_it_is_like_where_the_study_runs_it():
    methods = of_methods(
        first={"kind": "rmu"}, second={"like": "first"}, third={"like": "second"}, other={"like": "first", "kind": "rr"}
    )

    def families(*names: str) -> dict[str, str]:
        return sweep.families({"methods": methods, "study": {"runs": [{"method": list(names)}]}})

    assert families("first", "second", "third", "other") == {
        "first": "first", "second": "first", "third": "first", "other": "other",
    }  # fmt: skip
    assert families("second", "third") == {"second": "second", "third": "second"}
