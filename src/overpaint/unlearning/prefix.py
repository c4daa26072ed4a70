"""Batches of text up to the first edited block: what runs that differ in c, alpha or seed have in common.

They are computed when asked for, or read back from a folder in which one job wrote them for all runs.
"""

import math
import random
from collections.abc import Callable, Sized
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.models.streamed.passes import Inputs, Pass, through
from overpaint.models.tensors import read_tensors, write_tensors
from overpaint.unlearning.methods import Task
from overpaint.unlearning.span import Span

T = TypeVar("T")  # a batch
# Batches that go together through blocks of which each may have to be read: 0.3 GB at 4 texts of 512 tokens, a width of
# 4096 and bfloat16.
AT_ONCE = 16


@dataclass(frozen=True)
class Batch:
    """A batch of text, padded on the left, up to the first edited block.

    entering: hidden states that enter the first edited block, [batch, tokens, width].
    mask: 1 at real tokens, 0 at padding, [batch, tokens].
    frozen: retain batches only: the base model's hidden states after the target layer, [batch, tokens, width].
    norms: forget batches only, where c is measured in them: norms of the base's states after the target layer,
        [batch, tokens], float32.
    """

    entering: Tensor
    mask: Tensor
    frozen: Tensor | None = None
    norms: Tensor | None = None

    def first(self) -> Tensor:
        """True at the first real token of each text, [batch, tokens]."""
        return self.mask.bool() & (self.mask.cumsum(1) == 1)

    def counted(self, skip_first: bool, mask_padding: bool) -> Tensor:
        """True at the tokens that count in losses, [batch, tokens]."""
        real = self.mask.bool()
        counted = real if mask_padding else torch.ones_like(real)
        return counted & ~self.first() if skip_first else counted


@dataclass(frozen=True)
class Batches(Generic[T]):
    """Batches by number, each made when it is asked for; the same number gives the same batch."""

    make: Callable[[int], T]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> T:
        return self.make(index)

    def ordered(self, seed: int | None) -> "Batches[T]":
        """The same batches in an order that `seed` fixes, or as they are."""
        if seed is None:
            return self
        order = random.Random(seed).sample(range(self.count), self.count)
        return Batches(lambda index: self.make(order[index]), self.count)


@dataclass(frozen=True)
class Prefix(Generic[T]):
    """The batches of one training of `steps` steps: forget batches by topic, and retain batches."""

    forget: dict[str, Batches[T]]
    retain: Batches[T]
    steps: int

    def ordered(self, settings: dict) -> "Prefix[T]":
        """The batches in the order in which the run with `settings` meets them."""
        seed = settings["seed"] if settings["shuffle"] else None
        forget = {topic: batches.ordered(seed) for topic, batches in self.forget.items()}
        return Prefix(forget, self.retain.ordered(seed), self.steps)

    def at(self, step: int) -> tuple[str, T, T]:
        """A step's topic, forget and retain batch, as in the reference.

        Topic step mod T, batch step div T of either corpus, starting again after the last.
        """
        topic, index = list(self.forget)[step % len(self.forget)], step // len(self.forget)
        forget, retain = (batches[index % len(batches)] for batches in (self.forget[topic], self.retain))
        return topic, forget, retain

    def first(self) -> dict[str, T]:
        """The first batch of each topic and, as `retain`, of the texts to retain."""
        return {topic: batches[0] for topic, batches in self.forget.items()} | {"retain": self.retain[0]}


def batch_texts(texts: list[str], settings: dict, what: str = "A corpus") -> list[list[str]]:
    """Full batches of the texts longer than `min_chars` characters; in file order, or shuffled alike for all runs."""
    chosen = [text for text in texts if len(text) > settings["min_chars"]]
    if settings["shuffle"]:
        chosen = random.Random(0).sample(chosen, len(chosen))
    size = settings["batch"]
    whole = [chosen[start : start + size] for start in range(0, len(chosen) - size + 1, size)]
    if not whole:
        raise UserError(
            f"{what} has no full batch of {size}: {len(chosen)} of its {len(texts)} texts are longer than "
            f"{settings['min_chars']} characters. Add texts, or lower `batch` or `min_chars`."
        )
    return whole[: settings["max_batches"]]


def step_count(settings: dict, forget: dict[str, Sized], retain: Sized) -> int:
    """Steps of a training: as set, or as in the reference, the batches of the shortest corpus, over all topics."""
    return settings["steps"] if settings["steps"] is not None else min(map(len, [*forget.values(), retain]))


def compute(
    span: Span,
    tokenizer: PreTrainedTokenizerBase,
    forget: dict[str, list[str]],
    retain: list[str],
    settings: dict,
    norms: bool,
    at_once: int = AT_ONCE,
) -> Prefix[Batch]:
    """The batches that a training with `settings` goes through, up to the first edited block.

    at_once: how many are made together, for whoever asks for them in their order.
    """
    tokenizer.padding_side, tokenizer.truncation_side = "left", "right"

    def make(batches: list[list[str]], length: int, kept: bool) -> list[Batch]:
        return _batches(span, tokenizer, batches, length, frozen=kept, norms=norms and not kept)

    return lazily(make, forget, retain, settings, at_once)


def lazily(
    make: Callable[[list[list[str]], int, bool], list[T]],
    forget: dict[str, list[str]],
    retain: list[str],
    settings: dict,
    at_once: int = 1,
) -> Prefix[T]:
    """The batches that a training with `settings` goes through, each made when it is asked for.

    make: some batches of texts, cut at so many tokens, and whether they are to retain; `at_once` of them together.
    Batches that come again are kept; otherwise no more than so many of each corpus are in memory.
    """
    topics = {name: batch_texts(texts, settings, f"The corpus on {name}") for name, texts in forget.items()}
    kept = batch_texts(retain, settings, "All that study.retain names")
    steps = step_count(settings, topics, kept)
    rounds = math.ceil(steps / len(topics))
    lengths = dict(zip(topics, per_topic(settings["forget_max_tokens"], len(topics)), strict=True))

    def batches(listed: list[list[str]], length: int, kept: bool) -> Batches[T]:
        used = listed[: max(1, rounds)]
        kept_rounds = len(used) if rounds > len(used) else 1
        some = lru_cache(kept_rounds)(lambda i: make(used[i * at_once : (i + 1) * at_once], length, kept))
        return Batches(lambda i: some(i // at_once)[i % at_once], len(used))

    return Prefix(
        {name: batches(listed, lengths[name], False) for name, listed in topics.items()},
        batches(kept, settings["max_tokens"], True),
        steps,
    )


def of_task(span: Span, task: Task, norms: bool) -> Prefix[Batch]:
    """The batches of a run in its order: those that were written for all runs, or its own."""
    if task.prefix:
        found = read(task.prefix, list(task.forget), span.model.device)
    else:
        found = compute(span, task.tokenizer, task.forget, task.retain, task.settings, norms, at_once=1)
    return found.ordered(task.settings)


def after(span: Span, forget: Batch, retain: Batch) -> tuple[Tensor, Tensor]:
    """States of both batches after the target layer, in one pass where they are equally long."""
    if forget.mask.shape != retain.mask.shape:
        return span(forget.entering, forget.mask), span(retain.entering, retain.mask)
    joint = span(torch.cat([forget.entering, retain.entering]), torch.cat([forget.mask, retain.mask]))
    return joint.chunk(2)


def per_topic(value: object, count: int) -> list:
    """One value for each of `count` topics, from a list of them or one for all."""
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise UserError(f"A setting lists {values} for {count} hazardous topics: give one value, or one per topic.")
    return values


def write(prefix: Prefix, folder: Path) -> None:
    """Write every batch to a file of its own: `{number of the topic}-{batch}` and `retain-{batch}`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, batches in [*((str(n), b) for n, b in enumerate(prefix.forget.values())), ("retain", prefix.retain)]:
        for index in range(len(batches)):
            fields = {key: tensor for key, tensor in vars(batches[index]).items() if tensor is not None}
            write_tensors(fields, _file(folder, name, index), steps=prefix.steps)


def read(folder: Path, topics: list[str], device: torch.device) -> Prefix[Batch]:
    """The batches that `write` wrote, each read when it is asked for."""

    def stored(name: str) -> Batches:
        count = len(list(folder.glob(f"{name}-*.safetensors")))
        if not count:
            raise UserError(f"{folder} holds no batches {name!r}: delete the folder and run the study again.")
        return Batches(lru_cache(1)(lambda index: _read(_file(folder, name, index), device)), count)

    forget, retain = {topic: stored(str(number)) for number, topic in enumerate(topics)}, stored("retain")
    _, metadata = read_tensors(_file(folder, "retain", 0), "steps")
    return Prefix(forget, retain, metadata["steps"])


@torch.no_grad()
def _batches(
    span: Span,
    tokenizer: PreTrainedTokenizerBase,
    batches: list[list[str]],
    length: int,
    frozen: bool = False,
    norms: bool = False,
) -> list[Batch]:
    given = []
    for texts in batches:
        encoded = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=length)
        given.append({name: encoded[name].to(span.model.device) for name in ("input_ids", "attention_mask")})
    made = []
    passes = [Pass(Inputs(inputs)) for inputs in given]
    for entering, inputs in zip(through(span.model, passes, stop=span.start), given, strict=True):
        mask = inputs["attention_mask"]
        after = span.base(entering, mask) if frozen or norms else None
        lengths = after.float().norm(dim=-1) if norms else None
        made.append(Batch(entering, mask, after if frozen else None, lengths))
    return made


def _read(path: Path, device: torch.device) -> Batch:
    tensors, _ = read_tensors(path)
    return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()})


def _file(folder: Path, name: str, index: int) -> Path:
    return folder / f"{name}-{index:05d}.safetensors"
