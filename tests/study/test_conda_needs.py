"""What is said before any job where `--sdm conda` cannot do its work: no conda, an old one, no room."""

import json
import os
import re
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest
from helpers.checkout import ROOT, copy_checkout, snakemake
from helpers.environments import dependencies

from overpaint.errors import UserError
from overpaint.study import environments

FILES = sorted(ROOT.glob("envs/*.yaml"))
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy in which nothing has run."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def program(tmp_path, monkeypatch):
    """program(text): from here on a file of that text is the only conda there is."""

    def install(text: bytes) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "conda").write_bytes(text)
        (folder / "conda").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return folder / "conda"

    return install


@pytest.fixture
def conda(tmp_path, program):
    """conda(version): a conda of that version, with an empty cache of packages."""

    def install(version: str, status: int = 0) -> Path:
        said = json.dumps({"conda_version": version, "pkgs_dirs": [str(tmp_path / "pkgs")]})
        return program(f"#!/bin/sh\necho '{said}'\nexit {status}\n".encode())

    return install


@pytest.fixture
def free(monkeypatch):
    """free(gigabytes): from here on every disk has that much left."""

    def leave(gigabytes: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**13, 0, int(gigabytes * 10**9)))

    return leave


def complaint(prefix: Path) -> str:
    """What is said about the workflow's environments in a prefix; empty where nothing is wrong."""
    try:
        environments.check(prefix, FILES)
    except UserError as error:
        return str(error)
    return ""


def asked(said: str) -> float:
    """The gigabytes that a complaint asks for."""
    return float(re.search(r"need about ([\d.]+) GB", said)[1])


def test_without_conda_the_workflow_names_miniforge_and_the_plain_way_before_any_job(checkout, tmp_path):
    (tmp_path / "snakemake_executor_plugin_slurm.py").touch()  # hides the plugin, which looks for SLURM on the PATH
    nothing = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    plain = snakemake(checkout, "--dry-run", **nothing)
    assert plain.returncode == 0, plain.stdout
    done = snakemake(checkout, "--sdm", "conda", **nothing)
    assert done.returncode != 0 and "Traceback" not in done.stdout and "Job stats" not in done.stdout
    assert done.stdout.count("`--sdm conda` finds no `conda` on the PATH: install Miniforge, or leave out") == 1
    assert "`make study`" in done.stdout and not (checkout / "results").exists()


@pytest.mark.parametrize("version", ["4.14.0", "23.11.0", "24.7.0"])
def test_an_old_conda_is_told_what_it_has_to_be(conda, tmp_path, version):
    place = conda(version)
    said = complaint(tmp_path / "envs")
    assert f"needs conda 24.7.1 or newer, and {place} is {version}" in said
    assert "Miniforge" in said and "`make study`" in said


@pytest.mark.parametrize("version", ["24.7.1", "24.11.0", "26.1.0.dev3"])
def test_a_conda_that_snakemake_drives_is_good(conda, free, tmp_path, version):
    conda(version)
    free(100)
    assert complaint(tmp_path / "envs") == ""


def test_a_conda_that_fails_is_named(conda, tmp_path):
    place = conda("25.1.0", status=3)
    assert f"cannot use {place}, whose `conda info --json` fails" in complaint(tmp_path / "envs")


NO_ANSWERS = [
    "{}", "[]", "null", "1", '"24.7.1"', "", "no JSON", '{"conda_version": "25.1.0"}', '{"pkgs_dirs": ["/tmp"]}',
    '{"conda_version": "25.1.0", "pkgs_dirs": []}', '{"conda_version": "25.1.0", "pkgs_dirs": null}',
    '{"conda_version": "25.1.0", "pkgs_dirs": [null]}', '{"conda_version": "25.1.0", "pkgs_dirs": 1}',
    '{"conda_version": "25.1.0", "pkgs_dirs": {"a": 1}}', '{"conda_version": {}}', "[" * 10**5, "\\377\\376",
    "1" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: answer[:40])
def test_a_conda_that_answers_as_none_does_is_named(program, tmp_path, answer):
    place = program(f"#!/bin/sh\nprintf '{answer}'\n".encode())
    said = complaint(tmp_path / "envs")
    assert f"cannot use {place}, whose `conda info --json` says neither its version nor where" in said
    assert said.isprintable() and "Miniforge" in said


@pytest.mark.parametrize("version", ['""', "null", "[]", '"new"', "24", "true"])
def test_a_version_that_is_none_is_too_old(program, tmp_path, version):
    program(f'#!/bin/sh\necho \'{{"conda_version": {version}, "pkgs_dirs": ["/tmp"]}}\'\n'.encode())
    assert "needs conda 24.7.1 or newer" in complaint(tmp_path / "envs")


@pytest.mark.parametrize("text", [b"\x7fELF no program", b"#!/nowhere/sh\n", b"#!/bin/sh\nkill -9 $$\n"])
def test_a_conda_that_cannot_run_is_named(program, tmp_path, text):
    assert f"cannot use {program(text)}, whose `conda info --json` fails" in complaint(tmp_path / "envs")


@pytest.mark.parametrize("text", ["exec sleep 60", "sleep 60", "read answer; sleep 60"])
def test_a_conda_that_does_not_end_is_left_alone(program, tmp_path, monkeypatch, text):
    place = program(f"#!/bin/sh\n{text}\n".encode())
    monkeypatch.setattr(environments, "PATIENCE_S", 1)
    start = time.monotonic()
    assert f"cannot use {place}, whose `conda info --json` does not end in 1 seconds" in complaint(tmp_path / "envs")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["file", "file/below/it", "x" * 300, "link"])
def test_a_prefix_that_can_be_no_folder_is_named(conda, free, tmp_path, name):
    conda("25.1.0")
    free(100)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert complaint(tmp_path / name).startswith(f"`--conda-prefix` is {tmp_path / name}, ")


@pytest.mark.parametrize("name", ["it's", 'a"b', "a$b", "a`b", "a\\b", "a\nb"])
def test_a_prefix_that_a_shell_would_take_apart_is_named(conda, free, tmp_path, name):
    conda("25.1.0")
    free(100)
    said = complaint(tmp_path / name / "envs")
    assert "choose another `--conda-prefix`" in said and said.isprintable()
    assert complaint(tmp_path / "a b&c") == ""


def test_what_else_lies_in_a_prefix_is_no_matter(conda, free, tmp_path):
    conda("25.1.0")
    free(100)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"dependencies:\n  - caf\xe9=1\n")
    (tmp_path / "nowhere.yaml").symlink_to("absent")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert complaint(tmp_path) == ""


def test_no_room_is_said_with_what_is_needed_and_where(conda, free, tmp_path):
    conda("25.1.0")
    free(1.5)
    said = complaint(tmp_path / "a/b/envs")
    assert f" GB in {tmp_path}, where 1.5 GB are free" in said and 2 < asked(said) < 3.5
    assert "--conda-prefix" in said and "CONDA_PKGS_DIRS" in said
    free(asked(said) + 0.1)
    assert complaint(tmp_path / "a/b/envs") == ""


def test_what_is_made_needs_no_room(conda, free, tmp_path):
    conda("25.1.0")
    free(0)
    for path in FILES:
        (tmp_path / path.name).write_text(path.read_text())
    assert complaint(tmp_path) == ""
    (tmp_path / "unlearn.yaml").unlink()
    free(0.05)
    assert asked(complaint(tmp_path)) == 0.1, "all of its packages are there"


def test_on_another_disk_environments_are_copies(conda, free, tmp_path, monkeypatch):
    conda("25.1.0")
    (tmp_path / "pkgs").mkdir()
    disk, other = (os.stat_result([0] * 2 + [device] + [0] * 7) for device in (1, 2))
    monkeypatch.setattr(Path, "stat", lambda path, **_: other if path.name == "pkgs" else disk)
    monkeypatch.setattr(Path, "is_dir", lambda path: path in (tmp_path, tmp_path / "pkgs"))
    free(3)
    said, each = complaint(tmp_path), [set(dependencies(path.stem)) for path in FILES]
    assert f" GB in {tmp_path}, where 3.0 GB are free" in said
    assert asked(said) == pytest.approx(sum(map(environments.megabytes, each)) / 1000, abs=0.06)
    assert asked(said) > 8, "several with torch"


def test_the_workflow_asks_for_room_before_any_job(conda, checkout, tmp_path):
    conda("25.1.0")
    patch = "import shutil\nshutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**12, 10**12, 0)\n"
    (tmp_path / "sitecustomize.py").write_text(patch)
    done = snakemake(checkout, "--sdm", "conda", PYTHONPATH=str(tmp_path))
    assert done.returncode != 0 and "Traceback" not in done.stdout and "Job stats" not in done.stdout
    assert done.stdout.count("where 0.0 GB are free") == 1 and not (checkout / "results").exists()
