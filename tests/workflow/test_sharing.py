"""Intermediates in other hands: bundles for another machine, and Snakemake's cache between studies."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.checkout import CACHED, JOBS, OUT, ROOT, RUNS, SMOKE, copy_checkout, planned, snakemake

from overpaint.errors import UserError
from overpaint.jobs import bundle, provenance


@pytest.fixture
def there(study, monkeypatch) -> Path:
    """The finished study as the current folder."""
    monkeypatch.chdir(study)
    return study


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A fresh copy of the checkout, as on another machine."""
    return copy_checkout(tmp_path)


@pytest.fixture
def plan(dry_run) -> Callable[[Path], dict[str, int]]:
    """plan(folder): the jobs of a dry run."""

    def jobs(folder: Path) -> dict[str, int]:
        done = dry_run(folder, *SMOKE)
        assert done.returncode == 0, done.stdout
        return planned(done.stdout)

    return jobs


def test_a_whole_study_unpacked_elsewhere_has_nothing_to_do(plan, there, elsewhere, monkeypatch, capsys):
    packed = elsewhere / "smoke.tar"
    assert plan(elsewhere) == JOBS
    assert bundle.main("pack", OUT, str(packed)) == 0
    monkeypatch.chdir(elsewhere)
    assert bundle.main("unpack", "smoke.tar") == 0
    assert "outputs unpacked" in capsys.readouterr().out
    assert plan(elsewhere) == {}
    for path in (there / "results").rglob("*.parquet"):
        assert path.read_bytes() == (elsewhere / path.relative_to(there)).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (elsewhere / "results").rglob("*") if path.is_file()}
    bundle.unpack(Path("smoke.tar"))
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a second time changes nothing"
    assert plan(elsewhere) == {} and not list(elsewhere.glob(".*-part"))


def test_what_some_rules_made_leaves_only_what_comes_after(plan, dry_run, there, elsewhere, monkeypatch):
    bundle.pack(Path(OUT), elsewhere / "some.tar", ["fit_junk"])
    monkeypatch.chdir(elsewhere)
    bundle.unpack(Path("some.tar"))
    assert plan(elsewhere) == {
        "pretrain_model": 1, "prepare_texts": 5, "collect_activations": 2, "evaluate": 3, "complete_prompts": 2,
        "measure_depth": 2,
        "relearn": 2, "measure_perturbations": 2, "score_depth": 1, "analyse_weights": 1, "trace_emergence": 1,
        "gather_tables": 1, "gather_measures": 1, "render_report": 6, "render_index": 1,
        "render_explorer": 1,
    }  # fmt: skip
    (elsewhere / "edit.yaml").write_text(yaml.safe_dump({"methods": {"rmu_smoke": {"alpha": 6}}}))
    done = dry_run(elsewhere, *SMOKE, "edit.yaml")
    assert planned(done.stdout)["unlearn"] == 2, "a setting that differs from the bundle's runs again"


@pytest.mark.parametrize("harm", ["cut", "flipped", "swapped"])
def test_a_bundle_that_was_harmed_is_refused_and_nothing_is_put_here(there, tmp_path, monkeypatch, capsys, harm):
    packed, parts = tmp_path / "smoke.tar", tmp_path / "parts"
    bundle.pack(Path(OUT), packed, ["unlearn"])
    if harm == "cut":
        packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    else:
        with tarfile.open(packed) as tar:
            tar.extractall(parts, filter="data")
        first, second = (parts / run / "overlay.safetensors" for run in RUNS)
        if harm == "swapped":
            shutil.copy(second, first)
        else:
            content = bytearray(first.read_bytes())
            content[-1] ^= 1
            first.write_bytes(content)
        with tarfile.open(packed, "w") as tar:
            tar.add(parts, ".")
        shutil.rmtree(parts)
    monkeypatch.chdir(tmp_path)
    assert bundle.main("unpack", "smoke.tar") == 1
    said = capsys.readouterr().err
    assert (
        len(said.splitlines()) == 1
        and ("cannot be read" if harm == "cut" else "overlay.safetensors is not what") in said
    )
    assert {path.name for path in tmp_path.iterdir()} == {"smoke.tar"}


def test_a_file_that_differs_here_is_not_overwritten(there, tmp_path, monkeypatch):
    bundle.pack(Path(OUT), tmp_path / "some.tar", ["generate_world"])
    monkeypatch.chdir(tmp_path)
    bundle.unpack(Path("some.tar"))
    Path(f"{OUT}/worlds/smoke/facts.json").write_text("mine")
    with pytest.raises(UserError, match="is here already and differs"):
        bundle.unpack(Path("some.tar"))
    assert Path(f"{OUT}/worlds/smoke/facts.json").read_text() == "mine"


def test_what_was_harmed_is_not_packed(there, tmp_path, monkeypatch):
    shutil.copytree(there / OUT / "worlds", tmp_path / OUT / "worlds")
    monkeypatch.chdir(tmp_path)
    Path(f"{OUT}/worlds/smoke/facts.json").write_text("{}")
    with pytest.raises(UserError, match="facts.json is not what generate_world wrote"):
        bundle.pack(Path(OUT), Path("smoke.tar"), [])
    assert {path.name for path in tmp_path.iterdir()} == {"results"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pack", "results/none", "x.tar"], "There are no results in results/none"),
        (["pack", OUT, "x.tar", "fit_jnk"], "No fit_jnk has run in results/smoke: choose among analyse_weights"),
        (["unpack", "none.tar"], "There is no file none.tar"),
        (["upack"], "usage: python -m overpaint.jobs.bundle"),
    ],
)
def test_a_mistake_is_one_sentence(there, capsys, arguments, sentence):
    assert bundle.main(*arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1


def test_a_bundle_that_would_write_outside_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(tmp_path / "evil", "../outside")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert bundle.main("unpack", "../evil.tar") == 1
    assert (
        "holds '../outside', which is no plain file below results" in capsys.readouterr().err
        and not (tmp_path / "outside").exists()
    )


def test_make_packs_and_unpacks(plan, study, elsewhere):
    """The two commands of docs/running.md, with this Python in place of .venv's."""
    for folder, target in ((study, "pack"), (elsewhere, "unpack")):
        make = ["make", "--no-print-directory", "--dry-run", "--old-file", ".venv/ready"]  # also where make runs this
        rule = subprocess.run(
            [*make, target, "STUDY=studies/smoke.yaml", "BUNDLE=x.tar"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        assert f"python -m overpaint.commands {target}" in rule
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {"PATH": path, "STUDY": "studies/smoke.yaml", "BUNDLE": "x.tar", "RULES": ""}
        environment = os.environ | {"PYTHONPATH": str(folder / "src")} | given
        subprocess.run(["bash", "-c", rule], cwd=folder, check=True, env=environment)
        if target == "pack":
            (study / "x.tar").rename(elsewhere / "x.tar")
    assert plan(elsewhere) == {}


def test_studies_share_base_model_and_prefixes_through_snakemakes_cache(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    found: dict[str, list] = {"overlay": [], "checkpoint": []}
    for name in ("one", "two"):
        folder = copy_checkout(tmp_path / name)
        (folder / "name.yaml").write_text(yaml.safe_dump({"study": {"output": f"results/{name}"}}))
        model = f"results/{name}/smoke"
        given = [f"{model}/rmu_smoke/layer=1/c=4/seed=0/overlay.safetensors", "--cache", *CACHED, *SMOKE, "name.yaml"]
        done = snakemake(folder, *given, SNAKEMAKE_OUTPUT_CACHE=str(cache))
        assert done.returncode == 0, done.stdout[-5000:]
        found["overlay"].append(provenance.sha256(folder / given[0]))
        found["checkpoint"].append(provenance.read_record(folder / model / "checkpoint.job.json"))
        prefixes = list((folder / model / "prefix").rglob("*.job.json"))
        assert len(prefixes) == 1 and prefixes[0].resolve().parent == cache
        again = snakemake(folder, "--dry-run", *given, SNAKEMAKE_OUTPUT_CACHE=str(cache))
        assert "Nothing to be done" in again.stdout
    assert found["overlay"][0] == found["overlay"][1]
    assert found["checkpoint"][0] == found["checkpoint"][1], "it was made twice, at two times"
    assert len(list(cache.iterdir())) == 4, "an output and a job.json of each of two jobs"
