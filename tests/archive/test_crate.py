"""The RO-Crate of a study: it follows its profile, and tells of every job what its job.json tells."""

import hashlib
import json
import shutil
import zipfile
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers.checkout import OUT, RUNS
from helpers.contexts import fill
from rocrate_validator.models import ValidationSettings
from rocrate_validator.services import validate

from overpaint.archive import crate
from overpaint.jobs.provenance import read_record

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")  # of rdflib, to itself


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> dict:
    """Those of the validator, without a network."""
    cache = fill(tmp_path_factory.mktemp("cache") / "http")
    return {"profile_identifier": "provenance-run-crate-0.5", "offline": True, "cache_path": cache}


@pytest.fixture(scope="module")
def folder(study, tmp_path_factory) -> Path:
    """The unpacked crate of the smoke study."""
    target = tmp_path_factory.mktemp("crate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(study)
        assert crate.main(OUT, str(target / "smoke.zip")) == 0
    with zipfile.ZipFile(target / "smoke.zip") as archive:
        archive.extractall(target / "smoke")
    return target / "smoke"


@pytest.fixture(scope="module")
def metadata(folder) -> dict:
    return json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def entities(metadata) -> dict[str, dict]:
    """{id: entity}."""
    return {entity["@id"]: entity for entity in metadata["@graph"]}


def listed(value: dict | list[dict] | None) -> list[str]:
    """The ids that a property refers to."""
    return [found["@id"] for found in ([value] if isinstance(value, dict) else value or [])]


def digest(entity: dict) -> str:
    """The hash of a file that is in the crate, or is named there."""
    return entity["sha256"] if "sha256" in entity else entity["identifier"].removeprefix("sha256:")


def test_it_follows_the_profile_of_provenance_run_crates(folder, settings):
    found = validate(ValidationSettings(rocrate_uri=folder, **settings))
    assert found.passed(), [(issue.check.identifier, issue.message) for issue in found.get_issues()]


def test_one_whose_run_names_no_workflow_and_that_lacks_a_file_does_not(folder, metadata, settings, tmp_path):
    harmed = shutil.copytree(folder, tmp_path / "harmed")
    graph = [
        {key: value for key, value in entity.items() if (entity["@id"], key) != ("#run", "instrument")}
        for entity in metadata["@graph"]
    ]
    (harmed / "ro-crate-metadata.json").write_text(json.dumps(metadata | {"@graph": graph}), encoding="utf-8")
    (harmed / "results/tables/scores.csv").unlink()
    said = [issue.message for issue in validate(ValidationSettings(rocrate_uri=harmed, **settings)).get_issues()]
    for fault in ("instrument", "scores.csv"):
        assert any(fault in message for message in said)


def test_every_job_is_told_with_its_inputs_outputs_hashes_times_and_software(study, entities):
    records = {path: read_record(path) for path in (study / OUT).rglob("*.job.json")}
    assert len(records) > 40
    for path, record in records.items():
        action = entities[f"#job/{path.relative_to(study / OUT)}"]
        for key, told in (("inputs", "object"), ("outputs", "result")):
            folders = {value for name, value in record[key].items() if name == f"{OUT}/figures"}
            hashes = {digest(entities[name]) for name in listed(action.get(told)) if name != "results/figures/"}
            assert hashes == set(record[key].values()) - folders
        start, end = (datetime.fromisoformat(action[key]) for key in ("startTime", "endTime"))
        assert start == datetime.fromisoformat(record["started"])
        assert abs((end - start).total_seconds() - record["seconds"]) <= 1
        (tool,) = listed(action["instrument"])
        assert tool == f"workflow/scripts/{record['rule']}.py"
        (environment,) = listed(entities[tool]["softwareRequirements"])
        packages = [entities[name] for name in listed(entities[environment]["hasPart"])]
        assert {entity["name"]: entity["version"] for entity in packages} == record["packages"]


def test_the_files_in_it_are_those_that_are_named_and_what_a_reader_opens_is_among_them(study, folder, entities):
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    named = {unquote(name): entity for name, entity in entities.items() if "File" in entity["@type"]}
    assert there == {*named, "ro-crate-metadata.json"}
    for name, entity in named.items():
        if "sha256" in entity:
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entity["sha256"]
    final = {path for part in ("tables", "reports", "figures") for path in (study / OUT / part).iterdir()}
    assert {f"results/{path.relative_to(study / OUT)}" for path in final if path.name[0] != "."} < there
    answers = f"#{RUNS[0]}/answers.parquet@"
    assert len([name for name in entities if name.startswith(answers)]) == 1, "named, and not in it"


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda out: (out / "reports/index.html").unlink(), "has not ended"),
        (lambda out: (out / "tables/scores.csv").write_text("x"), "scores.csv is not what gather_tables wrote"),
        (lambda out: (out.parents[1] / "Snakefile").unlink(), "in the folder of the checkout"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(study, tmp_path, monkeypatch, capsys, harm, sentence):
    for name in ("tables", "reports", "figures"):
        shutil.copytree(study / OUT / name, tmp_path / OUT / name)
    shutil.copy(study / "Snakefile", tmp_path)
    monkeypatch.chdir(tmp_path)
    harm(tmp_path / OUT)
    assert crate.main(OUT, "x.zip") == 1
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1 and not Path("x.zip").exists()
