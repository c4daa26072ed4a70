"""README.md and docs/findings.md say what the tables in docs/data say."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from helpers.checkout import ROOT
from helpers.synthetic import Tables
from PIL import Image

from overpaint.errors import UserError
from overpaint.findings import depths, kept, making, matrices, measured, phrases, writing
from overpaint.report.select import Cell
from overpaint.tables import models as tables_models
from overpaint.tables import verdicts

SPLIT = ("miniature", "bases")  # studies that tell what is painted over, displaced and gone
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / writing.DATA).rglob("*") if path.is_file())


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
        small = {"clearings": ("span", "topic"), "draws": 2, "seeds": (0,), "share": 0.3 + 0.1 * number}
        tables = Tables(**small | settings)
        for table in kept.NAMES:
            frame = getattr(tables, table)()
            frames.setdefault(table, []).append(frame.replace({"model": {"tiny": model}}))
    whole = {table: pd.concat(parts, ignore_index=True) for table, parts in frames.items()}
    whole["hypotheses"] = verdicts.together(whole["hypotheses"])
    whole |= over_models(whole, name, models) if len(models) > 1 else {}
    whole["provenance"] = whole["provenance"].drop_duplicates("output").assign(dirty=dirty)
    (folder / "tables").mkdir(parents=True)
    for table, frame in whole.items():
        frame.to_parquet(folder / f"tables/{table}.parquet")
    study = {"name": name, "headline": {"clearing": "span", "layer": 3, "c": 4}, "runs": [{"seed": [0]}]}
    study["damage_budget"] = 1
    span = {"direction": "span", "scope": "from_layer", "target": "base_mean"}
    (folder / "tables/config.json").write_text(
        json.dumps({"study": study, "clearings": {"span": span}, "methods": {"rmu": {"updated": [-1, 0]}}})
    )
    return folder


def over_models(whole: dict[str, pd.DataFrame], name: str, models: list[str]) -> dict[str, pd.DataFrame]:
    """Tables `layers`, `models` and `hypotheses` with rows on all models: means, and one claim of which it is so."""
    back = whole["cells"][whole["cells"].quantity.eq("recovered_accuracy") & whole["cells"].mark.eq("")]
    count = {"model": "all", "models": len(models), "above": 1.0}
    joint = whole["layers"].drop_duplicates(["lower", "upper"]).assign(**count)
    means = back.groupby(["study", "method", "layer", "c", "seed"], as_index=False)[["value", "low", "high"]].mean()
    claim = {
        "study": name,
        "model": "all",
        "method": "all",
        "seed": "all",
        "hypothesis": "most",
        "claim": "Most is back.",
    }
    claim |= {"test": "over_models", "confirmatory": True, "cells": len(models), "value": 0.7, "low": 0.6, "high": 0.8}
    claims = [whole["hypotheses"], pd.DataFrame([claim | {"needed": 0.5, "verdict": "holds"}])]
    return {
        "layers": pd.concat([whole["layers"], joint], ignore_index=True),
        "models": means.assign(spread=0.1, **count)[tables_models.COLUMNS],
        "hypotheses": pd.concat(claims, ignore_index=True) if name in ("bases", "lookup") else claims[0],
    }


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> Path:
    """Results of a map that never ran."""
    return run_of(tmp_path_factory.mktemp("map"), "map", ["map_1", "map_2"], layers=(2, 3, 4))


def test_what_is_committed_is_what_the_tables_say():
    for path, text in writing.texts(ROOT).items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, (
            f"edit docs/templates, not {path}; then: make findings"
        )


@pytest.mark.parametrize("name", writing.FIGURES)
def test_a_figure_shows_the_table_that_is_there(checkout, name):
    assert Image.open(ROOT / f"docs/{name}.png").text[writing.KEY] == writing.shown(ROOT, name)
    table = checkout / writing.DATA / f"{writing.FIGURES[name]}.csv"
    table.write_text(table.read_text() + "\n")
    assert writing.shown(checkout, name) != writing.shown(ROOT, name)


def test_the_figure_has_every_layer_at_the_headlines_c_and_its_parts_come_to_all():
    found = {name: depths.depth_split(study) for name, study in writing.studies(ROOT).items() if name in SPLIT}
    assert {name: [*layers] for name, layers in found.items()} == dict.fromkeys(SPLIT, [2, 3])
    for rows in (rows for layers in found.values() for rows in layers.values()):
        assert sum(row.value for row in rows.values()) == pytest.approx(1)


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


def test_a_study_without_tables_has_no_numbers(checkout):
    missing = [name for name, study in writing.studies(ROOT).items() if study is None]
    text = writing.texts(ROOT)[Path("docs/findings.md")].replace("\n", " ")
    assert {*missing} <= {*writing.PENDING} and text.count("No tables of a run of it") == len(missing)
    shutil.rmtree(checkout / writing.DATA / "lookup")
    with pytest.raises(UserError, match="lookup/.* is not there"):
        writing.texts(checkout)


def typed(text: str) -> set[str]:
    """Fractions and percentages in a template's prose, as someone typed them."""
    prose = re.sub(r"{[{%#].*?[}%#]}|^```.*?^```|\]\(.*?\)", "", text, flags=re.MULTILINE | re.DOTALL)
    return {*re.findall(r"\d+\.\d+|\d+ %", prose)}


@pytest.mark.parametrize("name", [*writing.WRITTEN, "macros.j2"])
def test_no_result_is_typed(name):
    known = {"95 %", "0.05", "3.11", "2.0", "3.0", "4.0"}  # intervals, the tests' level, Python, licences
    assert typed((ROOT / writing.TEMPLATES / name).read_text(encoding="utf-8")) <= known
    assert typed("brings back 81 % (0.66){{ 0.5 | fixed }}") == {"81 %", "0.66"}


def test_what_is_kept_is_small():
    assert sum((ROOT / path).stat().st_size for path in FILES) < 2.5e6


def test_what_is_kept_reads_as_the_tables_do(maps, tmp_path):
    kept.keep(maps, tmp_path / "data")
    found = kept.load(tmp_path / "data", "make study")
    cells = pd.read_parquet(maps / "tables/cells.parquet")
    pd.testing.assert_frame_equal(found.cells, cells.drop(columns="study"), check_dtype=False, check_exact=True)
    assert found.cells.layer.dtype == "Int64" and found.models == ["map_1", "map_2"] and found.cell == Cell(3, 4.0)


def test_uncommitted_changes_are_refused_and_nothing_is_lost(maps, tmp_path):
    folder = tmp_path / "data"
    kept.keep(maps, folder)
    before = (folder / "cells.csv").read_bytes()
    with pytest.raises(UserError, match="dirty holds jobs that ran on no commit, or with changes to it: commit"):
        kept.keep(run_of(tmp_path / "dirty", "map", ["map_1"], dirty=True, layers=(3,), sizes=(4.0,)), folder)
    assert (folder / "cells.csv").read_bytes() == before


def test_the_map_and_base_models_have_their_sections(checkout, maps, tmp_path):
    made = tmp_path / "results"
    bases = run_of(made / "bases", "bases", [f"base_{n}" for n in range(9, 13)], layers=(2, 3, 4), sizes=(4.0,))
    real = run_of(made / "smollm2", "smollm2", ["smollm2-135m"], topics=("biology",), layers=(3, 4))
    kept.keep(real, checkout / writing.DATA / "smollm2")
    kept.keep(maps, checkout / writing.DATA / "map")
    kept.keep(bases, checkout / writing.DATA / "bases")
    written = writing.texts(checkout)
    text, readme = written[Path("docs/findings.md")], written[Path("README.md")]
    assert "Over four base models" in " ".join(readme.split())
    assert (
        "No tables of a run" not in text and "| Most is back | 70 (60 to 80) over 4 base models | 50 | holds |" in text
    )
    assert "all hazardous topics' junk, from the target layer on, to the base's mean" in " ".join(text.split())
    found = kept.load(checkout / writing.DATA / "map", "")
    cell = measured.lost_to_back(found, model="map_2", layer=3, c=4.0)
    assert f"| `map_2` | 3 | 8 → 45 (36–53) *not unlearned* | {cell} |" in text and cell.startswith("32 → 45")
    assert "| holds |" in text and "*By `make study STUDY=studies/bases.yaml` at commit `0123456789ab`" in text
    assert not [word for word in ("nan", "None", "undefined") if f" {word}" in text.replace("None of", "")]


@pytest.mark.parametrize(("beaten", "said"), [(False, "In all nine cells"), (True, "In none of the nine cells")])
def test_a_sentence_turns_with_its_numbers(checkout, tmp_path, beaten, said):
    models = ["base_9", "base_10", "base_11"]
    results = run_of(tmp_path / "bases", "bases", models, layers=(2, 3, 4), sizes=(4.0,), beaten=beaten)
    kept.keep(results, checkout / writing.DATA / "bases")
    text = " ".join(writing.texts(checkout)[Path("docs/findings.md")].split())
    assert f"{said} the accuracy after clearing is above that" in text


def test_what_made_it_is_told_once_for_each_commit_and_processor():
    one = {"before": False, "git": "a" * 40, "processor": "EPYC", "machine": "x86_64", "capability": "", "torch": "2"}
    one |= {"jobs": 3, "cpu_seconds": 61.0, "first": "2026-01-02T23:59", "last": "2026-01-03T00:01"}
    other = [one | {"capability": "AVX2"}, one | {"before": True, "git": "b" * 40, "processor": "", "torch": "1"}]
    study = kept.Kept({"provenance": pd.DataFrame([one, *other])}, {}, "make study")
    assert making.made(study) == (
        f"`make study` at commit `{'a' * 12}` (2026-01-02 to 2026-01-03; 6 jobs, 2 processor minutes; EPYC (AVX2), "
        f"torch 2); base models trained before at commit `{'b' * 12}` (x86_64, torch 1)"
    )


def test_make_findings_takes_over_what_ended_and_writes_all(checkout, maps, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(writing.release, "finished", lambda files: {[*files][1]: maps})
    assert writing.main() == 0 and "map: its tables are kept in docs/data/map" in capsys.readouterr().out
    assert "| `map_1` | 2 |" in Path("docs/findings.md").read_text() and Path("README.md").is_file()
    for name in writing.FIGURES:
        assert Image.open(f"docs/{name}.png").text[writing.KEY] == writing.shown(Path(), name)
    assert writing.shown(Path(), "map") != writing.shown(ROOT, "map")
    Path("docs/data/map/cells.csv").unlink()
    monkeypatch.setattr(writing.release, "finished", lambda files: {})
    assert writing.main() == 1 and "docs/data/map/cells.csv is not there" in capsys.readouterr().err


def test_paragraphs_are_filled_and_tables_and_code_are_not():
    long = " ".join(["word"] * 60)
    text = f"# {long}\n\n{long}\n\n- {long}\n- short\n\n| {long} |\n\n```\n{long}\n\n{long}\n```\n"
    blocks = phrases.filled(text).split("\n\n")
    assert blocks[0] == f"# {long}" and blocks[3] == f"| {long} |" and blocks[4] == f"```\n{long}"
    assert max(map(len, blocks[1].splitlines())) <= 127 and " ".join(blocks[1].split()) == long
    assert [line[:2] for line in blocks[2].splitlines()] == ["- ", "  ", "  ", "- "]
    assert phrases.filled(phrases.filled(text)) == phrases.filled(text)


def test_phrases():
    assert phrases.of_all(6, 6) == "all six cells" and phrases.of_all(5, 6) == "five of the six cells"
    assert phrases.of_all(0, 13) == "none of the 13 cells" and phrases.of_all(1, 1) == "the one cell"
    assert phrases.percents([0.338, 0.81, float("nan")]) == "34 to 81" and phrases.percents([0.501, 0.503]) == "50"
    assert phrases.fixed(-0.001) == "0.00" and phrases.fixed(float("nan")) == phrases.value(None) == "–"
    assert phrases.p_value(1e-9) == "below 0.0001" and phrases.p_value(0.0042) == "0.0042"
    row = pd.Series({"value": 0.63, "low": 0.54, "high": 0.72})
    assert phrases.with_interval(row) == "0.63 (0.54–0.72)" and phrases.told(row) == "63 % (54 to 72)"


def test_subsets_of_matrices_are_averaged_over_base_models_by_their_number():
    study = writing.studies(ROOT)["matrices"]
    rows = matrices.subsets(study)
    assert [row["blocks"] for row in rows] == [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]
    cells = study.family[study.family.quantity.eq("recovered_accuracy")]
    alone = cells[cells.method.isin(["rmu_first", "rmu_second", "rmu_third"])]
    assert matrices.by_number(rows)[1].mean() == pytest.approx(alone.value.mean())
    assert matrices.by_number(rows)[3].mean() == pytest.approx(cells[cells.method.eq("rmu_10")].value.mean())


def test_the_variant_within_the_budget_is_named_with_what_it_does(checkout, maps):
    kept.keep(maps, checkout / writing.DATA / "map")
    found = kept.load(checkout / writing.DATA / "map", "")
    row = found.family.iloc[0]
    place = {"model": row.model, "layer": row.layer, "c": row.c}
    none = replace(found, tables=found.tables | {"family": found.family.assign(choice="")})
    assert measured.at_budget(none, **place) == "none"
    here = found.family.assign(choice="chosen")
    own = replace(found, tables=found.tables | {"family": here})
    assert measured.at_budget(own, **place) == f"as above: {measured.lost_to_back(found, **place)}"
    other = replace(found, tables=found.tables | {"family": here.assign(method=f"{row.method}_300")})
    assert measured.at_budget(other, **place).startswith("300: ")
