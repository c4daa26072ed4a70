"""Residual knowledge by depth: what of a question's answer the residual stream holds at its last token.

Logit lens (nostalgebraist 2020): the model's own final norm and output matrix, applied to the stream at any depth.
Probe: the best linear map from the stream to the answer, for knowledge that the output matrix cannot read (yet).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.junk.clearing import Clearing, clear
from overpaint.junk.collection import collect_tokens
from overpaint.junk.run import Run
from overpaint.models.hooks import unembed
from overpaint.scoring.likelihood import LOGITS
from overpaint.scoring.questions import Question, read
from overpaint.sources.texts import SPLITS

# Weight of the ridge penalty, as a share of the summed squared lengths of the centred states. On the fit split of
# the default study, accuracies were the same within their errors from 0.0003 to 0.1.
RIDGE = 0.01
SHUFFLES = 10  # of the answers, over which the probe's control is averaged


@dataclass(frozen=True)
class Options:
    """The first tokens of the options of n questions, the most with k of them.

    tokens: [n, k], padded with the correct option's own; there: False at padding, [n, k]; answer: number of the right
    option, [n].
    """

    tokens: Tensor
    there: Tensor
    answer: Tensor

    @classmethod
    def of(cls, questions: list[Question]) -> "Options":
        """Those of `questions`."""
        most = max(len(q.options) for q in questions)
        padded = [q.first + [q.first[q.answer]] * (most - len(q.options)) for q in questions]
        there = [[place < len(q.options) for place in range(most)] for q in questions]
        return cls(torch.tensor(padded), torch.tensor(there), torch.tensor([q.answer for q in questions]))

    @property
    def right(self) -> Tensor:
        """First token of the correct option, [n]."""
        return self.tokens.gather(1, self.answer[:, None])[:, 0]


def states(model: nn.Module, questions: list[Question], clearing: Clearing) -> Tensor:
    """The residual stream at the last token of each question, at every depth; [questions, depths, width].

    Depth l is the start of block l, the last the final residual.
    """
    with clear(model, clearing):
        return collect_tokens(model, [question.context for question in questions]).last


@torch.no_grad()
def lens(model: nn.Module, stream: Tensor, options: Options) -> Tensor:
    """Share of each option among the options' first tokens, by the logit lens on states [n, width]; [n, k]."""
    size = max(1, LOGITS // model.config.get_text_config().vocab_size)
    parts = []
    for rows, tokens in zip(stream.split(size), options.tokens.split(size), strict=True):
        parts.append(unembed(model, rows.to(model.device)).float().cpu().gather(1, tokens))
    return torch.cat(parts).masked_fill(~options.there, -torch.inf).softmax(-1)


def probe(train: Tensor, test: Tensor, candidates: Tensor, *labels: Tensor) -> list[Tensor]:
    """Scores [m, k] of the candidates [m, k, e] by a ridge regression from states to answers, for each of `labels`.

    train: states [n, width] of the questions to fit, whose answers are `labels`, [n, e] each; test: states [m, width].

    An answer is the output embedding of its first token. A classifier of answers could not meet an answer that no
    question to fit had; the regression can, and scores each option by its cosine with what it predicts. One map serves
    all topics, and each topic's mean is taken from its states beforehand (`centred`): its intercept. Solved in closed
    form over questions (dual), so that it costs n^3 whatever the width, once for all labels.
    """
    kernel = train @ train.T
    if not kernel.any():  # all states alike: nothing to read
        return [torch.zeros(candidates.shape[:2], dtype=kernel.dtype) for _ in labels]
    weight = RIDGE * kernel.trace() * torch.eye(len(train), dtype=kernel.dtype)
    readout = torch.linalg.solve(kernel + weight, train @ test.T).T
    scores = []
    for targets in labels:
        middle = targets.mean(0)
        directions = torch.nn.functional.normalize(candidates - middle, dim=-1)
        scores.append(torch.einsum("me,mke->mk", readout @ (targets - middle), directions))
    return scores


def correct(scores: Tensor, answer: Tensor) -> Tensor:
    """1 where the answer has the largest of the scores [m, k], its share where several have it, else 0; [m]."""
    best = scores == scores.max(-1, keepdim=True).values
    return best.gather(1, answer[:, None])[:, 0] / best.sum(-1).double()


def centred(stream: Tensor, groups: list[str], fitted: list[bool]) -> Tensor:
    """States [n, depths, width] without the mean of the fitted ones of their group, float64."""
    missing = sorted(set(groups) - {group for group, fits in zip(groups, fitted, strict=True) if fits})
    if missing:
        raise UserError(
            f"All questions on {missing[0]!r} are of the split that is shown, and probes are fitted on the other: add "
            "questions of that split, or leave `study.measures.depth.runs` empty."
        )
    stream, fit = stream.double(), torch.tensor(fitted)
    for group in dict.fromkeys(groups):
        members = torch.tensor([other == group for other in groups])
        stream[members] = stream[members] - stream[members & fit].mean(0)
    return stream


def of_job(given: Any, params: Any) -> list[dict]:
    """Rows {state} + those of `measure`, from the inputs and parameters of a job."""
    run = Run.load(given, params.dtype)
    by_topic = read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, *SPLITS)
    return [
        {"state": state} | row
        for state, start, cleared in run.starts(params.clearings, by_topic, given.naive)
        for row in measure(start.model, by_topic, cleared, params.split)
    ]


def measure(
    model: nn.Module, by_topic: dict[str, list[Question]], clearings: dict[str, Clearing], split: str
) -> list[dict]:
    """Rows {topic, unit, depth, quantity, value} of the questions of `split`, the others being those that probes fit.

    by_topic: questions of both splits by topic; clearings: what is cleared while each topic is asked. Questions whose
    correct option shares its first token with another are left out.

    Quantities: lens_accuracy, lens_probability (of the correct option among the options' first tokens), probe_accuracy,
    and its control probe_shuffled: the same probe where the answers of the questions to fit were shuffled within
    their topic, so that nothing can be learned from them.
    """
    kept = {topic: [question for question in listed if question.distinct] for topic, listed in by_topic.items()}
    questions = [question for listed in kept.values() for question in listed]
    topics = [topic for topic, listed in kept.items() for _ in listed]
    stream = torch.cat([states(model, listed, clearings[topic]) for topic, listed in kept.items()])
    options, shown = Options.of(questions), [question.split == split for question in questions]
    labels = [{"topic": t, "unit": q.unit} for t, q, ours in zip(topics, questions, shown, strict=True) if ours]
    probed = _probes(model, stream, options, topics, shown)
    rows, shown = [], torch.tensor(shown)
    for depth in range(stream.shape[1]):
        shares = lens(model, stream[shown, depth], _rows(options, shown))
        answer = options.answer[shown]
        values = {
            "lens_accuracy": correct(shares, answer),
            "lens_probability": shares.gather(1, answer[:, None])[:, 0].double(),
        } | {name: accuracies[depth] for name, accuracies in probed.items()}
        for quantity, column in values.items():
            columns = {"depth": depth, "quantity": quantity}
            rows += [label | columns | {"value": value} for label, value in zip(labels, column.tolist(), strict=True)]
    return rows


def _probes(
    model: nn.Module, stream: Tensor, options: Options, topics: list[str], shown: list[bool]
) -> dict[str, list[Tensor]]:
    """How often a probe with true, and probes with shuffled answers find each shown question's answer, by depth."""
    fitted = [not ours for ours in shown]
    stream, fit, shown = centred(stream, topics, fitted), torch.tensor(fitted), torch.tensor(shown)
    ours, embedding = _rows(options, shown), model.get_output_embeddings().weight.detach().cpu()
    answers, candidates = embedding[options.right[fit]].double(), embedding[ours.tokens].double()
    orders = _shuffles([topic for topic, fits in zip(topics, fitted, strict=True) if fits])
    accuracies: dict[str, list[Tensor]] = {"probe_accuracy": [], "probe_shuffled": []}
    for depth in range(stream.shape[1]):
        labels = [answers, *(answers[order] for order in orders)]
        scores = probe(stream[fit, depth], stream[shown, depth], candidates, *labels)
        true, *shuffled = [correct(table.masked_fill(~ours.there, -torch.inf), ours.answer) for table in scores]
        accuracies["probe_accuracy"].append(true)
        accuracies["probe_shuffled"].append(torch.stack(shuffled).mean(0))
    return accuracies


def _shuffles(topics: list[str]) -> list[Tensor]:
    """`SHUFFLES` fixed permutations, each of which moves every item within its topic."""
    generator, orders = torch.Generator().manual_seed(0), []
    for _ in range(SHUFFLES):
        order = torch.arange(len(topics))
        for topic in dict.fromkeys(topics):
            places = torch.tensor([index for index, other in enumerate(topics) if other == topic])
            order[places] = places[torch.randperm(len(places), generator=generator)]
        orders.append(order)
    return orders


def _rows(options: Options, chosen: Tensor) -> Options:
    return Options(options.tokens[chosen], options.there[chosen], options.answer[chosen])
