"""Layers against each other: known differences, none between equal answers, and pairs narrower than strangers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.answers import STUDY, WHOLE, answer_rows
from scipy.stats import ttest_1samp

from overpaint.tables import layers, models, scores, statistics, verdicts

RUNS = {"base": {"kind": "base", "method": "base"}} | {
    f"rmu/layer={layer}/c={c}/seed={seed}": {"kind": "rmu", "method": "rmu", "layer": layer, "c": c, "seed": seed}
    for layer in (2, 3) for c in (2.0, 4.0) for seed in (0, 1)
}  # fmt: skip
HERE = replace(STUDY, runs=RUNS)
VARIANTS = {"none": WHOLE, "span": WHOLE}


def answered(upper: float) -> dict[str, pd.DataFrame]:
    """Answers of which clearing gives back half at layer 2, and at layer 3 so that `upper` are right."""
    found = {"base": answer_rows(np.random.default_rng(9), {"none": WHOLE}, {"none": 0.9})}
    for run, settings in RUNS.items():
        if run != "base":
            skill = {"none": 0.3, "span": upper if settings["layer"] == 3 else 0.6}
            found[run] = answer_rows(np.random.default_rng(settings["seed"]), VARIANTS, skill)
    return found


def fractions(answers: dict[str, pd.DataFrame], marked: tuple = ()) -> layers.Fractions:
    table = scores.scores(answers, HERE)
    junk = pd.DataFrame(columns=[*verdicts.CELL, "quantity", "value"])
    cells = verdicts.cells(table, junk, {"not_unlearned": 10, "collapsed": 15})
    here = pd.Series([*zip(cells.layer, cells.c, strict=True)], cells.index).isin(marked)
    return layers.fractions(answers, cells.assign(mark=cells["mark"].mask(here, "collapsed")), HERE)


def contrast(*args: Any, **options: Any) -> pd.DataFrame:
    return layers.layers({"tiny": fractions(*args, **options)}, "s")


def test_the_difference_is_that_of_the_recovered_fractions_on_average_over_c():
    answers = answered(0.85)
    [row] = contrast(answers).to_dict("records")
    told = scores.scores(answers, HERE).query(
        "metric == 'recovered_accuracy' and seed == 'all' and topic == 'all' and part == 'all'"
    )
    of = told[told.clearing == "span"].groupby("layer").value.mean()
    assert (row["lower"], row["upper"], row["sizes"], row["models"]) == (2, 3, 2, 1)
    assert row["value"] == pytest.approx(of[3] - of[2]) and 0.2 < row["low"] < row["value"] < row["high"]
    assert row["above"] == 1


def test_equal_answers_have_no_difference_and_no_width():
    [row] = contrast(answered(0.6)).to_dict("records")
    assert (row["value"], row["low"], row["high"], row["above"]) == (0, 0, 0, 0)
    mixed = answered(0.6)
    rng = np.random.default_rng(5)
    for run in [run for run in RUNS if "layer=3" in run]:
        mixed[run] = answer_rows(rng, VARIANTS, {"none": 0.3, "span": 0.6})
    [strangers] = contrast(mixed).to_dict("records")
    assert strangers["low"] < 0 < strangers["high"], "as much comes back, of other facts"


def test_marked_cells_are_left_out_with_their_partners():
    [row] = contrast(answered(0.85), marked=((2, 4.0),)).to_dict("records")
    assert row["sizes"] == 1
    assert contrast(answered(0.85), marked=((2, 2.0), (3, 4.0))).empty


def shifted(values: list[float]) -> dict[str, layers.Fractions]:
    """Base models of which layer 3 gives back so much more than layer 2, each with a little noise of its own."""
    noise = np.random.default_rng(3).normal(0, 0.01, (len(values), 1 + statistics.REPEATS))
    noise[:, 0] = 0
    lower, upper = layers.Place("rmu", 2, 4.0), layers.Place("rmu", 3, 4.0)
    return {f"m{i}": {lower: 0.5 + noise[i], upper: 0.5 + value - noise[i]} for i, value in enumerate(values)}


def test_over_base_models_there_is_a_mean_an_interval_and_a_count():
    values = [0.1, 0.3, 0.2, -0.05]
    table = layers.layers(shifted(values), "s")
    [found] = table.query("model == 'all'").to_dict("records")
    low, high = ttest_1samp(values, 0).confidence_interval()
    assert found["value"] == pytest.approx(np.mean(values)) and found["low"] < found["value"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.35), "about as wide as t's"
    assert (found["models"], found["above"], len(table)) == (4, 0.75, 5)
    assert layers.layers(shifted(values[:1]), "s").model.tolist() == ["m0"]


def test_a_plan_is_judged_over_base_models_by_its_whole_interval():
    found = shifted([0.1, 0.3, 0.2, 0.15])
    cells = {layer: {"method": "rmu", "layer": layer, "c": 4} for layer in (2, 3)}
    rule = {"claim": "c", "test": models.TEST, "level": 0.05}
    pairs = [cells[3] | {"models": names} for names in (["m1", "m2"], ["m0", "m3"])]
    rules = {
        "more": rule | {"of": cells[3], "less": cells[2], "above": 0},
        "much more": rule | {"of": cells[3], "less": cells[2], "above": 0.15},
        "part": rule | {"of": cells[2], "below": 0.6},
        "paired": rule | {"of": pairs[0], "less": pairs[1], "above": 0},
        "absent": rule | {"of": {"method": "rmu", "layer": 4, "c": 4}, "above": 0},
    }
    plan = {"studies": ["s"], "least": 2, "hypotheses": rules}
    judged = models.judge(found, "s", plan).set_index("hypothesis")
    verdicts = {"more": "holds", "much more": "fails", "part": "holds", "paired": "fails", "absent": "too few cells"}
    assert judged.verdict.to_dict() == verdicts
    assert judged.value["paired"] == pytest.approx(np.mean([0.3 - 0.1, 0.2 - 0.15])) and judged.cells["paired"] == 2
    assert judged.confirmatory.all() and not models.judge(found, "other", plan).confirmatory.any()
    assert (models.judge(found, "s", plan | {"least": 5}).verdict == "too few cells").all()


def test_means_over_base_models_leave_out_where_a_cell_has_a_mark():
    found = shifted([0.1, 0.3, 0.2])
    del found["m1"][layers.Place("rmu", 3, 4.0)]
    table = models.models(found, "s").set_index("layer")
    assert table.models.to_dict() == {2: 3, 3: 2} and table.value[3] == pytest.approx(0.65)
    assert table.spread[3] == pytest.approx(np.std([0.1, 0.2], ddof=1)) and (table.model == "all").all()
    assert models.models({"m0": found["m0"]}, "s").empty
