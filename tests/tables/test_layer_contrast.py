"""Layers against each other: known differences, none between equal answers, and pairs narrower than strangers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.answers import STUDY, WHOLE, answer_rows
from scipy.stats import ttest_1samp

from overpaint.tables import layers, scores, verdicts

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


def contrast(answers: dict[str, pd.DataFrame], marked: tuple = ()) -> pd.DataFrame:
    table = scores.scores(answers, HERE)
    junk = pd.DataFrame(columns=[*verdicts.CELL, "quantity", "value"])
    cells = verdicts.cells(table, junk, {"not_unlearned": 10, "collapsed": 15})
    here = pd.Series([*zip(cells.layer, cells.c, strict=True)], cells.index).isin(marked)
    return layers.layers(answers, cells.assign(mark=cells["mark"].mask(here, "collapsed")), HERE)


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


def test_over_base_models_there_is_a_t_interval_and_a_count():
    values = [0.1, 0.3, 0.2, -0.05]
    row = {"study": "s", "method": "rmu", "layer": None, "c": None, "seed": "all", "lower": 2, "upper": 3, "sizes": 1}
    row |= {"models": 1, "low": 0.0, "high": 0.5, "above": 0.9}
    table = pd.DataFrame([row | {"model": f"m{i}", "value": v} for i, v in enumerate(values)])[layers.COLUMNS]
    [found] = layers.together(table).query("model == 'all'").to_dict("records")
    low, high = ttest_1samp(values, 0).confidence_interval()
    assert (found["value"], found["low"], found["high"]) == pytest.approx((np.mean(values), low, high))
    assert (found["models"], found["above"]) == (4, 0.75)
    pd.testing.assert_frame_equal(layers.together(table[:1]), table[:1])
