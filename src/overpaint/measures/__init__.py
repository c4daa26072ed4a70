"""What is measured beside the scores: one folder is one measure, found by its name, which is its table's.

A measure says in its `__init__` where its rows are and of which runs (standard library only: rules ask it), makes rows
in `measure.py` (torch), a table in `table.py` (pandas: `table(frames, study)`) and its part of a page in `page.py`.
"""

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """Names of all measures: the folders of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def get(name: str, part: str = "") -> ModuleType:
    """What a measure says of itself, or a part of it, as `table`."""
    return importlib.import_module(".".join(filter(None, [__name__, name, part])))


def modules(part: str) -> list[str]:
    """Names of a part's modules, of all measures."""
    return [f"{__name__}.{name}.{part}" for name in names()]


def discovered(part: str = "") -> dict[str, ModuleType]:
    """{measure: what it says of itself, or a part of it}."""
    return {name: get(name, part) for name in names()}
