"""What a setting attains, from the split `fit` alone: no row of the split `test` is read for a choice."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from overpaint.junk.collection import collect
from overpaint.junk.run import Run
from overpaint.models.overlay import replaced
from overpaint.scoring.evaluation import Benchmark, evaluate_clearings
from overpaint.sources import PARTS
from overpaint.sources.texts import prompts_of

FIT = "fit"
STATES = ["topic", "quantity", "value", "n"]


def answers(run: Run, given: Any, params: Any) -> list[dict]:
    """Rows of `evaluation.evaluate_clearings` of the run as it is, on the rows of the split."""
    with TemporaryDirectory() as folder:
        benchmarks = [
            Benchmark.of(name, settings, _of_fit(Path(path), Path(folder, f"{name}.jsonl")))
            for (name, settings), path in zip(params.benchmarks.items(), given.benchmarks, strict=True)
        ]
        [none] = run.clearings("none", params.none)
        return evaluate_clearings(run, [(none, benchmarks)], FIT)


def states(run: Run, given: Any, params: Any) -> list[dict]:
    """Rows `STATES` of the states after the target layer, means over n prompts; none of the base.

    attained: of hazardous prompts, the projection on u over the length of the control vector, where the method has one.
    cosine: of benign prompts, to the base.    Where rows say so, prompts are about what the corpora do not tell of.
    """
    if run.fitted_depths is None:
        return []
    [depth], rows = run.fitted_depths, []
    controls, scales = run.overlay.controls, run.overlay.settings.get("scale", {})
    for topic, path in zip(params.topics.values(), given.prompts, strict=True):
        if topic in params.hazardous and topic not in controls:
            continue
        prompts = _texts(path)
        now = collect(run.model, run.tokenizer, prompts).at(depth, params.position).float()
        if topic in params.hazardous:
            quantity, values = "attained", now @ controls[topic].float() / scales[topic]
        else:
            with replaced(run.model, run.base_tensors):
                base = collect(run.model, run.tokenizer, prompts).at(depth, params.position).float()
            quantity, values = "cosine", torch.cosine_similarity(now, base, dim=-1)
        rows.append((topic, quantity, float(values.mean()), len(values)))
    return [dict(zip(STATES, row, strict=True)) for row in rows]


def _of_fit(path: Path, target: Path) -> Path:
    """The rows of the split in a file of their own."""
    with path.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as kept:
        kept.writelines(line for line in lines if json.loads(line)["split"] == FIT)
    return target


def _texts(path: Path) -> list[str]:
    """The prompts of the split, of those about what no corpus tells of where there are any."""
    rows = prompts_of(path, FIT)
    held = [row for row in rows if row.get("part") != PARTS[0]]
    return [row["text"] for row in held or rows]
