"""A real conda, and the smoke study run by it from nothing: once for all tests of this folder."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.checkout import RUNS, SMOKE, copy_checkout, snakemake
from real_conda import ROOT, build, cache, environments, on_path

CELL = {"cell_type": "code", "execution_count": None, "id": "prefix", "metadata": {}, "outputs": []}


@pytest.fixture(scope="session", autouse=True)
def python() -> None:
    """The Python of the environments runs these tests."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["overpaint"]["conda"]["python"]
    if sys.version_info[:2] != tuple(map(int, wanted.split("."))):
        pytest.fail(f"the channel can only serve the Python that runs the tests: make PYTHON=python{wanted} test-conda")


@pytest.fixture(scope="session")
def conda() -> dict[str, str]:
    """Variables with which `conda` is a real one whose conda-forge lies on this machine."""
    files = sorted(ROOT.glob("envs/*.yaml"))
    return on_path(build(cache(files), files))


@pytest.fixture(scope="session")
def study(conda, tmp_path_factory) -> Path:
    """A copy in which the smoke study has run, each rule in its environment; its notebooks also say where they run."""
    folder = copy_checkout(tmp_path_factory.mktemp("study"))
    for path in (folder / "reports").glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        notebook["cells"].append(CELL | {"source": "import sys\nprint('prefix', sys.prefix)"})
        path.write_text(json.dumps(notebook))
    done = snakemake(folder, "--sdm", "conda", *SMOKE, **conda)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


@pytest.fixture(scope="session")
def prefixes(study, conda) -> dict[str, Path]:
    """{rule: its environment}, also of the rules that the smoke study does without."""
    create = ["--sdm", "conda", "--conda-create-envs-only"]
    others = [["--configfile", f"studies/{name}.yaml"] for name in ("smollm2", "zephyr")]
    for target in [[f"{RUNS[0]}/export/span", *SMOKE], *others]:
        done = snakemake(study, *create, *target, **conda)
        assert done.returncode == 0, done.stdout[-5000:]
    return environments(study)
