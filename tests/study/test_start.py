"""What `make` does with a study and its variables: asks for the folder of results, and has no text of them run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.checkout import ROOT
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from overpaint.errors import UserError
from overpaint.study import start

NUMBERS = "1. ...\n2. ...\n3. ...\n"
PLACE = "it's a $(touch pwned) `touch pwned` checkout"
STUDIES = {
    "plain": "study:\n  name: a\n  output: results/a\n",
    "comment": "study:\n  name: a\n  output: results/a     # where it lands\n",
    "four spaces": "study:\n    name: a\n    output: results/a\n",
    "flow style": "study: {name: a, output: results/a}\n",
    "quoted": 'study:\n  name: a\n  output: "results/a"\n',
    "other line ends": "study:\r\n  name: a\r\n  output: results/a\r\n",
    "slash at its end": "study: {name: a, output: results/a/}\n",
    "several keys": "models:\n  output: x\nstudy:\n  output: results/a\nworlds:\n  output: y\n",
    "anchor": "x: &x {output: results/a}\nstudy: *x\n",
    "merge key": "x: &x {output: results/a}\nstudy: {<<: *x}\n",
    "JSON": '{"study": {"name": "a",\t"output": "results/a"}}',
    "byte order mark": "\ufeffstudy:\n  output: results/a\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make` needs of a checkout, at an odd place. Its Python runs the package alone, and notes all else.

    The arguments of Snakemake are in the file `asked`, other commands in `calls`.
    """
    folder = tmp_path / PLACE
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / "src").mkdir()
    for name in ("Makefile", "config.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("ready", "archive"):
        (folder / ".venv" / name).touch()
    python = folder / ".venv/bin/python"
    stub = """#!/bin/sh
case "$2" in
    snakemake) shift 2; printf '%s\\0' "$@" >asked;;
    overpaint.*) exec "$REAL" "$@";;
    *) echo "$@" >>calls;;
esac
"""
    python.write_text(stub)
    python.chmod(0o755)
    summary(folder, "results")
    summary(folder, "results/a")
    return folder


def summary(folder: Path, output: str) -> None:
    """Leave what a study prints at its end."""
    path = folder / output / "reports/summary.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{output}\n{NUMBERS}")


def following(output: str) -> str:
    """What is said after that."""
    return f"\nNext: open {output}/reports/index.html in a browser; README.md says how to make a study of your own.\n"


@pytest.fixture
def make(checkout: Path) -> Callable[..., subprocess.CompletedProcess]:
    """make(arguments, variables of the environment): what it says and its status."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"REAL": sys.executable, "PYTHONPATH": str(ROOT / "src")} | variables
        return subprocess.run(["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True)

    return run


def asked(checkout: Path) -> list[str]:
    """The arguments that Snakemake got."""
    return (checkout / "asked").read_text().split("\0")[:-1]


@pytest.mark.parametrize("text", STUDIES.values(), ids=STUDIES)
def test_the_numbers_of_the_study_that_ran_are_printed(checkout, make, text):
    (checkout / "mine.yaml").write_bytes(text.encode())
    done = make("study", "STUDY=mine.yaml", "CORES=3")
    assert done.returncode == 0 and done.stdout.endswith(f"\nresults/a\n{NUMBERS}{following('results/a')}"), (
        done.stdout + done.stderr
    )
    assert asked(checkout) == ["--logger", "overpaint", "--cores", "3", "--configfile=mine.yaml"]


def test_without_an_output_it_is_the_default_one(checkout, make):
    (checkout / "mine.yaml").write_text("study: {name: a}\nmodels:\n  output: x\n")
    for arguments, options in (([], []), (["STUDY=mine.yaml"], ["--configfile=mine.yaml"])):
        assert make("study", *arguments).stdout.endswith(f"\nresults\n{NUMBERS}{following('results')}")
        assert asked(checkout) == ["--logger", "overpaint", "--cores", "all", *options]


@pytest.mark.parametrize(
    "name", ["my study.yaml", "it's.yaml", 'a"b.yaml', "$HOME.yaml", "a;b&c|d.yaml", "-x.yaml", "é#%\\.yaml"]
)
def test_a_study_may_be_called_as_a_file_may(checkout, make, name):
    (checkout / name).write_text("study: {output: 'results/my $(touch pwned) own'}\n")
    summary(checkout, output := "results/my $(touch pwned) own")
    for done in (make("study", f"STUDY={name}"), make("study", STUDY=name)):
        assert done.returncode == 0 and done.stdout.endswith(NUMBERS + following(output)), done.stderr
        assert asked(checkout)[-1] == f"--configfile={name}"
    assert not list(checkout.rglob("pwned"))


COMMANDS = [
    "$(touch pwned)", "`touch pwned`", "x;touch pwned", "x\ntouch pwned", "x|touch pwned", "'$(touch pwned)'",
    '"$(touch pwned)"', "$(shell touch pwned)", "${shell touch pwned}", "$$(touch pwned)", "x$(touch${IFS}pwned)",
    "$(eval x:=$(shell touch pwned))",
]  # fmt: skip


@pytest.mark.parametrize("text", COMMANDS)
def test_no_text_of_a_study_is_run(checkout, make, text):
    for content in ({"study": {"output": text}}, {"study": {"name": text}, "models": {"output": {"path": text}}}):
        (checkout / "mine.yaml").write_text(yaml.safe_dump(content))
        for target in ("study", "pack"):
            assert "Traceback" not in make(target, "STUDY=mine.yaml").stderr
    assert not list(checkout.rglob("pwned"))


VARIABLES = [("study", ["STUDY"]), ("study", ["CORES"]), ("pack", ["BUNDLE", "RULES"]), ("crate", ["CRATE"])]
# Each text in one of the variables; in the other ones it is long.
TRIED = [
    pytest.param(*variable, text, marks=[pytest.mark.long] if (number + place) % len(VARIABLES) else [])
    for number, text in enumerate(COMMANDS) for place, variable in enumerate(VARIABLES)
]  # fmt: skip


@pytest.mark.parametrize(("target", "names", "text"), TRIED)
def test_no_text_of_a_variable_is_run(checkout, make, target, names, text):
    for done in (make(target, *(f"{name}={text}" for name in names)), make(target, **dict.fromkeys(names, text))):
        assert "Traceback" not in done.stderr
    assert not list(checkout.rglob("pwned"))


BAD = {
    "nope.yaml": (None, "There is no file nope.yaml: let STUDY name a study's file"),
    "src": (None, "There is no file src: let STUDY"),
    "/dev/zero": (None, "There is no file /dev/zero: let STUDY"),
    "list.yaml": ("- study\n", "list.yaml is no study: it needs keys"),
    "empty.yaml": ("", "empty.yaml is no study"),
    "tab.yaml": ("study:\n\toutput: x\n", "tab.yaml cannot be read as YAML"),
    "tag.yaml": ("study: !!python/object/apply:os.system ['touch pwned']\n", "cannot be read as YAML"),
    "deep.yaml": ("[" * 5000, "cannot be read as YAML"),
    "nul.yaml": ("study: \0\n", "cannot be read as YAML"),
    "null.yaml": ("study: {output: null}\n", "study.output is None: give a folder"),
    "number.yaml": ("study: {output: 7}\n", "study.output is 7: give a folder"),
    "blank.yaml": ("study: {output: ' '}\n", "study.output is ' ': give a folder"),
    "text.yaml": ("study: results/a\n", "study.output is None: give a folder"),
    "code.yaml": (
        "__use_yte__: true\n?open('pwned', 'w'):\n  study: {}\n",
        "with which Snakemake would run code in it",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_study_that_cannot_be_read_is_one_sentence_before_anything_starts(checkout, make, name):
    text, sentence = BAD[name]
    if text is not None:
        (checkout / name).write_text(text)
    for target in ("study", "pack"):
        done = make(target, f"STUDY={name}")
        said = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
        assert done.returncode != 0 and len(said) == 1 and sentence in said[0], done.stderr
    assert not (checkout / "asked").exists() and not list(checkout.rglob("pwned"))


def test_tune_asks_for_the_choice_and_prints_it(checkout, make):
    (checkout / "mine.yaml").write_text("study: {output: results/a, tune: {runs: [{method: rmu, layer: 2}]}}\n")
    (checkout / "results/a/tuned").mkdir()
    (checkout / "results/a/tuned/summary.txt").write_text("None is chosen.\n")
    assert make("tune", "STUDY=mine.yaml", "CORES=2").stdout == "\nNone is chosen.\n"
    assert asked(checkout)[-4:] == ["2", "--configfile=mine.yaml", "--", "results/a/tuned"]


@pytest.mark.parametrize("text", ["study: {output: results/a}", "study: {tune: 3}", "study: {tune: {runs: []}}"])
def test_without_settings_to_try_tune_is_one_sentence(checkout, make, text):
    (checkout / "mine.yaml").write_text(text)
    done = make("tune", "STUDY=mine.yaml")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
    assert said == ["mine.yaml has no study.tune.runs: list settings to try, as [{method: rmu, layer: [2, 3]}]."]
    assert not (checkout / "asked").exists()


def test_a_study_that_is_not_utf8_is_one_sentence(checkout, make):
    (checkout / "latin.yaml").write_bytes("study: {output: é}\n".encode("latin-1"))
    assert "latin.yaml cannot be read as YAML" in make("study", "STUDY=latin.yaml").stderr


def test_where_snakemake_may_keep_nothing_it_is_told_before(checkout, make):
    for home in ("/dev/null", "/proc/none"):
        done = make("study", HOME=home, XDG_CACHE_HOME="")
        assert done.returncode != 0 and done.stderr.count("set XDG_CACHE_HOME to a folder that you may write in") == 1
        assert not (checkout / "asked").exists() and "Traceback" not in done.stderr
    assert make("study", HOME="/dev/null", XDG_CACHE_HOME=str(checkout / "cache")).returncode == 0


@pytest.mark.parametrize("name", ["a:b", "a{b", "a}b"])
def test_a_checkout_whose_path_means_something_else_is_told_to_move(tmp_path, name):
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / name)
    done = subprocess.run(["make", "study"], cwd=tmp_path / name, capture_output=True, text=True)
    assert done.returncode != 0 and "rename the folder" in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / name).iterdir()] == ["Makefile"]


def test_an_environment_that_was_cut_off_is_made_anew(checkout, make):
    (checkout / ".venv/ready").unlink()
    assert make(".venv/ready", "PYTHON=.venv/bin/python").returncode == 0
    assert (checkout / "calls").read_text().splitlines()[1] == "-m venv --clear .venv"


def merged(*paths: Path) -> dict:
    """What Snakemake makes of configuration files, one over the other."""
    config = {}
    for path in paths:
        update_config(config, load_configfile(path))
    return config


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_folder_is_the_one_that_snakemake_has(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert start.results(str(path)) == Path(merged(ROOT / "config.yaml", path)["study"]["output"])


CHANGES = [
    {}, {"study": {}}, {"study": {"headline": {"layer": 1}}}, {"study": {"output": "a/b"}}, {"study": {"output": ""}},
    {"study": {"output": {"a": 1}}}, {"study": {"output": None}}, {"study": {"output": ["a"]}}, {"study": None},
    {"study": 1}, {"study": ["a"]}, {"output": "a"}, {"models": {"output": "a"}}, {"models": None},
    {"study": {"output": "\ud800"}}, {"study": {"output": "a\n"}},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=json.dumps)
def test_files_are_merged_as_snakemake_merges_them(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.json").write_text(json.dumps(changes))
    study = merged(ROOT / "config.yaml", tmp_path / "mine.json")["study"]
    output = study["output"] if isinstance(study, dict) else None
    if isinstance(output, str) and output.isprintable() and output:
        assert start.results(str(tmp_path / "mine.json")) == Path(output)
    else:
        with pytest.raises(UserError, match="give a folder"):
            start.results(str(tmp_path / "mine.json"))


def test_repeated_parts_of_a_file_are_not_written_out(tmp_path, monkeypatch):
    """Ten to the power of thirty, were they."""
    monkeypatch.chdir(ROOT)
    levels = "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 100))
    (tmp_path / "mine.yaml").write_text(f"a0: &a0 {{z: 1}}\n{levels}study: {{output: results/a}}\n")
    assert start.results(str(tmp_path / "mine.yaml")) == Path("results/a")


def test_a_home_folder_is_spelt_out(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("study: {output: ~/mine}\n")
    assert start.results(str(tmp_path / "mine.yaml")) == tmp_path / "mine"


def test_the_default_study_is_read_alone(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert start.results("") == Path("results")
    with pytest.raises(UserError, match="no file"):
        start.results("absent.yaml")


def test_an_environment_that_is_linked_to_is_not_cleared(tmp_path):
    (tmp_path / "checkout").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/kept").touch()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / "checkout")
    (tmp_path / "checkout/.venv").symlink_to(tmp_path / "shared")
    done = subprocess.run(["make", ".venv/ready"], cwd=tmp_path / "checkout", capture_output=True, text=True)
    assert done.returncode == 2 and ".venv is a link" in done.stderr and (tmp_path / "shared/kept").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_is_merged_as_snakemake_does(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert start.merged(str(path)) == merged(ROOT / "config.yaml", path)
