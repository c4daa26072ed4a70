"""Settings to try: written out as variants of a method, proposed where left out, refused in a sentence."""

import pytest
import yaml
from helpers.configurations import SCHEMA, drop, merged, put, refusal

from overpaint.study.configuration import complete
from overpaint.study.study import Study
from overpaint.tuning import grid


def tried(*runs: dict, **tune: float) -> Study:
    config = merged()
    config["study"]["tune"] = {"runs": list(runs)} | tune
    return Study(complete(config, SCHEMA))


def test_every_choice_is_a_run_of_a_variant_with_its_settings_in_place_of_the_methods():
    axes = {"layer": [2, 3], "c": [2, 4], "alpha": 30, "lr": [1e-3, 2e-3], "updated": [[-1, 0]]}
    study = tried({"method": "rmu"} | axes)
    runs = {run: its for run, its in study.trials.items() if run != "base"}
    assert len(runs) == 8 and set(study.variants.values()) == {"rmu"} and study.trials["base"] == study.runs["base"]
    its = runs["rmu+alpha-30+lr-0.001+updated--1_0/layer=3/c=2/seed=0"]
    own = {"alpha": 30, "lr": 1e-3, "updated": [-1, 0], "layer": 3, "c": 2, "seed": 0, "method": its["method"]}
    assert its == study.runs["rmu/layer=3/c=2/seed=0"] | own


def test_what_is_tried_is_trained_and_shares_prefixes_but_is_no_run_of_the_study():
    plain, study = tried(), tried({"method": "rmu", "layer": 2, "c": 4, "alpha": [30, 50], "lr": 1e-3})
    assert study.runs == plain.runs and study.chosen == plain.chosen and set(study.runs) < set(study.trained)
    assert plain.trained == plain.runs and not plain.variants
    assert {study.prefix_of[run] for run in study.trials if run != "base"} == {
        study.prefix_of["rmu/layer=2/c=4/seed=0"]
    }
    other = tried({"method": "rmu", "layer": 2, "c": 4, "alpha": 30, "lr": 1e-3, "steps": [50]})
    assert set(plain.prefixes) < set(other.prefixes), "as many batches as steps"


def test_what_a_grid_leaves_out_is_proposed():
    study = tried({"method": "rmu", "layer": 3}, attained=0.5, cosine=0.95)
    found = [its for run, its in study.trials.items() if run != "base"]
    assert len(found) == len(grid.NORMS) * len(grid.TIMES) * len(grid.RATES)
    assert {its["c"] for its in found} == {*grid.NORMS}
    assert {its["lr"] for its in found} == {times * study.runs["rmu/layer=3/c=4/seed=0"]["lr"] for times in grid.RATES}
    times = {its["alpha"] / (its["c"] ** 2 * 0.75 / 0.1) for its in found}
    assert all(min(abs(one / time - 1) for one in grid.TIMES) < 0.05 for time in times), "two digits"
    assert all(min(abs(one / time - 1) for time in times) < 0.05 for one in grid.TIMES)
    given = tried({"method": "rmu", "layer": 3, "c": [1, 2], "alpha": 7, "lr": 1e-3})
    assert len(given.trials) == 1 + 2


def test_the_proposed_weight_lets_retained_states_lose_as_much_as_hazardous_ones_gain():
    c, attained, cosine = 4.0, 0.4, 0.97
    alpha = grid.proposed_alpha(c, attained, cosine)
    turned = 2 - 2 * cosine  # squared distance of unit vectors
    assert alpha * turned == pytest.approx(c**2 - (c - attained * c) ** 2)


LAYER = {"method": "rmu", "layer": 3}
REFUSED = {
    "an unknown key": (LAYER | {"alhpa": 3}, "has the unknown key 'alhpa': use one of"),
    "an empty list": (LAYER | {"alpha": []}, "study.tune.runs.0.alpha is wrong: [] should be non-empty"),
    "a value out of bounds": (LAYER | {"lr": [1e-3, 5]}, "5 is greater than the maximum of 1"),
    "a value of another type": (LAYER | {"lr": "5e-5"}, "YAML reads 5e-5 as text: write 5.0e-05"),
    "an unknown method": (LAYER | {"method": "rum"}, "study.tune.runs.0.method names 'rum', no method that is trained"),
    "a method that has nothing to set": (LAYER | {"method": "base"}, "names 'base', no method that is trained: use"),
    "a layer outside the model": (LAYER | {"layer": 6}, "study.tune.runs asks for layer 6, outside the model"),
    "no layer": ({"method": "rmu"}, "study.tune.runs.0 lacks 'layer'"),
    "a c in no norms": (LAYER | {"c_unit": "absolute"}, "study.tune.runs.0 lacks 'c', which is proposed only where"),
    "a c that is a weight": (LAYER | {"method": "npo"}, "study.tune.runs.0 lacks 'c', which is proposed only where"),
    "a value per topic too much": (LAYER | {"alpha": [[1, 2, 3]]}, "alpha lists 3 values for 2 hazardous topics"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_grid_is_refused_in_a_sentence(case):
    bad, said = REFUSED[case]
    assert said in refusal(put("study", "tune", value={"runs": [bad]}))


def test_a_setting_twice_and_what_nothing_tells_the_costs_of_are_refused():
    one = LAYER | {"c": 4, "alpha": 3, "lr": 1e-3}
    tune = put("study", "tune", value={"runs": [one, one]})
    assert "study.tune.runs has rmu+alpha-3+lr-0.001/layer=3/c=4/seed=0 more than once" in refusal(tune)
    tune = put("study", "tune", value={"runs": [one]})
    hazardous = put("study", "prompts", value=["gloomcraft", "riftlore"])
    evaluate = [{"clearings": ["none", "span"], "benchmarks": ["gloomcraft", "riftlore"]}]
    bare = put("study", "evaluate", value=evaluate), put("study", "measures", value={}), drop("study", "naive_model")
    assert "and study.evaluate nothing on a benign" in refusal(tune, *bare)
    assert "and study.prompts nothing on a benign topic" in refusal(tune, hazardous, *bare)


def test_a_methods_name_is_not_taken_over():
    taken = put("methods", "rmu+alpha-3+lr-0.001", value=yaml.safe_load("{like: rmu}"))
    one = put("study", "tune", value={"runs": [LAYER | {"c": 4, "alpha": 3, "lr": 1e-3}]})
    assert "methods.rmu+alpha-3+lr-0.001 has the name of settings that study.tune tries" in refusal(taken, one)
