"""The tables of all measures, from the files that their jobs wrote."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pandas as pd

from overpaint import measures
from overpaint.tables import core
from overpaint.tables.core import Study


def gather(
    given: Mapping[str, list[str]], study: Study, models: list[str], measured: dict[str, list[str]]
) -> dict[str, pd.DataFrame]:
    """{table: rows} of all base models.

    given: files by measure, of the runs of one model after the other.    study: of any of the models.
    measured: {measure: its runs}.
    """
    made = {}
    for name, runs in measured.items():
        module = measures.get(name, "table")
        read = partial(core.read, types=module.TYPES) if hasattr(module, "TYPES") else pd.read_parquet
        frames = core.by_model(models, runs, given[name], read)
        made[name] = core.joined(module.table(frames[model], replace(study, model=model)) for model in models)
    return made
