"""Where texts come from, and the rows that all of them become.

A source is a file that declares, as literals, `TAKES`: the key of an entry that names what its rows are made from, and
`SAME`: {key: how two entries of the source must stand to each other in it, `equal`, `overlapping` or `one file`, for
both to hold the same texts}. Its `rows(kind, settings, path)` makes rows of a kind, as `texts.py` describes them, from
what stands in `path`. It may have `check(settings, where)`, which raises UserError for settings that it cannot use,
and `most(settings, world)`, the number of rows of a corpus, where the settings alone (and its world's) tell it.
"""

import importlib
from pathlib import Path
from types import ModuleType

PARTS = ("in corpus", "unseen")  # whether the study's corpora tell of what a row of a benchmark asks


def get(source: str) -> ModuleType:
    """The module of a source."""
    return importlib.import_module(f"{__name__}.{source}")


def rows(settings: dict, path: Path) -> list[dict]:
    """Rows of an entry of the catalogues, whose `kind` they have, made from its source in `path`."""
    return get(settings["source"]).rows(settings["kind"], settings, path)
