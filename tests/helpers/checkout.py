"""A copy of the checkout, and Snakemake in it as a user runs it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = [
    "Snakefile",
    "config.yaml",
    "preregistration.yaml",
    "workflow",
    "profiles",
    "envs",
    "studies",
    "bases",
    "reports",
    "src",
]
SMOKE = ["--configfile", "studies/smoke.yaml"]
OUT, MODEL = "results/smoke", "results/smoke/smoke"
RUNS = [f"{MODEL}/rmu_smoke/layer=1/c=4/seed={seed}" for seed in (0, 1)]
JOBS = {
    "generate_world": 1, "pretrain_model": 2, "prepare_texts": 11,
    "compute_prefix": 1, "unlearn": 3, "collect_activations": 5, "fit_junk": 2, "evaluate": 3, "complete_prompts": 2,
    "measure_depth": 2, "relearn": 2, "measure_perturbations": 2, "score_depth": 1, "trace_emergence": 1,
    "gather_tables": 1, "gather_measures": 1, "analyse_weights": 1, "render_report": 6, "render_index": 1,
    "render_explorer": 1,
}  # fmt: skip
# Rules that Snakemake's cache between studies may be given: they have no benchmark.
CACHED = [
    "download_package", "download_model", "download_dataset", "pretrain_model", "convert_model", "compute_prefix",
]  # fmt: skip


def copy_checkout(folder: Path) -> Path:
    """A copy of what a study needs of the checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Snakemake on two cores in a copy; what it says is `stdout`."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def planned(said: str) -> dict[str, int]:
    """{rule: jobs} of a dry run, without the target itself."""
    stats = said.rpartition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE) if rule != "all"}


def files(folder: Path) -> set[str]:
    """Every file of a copy that a study may not have written itself."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith((".snakemake/", "results/", "logs/")) and ".pyc" not in name}


@contextmanager
def edited(path: Path, text: str) -> Iterator[None]:
    """Within the context `path` holds `text`."""
    before = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")
