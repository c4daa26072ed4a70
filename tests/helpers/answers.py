"""Answers of runs that are known to be right or wrong, as evaluation writes them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from overpaint.junk.clearing import LABEL_TYPES
from overpaint.report import explorer
from overpaint.sources import PARTS
from overpaint.sources.texts import write_rows
from overpaint.tables.core import Study

RUN = ["study", "model", "method", "layer", "c", "seed"]
HAZARDOUS = ["fire", "ice"]
QUESTIONS = {"fire": "fire", "ice": "ice", "calm": "calm"}  # benchmark: topic
TEXTS = {"fire_text": "fire", "calm_text": "calm"}
WHOLE = [{}]
VARIANTS = {
    "none": WHOLE,
    "span": WHOLE,
    "topic": [{"direction_of": topic} for topic in HAZARDOUS],
    "on_base": WHOLE,
    "rand": [{"draw": draw} for draw in range(3)],
}
# How often the correct option is chosen, by clearing; 0.9 by the base.
SKILL = {"none": 0.3, "span": 0.6, "topic": 0.7, "on_base": 0.9, "rand": 0.35}
UNITS = 24
RUNS = {
    "base": {"kind": "base", "method": "base"},
    "rmu/layer=2/c=4/seed=0": {"kind": "rmu", "method": "rmu", "layer": 2, "c": 4, "seed": 0},
    "rmu/layer=2/c=4/seed=1": {"kind": "rmu", "method": "rmu", "layer": 2, "c": 4, "seed": 1},
    "rmu/layer=3/c=6.5/seed=0": {"kind": "rmu", "method": "rmu", "layer": 3, "c": 6.5, "seed": 0},
}
NAMES = ("none", "span", "topic", "rand", "span_boot")
CLEARINGS = {name: {"direction": name, "on_base": False} for name in NAMES}
CLEARINGS["on_base"] = {"direction": "span", "on_base": True}
STUDY = Study("study", "model", RUNS, HAZARDOUS, CLEARINGS, "span", ["rand"])
FIRST = "rmu/layer=2/c=4/seed=0"


def answer_rows(rng: np.random.Generator, variants: dict[str, list[dict]], skill: dict[str, float]) -> pd.DataFrame:
    """Two questions and one text per unit under every clearing, as evaluation writes them."""
    rows = []
    for clearing, variant in ((c, v) for c, names in variants.items() for v in names):
        own = variant.get("direction_of", "")
        label = {"clearing": clearing, "direction_of": "", "draw": None, "refit": None} | variant
        for benchmark, topic in QUESTIONS.items():
            able = 0.9 if topic == "calm" else skill[clearing] - 0.2 * (own in HAZARDOUS and own != topic)
            for number in range(2 * UNITS):
                rows.append(
                    label
                    | {"benchmark": benchmark, "topic": topic, "id": str(number), "unit": f"{topic}/{number // 2}"}
                    | {"split": "test", "part": PARTS[number // 2 % 2]}
                    | {"kind": "question", "answer": 0, "correct": bool(rng.random() < able)}
                    | {"nll": 2 - able + 0.1 * rng.random(), "tokens": 0, "scores": [-1.0, -2.0]}
                )
        for benchmark, topic in TEXTS.items():
            for number in range(UNITS):
                tokens = int(rng.integers(5, 15))
                rows.append(
                    label
                    | {"benchmark": benchmark, "topic": topic, "id": str(number), "unit": f"text/{number}"}
                    | {"split": "test", "part": PARTS[number % 2]}
                    | {"kind": "text", "answer": -1, "correct": None, "tokens": tokens, "scores": []}
                    | {"nll": tokens * (2 - skill[clearing] + 0.1 * rng.random())}
                )
    return pd.DataFrame(rows).astype(LABEL_TYPES)


def pick(
    scores: pd.DataFrame,
    metric: str,
    benchmark: str,
    clearing: str,
    layer: int | None = 2,
    seed: str = "0",
    draw: int = -1,
    other: bool = False,
) -> pd.Series:
    """The one row of a run's score."""
    run = scores.layer.isna() if layer is None else (scores.layer == layer) & (scores.seed == seed)
    how = (scores.clearing == clearing) & (scores.draw.fillna(-1) == draw) & (scores.other_topic == other)
    rows = scores[run & scores.part.eq("all") & (scores.metric == metric) & (scores.benchmark == benchmark) & how]
    assert len(rows) == 1, f"{len(rows)} rows"
    return rows.iloc[0]


def explored(folder: Path, questions: int = 24, more: str = "") -> tuple[SimpleNamespace, explorer.Asked]:
    """Files of a base and three runs that answered so many questions of each of three benchmarks, one of a data set.

    more: what every text ends with.
    """
    rng, benchmarks = np.random.default_rng(0), {"fire": True, "secret": False, "calm": True}
    given = SimpleNamespace(answers=[], completions=[], questions=[], prompts=[folder / "prompts.jsonl"])
    for name in benchmarks:
        given.questions.append(folder / f"{name}.jsonl")
        rows = [
            {"id": str(n), "question": f"{name} {n} ?{more}", "choices": [f"yes {n}{more}", f"no {n}{more}"]}
            for n in range(questions)
        ]
        write_rows(rows, given.questions[-1])
    write_rows([{"text": f"fire {n}{more}", "unit": f"fire/{n}"} for n in range(2)], given.prompts[0])
    for number, run in enumerate(RUNS):
        given.answers.append(folder / f"{number}.parquet")
        given.completions.append(folder / f"{number}.jsonl")
        clearings = ["none"] if run == "base" else ["none", "span", "topic", *["rand"] * 3]
        parts = [
            _explored(rng, name, clearing, draw, questions)
            for draw, clearing in enumerate(clearings)
            for name in benchmarks
        ]
        pd.concat(parts, ignore_index=True).to_parquet(given.answers[-1])
        written = [("none", "written"), ("span", "cleared")][: 1 if run == "base" else 2]
        rows = [
            {"topic": "fire", "clearing": clearing, "prompt": f"fire {n}{more}", "answer": f"{n}{more}"}
            | {"completion": f"{run} {text} {n}{more}"}
            for clearing, text in written
            for n in range(2)
        ]
        write_rows(rows, given.completions[-1])
    return given, explorer.Asked(STUDY, ["model"], benchmarks, {"fire": "fire"})


def _explored(rng: np.random.Generator, name: str, clearing: str, draw: int, questions: int) -> pd.DataFrame:
    scores = np.round(-5 * rng.random((questions, 2)), 2)
    answer = np.arange(questions) % 2
    topic = "calm" if name == "calm" else "fire"
    return pd.DataFrame(
        {
            "benchmark": name, "id": [str(n) for n in range(questions)], "topic": topic,
            "unit": [f"{topic}/{n // 2}" for n in range(questions)],
            "split": ["fit" if n % 3 == 0 else "test" for n in range(questions)],
            "part": [PARTS[n % 2] for n in range(questions)], "kind": "question", "answer": answer,
            "correct": scores.argmax(1) == answer, "scores": list(scores), "clearing": clearing,
            "direction_of": "ice" if clearing == "topic" else "", "draw": float(draw),
        }
    )  # fmt: skip
