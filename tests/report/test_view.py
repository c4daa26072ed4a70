"""Views are read from a folder of tables."""

import pandas as pd
import pytest
from helpers.synthetic import ONE, TABLES, Tables

from overpaint.errors import UserError
from overpaint.report.sections.finding import headline
from overpaint.report.view import load


def test_load_names_what_is_missing(folder, tmp_path):
    with pytest.raises(UserError, match="cells.parquet does not exist"):
        load(tmp_path, "topic")
    with pytest.raises(UserError, match="no rows of study 'other'; it holds synthetic"):
        load(folder, "topic", "other")


def test_two_models_become_two_views(tmp_path):
    folder = Tables(**ONE).write(tmp_path)
    for name in TABLES:
        table = pd.read_parquet(folder / f"{name}.parquet")
        pd.concat([table, table.assign(model="small")]).to_parquet(folder / f"{name}.parquet")
    views = load(folder, "topic")
    assert [view.model for view in views] == ["tiny", "small"]
    assert all(set(view.scores.model) == {view.model} for view in views)
    page = headline.answer(views)
    assert "<h3>tiny, RMU</h3>" in page and "<h3>small, RMU</h3>" in page
