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
findings    README.md and docs/findings.md, written from what docs/data keeps of finished studies
"""

from importlib import import_module
from typing import Any

READING = ("Results", "load")  # names of overpaint.archive.reading, which needs pandas: imported once asked for


def __getattr__(name: str) -> Any:
    if name not in READING:
        raise AttributeError(f"module 'overpaint' has no attribute {name!r}")
    return getattr(import_module("overpaint.archive.reading"), name)
