"""The smoke study through a real SLURM of one node: its queue, its limits, and ends that nobody planned."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from documented import RECOVERY, SLURM, as_written
from helpers.checkout import JOBS, OUT, ROOT, RUNS, SMOKE, copy_checkout, snakemake
from one_node_slurm import ask, queue
from queued_jobs import jobs_of, limits

from overpaint.jobs import provenance
from overpaint.study import resources

pytestmark = [pytest.mark.cluster, pytest.mark.long]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
GROUPS = PROFILE["groups"]
ON_GPU = {rule for rule, wanted in PROFILE["set-resources"].items() if wanted["gpu"]}
WORLD = f"{OUT}/worlds/smoke/facts.json"
OVERLAYS = [f"{run}/overlay.safetensors" for run in RUNS]


def wait_for(happens: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes to be so in time."""
    deadline = time.monotonic() + seconds
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.2)
    return happens()


def run_id(said: str) -> str:
    """The name of a controller's jobs."""
    return re.search(r"SLURM run ID: (\S+)", said)[1]


class Controller:
    """Snakemake in a process group of its own, as a shell starts it: it heeds Ctrl-C, even where these tests do not."""

    def __init__(self, folder: Path, *arguments: str):
        self.log = folder / "controller.log"
        with self.log.open("w") as said:
            command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake", *SLURM, *arguments]
            self.process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, start_new_session=True)

    def signal(self, number: int) -> int:
        """Signal its process group, as a terminal does; its exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(60)

    def wait(self) -> str:
        """What it said, once it has ended well."""
        assert self.process.wait(300) == 0, self.log.read_text()[-5000:]
        return self.log.read_text()


# --- the study


def test_every_job_ran_in_the_queue(study, slurm):
    found, done = jobs_of(study), {job["JobId"] for job in slurm() if job["JobState"] == "COMPLETED"}
    assert {rule: len(ids) for rule, ids in found.items()} == JOBS
    assert {job for ids in found.values() for job in ids} <= done, "a job ran elsewhere"


def test_small_rules_share_a_job_and_large_ones_do_not(study):
    found, names = jobs_of(study), defaultdict(set)
    for rule, group in GROUPS.items():
        names[group] |= set(found.get(rule, []))  # the smoke study has no task of the harness
    expected = {"texts": 1, "junk": 1, "completions": 1, "report": 1}
    assert {group: len(ids) for group, ids in names.items()} == expected
    alone = [job for rule, ids in found.items() if rule not in GROUPS for job in ids]
    large = sum(count for rule, count in JOBS.items() if rule not in GROUPS)
    assert len(set(alone)) == len(alone) == large > 13 and not set(alone) & set.union(*names.values())


def test_jobs_on_the_gpu_wait_for_each_other(study, slurm):
    ids = {job for rule, jobs in jobs_of(study).items() if rule in ON_GPU for job in jobs}
    spans = sorted((j["StartTime"], j["EndTime"], j["SubmitTime"]) for j in slurm() if j["JobId"] in ids)
    assert len(spans) == sum(JOBS[rule] for rule in ON_GPU - {"complete_prompts"}) + 1, "completions share one"
    assert all(earlier[1] <= later[0] for earlier, later in zip(spans, spans[1:], strict=False))
    assert any(later[2] < earlier[1] for earlier, later in zip(spans, spans[1:], strict=False)), "none had to wait"


def test_jobs_ask_for_what_their_rules_need(study, slurm):
    records, found = {job["JobId"]: job for job in slurm()}, jobs_of(study)
    size = resources.model_mb({"source": "fictional", "width": 32, "layers": 3, "dtype": "float32"})
    for rule in found.keys() - GROUPS.keys():
        wanted = (resources.memory_mb(rule, size), resources.minutes(rule, size))
        assert {limits(records[job]) for job in found[rule]} == {wanted}, rule
    largest = max(resources.memory_mb(rule, size) for rule, group in GROUPS.items() if group == "report")
    assert limits(records[found["render_index"][0]])[0] == largest, "one after another"


def test_results_equal_those_of_one_machine_to_the_bit(study, plain):
    names = ["tables/scores.csv", "tables/junk.csv", "tables/activations.csv", "tables/history.csv"]
    assert [name for name in names if (study / OUT / name).read_bytes() != (plain / OUT / name).read_bytes()] == []
    assert {fact for ids in jobs_of(plain).values() for fact in ids} == {None}, "that one ran in the queue as well"


def test_from_slurm_to_one_machine_and_back_there_is_nothing_to_do(study):
    assert "Nothing to be done" in snakemake(study, *SMOKE).stdout
    again = snakemake(study, "--forcerun", "render_index", *SMOKE)
    assert again.returncode == 0, again.stdout[-5000:]
    done = snakemake(study, *SLURM)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout


# --- limits


def spoil(script: Path, code: str) -> None:
    """Let a rule's script do something more, first."""
    script.write_text(f"{code}\n{script.read_text()}")


def attempts(slurm: Callable, said: str) -> list[dict[str, str]]:
    """The jobs of a controller, in the order in which they ended."""
    return [job for job in slurm() if job["Name"] == run_id(said)]


@pytest.fixture(scope="session", autouse=True)
def overtime(slurm, tmp_path_factory) -> Iterator[tuple[Path, Controller]]:
    """A job whose first attempt stops itself and waits for its minute to pass, while the other tests run."""
    folder = copy_checkout(tmp_path_factory.mktemp("overtime"))
    code = "import os, pathlib\nmark = pathlib.Path('stopped')\nif not mark.exists():\n    mark.touch()\n"
    spoil(folder / "workflow/scripts/generate_world.py", f"{code}    os.kill(os.getpid(), {signal.SIGSTOP:d})")
    controller = Controller(folder, WORLD, "--set-resources", "generate_world:runtime=attempt")
    yield folder, controller
    if controller.process.poll() is None:
        controller.signal(signal.SIGKILL)


def test_a_job_out_of_memory_is_run_again_with_more(slurm, tmp_path):
    folder, asked = copy_checkout(tmp_path), resources.memory_mb("generate_world", 0)
    code = f"import time\nballast = b'x' * ({asked} << 20)\ntime.sleep(3)"
    spoil(folder / "workflow/scripts/generate_world.py", code)
    done = snakemake(folder, *SLURM, WORLD)
    assert done.returncode == 0 and (folder / WORLD).exists(), done.stdout[-5000:]
    first, second = attempts(slurm, done.stdout)
    (said,) = (folder / ".snakemake/slurm_logs").rglob(f"{first['JobId']}.log")
    assert "exceeded memory limit" in said.read_text() and second["JobState"] == "COMPLETED"
    assert (limits(first)[0], limits(second)[0]) == (asked, 2 * asked)
    assert jobs_of(folder) == {"generate_world": [second["JobId"]]}


def test_a_job_out_of_time_is_run_again_with_more(overtime, slurm):
    folder, controller = overtime
    first, second = attempts(slurm, controller.wait())
    assert (first["JobState"], second["JobState"]) == ("TIMEOUT", "COMPLETED") and (folder / WORLD).exists()
    assert (limits(first)[1], limits(second)[1]) == (1, 2)
    assert jobs_of(folder) == {"generate_world": [second["JobId"]]}


# --- ends that nobody planned


@pytest.fixture
def interrupted(copied) -> Iterator[tuple[Path, Controller]]:
    """The study with its training to be done again; one job of it runs on the GPU without end, another waits."""
    script = copied / "workflow/scripts/unlearn.py"
    whole = script.read_text()
    spoil(script, "import pathlib, time\npathlib.Path('running').touch()\ntime.sleep(600)")
    controller = Controller(copied, *OVERLAYS)
    try:
        begun = wait_for(lambda: (copied / "running").exists() and len(own(controller)) == 2, 90)
        assert begun, controller.log.read_text()
        script.write_text(whole)
        yield copied, controller
    finally:
        if controller.process.poll() is None:
            controller.signal(signal.SIGKILL)
        ask("scancel", "--name", run_id(controller.log.read_text()))


def own(controller: Controller) -> list[str]:
    """Ids of a controller's jobs in the queue."""
    said = controller.log.read_text()
    return queue("--name", run_id(said)) if "run ID" in said else []


def test_ctrl_c_cancels_what_runs_and_what_waits_and_unlocks(interrupted, slurm):
    folder, controller = interrupted
    jobs = own(controller)
    assert sorted(ask("squeue", "-ho", "%T", "--jobs", ",".join(jobs)).split()) == ["PENDING", "RUNNING"]
    assert set(ask("squeue", "-hO", "tres-per-job", "--jobs", ",".join(jobs)).split()) == {"gres:gpu:1"}
    assert controller.signal(signal.SIGINT) != 0
    assert wait_for(lambda: not own(controller), 20)
    assert [job["JobState"] for job in slurm() if job["JobId"] in jobs] == ["CANCELLED"] * 2
    planned = snakemake(folder, *SLURM, "--dry-run", *OVERLAYS)
    assert planned.returncode == 0 and "Unlearning" in planned.stdout
    assert list((folder / ".snakemake/locks").glob("*")) == []


def test_after_the_controller_was_killed_the_documented_steps_finish_the_study(interrupted, study, tmp_path):
    folder, controller = interrupted
    controller.signal(signal.SIGKILL)
    jobs = own(controller)
    assert len(jobs) == 2, "jobs outlive it"
    refused = snakemake(folder, *SLURM, *OVERLAYS)
    assert refused.returncode != 0 and "--unlock" in refused.stdout
    done = as_written(RECOVERY, folder, tmp_path, *OVERLAYS)
    assert done.returncode == 0, done.stdout[-5000:]
    assert [job for job in jobs if job in queue()] == []
    for path in OVERLAYS:
        assert provenance.sha256(folder / path) == provenance.sha256(study / path)
    assert not set(jobs) & set(jobs_of(folder)["unlearn"])
