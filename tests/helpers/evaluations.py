"""Benchmarks of a fictional world and their rows."""

import torch
from torch import nn

from overpaint.junk.clearing import Clearing
from overpaint.scoring.evaluation import Benchmark, evaluate_clearings

NONE = Clearing("none", "", torch.empty(0, 0), {})
PRIOR = "question : which is the home ? answer :"


def evaluate(model: nn.Module, tokenizer, *benchmarks: Benchmark, split: str = "report", **changes) -> list[dict]:
    """Rows of the benchmarks without clearing."""
    settings = {"base_tensors": {}, "plan": [(NONE, list(benchmarks))], "split": split} | changes
    return evaluate_clearings(model, tokenizer, **settings)
