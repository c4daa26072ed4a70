"""Perturbations: changes that know nothing of the junk or the facts, and need no gradient.

Of the matrices of all blocks: rounding to few bits (nearest, a step per row of outputs; Zhang et al. 2024 saw forgotten
knowledge come back by it), normal noise (Tice et al. 2024: it lifts what is suppressed and only lowers what is not
known), and the unlearned model's changes scaled, base + a (unlearned - base). Of what is asked: words that only texts
to forget have before benign questions, beside words that only texts to retain have, and sentences of texts to retain
before hazardous questions. Each is done to the base and to a model that never knew the facts, too.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from overpaint.junk.clearing import Clearing, clear
from overpaint.junk.run import Run
from overpaint.models.overlay import replaced
from overpaint.models.parts import blocks
from overpaint.scoring.questions import Question, ask, read
from overpaint.sources.texts import read_texts, spread

Change = tuple[str, float, Callable[[], dict[str, Tensor]]]  # perturbation, size, tensors by name, made when needed
WORDS = 100  # that stand before questions, one after the other: the most frequent ones


def of_job(given: Any, params: Any) -> list[dict]:
    """Rows {state} + those of `measure`, from the inputs and parameters of a job."""
    run, settings = Run.load(given, params.dtype), params.settings
    listed = read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, params.split)
    questions = {topic: spread(of_topic, settings["questions"]) for topic, of_topic in listed.items()}
    forget, retain = ([text for path in paths for text in read_texts(path)] for paths in (given.forget, given.retain))
    return [
        {"state": state} | row
        for state, start, cleared in run.starts(params.clearings, questions, given.naive)
        for row in measure(start, state, questions, cleared, params.topics, forget, retain, settings)
    ]


def measure(
    run: Run,
    state: str,
    questions: dict[str, list[Question]],
    clearings: dict[str, Clearing],
    hazardous: list[str],
    forget: list[str],
    retain: list[str],
    settings: dict,
) -> list[dict]:
    """Rows {perturbation, size, topic, unit, value} of a run's model as it is (`none`), and under every perturbation.

    questions, clearings: by topic; hazardous: the hazardous topics; forget, retain: texts. Settings: those of
    `study.measures.perturbations` of the schema. The model is left as it was. value: 1 for a right answer, else 0.
    """
    model, rows = run.model, _answers(run.model, questions, clearings, "none", 0)
    changes = [*rounded(model, settings["rounding"]), *shaken(model, settings["noise"], settings["draws"])]
    if state == "unlearned":
        changes += scaled(run, settings["scales"])
    for perturbation, size, change in changes:
        with replaced(model, change()):
            rows += _answers(model, questions, clearings, perturbation, size)
    for perturbation, size, asked in reworded(run.tokenizer, questions, hazardous, forget, retain, settings):
        rows += _answers(model, asked, clearings, perturbation, size)
    print(f"{state}: {len(rows)} answers", flush=True)
    return rows


def matrices(model: nn.Module) -> dict[str, tuple[Tensor, int]]:
    """{name: (matrix of a block, the axis along which the inputs of one of its outputs stand)}; of experts, theirs."""
    turned = {id(module.weight) for module in model.modules() if isinstance(module, Conv1D)}
    inside = {id(parameter) for parameter in blocks(model).parameters()}
    return {
        name: (parameter.detach(), 0 if id(parameter) in turned else -1)
        for name, parameter in model.named_parameters()
        if id(parameter) in inside and parameter.dim() > 1
    }


def rounded(model: nn.Module, bits: list[int]) -> Iterator[Change]:
    """All matrices rounded to each number of bits."""
    for size in bits:
        yield (
            "rounding",
            size,
            lambda size=size: {n: nearest(w, axis, size) for n, (w, axis) in matrices(model).items()},
        )


def nearest(weight: Tensor, axis: int, bits: int) -> Tensor:
    """A matrix rounded to the nearest multiples of max |w| / 2^(bits - 1), of each row of outputs."""
    step = weight.double().abs().amax(axis, keepdim=True) / 2 ** (bits - 1)
    return ((weight / step.clamp_min(1e-30)).round() * step).to(weight.dtype)


def shaken(model: nn.Module, sizes: list[float], draws: int) -> Iterator[Change]:
    """Normal noise on all matrices, its standard deviation in root mean squares of each; every model gets the same."""
    for size in sizes:
        for draw in range(draws):
            yield "noise", size, lambda size=size, draw=draw: noisy(model, size, draw)


def noisy(model: nn.Module, size: float, draw: int) -> dict[str, Tensor]:
    """One draw of noise on all matrices."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"noise/{size:g}/{draw}".encode()))
    found = {}
    for name, (weight, _) in matrices(model).items():
        noise = torch.randn(weight.shape, generator=generator).to(weight.device)
        found[name] = (weight + size * weight.float().square().mean().sqrt() * noise).to(weight.dtype)
    return found


def scaled(run: Run, scales: list[float]) -> Iterator[Change]:
    """The base with a share of the changes that unlearning made."""
    for scale in scales:
        yield "scaled", scale, lambda scale=scale: mixed(run, scale)


def mixed(run: Run, scale: float) -> dict[str, Tensor]:
    """base + scale (unlearned - base) of every tensor that unlearning changed."""
    pairs = {name: (before, run.overlay.tensors[name].to(before)) for name, before in run.base_tensors.items()}
    return {
        name: torch.lerp(before.float(), after.float(), scale).to(before) for name, (before, after) in pairs.items()
    }


def reworded(
    tokenizer: PreTrainedTokenizerBase,
    questions: dict[str, list[Question]],
    hazardous: list[str],
    forget: list[str],
    retain: list[str],
    settings: dict,
) -> Iterator[tuple[str, int, dict[str, list[Question]]]]:
    """(perturbation, size, questions by topic): benign ones after words, hazardous ones after benign sentences."""
    benign = {topic: listed for topic, listed in questions.items() if topic not in hazardous}
    words = {"hazardous_words": only_in(forget, retain), "benign_words": only_in(retain, forget)}
    for name, found in words.items():
        for size in settings["words"] if found else []:
            yield name, size, after(tokenizer, benign, lambda i, q, n=size, found=found: some_words(found, i * n, n, q))
    others = {topic: listed for topic, listed in questions.items() if topic in hazardous}
    for size in settings["filler"]:
        yield "filler", size, after(tokenizer, others, lambda i, _, n=size: sentences(retain[i % len(retain)], n))


def after(
    tokenizer: PreTrainedTokenizerBase, questions: dict[str, list[Question]], text: Callable[[int, Question], str]
) -> dict[str, list[Question]]:
    """Each question after `text(its number, question)`."""
    return {
        topic: [preceded(question, text(index, question), tokenizer) for index, question in enumerate(listed)]
        for topic, listed in questions.items()
    }


def preceded(question: Question, text: str, tokenizer: PreTrainedTokenizerBase) -> Question:
    """A question after a text; after none it is itself."""
    whole = f"{text} {question.text}".strip()
    return replace(question, context=tokenizer(whole)["input_ids"]) if text else question


def only_in(texts: list[str], others: list[str]) -> list[str]:
    """The words of letters in `texts` that `others` have not, the most frequent first."""
    known = {word for text in others for word in text.split()}
    counts = Counter(word for text in texts for word in text.split() if word.isalpha() and word not in known)
    return [word for word, _ in counts.most_common(WORDS)]


def some_words(words: list[str], start: int, count: int, question: Question) -> str:
    """`count` of the words from the place `start` on, round and round; none that the question or an option has."""
    said = set(" ".join([question.text, *question.choices]).split())
    new = [word for word in words if word not in said]
    return " ".join(new[(start + index) % len(new)] for index in range(count)) if new else ""


def sentences(text: str, count: int) -> str:
    """The first sentences of a text, each with its full stop."""
    return " ".join(re.split(r"(?<=\.)\s+", text.strip())[:count])


def _answers(
    model: nn.Module,
    questions: dict[str, list[Question]],
    clearings: dict[str, Clearing],
    perturbation: str,
    size: float,
) -> list[dict]:
    rows = []
    for topic, listed in questions.items():
        with clear(model, clearings[topic]):
            answers = ask(model, listed)
        label = {"perturbation": perturbation, "size": float(size), "topic": topic}
        rows += [label | {"unit": row["unit"], "value": float(row["correct"])} for row in answers]
    return rows
