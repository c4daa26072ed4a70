"""Every rule is killed, every disk fills up, every artefact is damaged: nothing is lost, half-written or used."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from helpers.checkout import JOBS, MODEL, OUT, RUNS, SMOKE, copy_checkout, planned, snakemake
from helpers.downloads import hub_content, loopback_hub
from helpers.downloads.gguf import gguf_tensors, make_llama, write_gguf

from overpaint.errors import UserError
from overpaint.jobs import provenance

EXPORT = f"{RUNS[0]}/export/span"
TARGETS = ["all", EXPORT, f"{OUT}/packed/checkpoint", f"{OUT}/zephyr/checkpoint", f"{MODEL}/benchmarks/wmdp_bio.jsonl"]
EXTRA = dict.fromkeys(
    ["export_model", "download_package", "convert_model", "download_model", "download_dataset", "prepare_task"], 1
)
# {rule: how often its job is killed}: 30 deaths in all.
DEATHS = dict.fromkeys([*JOBS, *EXTRA], 1) | {"pretrain_model": 2, "unlearn": 3, "evaluate": 2, "render_report": 2}
# Of those before the tables some that take long enough to be caught, and write a folder, tensors or tables: 6 deaths.
SCORES = f"{OUT}/tables/scores.csv"
EARLY = {"pretrain_model": 1, "unlearn": 2, "collect_activations": 1, "evaluate": 1, "gather_tables": 1}
# Rules whose jobs write a folder of tensors, tables, pages or what arrives from elsewhere.
KINDS = ["pretrain_model", "gather_tables", "render_index", "download_model"]
CODE = r"/\.snakemake/scripts/tmp\w+\.(\w+)\.py"


def with_sources(folder: Path, commits: dict[str, str]) -> list[str]:
    """Give a copy a model of a package on disk, and a model and data of a hub; the configuration files of the study."""
    model = write_gguf(folder / "tiny.gguf", gguf_tensors(make_llama(tied=True)))
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(model, "tiny_model/model.gguf")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    pin = {"package": "tiny-model", "version": "1.0", "member": "tiny_model/model.gguf"}
    more = {
        "packages": {"tiny": pin | {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}},
        "models": {
            "packed": {"source": "package", "package": "tiny"},
            "zephyr": {"source": "hub", "repo": hub_content.BASE, "revision": commits["zephyr"]},
        },
        "datasets": {"wmdp": {"revision": commits["wmdp"]}},
    }
    (folder / "sources.yaml").write_text(yaml.safe_dump(more))
    return [*SMOKE, "sources.yaml"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[loopback_hub.Hub]:
    """A hub on this machine."""
    content = tmp_path_factory.mktemp("hub")
    hub_content.write_all(content)
    with loopback_hub.serve(content) as served:
        yield served


@pytest.fixture(scope="module")
def commits(hub) -> dict[str, str]:
    """What the study takes of that hub."""
    return {"zephyr": hub.revision(f"models/{hub_content.BASE}"), "wmdp": hub.revision("datasets/cais/wmdp")}


@pytest.fixture(scope="module")
def registry(hub, tmp_path_factory) -> dict[str, str]:
    """Environment in which pip sees the working folder, downloads that hub, and nothing a network."""
    offline = {"PIP_FIND_LINKS": ".", "PIP_NO_INDEX": "1"}
    return offline | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("hf"))}


@pytest.fixture(scope="module")
def whole(study, registry, commits, tmp_path_factory) -> Path:
    """The smoke study with the rules that it leaves out, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    shutil.copytree(study, folder, symlinks=True)
    done = snakemake(folder, *TARGETS, *with_sources(folder, commits), **registry)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


def results(folder: Path) -> dict[str, str]:
    """{file: hash} of all that a study left; no hash where times and machines stand in it."""
    files = sorted(path for top in ("results", "logs") for path in (folder / top).rglob("*") if path.is_file())
    plain = {".safetensors", ".parquet", ".csv", ".jsonl", ".gguf"}
    return {
        str(path.relative_to(folder)): provenance.sha256(path)
        if path.suffix in plain
        and path.stem not in ("provenance", "costs")
        and "logs" not in path.relative_to(folder).parts
        else ""
        for path in files
    }


# --- death


def processes() -> set[Path]:
    """Folders of all processes of this machine."""
    return set(Path("/proc").glob("[0-9]*"))


def jobs_below(folder: Path, others: Set[Path] = frozenset()) -> list[tuple[int, str]]:
    """(process, rule) of the jobs that run in a folder; others: processes that are known to be none of them."""
    found = []
    for path in processes() - others:
        try:
            command = (path / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if (script := re.search(re.escape(str(folder)) + CODE, command)) and "/bin/bash" not in command:
            found.append((int(path.name), script[1]))
    return found


@dataclass
class Reaper:
    """Runs a study and kills its jobs at random moments.

    left: how many more jobs of each rule are to be killed.
    seconds: how long a job of each rule lives at most.
    finished, lost: jobs that ended, jobs that ran when everything was killed.
    """

    folder: Path
    environment: dict[str, str]
    draw: random.Random
    left: Counter
    seconds: dict[str, float]
    finished: int = 0
    lost: int = 0
    unlocked: int = 0

    def run(self, given: list[str]) -> str:
        """Run the study once; kill jobs alone or, first and three times of ten, with all else; what was said."""
        log, others = self.folder / "said.txt", processes()
        with log.open("w") as file:
            study = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--cores", "2", *given],
                cwd=self.folder, env=os.environ | self.environment, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        moments: dict[int, float] = {}
        while study.poll() is None:
            now, running = time.monotonic(), jobs_below(self.folder, others)
            for process, rule in running:
                moments.setdefault(process, now + self.draw.uniform(0, self.seconds[rule]))
                if self.left[rule] and now >= moments[process]:
                    self.left[rule] -= 1
                    moments[process] = float("inf")
                    if not self.unlocked or self.draw.random() < 0.3:
                        os.killpg(study.pid, signal.SIGKILL)
                        study.wait()
                        self.lost += len(running)
                        self.unlock(given)
                        break
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.01)
        said = log.read_text()
        log.unlink()
        self.finished += said.count("Finished jobid")
        return said

    def unlock(self, given: list[str]) -> None:
        """What docs/running.md says to do after Snakemake itself was killed; without it, it says so itself."""
        if not self.unlocked:
            refused = snakemake(self.folder, *given, **self.environment)
            assert refused.returncode != 0 and "--unlock" in refused.stdout
        assert snakemake(self.folder, "--unlock", *given, **self.environment).returncode == 0
        self.unlocked += 1


@pytest.mark.parametrize(
    ("targets", "deaths"), [([SCORES], EARLY), pytest.param(TARGETS, DEATHS, marks=pytest.mark.long)]
)
def test_jobs_killed_at_random_moments_change_no_result_and_leave_nothing(
    whole, registry, commits, tmp_path, targets, deaths
):
    facts = [provenance.read_record(path) for path in whole.rglob("*.job.json")]
    seconds = {
        fact["rule"]: fact["seconds"] + (2.5 if fact["peak_mb"] > 400 else 0.2) for fact in facts
    }  # with imports
    folder, seed = copy_checkout(tmp_path / "study"), random.randrange(10**6)
    print("seed of the deaths:", seed)
    configured = with_sources(folder, commits)
    given, reaper = [*targets, *configured], Reaper(folder, registry, random.Random(seed), Counter(deaths), seconds)
    total = sum(planned(snakemake(folder, "--dry-run", *given, **registry).stdout).values())
    total += targets == TARGETS  # the target `all` itself
    while "Nothing to be done" not in reaper.run(given):
        assert reaper.finished < 200, "it does not end"
    assert total - reaper.unlocked <= reaper.finished <= total + reaper.lost, "a job that had ended ran again"
    while reaper.left.total():  # jobs too quick to be caught, once more
        for rule in +reaper.left:
            reaper.seconds[rule] /= 2
            wanted = outputs(folder)[rule]
            for path in map(folder.joinpath, wanted):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            while "Nothing to be done" not in reaper.run([*wanted, *configured]):
                pass
    assert sum(deaths.values()) > 5 and reaper.unlocked
    done = snakemake(folder, *given, **registry)
    assert done.returncode == 0, done.stdout[-5000:]
    found, expected = results(folder), results(whole)
    assert found == {name: expected.get(name) for name in found}
    assert targets == [SCORES] or set(found) == set(expected)
    assert not jobs_below(folder)


# --- a second run in the same folder


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path):
    folder = copy_checkout(tmp_path)
    given = [f"{MODEL}/checkpoint", *SMOKE]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *given]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        while first.poll() is None and not jobs_below(folder):
            time.sleep(0.05)
        second = snakemake(folder, *given)
        assert first.poll() is None, "the first run ended too early to be in the way"
        assert second.returncode != 0 and "Directory cannot be locked" in second.stdout
        said, _ = first.communicate()
    assert first.returncode == 0, said
    assert "Nothing to be done" in snakemake(folder, "--dry-run", *given).stdout


# --- a full disk


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A folder's content on a disk of its own."""
    content = folder.rename(folder.with_name("content"))
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "overpaint", folder], check=True)
    try:
        shutil.copytree(content, folder, dirs_exist_ok=True, symlinks=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
    return filler


def outputs(folder: Path) -> dict[str, list[str]]:
    """{rule: outputs of one of its jobs}."""
    found = {}
    for path in sorted(folder.rglob("*.job.json")):
        record = provenance.read_record(path)
        found[record["rule"]] = [*record["outputs"], str(path.relative_to(folder))]
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
@pytest.mark.parametrize("chosen", [KINDS, pytest.param([*JOBS, *EXTRA], marks=pytest.mark.long)], ids=len)
def test_a_full_disk_is_a_sentence_in_every_rule_and_leaves_nothing_half_written(whole, registry, tmp_path, chosen):
    rules = outputs(whole)
    assert set(rules) == {*JOBS, *EXTRA}
    if subprocess.run(["mount", "-t", "tmpfs", "overpaint", tmp_path]).returncode:
        pytest.skip("this machine lets nobody mount a disk, not even root")
    subprocess.run(["umount", tmp_path], check=True)

    def on_a_full_disk(numbered: tuple[int, str]) -> None:
        number, rule = numbered
        folder = tmp_path / f"{number}" / "study"
        shutil.copytree(whole, folder, symlinks=True)
        given = [rules[rule][0], *SMOKE, "sources.yaml"]
        with small_disk(folder / "results", 100):
            for path in map(folder.joinpath, rules[rule]):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            before = {str(path) for path in (folder / "results").rglob("*") if path.is_file()}
            filler = fill(folder / "results")
            done = snakemake(folder, *given, **registry)
            assert done.returncode != 0, rule
            said = rf"{rule}: No space is left on the disk(:| for ).*(free some|make room) and run the study again"
            assert re.search(said, done.stdout), done.stdout
            after = {str(path) for path in (folder / "results").rglob("*") if path.is_file()} - {str(filler)}
            assert after == before, rule
            assert not [path for path in (folder / "results").rglob(".*-part")], rule
        shutil.rmtree(folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(on_a_full_disk, enumerate(chosen)))


# --- damage


def harmed(content: bytes, harm: str, draw: random.Random) -> bytes:
    """A file cut short, or with one bit turned."""
    place = draw.randrange(len(content))
    if harm == "cut":
        return content[:place]
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("harm", ["cut", "flipped", "swapped"])
def test_every_artefact_that_was_damaged_or_swapped_is_refused_where_it_is_read(whole, tmp_path, monkeypatch, harm):
    read = {name for path in whole.rglob("*.job.json") for name in provenance.read_record(path)["inputs"]}
    read = {name for name in read if (whole / name).exists() and name.startswith("results/")}
    assert len(read) > 60
    shutil.copytree(whole / "results", tmp_path / "results", symlinks=True)
    monkeypatch.chdir(tmp_path)
    seed = random.randrange(10**6)
    print("seed of the damage:", seed)
    draw, kinds = random.Random(seed), Counter()
    for name in sorted(read):
        path = Path(name)
        file = max(path.rglob("*.*"), key=lambda inner: inner.stat().st_size) if path.is_dir() else path
        before = file.read_bytes()
        alike = [other for other in sorted(read) if Path(other).name == path.name and Path(other).is_file()]
        others = [Path(other).read_bytes() for other in alike if Path(other).read_bytes() != before]
        if harm == "swapped" and (path.is_dir() or not others):
            continue  # nothing of its kind to be swapped with
        file.write_bytes(draw.choice(others) if harm == "swapped" else harmed(before, harm, draw))
        provenance._records.cache_clear()
        with pytest.raises(UserError, match="run the study again") as caught:
            provenance.verified([name])
        assert name in str(caught.value) or path.with_suffix("").name in str(caught.value)
        kinds["".join(path.suffixes[-2:]) or path.name] += 1
        file.write_bytes(before)
    assert set(kinds) >= {".safetensors", ".parquet", ".csv", ".jsonl", ".job.json"} - (
        {".job.json"} if harm == "swapped" else set()
    )


def test_a_job_that_is_given_a_damaged_file_says_so_on_the_terminal(whole, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder, symlinks=True)
    overlay = folder / RUNS[0] / "overlay.safetensors"
    overlay.write_bytes(overlay.read_bytes()[:-1])
    (folder / RUNS[0] / "junk.safetensors").unlink()
    given = [f"{RUNS[0]}/junk.safetensors", *SMOKE, "--rerun-triggers", "params"]
    done = snakemake(folder, *given)
    assert done.returncode != 0
    assert (
        f"{RUNS[0]}/overlay.safetensors is not what unlearn wrote there (cut short, damaged or replaced)" in done.stdout
    )
    overlay.unlink()
    cured = snakemake(folder, *given)
    assert cured.returncode == 0, cured.stdout[-3000:]
    assert provenance.sha256(overlay) == provenance.sha256(whole / RUNS[0] / "overlay.safetensors")
