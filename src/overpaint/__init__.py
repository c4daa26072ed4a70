"""overpaint: how deep does RMU unlearning go?

The folders, from the bottom up; a module imports from its own and from those before it:

jobs        what every job does around its work: outputs whole or not at all, provenance, bundles
downloads   models and data from hubs and registries
sources     where texts come from, and the rows that all of them become
models      models loaded, taken apart by structure, hooked, changed and restored
unlearning  the methods, and what trains them
junk        activations, the junk directions fitted on them, and clearings
scoring     questions and texts scored by a model as it is at the moment
tables      tidy tables with intervals
report      what the tables say, as pages
measures    what is measured beside the scores: a folder each, from the rows to its part of a page
tuning      settings of a method tried on the split `fit`: their grid, what each attains, the rule of choice
study       what a study says, read before anything runs
archive     what is kept of a finished study: data frames to read, an RO-Crate, a release
library     a pair of models by hand: what a notebook does without a workflow
findings    README.md and docs/findings.md, written from what docs/data keeps of finished studies
commands    the command `overpaint`: what is done with a study beside running it
"""

from importlib import import_module
from typing import Any

# Where the names for notebooks are; pandas and torch, which they need, are imported once a name is asked for.
PLACES = {
    **dict.fromkeys(("Results", "load"), "overpaint.archive.reading"),
    **dict.fromkeys(("Pair", "Scored"), "overpaint.library.pair"),
    "UserError": "overpaint.errors",
}
__all__ = sorted(PLACES)


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'overpaint' has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
