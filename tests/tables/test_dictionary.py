"""docs/tables.md describes the tables that a study makes: every column and quantity, and nothing that is not there."""

import re

import pandas as pd
import pytest
from helpers.checkout import OUT, ROOT

from overpaint import measures
from overpaint.tables import TABLES
from overpaint.tables.core import RUN

TEXT = (ROOT / "docs/tables.md").read_text()


def described(section: str) -> dict[str, list[str]]:
    """{"": columns, "metric": values, ..} of one table, or of the section on every table."""
    found = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    [text] = [part for part in found if part.startswith(section)]
    parts = re.split(r"^### `(\w+)`\n", text, flags=re.MULTILINE)
    return {
        name: re.findall(r"^- `([^`]+)`: \S", part, re.MULTILINE)
        for name, part in zip(["", *parts[1::2]], parts[::2], strict=True)
    }


def differences(table: pd.DataFrame, said: dict[str, list[str]]) -> dict[str, tuple[set, set]]:
    """What is there and not described, and what is described and not there, of columns and named values."""
    shared = described("Columns of every table")[""] if RUN[0] in table else []
    there = {"": set(table.columns)} | {k: set(table[k]) for k in ("metric", "quantity") if k in table}
    told = {key: set(values) for key, values in said.items()} | {"": set(said[""]) | set(shared)}
    pairs = {key: (there.get(key, set()), told.get(key, set())) for key in there.keys() | told.keys()}
    return {key: (own - written, written - own) for key, (own, written) in pairs.items() if own != written}


def test_the_sections_are_the_tables():
    sections = re.findall(r"^## `(\w+)`$", TEXT, re.MULTILINE)
    assert (
        sorted(sections) == sorted([*TABLES, *measures.names(), "tuning"])
        and described("Columns of every table")[""] == RUN
    )


@pytest.mark.parametrize("name", [*TABLES, *measures.names()])
def test_every_column_and_quantity_is_described_and_nothing_else(study, name):
    table, said = pd.read_parquet(study / OUT / f"tables/{name}.parquet"), described(f"`{name}`")
    assert differences(table, said) == {}
    for names in said.values():
        assert len(set(names)) == len(names), "described twice"


def test_what_is_missing_on_either_side_is_found():
    table, said = pd.DataFrame({"study": ["s"], "metric": ["a"]}), {"": ["metric"], "metric": ["a"]}
    rest = {*RUN} - {"study"}
    assert differences(table, said) == {"": (set(), rest)}
    assert differences(table.assign(more=1), said)[""] == ({"more"}, rest)
    assert differences(table.assign(metric="b"), said)["metric"] == ({"b"}, {"a"})
