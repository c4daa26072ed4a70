"""README.md and docs/findings.md say what the tables in docs/data say."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.checkout import ROOT
from helpers.synthetic import Tables
from PIL import Image

from overpaint.errors import UserError
from overpaint.findings import kept, measured, phrases, writing
from overpaint.report.select import Cell
from overpaint.tables import verdicts

FILES = sorted(path.relative_to(ROOT) for path in (ROOT / writing.DATA).rglob("*") if path.is_file())
TYPED = {"map", "bases", "smollm2"}  # studies of whose runs no table was kept; their text is tested by nothing


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what the texts are written from."""
    for folder in (writing.DATA, writing.TEMPLATES, Path("bases/miniature")):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def run_of(folder: Path, name: str, models: list[str], dirty: bool = False, **settings) -> Path:
    """Results of a study that never ran, its models alike but for what is recovered."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for number, model in enumerate(models):
        tables = Tables(**{"clearings": ("span", "topic"), "draws": 4, "share": 0.3 + 0.1 * number, **settings})
        for table in kept.NAMES:
            frame = getattr(tables, table)()
            frames.setdefault(table, []).append(frame.replace({"model": {"tiny": model}}))
    whole = {table: pd.concat(parts, ignore_index=True) for table, parts in frames.items()}
    whole["hypotheses"] = verdicts.together(whole["hypotheses"])
    whole["provenance"] = whole["provenance"].drop_duplicates("output").assign(dirty=dirty)
    (folder / "tables").mkdir(parents=True)
    for table, frame in whole.items():
        frame.to_parquet(folder / f"tables/{table}.parquet")
    study = {"name": name, "headline": {"clearing": "span", "layer": 3, "c": 4}, "runs": [{"seed": [0, 1, 2]}]}
    (folder / "tables/config.json").write_text(json.dumps({"study": study, "clearings": {}}))
    return folder


def test_what_is_committed_is_what_the_tables_say():
    for path, text in writing.texts(ROOT).items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, (
            f"edit docs/templates, not {path}; then: make findings"
        )


def test_the_figure_shows_the_table_that_is_there(checkout):
    assert Image.open(ROOT / writing.FIGURE).text[writing.KEY] == writing.shown(ROOT)
    table = checkout / writing.DATA / "miniature/scores.csv"
    table.write_text(table.read_text().replace("gloomcraft", "other"))
    assert writing.shown(checkout) != writing.shown(ROOT)


def test_the_texts_are_made_in_a_copy_as_well(checkout):
    assert writing.texts(checkout) == writing.texts(ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_no_file_of_a_run_can_be_missing(checkout, path):
    (checkout / path).unlink()
    with pytest.raises(UserError, match=f"{path.parent}/.* is not there: put it back, or run `make study"):
        writing.texts(checkout)


def test_a_number_that_changes_changes_the_text(checkout):
    path = checkout / writing.DATA / "miniature/cells.csv"
    table = pd.read_csv(path, keep_default_na=False)
    here = table.quantity.eq("recovered_accuracy")
    table.loc[here, "high"] = [1.1] * here.sum()
    table.to_csv(path, index=False)
    text = writing.texts(checkout)[Path("docs/findings.md")]
    assert "In none of the six cells the interval" in text
    assert "In none of the six cells the interval" not in writing.texts(ROOT)[Path("docs/findings.md")]


def test_only_named_studies_are_not_generated_and_say_so():
    typed = {name for name, study in writing.studies(ROOT).items() if isinstance(study, writing.Typed)}
    assert typed <= TYPED
    assert writing.texts(ROOT)[Path("docs/findings.md")].count("*Not yet generated: the tables") == len(typed)


def test_what_is_kept_is_small():
    assert sum((ROOT / path).stat().st_size for path in FILES) < 1e6


def test_what_is_kept_reads_as_the_tables_do(tmp_path):
    results = run_of(tmp_path / "results", "map", ["map_1", "map_2"], layers=(2, 3, 4))
    kept.keep(results, tmp_path / "data")
    found = kept.load(tmp_path / "data", "make study")
    cells = pd.read_parquet(results / "tables/cells.parquet")
    pd.testing.assert_frame_equal(found.cells, cells.drop(columns="study"), check_dtype=False, check_exact=True)
    assert found.cells.layer.dtype == "Int64" and found.models == ["map_1", "map_2"] and found.cell == Cell(3, 4.0)


def test_uncommitted_changes_are_refused_and_nothing_is_lost(tmp_path):
    folder = tmp_path / "data"
    kept.keep(run_of(tmp_path / "clean", "map", ["map_1"]), folder)
    before = (folder / "cells.csv").read_bytes()
    with pytest.raises(UserError, match="dirty holds jobs that ran with uncommitted changes: commit them"):
        kept.keep(run_of(tmp_path / "dirty", "map", ["map_1"], dirty=True), folder)
    assert (folder / "cells.csv").read_bytes() == before


def test_the_map_and_base_models_have_their_sections(checkout, tmp_path):
    made = tmp_path / "results"
    maps = run_of(made / "map", "map", ["map_1", "map_2"], layers=(2, 3, 4))
    bases = run_of(made / "bases", "bases", [f"base_{n}" for n in range(3, 7)], layers=(2, 3, 4), sizes=(4.0,))
    kept.keep(maps, checkout / writing.DATA / "map")
    kept.keep(bases, checkout / writing.DATA / "bases")
    written = writing.texts(checkout)
    text, readme = written[Path("docs/findings.md")], written[Path("README.md")]
    assert "*Not yet generated" in text and text.count("*Not yet generated") == 1  # of SmolLM2
    found = kept.load(checkout / writing.DATA / "map", "")
    cell = measured.lost_to_back(found, model="map_2", layer=3, c=4.0)
    assert f"| `map_2` | 3 | 8 → 45 (36–53) *not unlearned* | {cell} |" in text and cell.startswith("32 → 45")
    assert "| holds |" in text and "*By `make study STUDY=studies/bases.yaml` at commit `0123456789ab`" in text
    assert "three layers" not in text and "rank correlation of" in readme
    assert not [word for word in ("nan", "None", "undefined") if f" {word}" in text.replace("None of", "")]


@pytest.mark.parametrize(
    ("beaten", "said"), [(False, "In all nine cells the acc"), (True, "In none of the nine cells the acc")]
)
def test_a_sentence_turns_with_its_numbers(checkout, tmp_path, beaten, said):
    results = run_of(
        tmp_path / "b", "bases", ["base_3", "base_4", "base_5"], layers=(2, 3, 4), sizes=(4.0,), beaten=beaten
    )
    kept.keep(results, checkout / writing.DATA / "bases")
    assert said in " ".join(writing.texts(checkout)[Path("docs/findings.md")].split())


def test_phrases():
    assert phrases.of_all(6, 6) == "all six cells" and phrases.of_all(5, 6) == "five of the six cells"
    assert phrases.of_all(0, 13) == "none of the 13 cells" and phrases.of_all(1, 1) == "the one cell"
    assert phrases.percents([0.338, 0.81, float("nan")]) == "34 to 81" and phrases.percents([0.501, 0.503]) == "50"
    assert phrases.fixed(-0.001) == "0.00" and phrases.fixed(float("nan")) == phrases.value(None) == "–"
    assert phrases.p_value(1e-9) == "below 0.0001" and phrases.p_value(0.0042) == "0.0042"
    row = pd.Series({"value": 0.63, "low": 0.54, "high": 0.72})
    assert phrases.with_interval(row) == "0.63 (0.54–0.72)" and phrases.told(row) == "63 % (54 to 72)"
