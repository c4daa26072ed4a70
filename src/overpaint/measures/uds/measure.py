"""The unlearning depth score (UDS; arXiv 2605.24614): activation patching, anchored by a model that never knew.

The base answers a question while the output of one of its blocks, at the positions that predict the answer's tokens,
is what another model has there. What its mean log-probability of the answer loses by the naive model's states is all
that can be lost (d_naive); the share of it that is lost by an unlearned model's states (d / d_naive, kept within 0 and
1) says how much of the answer is missing from them. UDS is the mean of these shares over blocks, weighted by d_naive: 0
where the base goes on as if nothing had happened, 1 where it knows no more than from the naive model's states.

States that hold the answer under junk score as states without it, since junk floods the base as it floods the unlearned
model. So the cleared model is scored beside it: what clearing takes off the score was painted over.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from overpaint.junk.run import Run
from overpaint.models.load import load_naive
from overpaint.models.overlay import replaced
from overpaint.models.parts import blocks
from overpaint.models.streamed.access import outside
from overpaint.models.streamed.passes import Inputs, Pass, fitting, logits, through
from overpaint.scoring.likelihood import batches
from overpaint.scoring.questions import Question, read


@dataclass(frozen=True)
class Batch:
    """Some of the questions with their correct answers.

    questions: their places in the list.    tokens: [n, tokens], padded on the right.
    row, place: row of `tokens` and position of each of the p positions that predict an answer's token, [p] each.
    target: the token that follows there, [p].
    """

    questions: list[int]
    tokens: Tensor
    row: Tensor
    place: Tensor
    target: Tensor

    def score(self, logits: Tensor) -> Tensor:
        """Mean log-probability of each answer's tokens in nats, [n], by logits [n, tokens, vocabulary]."""
        logs = logits[self.row, self.place].float().log_softmax(-1).gather(1, self.target[:, None])[:, 0].double()
        sums, counts = (torch.zeros(len(self.questions), dtype=torch.double, device=logs.device) for _ in range(2))
        return sums.index_add_(0, self.row, logs) / counts.index_add_(0, self.row, torch.ones_like(logs))


def asked(model: nn.Module, questions: list[Question]) -> list[Batch]:
    """The questions with their correct answers, in batches."""
    encoded = [(question.context, question.options[question.answer]) for question in questions]
    made = []
    for rows, tokens in batches(model, [context + answer for context, answer in encoded]):
        at = [
            (row, len(context) - 1 + number, token)
            for row, (context, answer) in enumerate(encoded[index] for index in rows)
            for number, token in enumerate(answer)
        ]
        made.append(Batch(rows, tokens, *torch.tensor(at, device=tokens.device).T))
    return made


@torch.no_grad()
def states(model: nn.Module, asked: list[Batch]) -> list[Tensor]:
    """What every block of the model as it is now returns at the answers' positions: by batch, [blocks, p, width]."""
    return [
        torch.stack([hidden[batch.row, batch.place] for hidden in _outputs(model, batch)[1]]).cpu() for batch in asked
    ]


def _outputs(model: nn.Module, batch: Batch) -> tuple[Pass, list[Tensor]]:
    """The pass of a batch, and what every block returns in it, [n, tokens, width] each."""
    one, outputs = Pass(Inputs({"input_ids": batch.tokens})), []
    through(model, [one], lambda _, block, hidden: outputs.append(hidden))
    return one, outputs


@torch.no_grad()
def losses(base: nn.Module, asked: list[Batch], sources: dict[str, list[Tensor]], count: int) -> dict[str, Tensor]:
    """Nats per token that each answer loses where a block's output is a source's, {source: [count, blocks]}.

    sources: {name: `states` of a model}.    count: number of questions.
    """
    lost = {name: torch.zeros(count, len(blocks(base)), dtype=torch.double) for name in sources}
    for number, batch in enumerate(asked):
        whole, outputs = _outputs(base, batch)
        with outside(base):
            own = batch.score(logits(base, whole, outputs[-1]))
            for some in fitting(base, list(product(sources, range(len(outputs)))), lambda _, one=whole: [one]):
                patched = []
                for name, block in some:
                    hidden = outputs[block].clone()
                    hidden[batch.row, batch.place] = sources[name][number][block].to(hidden)
                    patched.append(whole._replace(start=block + 1, entering=hidden))
                for (name, block), one, hidden in zip(some, patched, through(base, patched), strict=True):
                    lost[name][batch.questions, block] = (own - batch.score(logits(base, one, hidden))).cpu()
    return lost


def shares(lost: Tensor, lost_naive: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """(UDS of each question [questions], its share by block [questions, blocks]) from `losses`; NaN where undefined.

    A block counts where the naive model's states cost more than `threshold` nats; a question without one has no UDS.
    """
    counts = lost_naive > threshold
    share = (lost / lost_naive).clamp(0, 1).masked_fill(~counts, torch.nan)
    weight = lost_naive.masked_fill(~counts, 0)
    return (share.nan_to_num() * weight).sum(1) / weight.sum(1), share


def of_job(given: Any, params: Any) -> list[dict]:
    """The rows of `measure`, from the inputs and parameters of a job."""
    run = Run.load(given, params.dtype)
    by_topic = read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, params.split)
    naive = load_naive(given.naive, run.tokenizer, params.dtype)
    return measure(run, naive, by_topic, params.clearings, params.threshold)


def measure(
    run: Run, naive: nn.Module, by_topic: dict[str, list[Question]], clearings: dict[str, dict], threshold: float
) -> list[dict]:
    """Rows {topic, unit, part, question, state, quantity, block, value}, with the run's model in each state.

    clearings: entries of the catalogue, `none` first, then the primary one, then nulls, of whose draws the first.
    state: `unlearned`, `cleared`, or the name of a null. quantity: `uds`, and `share` of each block.
    """
    rows = []
    for topic, questions in by_topic.items():
        batched, sources = asked(run.model, questions), {}
        for name, settings in clearings.items():
            with run.cleared(run.by_topic(name, settings, [topic])[topic]):
                sources[_state(name, clearings)] = states(run.model, batched)
        with replaced(run.model, run.base_tensors):
            anchored = sources | {"naive": states(naive, batched)}
            lost = losses(run.model, batched, anchored, len(questions))
        for state in sources:
            uds, share = shares(lost[state], lost["naive"], threshold)
            for number, question in enumerate(questions):
                label = {"topic": topic, "unit": question.unit, "part": question.part, "question": number}
                label["state"] = state
                rows.append(label | {"quantity": "uds", "block": -1, "value": float(uds[number])})
                by_block = enumerate(share[number].tolist())
                rows += [label | {"quantity": "share", "block": at, "value": value} for at, value in by_block]
    return [row for row in rows if row["value"] == row["value"]]


def _state(name: str, clearings: dict[str, dict]) -> str:
    """What a model under one of the clearings is called."""
    return dict(zip(clearings, ("unlearned", "cleared"), strict=False)).get(name, name)
