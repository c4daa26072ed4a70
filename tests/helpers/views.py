"""Views of synthetic tables, and views that differ from them."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from helpers.synthetic import ONE, Tables
from overpaint.report.select import Cell
from overpaint.report.view import View, load

MAIN = Cell(2, 8.0)
# What a study may look like, as settings of its synthetic tables.
STUDIES = {
    "full": {},
    "one cell": ONE,
    "nothing cleared": {"clearings": (), "draws": 0, "sizes": (8.0,)},
    "no nulls": {**ONE, "draws": 0},
    "many": {
        "topics": tuple("abc"), "sizes": (1.0, 2.0, 4.0, 8.0, 16.0), "layers": (2,), "draws": 2, "seeds": (0,),
    },
    "nothing forgotten": {"undefined": tuple((layer, c) for layer in (2, 3) for c in (1.0, 4.0, 8.0))},
    "collapsed": {"damage": 0.3},
}  # fmt: skip


def views_of(tables: Tables, folder: Path, settings: dict | None = None) -> list[View]:
    """Views of tables written to a folder; settings: what their clearings are."""
    tables.write(folder)
    if settings:
        (folder / "config.json").write_text(json.dumps({"study": {}, "clearings": settings}), encoding="utf-8")
    return load(folder, tables.primary)


def replace(view: View, **changes) -> View:
    """A view with other fields or tables."""
    tables = {name: changes.pop(name) for name in list(changes) if name in view.tables}
    return dataclasses.replace(view, tables=view.tables | tables, **changes)


def changed(view: View, name: str, value: float | tuple, **where) -> View:
    """A view whose table has other values (value, low, high) where its columns are as given, seeds of all kinds."""
    table = getattr(view, name).copy()
    here = np.logical_and.reduce([table[column].eq(wanted).fillna(False) for column, wanted in where.items()])
    assert here.any()
    columns = ["value", "low", "high"][: len(value) if isinstance(value, tuple) else 1]
    table.loc[here, columns] = value
    return replace(view, **{name: table})


def without(view: View, *names: str) -> View:
    """A view whose tables of these names have no rows."""
    return replace(view, **{name: getattr(view, name).iloc[:0] for name in names})
