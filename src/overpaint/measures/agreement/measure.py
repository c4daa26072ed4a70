"""Damage as distributions: how far a model's predictions on running text lie from the base's.

Every token of a text is predicted by the base and by the model from the same tokens before it. Both are the same
loaded model, with the base's tensors put back for the one; a batch of the base's predictions is in memory at a time.
"""

from pathlib import Path

import torch
from torch import Tensor

from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models.overlay import replaced
from overpaint.scoring.likelihood import batches, log_probabilities, start_token
from overpaint.sources.texts import read_rows

COLUMNS = [
    "clearing", "direction_of", "draw", "refit", "benchmark", "topic", "id", "unit", "tokens", "kl", "agreed",
]  # fmt: skip


def measure(run: Run, plan: list[tuple[Clearing, list]], split: str) -> list[dict]:
    """Rows of every text of `plan`'s running-text benchmarks (`evaluation.Benchmark`) under their clearings.

    A row: clearing, direction_of, draw, refit, benchmark, topic, id, unit, tokens; kl, the sum over its tokens of
    KL(base || model) in nats; agreed, for how many of them both have the same likeliest token.
    """
    read = dict.fromkeys(b for _, benchmarks in plan for b in benchmarks if b.metric == "perplexity")
    rows = []
    for benchmark in read:
        clearings = [clearing for clearing, benchmarks in plan if benchmark in benchmarks]
        texts = passages(benchmark.path, split, benchmark.max_scored)
        encoded = [run.tokenizer(text["text"], add_special_tokens=False)["input_ids"] for text in texts]
        totals = distances(run, encoded, clearings, start_token(run.tokenizer))
        for clearing, sums in zip(clearings, totals, strict=True):
            label = clearing.label | {"benchmark": benchmark.name, "topic": benchmark.topic}
            for text, tokens, (kl, agreed) in zip(texts, encoded, sums.tolist(), strict=True):
                sums_of_text = {
                    "id": text["id"],
                    "unit": text["unit"],
                    "tokens": len(tokens),
                    "kl": kl,
                    "agreed": agreed,
                }
                rows.append(label | sums_of_text)
    return rows


def passages(path: Path, split: str, most: int = 0) -> list[dict]:
    """The first `most` texts of one split, all for 0."""
    rows = [row for row in read_rows(path, "text") if row["split"] == split]
    return rows[: most or len(rows)]


def distances(run: Run, encoded: list[list[int]], clearings: list[Clearing], start: int) -> Tensor:
    """Per clearing and text, KL(base || model) in nats and the number of equal top-1 tokens; [clearings, texts, 2].

    Both are sums over the text's tokens. `start` stands before its first; a text longer than the model's context is
    cut into pieces, each after the last token of the one before.
    """
    model = run.model
    longest = model.config.get_text_config().max_position_embeddings - 1
    pieces, owner = [], []
    for index, tokens in enumerate(encoded):
        whole = [start, *tokens]
        for begin in range(0, len(tokens), longest):
            pieces.append(whole[begin : begin + longest + 1])
            owner.append(index)
    sums = torch.zeros(len(clearings), len(encoded), 2, dtype=torch.float64)
    for rows, tokens in batches(model, pieces):
        given = tokens[:, :-1]
        counted = torch.arange(given.shape[1]) < torch.tensor([len(pieces[row]) - 1 for row in rows])[:, None]
        with replaced(model, run.base_tensors):
            base = log_probabilities(model, given)
        for number, clearing in enumerate(clearings):
            with run.cleared(clearing):
                cleared = log_probabilities(model, given)
            for column, values in enumerate((divergence(base, cleared), base.argmax(-1) == cleared.argmax(-1))):
                totals = (values.double().cpu() * counted).sum(1)
                sums[number, :, column].index_add_(0, torch.tensor([owner[row] for row in rows]), totals)
    return sums


def divergence(base: Tensor, other: Tensor) -> Tensor:
    """KL(base || other) in nats over the last axis of two tensors of log-probabilities."""
    return (base.exp() * (base - other)).sum(-1)
