"""Unlearning methods: one file is one method, found by its name.

A method's module has `unlearn(model, task) -> (Overlay, history)`, which may change `model`; history is a list of rows
{topic, step, quantity, value}. It declares, as literals, `NEEDS`: what of `corpora` (to forget and to retain),
`prefix` (activations that runs share) and `released` (an unlearned model of others) it is given; and `GIVES_U`:
whether it saves control vectors.
"""

import importlib
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from overpaint.errors import UserError
from overpaint.sources.texts import read_texts

HISTORY = ["topic", "step", "quantity", "value"]  # of its rows


@dataclass(frozen=True)
class Task:
    """What a method is given beside the base model.

    settings: the run's settings from the configuration, among them layer, c and seed.
    tokenizer: the model's.    forget: texts of each hazardous topic.    retain: texts to retain.
    prefix: a folder of batches that runs share (`prefix.write`); without one the method computes its own.
    released: folder of a released unlearned model, where the method asks for one.
    resume: where a training that is cut off leaves what it needs to go on; without one it starts again.
    """

    settings: dict
    tokenizer: Any = None
    forget: dict[str, list[str]] = field(default_factory=dict)
    retain: list[str] = field(default_factory=list)
    prefix: Path | None = None
    released: Path | None = None
    resume: Path | None = None

    @classmethod
    def of(cls, settings: dict, tokenizer: Any, topics: list[str], given: Any, resume: Path) -> "Task":
        """The task of a job's inputs: `forget` of each topic, `retain`, `prefix` and `released`, or nothing of them."""
        forget = dict(zip(topics if given.forget else [], map(read_texts, given.forget), strict=True))
        retain = [text for path in given.retain for text in read_texts(path)]
        prefix, released = (Path(path) if path else None for path in (given.prefix, given.released))
        return cls(settings, tokenizer, forget, retain, prefix, released, resume)


def names() -> list[str]:
    """Names of all methods: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(kind: str) -> ModuleType:
    """The module of the method `kind`."""
    if kind not in names():
        raise UserError(f"There is no method {kind!r}: use one of {', '.join(names())} as `kind` in `methods`.")
    return importlib.import_module(f"{__name__}.{kind}")
