"""What a report shows: the tables of one model and one unlearning method."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from overpaint.errors import UserError
from overpaint.report.select import Cell, cells, main_cell
from overpaint.report.wording import method_label
from overpaint.tables import TABLES

MOST = 8  # views that pages and figures show one by one
OF_FAMILY = ("cells", "models", "uds")  # tables that are also shown of variants of a method


@dataclass(frozen=True)
class View:
    """What a report shows: the tables of one model and one unlearning method.

    Attributes:
        model, method: as in the tables.
        primary: name of the clearing fixed beforehand as the study's main one.
        cell: the cell shown as main; fixed: whether the configuration names it, else see `select.main_cell`.
        folder: where the tables are, with config.json and preregistration.yaml.
        clearings: what each clearing is, as config.json says; none where it is not there.
        updated: the blocks that the method trains, counted from the layer, or `all`; its own where it names none.
        tables: by name, base rows included, `hypotheses` also with the rows on all models; `view.scores` is one, with
            the rows on all questions together.
        parts: the rows of `scores` on those in the corpora and on the unseen ones.
        family: the rows of `cells`, `models` and `uds` of the method and of its variants, by the name of the table.
    """

    model: str
    method: str
    primary: str
    cell: Cell | None
    fixed: bool
    folder: Path
    clearings: Mapping[str, dict]
    tables: Mapping[str, pd.DataFrame]
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)
    family: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    updated: Sequence[int] | str = (0,)

    def first_edited(self, layer: int) -> int:
        """The first block that the method trains for a target layer."""
        return 0 if self.updated == "all" else layer + min(self.updated)

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or name == "tables":
            raise AttributeError(name)
        if name not in self.tables:
            raise UserError(f"The table {self.folder}/{name}.parquet does not exist; build it first.")
        return self.tables[name]

    @property
    def direction(self) -> str:
        """The kind of direction of the primary clearing, "" where that is not known."""
        return self.clearings.get(self.primary, {}).get("direction", "")

    @property
    def label(self) -> str:
        """The unlearning method as it is shown: `RMU`."""
        return method_label(self.scores)


def closely(views: list[View]) -> list[View]:
    """The views that are shown one by one: all, or of more than `MOST` those of the first base model."""
    return views if len(views) <= MOST else [view for view in views if view.model == views[0].model]


def load(tables: Path | str, primary: str, study: str = "") -> list[View]:
    """Read the tables of a study, one view per model and unlearning method, in table order.

    The main cell is the one that `study.headline` of the tables' config.json names, else `select.main_cell`. Raises
    UserError where a table or the study is missing.
    """
    folder = Path(tables)
    frames = {path.stem: _read(path, study) for path in sorted(folder.glob("*.parquet"))}
    missing = [name for name in TABLES if name not in frames]
    if missing:
        raise UserError(f"The table {folder}/{missing[0]}.parquet does not exist; build it first.")
    scores = frames["scores"]
    whole = frames["scores"]["part"].eq("all")
    frames["scores"], parts = scores[whole].reset_index(drop=True), scores[~whole]
    variants = frames["cells"][frames["cells"].method != frames["cells"].family]
    pairs = scores.loc[scores.method != "base", ["model", "method"]].drop_duplicates()
    pairs = pairs[~pairs.method.isin(variants.method)].itertuples(index=False)
    config = _config(folder / "config.json")
    views = [_view(folder, frames, parts, model, method, primary, config) for model, method in pairs]
    if not views:
        raise UserError(
            f"{folder}/scores.parquet holds no unlearned model; run the evaluation of at least one run first."
        )
    return views


def _config(path: Path) -> dict:
    """The study's configuration, as far as it is known."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def fixed_cell(config: dict) -> Cell | None:
    """The cell that the study's configuration names as its main one, None where it names none."""
    named = config.get("study", {}).get("headline", {})
    return Cell(named["layer"], float(named["c"])) if named.get("c") else None


def _read(path: Path, study: str) -> pd.DataFrame:
    table = pd.read_parquet(path)
    studies = sorted(table.study.dropna().unique()) if "study" in table else []
    if study and studies and study not in studies:
        raise UserError(f"{path} holds no rows of study {study!r}; it holds {', '.join(studies)}.")
    table = table[table.study == study] if study and studies else table
    types = {"layer": "Int64", "c": float}
    return table.astype({name: types[name] for name in types if name in table}).reset_index(drop=True)


def _view(
    folder: Path,
    frames: Mapping[str, pd.DataFrame],
    parts: pd.DataFrame,
    model: str,
    method: str,
    primary: str,
    config: dict,
) -> View:
    def shown(table: pd.DataFrame) -> pd.DataFrame:
        mine = table.model.isin([model, "all"]) & table.method.isin(["base", method, "all"])
        return table[mine].reset_index(drop=True)

    mine = {name: shown(table) for name, table in frames.items() if "method" in table}
    methods = frames["cells"].method[frames["cells"].family == method].unique()
    family = {
        name: frames[name][frames[name].model.isin([model, "all"]) & frames[name].method.isin(methods)]
        for name in OF_FAMILY
    }
    main, clearings = fixed_cell(config), config.get("clearings", {})
    cell = main if main in cells(mine["scores"]) else main_cell(mine["scores"])
    updated = config.get("methods", {}).get(method, {}).get("updated", [0])
    return View(
        model, method, primary, cell, cell == main, folder, clearings, {**frames, **mine}, shown(parts), family, updated
    )
