"""Unlearning methods: one file is one method, found by its name.

A method's module has `unlearn(model, tokenizer, forget, retain, settings) -> (Overlay, history)`: `forget` maps each
hazardous topic to its texts, `retain` is a list of texts, `settings` are the run's settings from the configuration,
and history is a list of rows {topic, step, quantity, value}.
"""

import importlib
import pkgutil
from types import ModuleType

from overpaint.errors import UserError


def names() -> list[str]:
    """Names of all methods: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(kind: str) -> ModuleType:
    """The module of the method `kind`."""
    if kind not in names():
        raise UserError(f"There is no method {kind!r}: use one of {', '.join(names())} as `kind` in `methods`.")
    return importlib.import_module(f"{__name__}.{kind}")
