"""Four jobs of the smoke study through that SLURM, as docs/clusters.md says: all that CI runs of it."""

from pathlib import Path

import pytest
import yaml
from documented import QUICKSTART, SLURM, as_written
from helpers.checkout import MODEL, OUT, ROOT, SMOKE, copy_checkout, snakemake
from queued_jobs import jobs_of, limits

from overpaint.jobs import provenance
from overpaint.study import resources

pytestmark = pytest.mark.cluster
GROUPS = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())["groups"]
MADE = [f"{MODEL}/base/overlay.safetensors", f"{MODEL}/corpora/everyday.jsonl"]
RULES = {"generate_world", "pretrain_model", "prepare_texts", "unlearn"}


@pytest.fixture(scope="module")
def queued(slurm, tmp_path_factory) -> Path:
    """A copy in which these jobs have run through SLURM."""
    folder = copy_checkout(tmp_path_factory.mktemp("few"))
    done = as_written(QUICKSTART, folder, tmp_path_factory.mktemp("quickstart"), *MADE)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


def test_each_job_ran_in_the_queue_with_what_its_rule_needs(queued, slurm):
    found, records = jobs_of(queued), {job["JobId"]: job for job in slurm() if job["JobState"] == "COMPLETED"}
    alone = {rule: job for rule, (job,) in found.items() if rule not in GROUPS}
    assert set(found) == RULES and len({*alone.values()}) == len(alone) > 1
    size = resources.model_mb({"source": "fictional", "width": 32, "layers": 3, "dtype": "float32"})
    for rule, job in alone.items():
        assert limits(records[job]) == (resources.memory_mb(rule, size), resources.minutes(rule, size)), rule


def test_results_equal_those_of_one_machine_which_has_nothing_to_do(queued, tmp_path):
    here = copy_checkout(tmp_path)
    done = snakemake(here, *MADE, *SMOKE)
    assert done.returncode == 0 and set(jobs_of(here)) == RULES, done.stdout[-5000:]
    for path in [*MADE, f"{MODEL}/checkpoint", f"{OUT}/worlds/smoke/facts.json"]:
        assert provenance.sha256(queued / path) == provenance.sha256(here / path), path
    assert {job for (job,) in jobs_of(here).values()} == {None}, "that one ran in the queue as well"
    for given in (["--cores", "1", *SMOKE], SLURM):
        assert "Nothing to be done" in snakemake(queued, *MADE, *given).stdout
