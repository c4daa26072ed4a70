"""From one base model every processor gives the same answers: other instructions change bits, and no answer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.models import one_cell
from safetensors.torch import load_file

from overpaint.tables.scores import NEAR, near_ties

# Instructions that processors of other kinds and years have, too: MKL then sums in one order on all of them.
OTHER = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
STEPS = "60"  # of 400: both processes take 17 CPU-seconds, and scores differ by up to 1.3e-5 nats


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """What one cell of the default study gives with this processor's own instructions, and with others."""
    found = [tmp_path_factory.mktemp(name) for name in ("own", "other")]
    command = [sys.executable, one_cell.__file__]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    jobs = [
        subprocess.Popen([*command, folder, STEPS], env=os.environ | path | chosen, stderr=subprocess.PIPE, text=True)
        for folder, chosen in zip(found, ({}, OTHER), strict=True)
    ]
    for job in jobs:
        _, said = job.communicate()
        assert job.returncode == 0, said[-3000:]
    return found


@pytest.fixture(scope="module")
def answers(folders) -> list[pd.DataFrame]:
    return [pd.read_parquet(folder / "answers.parquet") for folder in folders]


def test_other_instructions_give_the_same_answers_from_other_bits(folders, answers):
    weights = [load_file(folder / "overlay.safetensors") for folder in folders]
    if all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]):
        pytest.skip("this processor, or this build of torch, computes with one set of instructions alone")
    own, other = (np.stack(found.scores) for found in answers)
    assert not np.array_equal(own, other), "bits differ in the weights and not in the scores"
    assert np.abs(own - other).max() < NEAR
    assert np.array_equal(own.argmax(1), other.argmax(1)) and answers[0].correct.equals(answers[1].correct)


def test_answers_that_differ_are_seen(answers):
    """Before and after clearing they do, though the cell is short."""
    shown = answers[0][answers[0].split == "test"]
    before, after = (np.stack(own.scores).argmax(1) for _, own in shown.groupby("clearing"))
    assert (before != after).sum() > 10 and len(before) == 768


def test_near_ties_are_those_of_the_two_best_options():
    scores = [[-1, -1 - NEAR / 2, -9], [-1, -1 - 2 * NEAR, -1 - 3 * NEAR], [-3, -2, -2], [-1], []]
    assert near_ties(pd.Series(scores)).tolist() == [True, False, True, False, False]
    assert near_ties(pd.Series([[], []])).tolist() == [False, False]
