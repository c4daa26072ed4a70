"""Fit the junk directions of a run and describe them, on the prompts of the fitting half."""

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


def fit(base: Path, run: Path, overlay: Path, topics: dict[str, str], tokens: str) -> Fitted:
    """The junk of a run from its activations and the base's.

    topics: {hazardous topic: prompt set}.    tokens: the position that it is fitted on, `last` or `mean`.
    """
    halves = {split: (activations.load(base, split), activations.load(run, split)) for split in ("fit", "report")}
    controls, settings = read_overlay(overlay)
    layer, other = settings["layer"], {"last": "mean", "mean": "last"}[tokens]

    def sample(split: str, position: str) -> Sample:
        return Sample.of(*halves[split], topics, controls, layer + 1, position)

    fitted, scales = sample("fit", tokens), settings.get("scale", {})
    rows = diagnosis.diagnose(fitted, sample("report", tokens), sample("fit", other), scales)
    junk = estimators.fit(fitted, halves["fit"][0], layer)
    return Fitted(junk, rows, diagnosis.depths(*halves["fit"], topics, controls))
