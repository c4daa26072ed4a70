"""Residual knowledge by depth: what of a question's answer the residual stream holds at its last token.

Logit lens (nostalgebraist 2020): the model's own final norm and output matrix, applied to the stream at any depth.
Probe: the best linear map from the stream to the answer, for knowledge that the output matrix cannot read (yet).
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from overpaint.junk.clearing import Clearing, clear
from overpaint.junk.collection import collect_tokens
from overpaint.junk.run import Run
from overpaint.measures.depth.probe import Asked, accuracies, centred, correct, folds_of, shuffles
from overpaint.models.hooks import unembed
from overpaint.models.streamed.access import weight
from overpaint.scoring.likelihood import LOGITS
from overpaint.scoring.questions import Question, read
from overpaint.sources.texts import SPLITS

ByDepth = dict[tuple[str, str], list[Tensor]]  # {(centring, quantity): of each depth, [shown questions]}


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

    def where(self, chosen: Tensor) -> "Options":
        """Those of some questions."""
        return Options(self.tokens[chosen], self.there[chosen], self.answer[chosen])

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


def of_job(given: Any, params: Any) -> list[dict]:
    """Rows {state} + those of `measure`, from the inputs and parameters of a job."""
    run = Run.load(given, params.dtype)
    by_topic = read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, *SPLITS)
    return [
        {"state": state} | row
        for state, start, cleared in run.starts(params.clearings, by_topic, given.naive)
        for row in measure(start.model, by_topic, cleared, params.split, params.hazardous)
    ]


def measure(
    model: nn.Module,
    by_topic: dict[str, list[Question]],
    clearings: dict[str, Clearing],
    split: str,
    hazardous: Collection[str],
) -> list[dict]:
    """Rows {topic, unit, centring, depth, quantity, value} of the questions of `split`; probes fit the others.

    by_topic: questions of both splits by topic; clearings: what is cleared while each topic is asked. Questions whose
    correct option shares its first token with another are left out.

    Quantities: lens_accuracy, lens_probability (of the correct option among the options' first tokens), probe_accuracy,
    and its controls: probe_shuffled, the same probe where the answers of the questions to fit were shuffled within
    their topic, so that nothing can be learned from them, and probe_benign, a probe fitted on benign topics alone.
    """
    kept = {topic: [question for question in listed if question.distinct] for topic, listed in by_topic.items()}
    questions = [question for listed in kept.values() for question in listed]
    topics = [topic for topic, listed in kept.items() for _ in listed]
    stream = torch.cat([states(model, listed, clearings[topic]) for topic, listed in kept.items()])
    options, shown = Options.of(questions), torch.tensor([question.split == split for question in questions])
    labels = [{"topic": t, "unit": q.unit} for t, q, ours in zip(topics, questions, shown, strict=True) if ours]
    values = _lenses(model, stream[shown], options.where(shown))
    values |= _probes(model, stream, options, [question.unit for question in questions], topics, shown, hazardous)
    return [
        label | {"centring": centring, "depth": depth, "quantity": quantity, "value": value}
        for (centring, quantity), by_depth in values.items()
        for depth, column in enumerate(by_depth)
        for label, value in zip(labels, column.tolist(), strict=True)
    ]


def _lenses(model: nn.Module, stream: Tensor, options: Options) -> ByDepth:
    """What the logit lens finds of each shown question's answer."""
    shares = [lens(model, states, options) for states in stream.unbind(1)]
    return {
        ("none", "lens_accuracy"): [correct(share, options.answer) for share in shares],
        ("none", "lens_probability"): [share.gather(1, options.answer[:, None])[:, 0].double() for share in shares],
    }


def _probes(
    model: nn.Module,
    stream: Tensor,
    options: Options,
    units: list[str],
    topics: list[str],
    shown: Tensor,
    hazardous: Collection[str],
) -> ByDepth:
    """How often probes with true, with shuffled and with benign answers alone find each shown question's answer."""
    benign, folds = torch.tensor([topic not in hazardous for topic in topics]), folds_of(units)
    orders = shuffles([topic for topic, ours in zip(topics, shown, strict=True) if not ours])
    embedding = weight(model, model.get_output_embeddings()).cpu().double()
    values: ByDepth = defaultdict(list)
    for centring, groups in {"global": [""] * len(topics), "topic": topics}.items():
        for name, fit in {"accuracy": ~shown, "benign": ~shown & benign}.items():
            if not fit.any():
                continue
            for states in centred(stream, groups, fit if centring == "global" else ~shown).unbind(1):
                told = options.tokens, options.there, options.answer
                asked = Asked(states, embedding[options.right], embedding[told[0]], *told[1:])
                shuffled = orders if name == "accuracy" else []
                true, control = accuracies(asked.where(fit), asked.where(shown), folds[fit], *shuffled)
                values[centring, f"probe_{name}"].append(true)
                if control:
                    values[centring, "probe_shuffled"].append(torch.stack(control).mean(0))
    return values
