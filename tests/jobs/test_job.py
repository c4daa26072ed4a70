"""The context of every script: whole outputs or none, a log, one line for the terminal, and provenance."""

import errno
import hashlib
import importlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params

from overpaint.errors import UserError
from overpaint.jobs import provenance
from overpaint.jobs.job import job

# What the docstrings of `describe_job` and `job` promise.
FIELDS = {
    "rule", "outputs", "git", "dirty", "python", "prefix", "packages", "hardware", "cluster_job", "settings",
    "inputs", "started", "seconds", "cpu_seconds", "startup_cpu_seconds",
    "peak_mb",
}  # fmt: skip


SLOWER = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
ARITHMETIC = ["capability", "blas", "mkl_branch", "threads"]  # where torch is loaded, as these tests do


@pytest.fixture
def rule(tmp_path: Path) -> SimpleNamespace:
    """What Snakemake gives to the script of a rule with one input and three outputs, one of them a folder."""
    source = tmp_path / "input.txt"
    source.write_text("given\n")
    made = {name: str(tmp_path / "made" / name) for name in ("table.csv", "folder", "table.job.json")}
    return SimpleNamespace(
        rule="make_table",
        threads=1,
        input=InputFiles(fromdict={"source": str(source)}),
        output=OutputFiles(fromdict=dict(zip(("table", "folder", "job"), made.values(), strict=True))),
        log=Log(fromdict={"log": str(tmp_path / "logs/make_table.log")}),
        params=Params(fromdict={"settings": {"lr": 5e-3, "layers": [1, 2]}, "code": "abc"}),
    )


def written(tmp_path: Path) -> set[str]:
    """Every file below a folder."""
    return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}


def run(rule: SimpleNamespace) -> dict:
    """A script that ends well: a table, a folder with a file, and something said."""
    with job(rule) as out:
        print("half way")
        print("a warning", file=sys.stderr)
        out.table.write_text("a,b\n1,2\n")
        out.folder.mkdir()
        (out.folder / "part.txt").write_text("part")
    return provenance.read_record(Path(rule.output.job))


def fail(rule: SimpleNamespace, error: BaseException) -> SystemExit:
    """A script that fails when everything is almost written."""
    with pytest.raises(SystemExit) as caught, job(rule) as out:
        out.table.write_text("a,b\n1,")
        out.folder.mkdir()
        (out.folder / "part.txt").write_text("part")
        raise error
    return caught.value


def test_outputs_appear_whole_when_the_body_has_ended(rule, tmp_path):
    with job(rule) as out:
        out.table.write_text("a,b\n")
        out.folder.mkdir()
        assert not any(Path(path).exists() for path in rule.output), "a half-written output stood in its place"
        out.table.write_text("a,b\n1,2\n")
        (out.folder / "part.txt").write_text("part")
    assert Path(rule.output.table).read_text() == "a,b\n1,2\n"
    assert written(tmp_path) == {
        "input.txt", "logs/make_table.log", "made/table.csv", "made/folder/part.txt", "made/table.job.json",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"table.csv", "folder", "table.job.json"}


def test_an_output_in_a_folder_of_its_own_finds_its_place(rule, tmp_path):
    places = {"one": "a/one.txt", "two": "b/c/two.txt", "job": "a/one.job.json"}
    rule.output = OutputFiles(fromdict={name: str(tmp_path / path) for name, path in places.items()})
    with job(rule) as out:
        out.one.write_text("1")
        out.two.write_text("2")
    assert written(tmp_path) == {"input.txt", "logs/make_table.log", *places.values()}


def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


@pytest.mark.parametrize("owner", [(socket.gethostname(), dead()), ("another-host", os.getppid()), ("a-host", "x")])
def test_what_a_killed_job_left_half_written_is_gone_after_the_next(rule, tmp_path, owner):
    half = tmp_path / "made/.table.csv-{}-{}-part".format(*owner)
    half.mkdir(parents=True)
    (half / "table.csv").write_text("ha")
    test_outputs_appear_whole_when_the_body_has_ended(rule, tmp_path)


def test_an_orphan_and_a_new_job_of_the_same_outputs_leave_each_other_alone(rule, tmp_path):
    orphan = tmp_path / f"made/.table.csv-{socket.gethostname()}-{os.getppid()}-part/table.csv"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("half of ")
    with job(rule) as out:
        out.table.write_text("a,b\n1,2\n")
        out.folder.mkdir()
        (out.folder / "part.txt").write_text("part")
        Path(rule.output.folder).mkdir()
        (Path(rule.output.folder) / "part.txt").write_text("part")  # the orphan ends first
    assert orphan.read_text() == "half of " and f"-{os.getpid()}-" in str(out.table)
    assert (Path(rule.output.folder) / "part.txt").read_text() == "part" and Path(rule.output.job).is_file()


def test_an_earlier_output_is_replaced(rule):
    Path(rule.output.table).parent.mkdir()
    Path(rule.output.table).write_text("old")
    run(rule)
    assert Path(rule.output.table).read_text() == "a,b\n1,2\n"


def test_a_script_that_forgets_an_output_fails(rule, tmp_path):
    with pytest.raises(SystemExit), job(rule) as out:
        out.table.write_text("a,b\n")
    assert written(tmp_path) - {"input.txt", "logs/make_table.log"} <= {"made/table.csv"}
    assert not Path(rule.output.job).exists(), "provenance of a job that failed"


def test_what_a_script_says_stands_in_the_log_only(rule, capfd):
    run(rule)
    log = Path(rule.log[0]).read_text()
    assert "half way" in log and "a warning" in log
    assert capfd.readouterr() == ("", "")


def test_provenance_has_every_field_and_true_values(rule):
    facts = run(rule)
    assert set(facts) == FIELDS
    assert facts["rule"] == "make_table" and set(facts["outputs"]) == set(rule.output) - {rule.output.job}
    table = hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert facts["outputs"][rule.output.table] == table != facts["outputs"][rule.output.folder]
    assert facts["inputs"] == {rule.input.source: hashlib.sha256(b"given\n").hexdigest()}
    assert facts["settings"] == {"settings": {"lr": 5e-3, "layers": [1, 2]}, "code": "abc"}
    assert facts["python"] == platform.python_version() and facts["prefix"] == sys.prefix
    assert facts["packages"]["pytest"] == pytest.__version__
    assert set(facts["hardware"]) == {"machine", "system", "processor", "cores", "gpu"} | {*ARITHMETIC}
    assert 0 < facts["startup_cpu_seconds"] <= facts["cpu_seconds"]
    assert 0 <= facts["seconds"] < 60 and 1 < facts["peak_mb"] < 1e6
    assert facts["started"].endswith("+00:00")


def test_packages_of_another_environment_on_the_path_are_not_listed(rule, tmp_path, monkeypatch):
    """Snakemake puts its own folder of packages at the end of the path of every script."""
    info = tmp_path / "foreign-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert "foreign" in {found.name for found in distributions()}
    assert "foreign" not in run(rule)["packages"]


@pytest.mark.parametrize("finder", ["importlib.metadata", "importlib_metadata"])  # both find for the first, once loaded
def test_what_a_killed_pip_left_is_no_package_and_no_error(rule, tmp_path, monkeypatch, finder):
    pytest.importorskip(finder)
    for name, text in (("whole-1.0", "Name: whole\nVersion: 1.0\n"), ("~ameless-1.0", ""), ("~mpty-1.0", None)):
        (tmp_path / f"{name}.dist-info").mkdir()
        if text is not None:
            (tmp_path / f"{name}.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\n{text}")
    monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path)])
    assert run(rule)["packages"] == {"whole": "1.0"}


@pytest.mark.parametrize(
    "error", [UserError("Too little: add more."), ZeroDivisionError("by zero"), KeyboardInterrupt()]
)
def test_an_error_leaves_nothing_but_the_log(rule, tmp_path, capfd, error):
    assert fail(rule, error).code == 1
    assert written(tmp_path) == {"input.txt", "logs/make_table.log"}
    assert list((tmp_path / "made").iterdir()) == []
    log = Path(rule.log[0]).read_text()
    if isinstance(error, UserError):
        assert "Too little: add more.\n" in log
    else:
        assert "Traceback" in log and type(error).__name__ in log and "raise error" in log
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("make_table: ") and rule.log[0] in err


def test_a_users_mistake_is_told_without_the_name_of_an_exception(rule, capfd):
    fail(rule, UserError("Too little: add more."))
    assert "make_table: Too little: add more.  [log" in capfd.readouterr().err
    fail(rule, ValueError("of its own"))
    assert "make_table: ValueError: of its own  [log" in capfd.readouterr().err


def test_an_error_leaves_an_earlier_output_as_it_was(rule):
    Path(rule.output.table).parent.mkdir()
    Path(rule.output.table).write_text("old")
    fail(rule, ValueError())
    assert Path(rule.output.table).read_text() == "old"


def test_streams_are_given_back_after_an_error(rule):
    streams = sys.stdout, sys.stderr
    fail(rule, ValueError())
    assert (sys.stdout, sys.stderr) == streams


def found(folder: Path, text: str) -> list[str]:
    """Files below `folder` that hold `text`."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_token_of_the_environment_is_written_nowhere(rule, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value_of_the_test")
    run(rule)
    fail(rule, ValueError("of its own"))
    assert found(tmp_path, "hf_secret_value_of_the_test") == []
    assert found(tmp_path, "make_table") != [], "the search finds nothing at all"
    out, err = capfd.readouterr()
    assert "hf_secret" not in out + err and "of its own" in err


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The threads that torch is given, in place of taking them; it sees an accelerator."""
    given: list[int] = []
    torch = importlib.import_module("torch")
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an accelerator")
    yield given


def test_torch_gets_the_threads_of_the_job_and_the_accelerator_is_named(rule, torch):
    rule.threads = 3
    facts = run(rule)
    assert torch == [3] and facts["hardware"]["gpu"] == "an accelerator"


def test_without_torch_no_accelerator_is_named(rule, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    found = run(rule)["hardware"]
    assert found["gpu"] is None and not found.keys() & {*ARITHMETIC} and "torch" not in sys.modules


@pytest.mark.parametrize(("chosen", "capability"), [({}, None), (SLOWER, "AVX2")])
def test_the_instructions_that_torch_computes_with_are_recorded(chosen, capability):
    """In a process of its own, since torch chooses them when it is loaded."""
    code = "import json, torch; from overpaint.jobs import provenance; print(json.dumps(provenance.hardware()))"
    said = subprocess.run([sys.executable, "-c", code], env=os.environ | chosen, check=True, capture_output=True)
    found = json.loads(said.stdout)
    assert found["capability"] == (capability or importlib.import_module("torch").backends.cpu.get_cpu_capability())
    assert found["mkl_branch"] in (chosen.get("MKL_CBWR", "its own choice"), None) and found["threads"] >= 1


def test_the_processor_is_told_with_what_tells_it_from_others_of_its_name(tmp_path):
    info = tmp_path / "cpuinfo"
    lines = [
        "processor\t: 0",
        "cpu family\t: 26",
        "model\t\t: 2",
        "model name\t: AMD EPYC",
        "",
        "processor\t: 1",
        "model\t\t: 9",
    ]
    info.write_text("\n".join(lines))
    assert provenance.processor(info) == "AMD EPYC, family 26, model 2"
    info.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert provenance.processor(info) == provenance.processor(tmp_path / "missing") == platform.processor()


def test_what_the_work_says_of_the_hardware_is_recorded_for_its_own_job_alone(rule):
    with job(rule) as out:
        provenance.NOTED["pack_tokens"] = 7
        out.table.touch(), out.folder.mkdir()
    assert provenance.read_record(Path(rule.output.job))["hardware"]["pack_tokens"] == 7
    assert "pack_tokens" not in run(rule)["hardware"]


def test_the_hash_of_a_folder_covers_names_and_contents(tmp_path):
    def hashed(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        (folder / "deep").mkdir(parents=True)
        for name, text in files.items():
            (folder / "deep" / name).write_text(text)
        return provenance.sha256(folder)

    assert hashed(a="1", b="2") == hashed(b="2", a="1")
    assert len({hashed(a="1", b="2"), hashed(a="1", c="2"), hashed(a="1", b="3"), hashed(a="1"), hashed()}) == 5


def test_the_checkouts_revision_is_told_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state() == {"git": None, "dirty": None}
    provenance.git("init", "-q")
    (tmp_path / "tracked").write_text("1")
    provenance.git("add", "tracked")
    provenance.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "first")
    clean = provenance.git_state()
    assert len(clean["git"]) == 40 and clean["dirty"] is False
    (tmp_path / "tracked").write_text("2")
    assert provenance.git_state() == clean | {"dirty": True}


def test_a_slow_or_missing_git_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nsleep 25\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.2)
    for path in (f"{tmp_path}:{os.environ['PATH']}", str(tmp_path / "none")):
        monkeypatch.setenv("PATH", path)
        began = time.monotonic()
        assert provenance.git_state() == {"git": None, "dirty": None}
        assert time.monotonic() - began < 5


def test_a_checkout_inside_another_repository_has_no_revision_of_that_one(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance.git("init", "-q")
    provenance.git(
        "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "first"
    )
    assert provenance.git_state()["dirty"] is False
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "inner")
    assert provenance.git_state() == {"git": None, "dirty": None}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert provenance.git_state() == {"git": None, "dirty": None}


def test_what_may_fail_is_asked_before_the_body_runs(rule, monkeypatch, capfd):
    monkeypatch.setattr("overpaint.jobs.job.describe_job", lambda *facts: 1 / 0)
    with pytest.raises(SystemExit), job(rule):
        raise AssertionError("the body ran")
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["logs", "made"])
def test_folders_that_may_not_be_written_are_one_sentence(rule, tmp_path, monkeypatch, capfd, name):
    mkdir = Path.mkdir

    def refuse(path, *arguments, **settings):
        if name in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *arguments, **settings)

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write everywhere
    with pytest.raises(SystemExit), job(rule):
        raise AssertionError("the body ran")
    said = capfd.readouterr().err
    assert f"{tmp_path / name}" in said and "may not be written" in said and len(said.splitlines()) == 1


def test_a_log_that_cannot_be_written_is_one_sentence(rule, tmp_path, capfd):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(SystemExit), job(rule):
        raise AssertionError("the body ran")
    said = capfd.readouterr().err
    assert str(tmp_path / "logs") in said and len(said.splitlines()) == 1


def test_a_job_ends_well_where_the_locale_knows_no_letter_but_a_to_z(tmp_path):
    code = (
        "from types import SimpleNamespace as N\n"
        "from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params\n"
        "from pathlib import Path\n"
        "from overpaint.sources import texts\n"
        "from overpaint.jobs.job import job\n"
        "out = OutputFiles(fromdict={'rows': 'a.jsonl', 'job': 'a.job.json'})\n"
        "with job(N(rule='r', threads=1, input=InputFiles(fromdict={}), output=out,\n"
        "           params=Params(fromdict={'topic': '\u00e9'}), log=Log(fromdict={'log': 'r.log'}))) as out:\n"
        "    print('\u65e5\u672c', '\\ud800')\n"
        "    texts.write_rows([{'id': '1', 'text': '\u00e9'}], out.rows)\n"
    )
    (tmp_path / "run.py").write_text(code, encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, env=os.environ | plain, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert "\u00e9" in (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert "\u65e5\u672c \\ud800" in (tmp_path / "r.log").read_text(encoding="utf-8")


def chained(rule: SimpleNamespace, tmp_path: Path, *names: str) -> SimpleNamespace:
    """A rule that reads what `rule` wrote under `names`."""
    return SimpleNamespace(
        rule="use_table",
        threads=1,
        input=InputFiles(fromdict={name: getattr(rule.output, name) for name in names}),
        output=OutputFiles(fromdict={"job": str(tmp_path / "used" / "use.job.json")}),
        log=Log(fromdict={"log": str(tmp_path / "logs/use_table.log")}),
        params=Params(fromdict={}),
    )


def test_what_a_job_wrote_is_read_by_the_next(rule, tmp_path):
    run(rule)
    user = chained(rule, tmp_path, "table", "folder", "job")
    with job(user):
        pass
    assert set(provenance.read_record(Path(user.output.job))["inputs"]) == set(rule.output)


@pytest.mark.parametrize("name", ["table", "folder", "job"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "swapped"])
def test_an_input_that_its_job_did_not_write_is_refused_with_the_file_and_the_cure(rule, tmp_path, capfd, name, harm):
    run(rule)
    place = Path(getattr(rule.output, name))
    file = place / "part.txt" if name == "folder" else place
    content = file.read_bytes()
    middle = len(content) // 2
    harmed = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "swapped": content.replace(b"1", b"3").replace(b"part", b"trap"),
    }[harm]
    assert harmed != content
    file.write_bytes(harmed)
    with pytest.raises(SystemExit), job(chained(rule, tmp_path, name)):
        raise AssertionError("the body ran")
    said = capfd.readouterr().err
    assert str(place) in said and "delete it and run the study again" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "used").exists() or not any((tmp_path / "used").iterdir())


def test_a_record_of_other_files_is_refused(rule, tmp_path):
    run(rule)
    record = Path(rule.output.job)
    provenance.write_record(provenance.read_record(record) | {"outputs": {rule.output.table: "00" * 32}}, record)
    with pytest.raises(UserError, match=r"table.job.json and .*table.csv do not belong together .* again"):
        provenance.verified([str(record)])


def test_results_are_known_in_another_folder_too(rule, tmp_path):
    run(rule)
    (tmp_path / "made").rename(tmp_path / "moved")
    moved = str(tmp_path / "moved/table.csv")
    assert provenance.verified([moved]).keys() == {moved}
    Path(moved).write_text("a,b\n1,3\n")
    with pytest.raises(UserError, match="moved/table.csv is not what make_table wrote"):
        provenance.verified([moved])


def test_files_of_the_users_own_need_no_record(tmp_path):
    (tmp_path / "own.jsonl").write_text("{}")
    assert provenance.verified([str(tmp_path / "own.jsonl")]) == {
        str(tmp_path / "own.jsonl"): hashlib.sha256(b"{}").hexdigest()
    }
