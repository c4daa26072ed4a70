"""A SLURM of one node, and the smoke study run through it: once for all tests of this folder."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import one_node_slurm
import pytest
from documented import QUICKSTART, as_written
from helpers.checkout import copy_checkout


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Callable[[], list[dict[str, str]]]]:
    """A running SLURM; called, it lists the jobs that have ended."""
    if not find_spec("snakemake_executor_plugin_slurm"):
        pytest.fail("Snakemake lacks its plugin for SLURM: run these tests with `make test-cluster`.")
    try:
        with one_node_slurm.running(tmp_path_factory.mktemp("slurm")) as log:
            yield lambda: one_node_slurm.ended(log)
    except one_node_slurm.CannotStart as reason:
        pytest.fail(str(reason))


@pytest.fixture(scope="session")
def study(slurm, tmp_path_factory) -> Path:
    """A copy in which the smoke study has run through SLURM, as docs/clusters.md says."""
    folder = copy_checkout(tmp_path_factory.mktemp("study"))
    done = as_written(QUICKSTART, folder, tmp_path_factory.mktemp("quickstart"))
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


@pytest.fixture
def copied(study, tmp_path) -> Path:
    """That copy once more, to be spoilt."""
    return shutil.copytree(study, tmp_path / "copied", symlinks=True)
