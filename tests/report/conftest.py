"""Synthetic tables and their views."""

from pathlib import Path

import pandas as pd
import pytest
from helpers.synthetic import Tables

from overpaint import measures
from overpaint.report.view import View, load

measures.discovered("page")  # for their figures


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return Tables().write(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def views(folder) -> list[View]:
    return load(folder, "topic", "synthetic")


@pytest.fixture(scope="session")
def view(views) -> View:
    return views[0]


@pytest.fixture(scope="session")
def scores(view) -> pd.DataFrame:
    return view.scores
