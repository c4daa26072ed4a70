"""Log-probabilities of given tokens, in batches whose logits fit into memory whatever the vocabulary."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.junk.collection import groups

LOGITS = 2**25  # of one batch: 128 MB in float32
BATCH_TOKENS = 4096


def batches(model: nn.Module, encoded: list[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
    """(indices, tokens padded on the right) of texts of similar length; causal attention needs no mask there."""
    limit = min(BATCH_TOKENS, LOGITS // model.config.get_text_config().vocab_size)
    for rows in groups(encoded, limit):
        padded = [torch.tensor(encoded[row]) for row in rows]
        yield rows, torch.nn.utils.rnn.pad_sequence(padded, batch_first=True).to(model.device)


@torch.no_grad()
def log_probabilities(model: nn.Module, tokens: Tensor) -> Tensor:
    """Log-probabilities of what follows each of `tokens` [batch, tokens]; [batch, tokens, vocabulary], float32."""
    return model(tokens, use_cache=False).logits.float().log_softmax(-1)


@torch.no_grad()
def log_likelihoods(model: nn.Module, pairs: list[tuple[list[int], list[int]]]) -> list[float]:
    """Log-likelihood in nats of each target after its context, both token ids; 0 for an empty target.

    Raises UserError where one is no finite number.
    """
    sums = [0.0] * len(pairs)
    scored = [index for index, (_, target) in enumerate(pairs) if target]
    for rows, tokens in batches(model, [pairs[index][0] + pairs[index][1] for index in scored]):
        logs = log_probabilities(model, tokens[:, :-1])
        for row, row_logs in zip(rows, logs, strict=True):
            context, target = pairs[scored[row]]
            start = len(context) - 1
            places = torch.arange(start, start + len(target), device=row_logs.device)
            sums[scored[row]] = row_logs[places, torch.tensor(target, device=row_logs.device)].double().sum().item()
    check_finite(sums, f"{model.name_or_path or type(model).__name__}")
    return sums


def check_finite(values: list[float], what: str) -> None:
    """Refuse log-likelihoods that are no finite numbers; `what` says of what they are."""
    wrong = sum(not math.isfinite(value) for value in values)
    if wrong:
        raise UserError(
            f"{wrong} of {len(values)} log-likelihoods of {what} are not finite numbers: set `dtype` of the model to "
            "float32 or bfloat16, or lower `c` or `lr` of the run."
        )


def start_token(tokenizer) -> int:
    """The token before text that has no context: what the tokenizer itself starts texts with, else eos."""
    return [*tokenizer("")["input_ids"], tokenizer.eos_token_id][0]
