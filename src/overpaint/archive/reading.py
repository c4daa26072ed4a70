"""The results of a study as data frames, to go on with in a notebook."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from overpaint.errors import UserError
from overpaint.study import sweep
from overpaint.study.study import Study
from overpaint.tables import core, scores


@dataclass(frozen=True)
class Results:
    """What a study wrote.

    folder: where.    config: what the study uses of the configuration.
    """

    folder: Path
    config: dict[str, Any]

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tidy tables by name; docs/tables.md has their columns."""
        return {path.stem: pd.read_parquet(path) for path in sorted((self.folder / "tables").glob("*.parquet"))}

    @cached_property
    def answers(self) -> pd.DataFrame:
        """A row per question or text, clearing and run, which `run` and the columns that every table has name.

        answer: number of the right option.    correct: whether it was chosen.    nll: nats of the right one,
        of a text all its nats, and tokens: how many tokens these are of.    scores: that of each option.
        """
        study = Study(self.config)
        parts = [self._answers(study, model, run) for model in study.models for run in study.runs]
        return core.typed(pd.concat(parts, ignore_index=True))

    def rescored(self, answers: pd.DataFrame | None = None) -> pd.DataFrame:
        """The table `scores` computed anew from `answers`, or from some rows of them; no model is needed.

        Raises UserError where there is no row of the base model, with which all others are compared.
        """
        rows, study = self.answers if answers is None else answers, Study(self.config)
        return core.joined(self._scores(rows[rows.model == model], study, model) for model in study.models)

    def _answers(self, study: Study, model: str, run: str) -> pd.DataFrame:
        path = self.folder / model / run / "answers.parquet"
        if not path.is_file():
            raise UserError(f"There is no {path}: run the study again, or unpack a bundle of it.")
        rows = pd.read_parquet(path)
        columns = core.run_columns(self.config["study"]["name"], model, study.runs[run]) | {"run": run}
        return pd.DataFrame([columns] * len(rows)).join(rows)

    def _scores(self, rows: pd.DataFrame, study: Study, model: str) -> pd.DataFrame:
        frames = {run: part for run, part in rows.groupby("run", sort=False)}
        if "base" not in frames:
            raise UserError(f"The answers have no row of the base model of {model}: keep those where run is `base`.")
        runs = {run: settings for run, settings in study.runs.items() if run in frames}
        labels = core.Study.of(self.config, runs, study.topics, sweep.NULLS, study.families)
        return scores.scores(frames, replace(labels, model=model))


def load(folder: str | Path = "results") -> Results:
    """The results of the study in `folder`, its `output`.

    Raises UserError where no tables are there.
    """
    config = Path(folder) / "tables/config.json"
    if not config.is_file():
        raise UserError(f"There are no tables in {folder}: run the study first, or name the `output` of one that ran.")
    return Results(Path(folder), json.loads(config.read_text(encoding="utf-8")))
