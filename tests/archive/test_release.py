"""What a release holds: bundles that restore a study, crates, and what says which version it is."""

import hashlib
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from helpers.checkout import OUT, ROOT, RUNS, SMOKE, copy_checkout, planned, snakemake

from overpaint.archive import release
from overpaint.jobs import bundle, provenance

FILES = ["pyproject.toml", "CITATION.cff", "CHANGELOG.md", "LICENSE", ".gitignore"]


def git(folder: Path, *arguments: str) -> str:
    """What git says in a folder."""
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def checkout(study, tmp_path_factory) -> Path:
    """A checkout with git in which the smoke study has run, and a release of it was made."""
    folder = shutil.copytree(study, tmp_path_factory.mktemp("release") / "checkout", symlinks=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(provenance, "ROOT", folder)
        assert release.main() == 0
    return folder


@pytest.fixture(scope="module")
def made(checkout) -> Path:
    """The folder of the release."""
    (folder,) = (checkout / "release").iterdir()
    return folder


def members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_its_bundle_restores_a_study_in_which_nothing_is_to_be_done(made, tmp_path, monkeypatch):
    elsewhere = copy_checkout(tmp_path)
    monkeypatch.chdir(elsewhere)
    bundle.unpack(made / "smoke.tar")
    done = snakemake(elsewhere, "--dry-run", *SMOKE)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout[-2000:]
    provenance._records.cache_clear()
    assert len(bundle.verify(Path(OUT))) > 60
    (elsewhere / "edit.yaml").write_text(yaml.safe_dump({"study": {"headline": {"clearing": "topic"}}}))
    assert planned(snakemake(elsewhere, "--dry-run", *SMOKE, "edit.yaml").stdout), "an edit is seen"


def test_its_bundle_leaves_out_what_is_heavy_or_of_others(checkout, made):
    there = set(members(made / "smoke.tar"))
    rules = {path: provenance.read_record(path)["rule"] for path in (checkout / OUT).rglob("*.job.json")}
    kept = {str(path.relative_to(checkout)) for path, rule in rules.items() if rule not in release.LEFT_OUT}
    assert {name for name in there if name.endswith(provenance.RECORD)} == kept and len(rules) - len(kept) > 10
    assert not [name for name in there if "/corpora/" in name or "/prefix/" in name or "/activations/" in name]
    assert {f"{OUT}/tables/scores.csv", f"{RUNS[0]}/answers.parquet"} < there


def test_the_rules_that_are_left_out_are_rules():
    rules = set(re.findall(r"^rule (\w+):", "".join(p.read_text() for p in ROOT.glob("workflow/rules/*.smk")), re.M))
    assert rules > release.LEFT_OUT


def test_it_holds_the_source_of_the_commit_and_says_how_to_cite_it(checkout, made):
    assert {"overpaint-0.1.0/Snakefile", "overpaint-0.1.0/src/overpaint/__init__.py"} < set(
        members(made / "overpaint-0.1.0.tar.gz")
    )
    cited = yaml.safe_load((made / "CITATION.cff").read_text())
    assert cited["commit"] == git(checkout, "rev-parse", "HEAD").strip() and cited["version"] == made.name
    assert str(cited["date-released"]) == git(checkout, "show", "--no-patch", "--format=%cs").strip()


def test_its_sums_are_of_all_its_files(made):
    lines = (made / release.SUMS).read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {path.name for path in made.iterdir()} - {release.SUMS}
    assert {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in sums} == sums
    assert {"smoke.tar", "smoke.zip", "CITATION.cff", "CHANGELOG.md", "LICENSE"} < set(sums)


def test_the_files_of_this_checkout_agree_on_its_version(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert release.version()


@pytest.fixture
def broken(checkout, tmp_path, monkeypatch) -> Path:
    """That checkout, without its release, to be harmed."""
    folder = shutil.copytree(checkout, tmp_path / "broken", symlinks=True, ignore=shutil.ignore_patterns("release"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(provenance, "ROOT", folder)
    return folder


def replace(path: str, old: str, new: str) -> None:
    Path(path).write_text(Path(path).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda: Path("release/0.1.0").mkdir(parents=True), "release/0.1.0 is there already"),
        (lambda: replace("CHANGELOG.md", "## 0.1.0", "## 0.2.0"), "CHANGELOG.md has 0.2.0"),
        (lambda: replace("CITATION.cff", "version: 0.1.0", ""), "CITATION.cff has none"),
        (lambda: replace("LICENSE", "Apache", "Other"), "commit your changes first"),
        (lambda: shutil.rmtree(".git"), "in a checkout with git"),
        (lambda: shutil.rmtree(OUT), "None of the shipped studies is finished here"),
        (lambda: replace(f"{OUT}/tables/scores.csv", "smoke", "other"), "scores.csv is not what gather_tables wrote"),
    ],
)
def test_what_is_no_release_is_one_sentence_and_leaves_nothing(broken, capsys, harm, sentence):
    harm()
    provenance._records.cache_clear()
    assert release.main() == 1
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1
    assert not [path for path in Path("release").rglob("*") if path.is_file()]


def test_results_of_other_code_are_left_out(broken, capsys):
    replace("studies/smoke.yaml", "steps: 40", "steps: 41")
    assert release.finished(["studies/smoke.yaml"]) == {}
    assert "smoke: left out, for jobs of it would run again" in capsys.readouterr().out
