"""Gather what the runs wrote into tidy tables; every table starts with the columns of `RUN`."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from overpaint import statistics
from overpaint.provenance import RECORD, read_record
from overpaint.statistics import Estimate

RUN = ["study", "model", "method", "layer", "c", "seed"]
FIT = "fit"  # variants of this name and a number are refits of one clearing


class Answered(NamedTuple):
    """A benchmark under one clearing: means over the rows of each unit, [units], in the order of the answers."""

    topic: str
    kind: str
    correct: np.ndarray
    nll: np.ndarray
    tokens: np.ndarray


Units = dict[tuple[str, str], Answered]  # by (clearing, benchmark)


def run_columns(study: str, model: str, settings: dict, seed: str | None = None) -> dict:
    """The columns of `RUN` for a run's settings; `seed` overrides the seed (`all`: pooled over seeds)."""
    own = str(settings["seed"]) if "seed" in settings else ""
    return {
        "study": study,
        "model": model,
        "method": settings["method"],
        "layer": settings.get("layer"),
        "c": settings.get("c"),
        "seed": own if seed is None else seed,
    }


def typed(rows: Iterable[dict] | pd.DataFrame) -> pd.DataFrame:
    """A table with the column types that every table shares."""
    table = pd.DataFrame(rows)
    return table.astype({"layer": "Int64", "c": float, "seed": str})


def write(table: pd.DataFrame, parquet: Path, csv: Path) -> None:
    """Write a table in both formats."""
    table.to_parquet(parquet, index=False)
    table.to_csv(csv, index=False)


def scores(
    answers: dict[str, pd.DataFrame], runs: dict[str, dict], study: str, model: str, hazardous: list[str]
) -> pd.DataFrame:
    """Accuracy, likelihood, perplexity and recovered fractions with intervals, per run and pooled over seeds.

    answers: per run path, the rows of `evaluation.evaluate_clearings`.    hazardous: the hazardous topics.
    """
    base = by_clearing(answers["base"], hazardous)
    rows = _score_rows([base], base, run_columns(study, model, runs["base"]), hazardous)
    for members in cells(runs):
        found = [by_clearing(answers[run], hazardous) for run in members]
        for run, own in zip(members, found, strict=True):
            rows += _score_rows([own], base, run_columns(study, model, runs[run]), hazardous)
        rows += _score_rows(found, base, run_columns(study, model, runs[members[0]], "all"), hazardous)
    return typed(rows)


def cells(runs: dict[str, dict]) -> list[list[str]]:
    """The runs of each cell, which differ in their seed alone."""
    found: dict[tuple, list[str]] = {}
    for run, settings in runs.items():
        if run != "base":
            found.setdefault((settings["method"], settings["layer"], settings["c"]), []).append(run)
    return list(found.values())


def named(frame: pd.DataFrame, hazardous: list[str]) -> pd.DataFrame:
    """The rows by the names that clearings have in every table.

    A topic's direction on the texts of another hazardous topic is renamed `other_...`; random draws (`rand/0`) and
    refits (`span_boot/fit0`) stand alone and together (`rand`).
    """
    other = frame.variant.isin(hazardous) & frame.topic.isin(hazardous) & (frame.variant != frame.topic)
    frame = frame.assign(clearing=frame.clearing.where(~other, "other_" + frame.clearing))
    draws = frame[frame.variant.str.fullmatch(rf"({FIT})?\d+")]
    return pd.concat([frame, draws.assign(clearing=draws.clearing + "/" + draws.variant)], ignore_index=True)


def by_clearing(answers: pd.DataFrame, hazardous: list[str]) -> Units:
    """What was answered under each (clearing, benchmark).

    Clearings are those of `named`; what else has variants is averaged over them.
    """
    frame = named(answers.assign(correct=answers.correct.astype(float)), hazardous)
    keys = ["clearing", "benchmark", "topic", "kind", "unit"]
    means = frame.groupby(keys, sort=False)[["correct", "nll", "tokens"]].mean().reset_index()
    topic, kind, *values = (means[name].to_numpy() for name in Answered._fields)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(means.clearing, means.benchmark, strict=True)):
        rows.setdefault(key, []).append(row)
    return {key: Answered(topic[own[0]], kind[own[0]], *(v[own] for v in values)) for key, own in rows.items()}


def groups(run: Units, hazardous: list[str]) -> Iterator[tuple[dict, list[str]]]:
    """What is told of each clearing: (columns that label it, benchmarks), for each benchmark and, as `all`, for the
    questions of all hazardous topics together; refits are told of together."""
    for clearing in dict.fromkeys(name for name, _ in run if f"/{FIT}" not in name):
        parts = {name: run[clearing, name] for key, name in run if key == clearing}
        found = {name: [name] for name in parts}
        asked = [n for n, p in parts.items() if p.kind == "question" and p.topic in hazardous]
        if len(asked) > 1:
            found["all"] = asked
        for group, names in found.items():
            topic = "all" if group == "all" else parts[names[0]].topic
            role = "hazardous" if group == "all" or topic in hazardous else "benign"
            yield {"topic": topic, "role": role, "clearing": clearing, "benchmark": group}, names


def stack(units: list[Units], clearing: str, names: list[str], column: str) -> np.ndarray:
    """A column under one clearing on the benchmarks `names` together, [seeds, units]."""
    return np.stack([np.concatenate([getattr(u[clearing, name], column) for name in names]) for u in units])


def _fits(units: list[Units], clearing: str, names: list[str], column: str) -> np.ndarray:
    """A column under each refit of a clearing, [seeds, fits, units]; of one that has none as `stack` gives it."""
    fits = dict.fromkeys(name for name, _ in units[0] if name.startswith(f"{clearing}/{FIT}"))
    if not fits:
        return stack(units, clearing, names, column)
    return np.stack([stack(units, fit, names, column) for fit in fits], 1)


def _score_rows(runs: list[Units], base: Units, columns: dict, hazardous: list[str]) -> list[dict]:
    """Rows of one cell."""
    rows = []
    for label, names in groups(runs[0], hazardous):
        found = _estimates(runs, base, label["clearing"], names, label["role"])
        rows += [columns | label | _values(metric, n, value) for metric, (n, value) in found.items()]
    return rows


def _estimates(
    runs: list[Units], base: Units, clearing: str, names: list[str], role: str
) -> dict[str, tuple[int, Estimate]]:
    """{metric: (number of units, estimate)} of one clearing on the benchmarks `names` together."""
    nll, unlearned = stack(runs, clearing, names, "nll"), stack(runs, "none", names, "nll")
    known = np.repeat(stack([base], "none", names, "nll"), len(runs), 0)
    count = known.shape[1]
    cleared = role == "hazardous" and runs[0] is not base and clearing not in ("none", "on_base")
    if base["none", names[0]].kind == "text":
        found = {"perplexity": statistics.ratio(nll, stack(runs, clearing, names, "tokens"), np.exp)}
        if cleared:
            found |= _recovered("log_perplexity", known, unlearned, _fits(runs, clearing, names, "nll"))
        return {metric: (count, value) for metric, value in found.items()}
    right = stack(runs, clearing, names, "correct")
    found = {"accuracy": statistics.mean(right), "nll": statistics.mean(nll)}
    known_right = np.repeat(stack([base], "none", names, "correct"), len(runs), 0)
    if runs[0] is not base and clearing == "none":
        found["forgotten_accuracy"] = statistics.mean(known_right - right)
    if cleared:
        start = stack(runs, "none", names, "correct")
        found |= _recovered("accuracy", known_right, start, _fits(runs, clearing, names, "correct"))
        found |= _recovered("nll", known, unlearned, _fits(runs, clearing, names, "nll"))
    return {metric: (count, value) for metric, value in found.items()}


def _recovered(metric: str, base: np.ndarray, unlearned: np.ndarray, cleared: np.ndarray) -> dict[str, Estimate]:
    """The recovered fraction of a metric; of a clearing with refits, [seeds, fits, units], their spread beside it."""
    found = {f"recovered_{metric}": statistics.recovered_fraction(base, unlearned, cleared)}
    if cleared.ndim == 3 and cleared.shape[1] > 1:
        found[f"spread_{metric}"] = statistics.spread_of_fits(base, unlearned, cleared)
    return found


def _values(metric: str, count: int, found: Estimate) -> dict:
    return {
        "metric": metric,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": count,
        "note": found.note,
    }


def by_model(models: list[str], runs: Iterable[str], paths: Iterable, read: Callable) -> dict[str, dict]:
    """{model: {run: what `read` makes of its file}}; paths: of the runs of one model after the other."""
    found: dict[str, dict] = {model: {} for model in models}
    for (model, run), path in zip(product(models, runs), paths, strict=True):
        found[model][run] = read(path)
    return found


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several models in one table; columns and types are those of a part with rows, where there is one."""
    parts = list(parts)
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def labelled(frames: dict[str, pd.DataFrame], runs: dict[str, dict], study: str, model: str) -> pd.DataFrame:
    """The frames of several runs in one table, each with its columns of `RUN`."""
    parts = [
        pd.DataFrame([run_columns(study, model, runs[run])] * len(frame)).join(frame.reset_index(drop=True))
        for run, frame in frames.items()
        if len(frame)
    ]
    return typed(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=RUN))


def with_role(frame: pd.DataFrame, hazardous: list[str]) -> pd.DataFrame:
    """The frame with a column `role` after `topic`."""
    if frame.empty:
        return frame.assign(role="")
    return frame.assign(role=frame.topic.isin(hazardous).map({True: "hazardous", False: "benign"}))


def provenance(paths: Iterable[str | Path]) -> pd.DataFrame:
    """A row per job of the study, from its job.json."""
    rows = []
    for path in paths:
        facts = read_record(Path(path))
        row = {"rule": facts["rule"], "output": str(path).removesuffix(RECORD)}
        row |= {key: facts[key] for key in ("seconds", "peak_mb", "started", "git", "dirty", "python", "cluster_job")}
        row |= {key: json.dumps(facts[key], sort_keys=True) for key in ("packages", "hardware", "settings", "inputs")}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["rule", "output"], ignore_index=True)
