"""Fit the junk directions of a run and describe them, on the prompts of the split `fit`."""

from pathlib import Path
from typing import NamedTuple

from overpaint.junk import activations, diagnosis, estimators
from overpaint.junk.directions import Junk
from overpaint.junk.estimators import Sample
from overpaint.models.tensors import read_overlay


class Fitted(NamedTuple):
    """What is found of one run: its junk, rows of `diagnosis.diagnose` and of `diagnosis.depths`."""

    junk: Junk
    described: list[dict]
    depths: list[dict]


def fit(base: Path, run: Path, overlay: Path, topics: dict[str, str], position: str) -> Fitted:
    """The junk of a run from its activations and the base's.

    topics: {hazardous topic: prompt set}.    position: the tokens that it is fitted on, `last` or `mean`.
    """
    halves = {split: (activations.load(base, split), activations.load(run, split)) for split in ("fit", "test")}
    controls, settings = read_overlay(overlay)
    layer, other = settings["layer"], {"last": "mean", "mean": "last"}[position]

    def sample(split: str, at: str) -> Sample:
        return Sample.of(*halves[split], topics, controls, layer + 1, at)

    fitted, scales = sample("fit", position), settings.get("scale", {})
    rows = diagnosis.diagnose(fitted, sample("test", position), sample("fit", other), scales)
    junk = estimators.fit(fitted, halves["fit"][0], layer)
    return Fitted(junk, rows, diagnosis.depths(*halves["fit"], topics, controls))
