"""Large sweeps: what a plan of a thousand variants costs."""

import resource
from pathlib import Path

import pytest
import yaml
from checkout import copy_checkout, planned, snakemake


def plan_seconds(folder: Path, values: int) -> float:
    """Processor seconds of a dry run of the default study with 4 layers, `values` of c and 5 seeds."""
    runs = [{"method": "rmu", "layer": [2, 3, 4, 5], "c": list(range(1, values + 1)), "seed": [0, 1, 2, 3, 4]}]
    (folder / "many.yaml").write_text(yaml.safe_dump({"study": {"runs": runs}}))
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = snakemake(folder, "--dry-run", "--configfile", "many.yaml")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert planned(done.stdout)["unlearn"] == planned(done.stdout)["evaluate"] == 20 * values + 1, done.stdout[-2000:]
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


@pytest.fixture(scope="module")
def seconds(tmp_path_factory) -> dict[int, float]:
    """Processor seconds by number of variants."""
    folder = copy_checkout(tmp_path_factory.mktemp("many"))
    return {20 * values: plan_seconds(folder, values) for values in (5, 25, 50)}


def test_a_thousand_variants_are_planned_in_20_seconds(seconds):
    assert seconds[1000] < 20


def test_the_cost_of_a_plan_grows_in_proportion_to_its_variants(seconds):
    assert seconds[1000] - seconds[100] < 3 * (seconds[500] - seconds[100])
