"""One pair of models by hand: the junk of an unlearned model fitted, cleared and scored, as the workflow does it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from overpaint.errors import UserError
from overpaint.junk import estimators
from overpaint.junk.activations import Activations
from overpaint.junk.clearing import DIRECTIONS, LABEL_TYPES, Clearing
from overpaint.junk.collection import collect
from overpaint.junk.estimators import Sample
from overpaint.junk.run import Run
from overpaint.models.hooks import check_sites
from overpaint.models.load import load_model, load_tokenizer
from overpaint.models.overlay import Overlay, replaced
from overpaint.models.parts import blocks
from overpaint.report.charts.dotplot import by_role
from overpaint.report.drawing import styled, svg
from overpaint.scoring.evaluation import Benchmark, evaluate_clearings
from overpaint.sources.texts import read_prompts, read_rows
from overpaint.study.sweep import NULLS
from overpaint.tables import core, scores
from overpaint.unlearning.methods import Task, published

Files = Mapping[str, str | Path]
# What entries of the catalogue of clearings have where they say nothing else; `rank` is by default that of the junk.
SETTINGS = {"target": "zero", "scope": "all", "on_base": False, "strength": 1.0, "draws": 20, "resamples": 20}
CLEARINGS: dict[str, dict[str, Any]] = {name: {"direction": name} for name in ("none", "span", "rand", "randn", "ones")}


@dataclass(frozen=True)
class Pair:
    """A base model and the model unlearned from it.

    run: the unlearned model, with what it has in place of the base's tensors and, once fitted, its junk.
    topics: the hazardous topics that junk was fitted on.
    """

    run: Run
    topics: tuple[str, ...] = ()

    @classmethod
    def load(cls, base: str | Path, unlearned: str | Path, layer: int, dtype: str = "float32", seed: int = 0) -> Pair:
        """The pair of two Hugging Face folders, or of a base and the overlay.safetensors of a run.

        layer: the block, counted from 0, after which junk is fitted: that which unlearning aimed at.
        seed: of random null directions. Raises UserError where one is no version of the other.
        """
        model, tokenizer = load_model(Path(base), dtype), load_tokenizer(Path(base))
        count = len(blocks(model))
        if not 0 <= layer < count:
            raise UserError(f"Layer {layer} is none of the model in {base}: it has blocks 0 to {count - 1}.")
        if Path(unlearned).is_file():
            overlay = Overlay.load(Path(unlearned))
        else:
            with redirect_stdout(io.StringIO()):
                overlay, _ = published.unlearn(model, Task({}, released=Path(unlearned)))
        overlay = replace(overlay, settings=overlay.settings | {"layer": layer, "seed": seed})
        return cls(Run(model, tokenizer, overlay, overlay.apply(model)))

    def fit(self, hazardous: Files, benign: Files | None = None, position: str = "last") -> Pair:
        """The pair with its junk, fitted on the `fit` rows of prompts: JSONL files by topic, see docs/own-data.md.

        position: the tokens that it is fitted on, `last` or `mean`, all but the first.
        """
        if not hazardous or set(hazardous) & set(benign or {}):
            raise UserError("Give prompts of one hazardous topic or more, and benign ones under other names.")
        if position not in ("last", "mean"):
            raise UserError(f"Junk cannot be fitted on the position {position!r}: use last or mean.")
        check_sites(self.run.model)
        prompts = {name: read_prompts(path, "fit") for name, path in {**hazardous, **(benign or {})}.items()}
        unlearned = self._collect(prompts)
        with replaced(self.run.model, self.run.base_tensors):
            base = self._collect(prompts)
        layer, topics = self.run.overlay.settings["layer"], {topic: topic for topic in hazardous}
        sample = Sample.of(base, unlearned, topics, self.run.overlay.controls, layer + 1, position)
        return replace(self, run=replace(self.run, junk=estimators.fit(sample, base, layer)), topics=tuple(hazardous))

    def clearings(self, chosen: Mapping[str, Mapping[str, Any]] = CLEARINGS) -> dict[str, list[Clearing]]:
        """The concrete clearings of entries as `clearings` of the configuration has them, by name."""
        if self.run.junk is None:
            raise UserError("This pair has no junk yet: call fit() with prompts first.")
        unknown = {str(entry.get("direction")) for entry in chosen.values()} - {"none", *DIRECTIONS}
        if unknown:
            raise UserError(f"There is no direction {min(unknown)}: use none, {', '.join(DIRECTIONS)}.")
        return {name: self.run.clearings(name, self._settings(entry)) for name, entry in chosen.items()}

    def ask(
        self, questions: Files, clearings: Mapping[str, Mapping[str, Any]] = CLEARINGS, primary: str = "span",
        split: str = "test", metric: str = "acc", scoring: str = "continuation",
    ) -> Scored:  # fmt: skip
        """How base, unlearned and cleared model answer questions: JSONL files by topic, see docs/own-data.md.

        Topics that junk was not fitted on are benign: they are not asked under nulls, as in the studies.

        Args:
            clearings: entries as `clearings` of the configuration has them; `none` is always asked.
            primary: the one that is shown as cleared.
            split, metric, scoring: the rows that are asked, `acc` or `acc_norm`, `continuation` or `letter`.
        """
        if primary not in clearings:
            raise UserError(f"The primary clearing {primary!r} is not asked: name one of {', '.join(clearings)}.")
        asked = [_benchmark(topic, Path(path), metric, scoring) for topic, path in questions.items()]
        entries = {"none": {"direction": "none"}} | dict(clearings)
        hazardous = [benchmark for benchmark in asked if benchmark.topic in self.topics]
        if not hazardous:
            raise UserError(f"No question is about a topic that junk was fitted on: name {', '.join(self.topics)}.")
        plan = [
            (clearing, hazardous if entries[name]["direction"] in NULLS else asked)
            for name, variants in self.clearings(entries).items()
            for clearing in variants
        ]
        answers = {"unlearned": _answers(self.run, plan, split)}
        with replaced(self.run.model, self.run.base_tensors):
            none = [variant for variant, _ in plan if not len(variant.basis)][:1]
            answers["base"] = _answers(Run(self.run.model, self.run.tokenizer), [(none[0], asked)], split)
        runs = {"base": {"method": "base"}, "unlearned": {"method": "unlearned"} | self._cell()}
        settings = {name: self._settings(entry) for name, entry in entries.items()}
        name = Path(str(self.run.model.name_or_path)).name
        return Scored(answers, core.Study("", name, runs, list(self.topics), settings, primary, NULLS, split))

    def _collect(self, prompts: Mapping[str, list[str]]) -> dict[str, Activations]:
        return {name: collect(self.run.model, self.run.tokenizer, texts) for name, texts in prompts.items()}

    def _cell(self) -> dict[str, Any]:
        return {key: self.run.overlay.settings.get(key) for key in ("layer", "c", "seed")}

    def _settings(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return SETTINGS | {"rank": max(1, len(self.topics))} | dict(entry)


def _benchmark(topic: str, path: Path, metric: str, scoring: str) -> Benchmark:
    """The questions of a file, which are checked."""
    read_rows(path, "questions", {"metric": metric, "scoring": scoring})
    return Benchmark(topic, topic, path, metric, scoring=scoring)


def _answers(run: Run, plan: list[tuple[Clearing, list[Benchmark]]], split: str) -> pd.DataFrame:
    """The rows of every question under each clearing; what is said of the progress is for logs of jobs."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return pd.DataFrame(evaluate_clearings(run, plan, split)).astype(LABEL_TYPES)


@dataclass(frozen=True)
class Scored:
    """What a pair answered.

    runs: rows of the `base` and of the `unlearned` model, this under each clearing.    study: what labels them.
    """

    runs: dict[str, pd.DataFrame]
    study: core.Study

    @cached_property
    def answers(self) -> pd.DataFrame:
        """A row per question, clearing and model, which `run` names; docs/reading.md has the other columns."""
        return pd.concat([rows.assign(run=run) for run, rows in self.runs.items()], ignore_index=True)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The tidy table `scores` of docs/tables.md: accuracy, likelihood and what came back, with 95 % intervals."""
        table = scores.scores(self.runs, self.study)
        return table[table.seed != "all"].reset_index(drop=True)  # of one run the same again

    def _repr_html_(self) -> str:
        return svg(self.plot())  # of a bare Figure a notebook shows its size alone

    def plot(self, metrics: Mapping[str, str] | None = None) -> Figure:
        """Dot plots with intervals: a row of panels per metric of `scores` with its title, by default the accuracy."""
        titles = metrics or {"accuracy": "share of questions answered right"}
        rows = self.scores[self.scores.metric.isin(list(titles)) & self.scores.part.eq("all")]
        if rows.empty:
            known = ", ".join(self.scores.metric.unique())
            raise UserError(f"There is no metric {', '.join(titles)} in these scores: name one of {known}.")
        return styled(by_role)(rows, titles, self.study.primary, with_base=True)
