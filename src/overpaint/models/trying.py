"""Batch sizes found by trying: what a GPU's memory does not hold runs again in smaller pieces."""

from collections.abc import Callable
from typing import TypeVar

import torch

from overpaint.errors import UserError

Result = TypeVar("Result")


def by_trying(run: Callable[[int], Result], size: int) -> Result:
    """What `run` gives with `size`, or with the first of its halves for which memory suffices.

    Raises UserError where a piece of size 1 does not fit.
    """
    while True:
        try:
            return run(size)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise UserError(
                    "This GPU has no memory left for a single text beside the model: take a larger one, set `dtype` of "
                    "the model to bfloat16, or leave out the longest texts."
                ) from error
        size //= 2
        torch.cuda.empty_cache()
        print(f"out of memory: trying again with {size}", flush=True)
