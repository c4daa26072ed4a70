"""Benchmarks of a fictional world and their rows."""

import torch
from torch import nn

from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.scoring.evaluation import Benchmark, evaluate_clearings

NONE = Clearing("none", "", torch.empty(0, 0), {})
PRIOR = "question : which is the home ? answer :"


def evaluate(model: nn.Module, tokenizer, *benchmarks: Benchmark, split: str = "test", **changes) -> list[dict]:
    """Rows of the benchmarks on one split, without clearing."""
    run = Run(model, tokenizer, base_tensors=changes.pop("base_tensors", {}))
    rows = evaluate_clearings(run, **{"plan": [(NONE, list(benchmarks))], "split": split} | changes)
    return [row for row in rows if row["split"] == split]
