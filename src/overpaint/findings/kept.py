"""What is kept of a finished study in docs/data: the rows of its tables that the text shows, and what made them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree

import pandas as pd

from overpaint.archive import reading
from overpaint.errors import UserError
from overpaint.report.select import Cell, in_cell, overall
from overpaint.report.view import OF_FAMILY
from overpaint.tables import core

CONFIG = ("study", "clearings", "methods")  # what is kept of config.json
MACHINE = ("processor", "capability", "machine")  # of a job's hardware
PACKAGES = ("torch", "transformers", "numpy")
TEXT = {
    "study", "model", "method", "family", "seed", "topic", "role", "clearing", "kind", "benchmark", "metric",
    "quantity", "state", "part", "perturbation", "texts", "choice", "centring", "mark", "note", "null", "hypothesis",
    "claim", "test", "verdict", "rule", "git", "python", "first", "last", *MACHINE, *PACKAGES,
}  # fmt: skip
SIMPLE = ("accuracy", "forgotten_accuracy", "gained_accuracy", "recovered_accuracy", "recovered_nll")  # of every cell
SCORED = (*SIMPLE, "perplexity", "spread_accuracy")


@dataclass(frozen=True)
class Kept:
    """What is kept of one study.

    tables: by name, as docs/tables.md has them, with fewer rows and columns; `provenance` has a row per kind of job;
        `cells` without variants of a method, which are in `family`.
    config: `study`, `clearings` and `methods` of its configuration.    command: what runs it.
    """

    tables: dict[str, pd.DataFrame]
    config: dict
    command: str

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or name not in self.tables:
            raise AttributeError(name)
        return self.tables[name]

    @property
    def name(self) -> str:
        return self.config["study"]["name"]

    @property
    def primary(self) -> str:
        return self.config["study"]["headline"]["clearing"]

    @cached_property
    def models(self) -> list[str]:
        return list(self.cells.model.unique())

    @property
    def cell(self) -> Cell | None:
        """The headline's cell, where the study has it."""
        return _headline(self.config)


def keep(results: Path, folder: Path) -> None:
    """Write what the text needs of the tables in `results` to `folder`, in place of what is there.

    Raises UserError where a job ran with changes that no commit has, or outside version control.
    """
    read = reading.load(results)
    jobs = read.tables["provenance"]
    if not jobs.dirty.eq(False).all():
        raise UserError(f"{results} holds jobs that ran on no commit, or with changes to it: commit and run it again.")
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cells = read.tables["cells"]
    variants = cells.method[cells.method != cells.family]
    for name, reduce in NAMES.items():
        table = read.tables[name]
        if name not in OF_FAMILY and "method" in table:
            table = table[~table.method.isin(variants)]
        table = reduce(table, _headline(read.config))
        table.drop(columns="study", errors="ignore").to_csv(folder / f"{name}.csv", index=False)
    config = {key: read.config[key] for key in CONFIG}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path, command: str) -> Kept:
    """What `keep` wrote. Raises UserError where a file is missing."""
    missing = [name for name in (*(f"{name}.csv" for name in NAMES), "config.json") if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder / missing[0]} is not there: put it back, or run `{command}` and `make findings`.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tables = {name: _read(folder / f"{name}.csv") for name in NAMES}
    family = tables["cells"]
    return Kept(tables | {"cells": family[family.method == family.family], "family": family}, config, command)


def _headline(config: dict) -> Cell | None:
    named = config["study"]["headline"]
    return Cell(named["layer"], float(named["c"])) if named["c"] else None


def _read(path: Path) -> pd.DataFrame:
    """A table of numbers and text, in which only numbers can be missing."""
    columns = pd.read_csv(path, nrows=0).columns
    types, missing = dict.fromkeys(TEXT & {*columns}, str), dict.fromkeys({*columns} - TEXT, [""])
    frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=missing)
    return core.typed(frame)


def _scores(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Of every cell what the primary clearing, on the base too, and nulls on average do; of a lone main one all."""
    whole = table[table.part == "all"].drop(columns=["part", "near_ties"])
    pooled = whole[whole.seed.isin(["", "all"]) & whole.metric.isin(SCORED)]
    on_base = pooled.kind.eq("control") & ~pooled.other_topic.astype(bool)
    told = pooled.kind.isin(["none", "primary", "null"]) | on_base
    simple = pooled.draw.isna() & told & pooled.metric.isin(SIMPLE)
    main = pooled.index.isin(in_cell(pooled, cell).index) if cell and table.model.nunique() == 1 else False
    drawn = pooled.draw.notna() & pooled.metric.eq("recovered_accuracy") & pooled.topic.ne("all")
    simple &= pooled.topic.eq("all") | pooled.role.eq("benign")
    return pooled[(simple | main | pooled.method.eq("base")) & ~drawn]


def _nulls(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    rows = table[table.seed.eq("all") & table.kind.eq("primary") & table.metric.eq("accuracy")]
    return overall(rows, "hazardous")


def _uds(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    rows = table[table.seed.eq("all") & table.part.eq("all") & table.block.isna()].drop(columns="block")
    return overall(rows, "hazardous") if len(rows) else rows


def _whole(metrics: str) -> Callable[[pd.DataFrame, Cell | None], pd.DataFrame]:
    """All hazardous topics and seeds together, of these metrics or quantities."""

    def reduce(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
        column = "metric" if "metric" in table else "quantity"
        rows = table[table[column].isin(metrics.split()) & table.seed.isin(["", "all"])]
        return overall(rows, "hazardous") if len(rows) else rows

    return reduce


def _provenance(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Jobs that ran from one commit on one kind of machine, together; those that trained a base model before apart."""
    hardware, packages = (pd.DataFrame(map(json.loads, table[name]), table.index) for name in ("hardware", "packages"))
    known = table[["git", "dirty", "python", "before"]]
    known = known.join(hardware.reindex(columns=list(MACHINE))).join(packages.reindex(columns=list(PACKAGES)))
    told = known.astype(object).fillna("").join(table[["started", "seconds", "cpu_seconds"]])
    sums = {"jobs": ("started", "size"), "first": ("started", "min"), "last": ("started", "max")}
    sums |= {name: (name, "sum") for name in ("seconds", "cpu_seconds")}
    return told.groupby(list(known), sort=False).agg(**sums).reset_index()


NAMES: dict[str, Callable[[pd.DataFrame, Cell | None], pd.DataFrame]] = {
    "cells": lambda table, cell: table,
    "hypotheses": lambda table, cell: table,
    "layers": lambda table, cell: table,
    "models": lambda table, cell: table,
    "scores": _scores,
    "nulls": _nulls,
    "mcnemar": lambda table, cell: table.dropna(subset="p_holm"),
    "depth": _whole("probe_accuracy probe_shuffled probe_benign"),
    "relearning": _whole("accuracy painted_over displaced gone"),
    "uds": _uds,
    "perturbations": lambda table, cell: table[
        table.seed.isin(["", "all"]) & (table.topic.eq("all") | table.role.eq("benign"))
    ],
    "emergence": _whole("forgotten_accuracy recovered_accuracy"),
    "provenance": _provenance,
}
