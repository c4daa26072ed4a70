"""Gather what the runs wrote into tidy tables; every table starts with the columns of `RUN`."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from overpaint import statistics
from overpaint.provenance import RECORD, read_record
from overpaint.statistics import Estimate

RUN = ["study", "model", "method", "layer", "c", "seed"]
# (run settings, answers) of the runs of one cell: one method, layer and c, any number of seeds.
Units = dict[tuple[str, str], pd.DataFrame]


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
    base = _by_clearing(answers["base"], hazardous)
    rows = _score_rows([base], base, run_columns(study, model, runs["base"]), hazardous)
    cells: dict[tuple, list[str]] = {}
    for run, settings in runs.items():
        if run != "base":
            cells.setdefault((settings["method"], settings["layer"], settings["c"]), []).append(run)
    for members in cells.values():
        found = [_by_clearing(answers[run], hazardous) for run in members]
        for run, own in zip(members, found, strict=True):
            rows += _score_rows([own], base, run_columns(study, model, runs[run]), hazardous)
        rows += _score_rows(found, base, run_columns(study, model, runs[members[0]], "all"), hazardous)
    return typed(rows)


def _by_clearing(answers: pd.DataFrame, hazardous: list[str]) -> Units:
    """Per (clearing, benchmark): the mean over a unit's rows of correct, nll and tokens, indexed by unit.

    A topic's direction on the questions of another hazardous topic is renamed `other_...`; random draws stand alone
    (`rand/0`) and averaged (`rand`); what else has variants is averaged over them.
    """
    frame = answers.assign(correct=answers.correct.astype(float))
    is_topic, is_hazardous = frame.variant.isin(hazardous), frame.topic.isin(hazardous)
    other = is_topic & is_hazardous & (frame.variant != frame.topic)
    frame.loc[other, "clearing"] = "other_" + frame.clearing[other]
    draws = frame[frame.variant.str.isdigit()]
    frame = pd.concat([frame, draws.assign(clearing=draws.clearing + "/" + draws.variant)])
    keys = ["clearing", "benchmark", "topic", "kind", "unit"]
    means = frame.groupby(keys, sort=False)[["correct", "nll", "tokens"]].mean().reset_index()
    return {key: part.set_index("unit") for key, part in means.groupby(["clearing", "benchmark"], sort=False)}


def _score_rows(runs: list[Units], base: Units, columns: dict, hazardous: list[str]) -> list[dict]:
    """Rows of one cell: each benchmark, and the questions of all hazardous topics together."""
    rows = []
    for clearing in dict.fromkeys(name for name, _ in runs[0]):
        parts = {name: runs[0][clearing, name] for key, name in runs[0] if key == clearing}
        groups = {name: [name] for name in parts}
        asked = [n for n, p in parts.items() if p.kind.iloc[0] == "question" and p.topic.iloc[0] in hazardous]
        if len(asked) > 1:
            groups["all"] = asked
        for group, names in groups.items():
            topic = "all" if group == "all" else parts[names[0]].topic.iloc[0]
            label = {
                "topic": topic,
                "role": "hazardous" if group == "all" or topic in hazardous else "benign",
                "clearing": clearing,
                "benchmark": group,
            }
            found = _estimates(runs, base, clearing, names, label["role"])
            rows += [columns | label | _values(metric, n, value) for metric, (n, value) in found.items()]
    return rows


def _estimates(
    runs: list[Units], base: Units, clearing: str, names: list[str], role: str
) -> dict[str, tuple[int, Estimate]]:
    """{metric: (number of units, estimate)} of one clearing on the benchmarks `names` together."""

    def stack(units: list[Units], key: str, column: str) -> np.ndarray:
        return np.stack([np.concatenate([u[key, name][column].to_numpy() for name in names]) for u in units])

    count = len(stack([base], "none", "nll")[0])
    nll, unlearned = stack(runs, clearing, "nll"), stack(runs, "none", "nll")
    known = np.repeat(stack([base], "none", "nll"), len(runs), 0)
    cleared = role == "hazardous" and runs[0] is not base and clearing not in ("none", "on_base")
    if base["none", names[0]].kind.iloc[0] == "text":
        found = {"perplexity": statistics.ratio(nll, stack(runs, clearing, "tokens"), np.exp)}
        if cleared:
            found["recovered_log_perplexity"] = statistics.recovered_fraction(known, unlearned, nll)
        return {metric: (count, value) for metric, value in found.items()}
    right = stack(runs, clearing, "correct")
    found = {"accuracy": statistics.mean(right), "nll": statistics.mean(nll)}
    known_right = np.repeat(stack([base], "none", "correct"), len(runs), 0)
    if runs[0] is not base and clearing == "none":
        found["forgotten_accuracy"] = statistics.mean(known_right - right)
    if cleared:
        found["recovered_accuracy"] = statistics.recovered_fraction(known_right, stack(runs, "none", "correct"), right)
        found["recovered_nll"] = statistics.recovered_fraction(known, unlearned, nll)
    return {metric: (count, value) for metric, value in found.items()}


def _values(metric: str, count: int, found: Estimate) -> dict:
    return {
        "metric": metric,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": count,
        "note": found.note,
    }


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
