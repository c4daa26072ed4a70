"""Questions of a fictional world, and benchmarks of rows."""

import json

import pytest

from overpaint.scoring.evaluation import Benchmark
from overpaint.sources import world


@pytest.fixture(scope="module")
def questions(facts) -> list[dict]:
    """Questions of both splits; the options of some have two or three words."""
    rows = world.question_rows(facts, ["gloomcraft"])
    for row in rows[::3]:
        row["choices"] = [
            " ".join([choice, *row["choices"][:index]][:3]) for index, choice in enumerate(row["choices"])
        ]
    assert {len(choice.split()) for row in rows for choice in row["choices"]} == {1, 2, 3}
    return rows


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """write(rows, name="rows", **changes): a benchmark of these rows."""

    def make(rows: list[dict], name: str = "rows", **changes) -> Benchmark:
        path = tmp_path_factory.mktemp("benchmark") / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Benchmark(name, "gloomcraft", path, **{"metric": "acc"} | changes)

    return make
