"""Gather what the runs wrote into tidy tables; every table starts with the columns of `RUN`."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from overpaint.jobs.provenance import RECORD, read_record

RUN = ["study", "model", "method", "layer", "c", "seed"]
APPLIED = ["clearing", "kind", "draw", "other_topic"]  # the columns that tell how a model was cleared
COSTS = ("seconds", "cpu_seconds", "startup_cpu_seconds", "peak_mb")  # what a job's record says of them
TOGETHER = -1  # instead of the number of a draw or refit: all of them together
# Columns of the tables that are gathered from files of jobs, so that names are text, whatever they look like.
RANGES = {f"{name}{end}": float for name in ("norm", "cosine") for end in ("", "_low", "_high")}
NULL_RANGE = {"value": float, "null_low": float, "null_high": float}
GIVEN = {
    "activations": {"topic": str, "prompts": str, "position": str, "depth": int, "n": int} | RANGES,
    "junk": {"topic": str, "direction": str, "quantity": str} | NULL_RANGE,
    "depths": {"topic": str, "depth": "Int64", "other_depth": "Int64", "quantity": str, "value": float},
    "weights": {"run": str, "tensor": str, "topic": str, "quantity": str} | NULL_RANGE,
    "history": {"topic": str, "step": int, "quantity": str, "value": float},
    "completions": dict.fromkeys(["topic", "clearing", "part", "prompt", "answer", "completion"], str)
    | {"holds_answer": "boolean"},
}


class Applied(NamedTuple):
    """How a model was cleared.

    clearing: an entry of the catalogue.    other_topic: by the directions of other hazardous topics than the text's.
    draw, refit: its number, or `TOGETHER`.
    """

    clearing: str
    other_topic: bool = False
    draw: int = TOGETHER
    refit: int = TOGETHER


NONE = Applied("none")


@dataclass(frozen=True)
class Study:
    """What labels the rows of one base model.

    name, model: the study's and the model's.    runs: {run path: settings}, the base among them.
    hazardous: the hazardous topics.    clearings: {name: settings}.    primary: the clearing fixed beforehand.
    nulls: kinds of directions that know nothing of the hazardous texts.
    split: the one whose answers are shown; settings are chosen on `fit`.
    families: {method: the one whose variant it is, or itself}.    budget: points of benign accuracy, of those chosen.
    perplexity_budget: per cent of benign perplexity instead, where no benign question is asked.
    """

    name: str
    model: str
    runs: dict[str, dict]
    hazardous: list[str]
    clearings: dict[str, dict]
    primary: str
    nulls: list[str]
    split: str = "test"
    families: Mapping[str, str] = field(default_factory=dict)
    budget: float = 1.0
    perplexity_budget: float = 5.0

    @classmethod
    def of(
        cls, config: dict, runs: dict[str, dict], hazardous: list[str], nulls: list[str],
        families: Mapping[str, str] | None = None,
    ) -> "Study":  # fmt: skip
        """That of the first base model of a configuration."""
        study = config["study"]
        model = study["model"] if isinstance(study["model"], str) else study["model"][0]
        clearings, primary = config["clearings"], study["headline"]["clearing"]
        budgets = study.get("damage_budget", cls.budget), study.get("perplexity_budget", cls.perplexity_budget)
        return cls(
            study["name"], model, runs, hazardous, clearings, primary, nulls, study["split"], families or {}, *budgets
        )

    def columns(self, run: str, seed: str | None = None) -> dict:
        """The columns of `RUN` for a run; see `run_columns`."""
        return run_columns(self.name, self.model, self.runs[run], seed)

    def cells(self, runs: Iterable[str]) -> list[list[str]]:
        """Those of `runs` that differ in their seed alone, cell by cell, without the base."""
        members: dict[tuple, list[str]] = {}
        for run in runs:
            if run != "base":
                members.setdefault(tuple(self.runs[run][key] for key in ("method", "layer", "c")), []).append(run)
        return list(members.values())

    def of_topic(self, topic: str) -> dict:
        """The columns of a topic; `all` are the hazardous ones together."""
        return {"topic": topic, "role": "hazardous" if topic in ("all", *self.hazardous) else "benign"}

    def kind(self, clearing: str) -> str:
        """What a clearing is for, by its settings: none, primary, alternative, null or control."""
        settings = self.clearings[clearing]
        if settings["direction"] == "none":
            return "none"
        if clearing == self.primary:
            return "primary"
        if settings["on_base"]:
            return "control"
        return "null" if settings["direction"] in self.nulls else "alternative"

    def recovers(self, clearing: str) -> bool:
        """Whether the unlearned model is cleared at all, so that something may come back."""
        settings = self.clearings[clearing]
        return settings["direction"] != "none" and not settings["on_base"]

    def how(self, applied: Applied) -> dict:
        """The columns of `APPLIED`; a direction of other topics is a control."""
        kind = "control" if applied.other_topic else self.kind(applied.clearing)
        draw = None if applied.draw == TOGETHER else applied.draw
        return {"clearing": applied.clearing, "kind": kind, "draw": draw, "other_topic": applied.other_topic}


def run_columns(study: str, model: str, settings: dict, seed: str | None = None) -> dict:
    """The columns of `RUN` for a run's settings; `seed` overrides the seed (`all`: pooled over seeds)."""
    its_seed = str(settings["seed"]) if "seed" in settings else ""
    return {
        "study": study,
        "model": model,
        "method": settings["method"],
        "layer": settings.get("layer"),
        "c": settings.get("c"),
        "seed": its_seed if seed is None else seed,
    }


def typed(rows: Iterable[dict] | pd.DataFrame) -> pd.DataFrame:
    """A table with the column types that every table shares."""
    table = pd.DataFrame(rows)
    types = {"layer": "Int64", "c": float, "seed": str, "draw": "Int64", "holds_answer": "boolean"}
    return table.astype({name: kind for name, kind in types.items() if name in table})


def write(tables: dict[str, pd.DataFrame], out: Any) -> None:
    """Write tables by their names in both formats, to a job's outputs `name` and `name_csv`."""
    for name, table in tables.items():
        table.to_parquet(getattr(out, name), index=False)
        table.to_csv(getattr(out, f"{name}_csv"), index=False)


def read(path: Path, types: dict[str, type | str]) -> pd.DataFrame:
    """The CSV of a job with the columns and types of `GIVEN`: only numbers can be missing."""
    text = [name for name, kind in types.items() if kind is str]
    missing = {name: "" for name in types if name not in text}
    frame = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=missing)
    return frame.reindex(columns=list(types)).astype(types)


def as_applied(frame: pd.DataFrame, hazardous: list[str]) -> pd.DataFrame:
    """Rows of answers with the columns of `Applied`: draws and refits together, then each by itself."""
    other = frame.direction_of.isin(hazardous) & frame.topic.isin(hazardous) & (frame.direction_of != frame.topic)
    numbers = {name: frame[name].fillna(TOGETHER).astype(int) for name in ("draw", "refit")}
    frame = frame.assign(other_topic=other, **numbers)
    single = frame[(frame.draw != TOGETHER) | (frame.refit != TOGETHER)]
    return pd.concat([frame.assign(draw=TOGETHER, refit=TOGETHER), single], ignore_index=True)


def by_model(models: list[str], runs: Iterable[str], paths: Iterable, read: Callable) -> dict[str, dict]:
    """{model: {run: what `read` makes of its file}}; paths: of the runs of one model after the other."""
    tables: dict[str, dict] = {model: {} for model in models}
    for (model, run), path in zip(product(models, runs), paths, strict=True):
        tables[model][run] = read(path)
    return tables


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several models in one table; columns and types are those of a part with rows, where there is one."""
    parts = list(parts)
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def labelled(frames: dict[str, pd.DataFrame], study: Study, types: dict[str, type | str]) -> pd.DataFrame:
    """The frames of several runs, of columns `types`, in one table, each with its columns of `RUN`."""
    parts = [
        pd.DataFrame([study.columns(run)] * len(frame)).join(frame.reset_index(drop=True))
        for run, frame in frames.items()
        if len(frame)
    ]
    return typed(pd.concat(parts, ignore_index=True) if parts else empty(types))


def empty(types: dict[str, type | str]) -> pd.DataFrame:
    """A table of no run."""
    return pd.DataFrame(columns=[*RUN, *types]).astype(types)


def with_role(frame: pd.DataFrame, hazardous: list[str]) -> pd.DataFrame:
    """The frame with a column `role` after `topic`."""
    if frame.empty:
        return frame.assign(role="")
    return frame.assign(role=frame.topic.isin(hazardous).map({True: "hazardous", False: "benign"}))


def provenance(paths: Iterable[str | Path], before: Collection[str | Path] = ()) -> pd.DataFrame:
    """A row per job, from its job.json; `before` are those of jobs that ran before the study did."""
    rows = []
    for path in (*paths, *before):
        facts = read_record(Path(path))
        row = {"rule": facts["rule"], "output": str(path).removesuffix(RECORD), "before": path in before}
        row |= {key: facts[key] for key in (*COSTS, "started", "git", "dirty", "python", "cluster_job")}
        row |= {key: json.dumps(facts[key], sort_keys=True) for key in ("packages", "hardware", "settings", "inputs")}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["rule", "output"], ignore_index=True)


def costs(jobs: pd.DataFrame) -> pd.DataFrame:
    """A row per rule, the dearest first, and one of all, from the rows of `provenance` that the study itself ran."""
    jobs = jobs[~jobs.before]
    kinds = {key: "max" if key == "peak_mb" else "sum" for key in COSTS}
    rules = jobs.groupby("rule").agg({"output": "size"} | kinds).reset_index()
    together = jobs.assign(rule="all").groupby("rule").agg({"output": "size"} | kinds).reset_index()
    rows = pd.concat([together, rules.sort_values("cpu_seconds", ascending=False)], ignore_index=True)
    rows["startup_share"] = rows.startup_cpu_seconds / rows.cpu_seconds
    return rows.rename(columns={"output": "jobs"})
