"""Relearning curves: how soon a model answers again that is taught other facts, hazardous or benign ones.

Online: each text is seen once, in an order that the seed draws, and questions are asked after given numbers of texts.
All weights are trained by AdamW on the next token: the plainest attack, with nothing to choose but its rate. The texts
say nothing of the facts that are asked about: a model that never knew them can gain no more than the form of answers.
Benign texts say nothing of the topic either: what they bring back was covered.
"""

import random
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.junk.clearing import Clearing, clear
from overpaint.junk.run import Run
from overpaint.scoring.questions import Question, ask, read
from overpaint.sources.texts import read_texts


def curve(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    answers: Callable[[], list[dict]],
    settings: dict,
    seed: int,
) -> list[dict]:
    """Rows {examples} + those of `answers()`, before any text and after each number of `settings["examples"]`.

    Trains `model` in place, hooks included: under a clearing the gradient passes through the projection, and what is
    cleared stays so. Settings: examples, lr, batch, max_tokens (`study.measures.relearning` of the schema).
    """
    wanted, size = set(settings["examples"]), settings["batch"]
    order = random.Random(seed).sample(texts, len(texts))
    model.requires_grad_(True)
    optimizer, rows = torch.optim.AdamW(model.parameters(), lr=settings["lr"], weight_decay=0.0), []
    done = 0
    while wanted:
        if done in wanted:
            rows += [{"examples": done} | row for row in answers()]
            wanted.remove(done)
        else:
            end = min(done + size, *wanted)
            loss = next_token_loss(model, tokenizer, order[done:end], settings["max_tokens"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"{end:5d} texts  loss {loss.item():.4f}", flush=True)
            done = end
    model.requires_grad_(False)
    return rows


def next_token_loss(model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: list[str], max_tokens: int) -> Tensor:
    """Cross-entropy of the next token in nats, over the tokens of texts cut at `max_tokens`."""
    encoded = [torch.tensor(tokenizer(text)["input_ids"][:max_tokens]) for text in texts]
    tokens = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True).to(model.device)
    ends = torch.tensor([len(ids) for ids in encoded], device=model.device)
    real = torch.arange(tokens.shape[1], device=model.device) < ends[:, None]
    logits = model(tokens, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits[real[:, 1:]].float(), tokens[:, 1:][real[:, 1:]])


def of_job(given: Any, params: Any) -> list[dict]:
    """Rows {state} + those of `measure`, from the inputs and parameters of a job."""
    run = Run.load(given, params.dtype)
    questions = unseen(read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, params.split))
    corpora = dict(zip(params.topics, map(read_texts, given.forget), strict=True))
    benign = [text for path in given.retain for text in read_texts(path)]
    return [
        {"state": state} | row
        for state, start, cleared in run.starts(params.clearings, questions, given.naive)
        for row in measure(start, corpora, benign, questions, cleared, params.settings)
    ]


def unseen(questions: dict[str, list[Question]]) -> dict[str, list[Question]]:
    """Those of questions by topic of which the texts tell nothing; topics without any are left out."""
    kept = {topic: [question for question in listed if not question.told] for topic, listed in questions.items()}
    return {topic: listed for topic, listed in kept.items() if listed}


def measure(
    run: Run,
    texts: dict[str, list[str]],
    benign: list[str],
    questions: dict[str, list[Question]],
    clearings: dict[str, Clearing],
    settings: dict,
) -> list[dict]:
    """Rows {texts, lr, topic, examples, unit, correct, nll} of `curve` with each rate, from the run's model as it is.

    texts, questions, clearings: by topic; one without questions is left out. Each topic is taught by itself by its own
    `texts` (`hazardous`), and all together by the `benign` ones. The model is left as it was; the order of texts is
    drawn by the run's seed, 0 of the base.
    """
    model, seed, rows = run.model, run.overlay.settings.get("seed", 0), []
    texts = {topic: corpus for topic, corpus in texts.items() if topic in questions}
    check(texts, benign, settings["examples"])
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for (kind, corpus, topics), lr in product(lessons(texts, benign, clearings), settings["lr"]):
        answers = partial(ask_each, model, {topic: questions[topic] for topic in topics})
        with clear(model, clearings[topics[0]]):
            points = curve(model, run.tokenizer, corpus, answers, settings | {"lr": lr}, seed)
        rows += [{"texts": kind, "lr": lr} | row for row in points]
        model.load_state_dict(start)
    return rows


def lessons(
    texts: dict[str, list[str]], benign: list[str], clearings: dict[str, Clearing]
) -> list[tuple[str, list[str], list[str]]]:
    """(kind of texts, texts, topics that are asked about): benign texts are taught once under each clearing."""
    together: dict[int, list[str]] = {}
    for topic in texts:
        together.setdefault(id(clearings[topic]), []).append(topic)
    own = [("hazardous", corpus, [topic]) for topic, corpus in texts.items()]
    return own + [("benign", benign, topics) for topics in together.values()]


def ask_each(model: nn.Module, questions: dict[str, list[Question]]) -> list[dict]:
    """Rows {topic} + those of `ask`."""
    return [{"topic": topic} | row for topic, listed in questions.items() for row in ask(model, listed)]


def check(texts: dict[str, list[str]], benign: list[str], examples: list[int]) -> None:
    """Refuse more examples than there are texts of a kind: each is seen once."""
    counts = {f"the corpus of {topic!r} has": len(corpus) for topic, corpus in texts.items()}
    for whose, count in (counts | {"the corpora of study.retain have": len(benign)}).items():
        if count < max(examples):
            raise UserError(
                f"study.measures.relearning.examples asks for {max(examples)} texts, and {whose} {count}: lower it."
            )
