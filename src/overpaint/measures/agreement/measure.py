"""Damage as distributions: how far a model's predictions on running text lie from the base's.

Every token of a text is predicted by the base and by the model from the same tokens before it. Both are the same
loaded model, with the base's tensors put back for the one; a batch of the base's predictions is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models.hooks import edit_sites
from overpaint.models.overlay import replaced
from overpaint.models.streamed.access import outside, parts
from overpaint.models.streamed.passes import Inputs, Pass, State, fitting, logits, through
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
    listed = list(batches(model, pieces))
    states = [State(run.base_tensors), *map(run.state, clearings)]
    for (rows, tokens), predicted in zip(
        listed, _predicted(model, [tokens for _, tokens in listed], states), strict=True
    ):
        counted = torch.arange(tokens.shape[1] - 1) < torch.tensor([len(pieces[row]) - 1 for row in rows])[:, None]
        base = next(predicted)
        for number, cleared in enumerate(predicted):
            for column, values in enumerate((divergence(base, cleared), base.argmax(-1) == cleared.argmax(-1))):
                totals = (values.double().cpu() * counted).sum(1)
                sums[number, :, column].index_add_(0, torch.tensor([owner[row] for row in rows]), totals)
    return sums


def _predicted(model: nn.Module, tokens: list[Tensor], states: list[State]) -> Iterator[Iterator[Tensor]]:
    """Of each batch of tokens, the log-probabilities of all that follows a token, in each of the model's states."""
    given = [batch[:, :-1] for batch in tokens]
    if not parts(model):
        yield from ((_in_state(model, state, batch) for state in states) for batch in given)
        return
    inputs = [Inputs({"input_ids": batch}) for batch in given]
    with outside(model):
        for some in fitting(model, inputs, lambda one: [Pass(one, state) for state in states]):
            passes = [Pass(one, state) for one in some for state in states]
            ended = iter(zip(passes, through(model, passes), strict=True))
            for _ in some:
                yield (logits(model, *next(ended)).float().log_softmax(-1) for _ in states)


def _in_state(model: nn.Module, state: State, given: Tensor) -> Tensor:
    with replaced(model, state.tensors), edit_sites(model, state.edits):
        return log_probabilities(model, given)


def divergence(base: Tensor, other: Tensor) -> Tensor:
    """KL(base || other) in nats over the last axis of two tensors of log-probabilities."""
    return (base.exp() * (base - other)).sum(-1)
