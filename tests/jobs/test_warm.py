"""Scripts that are forked from a process which has loaded their libraries run as they would alone."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.checkout import ROOT

from overpaint.jobs import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every script runs alone")
ALONE = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
TELL = """
import json, os, sys
import numpy
from overpaint.errors import UserError
told = {
    "arguments": sys.argv, "path": sys.path[0], "folder": os.getcwd(), "variable": os.environ.get("ASKED"),
    "name": __name__, "python": sys.executable, "given": sys.stdin.read(), "umask": os.umask(0),
    "package": sys.modules["overpaint.errors"].__file__, "warm": "overpaint.jobs.warm" in sys.modules,
    "stops": __import__("signal").getsignal(2).__name__,
}
print(json.dumps(told))
print("warned", file=sys.stderr)
"""
PARENT = "import os; print(os.getppid())"


@pytest.fixture(scope="module")
def python() -> str:
    """The command that stands for `python`."""
    return warm.start(sys.executable, ALONE)


@pytest.fixture
def script(tmp_path):
    """Write a script; its command, run by an interpreter."""

    def written(text: str, python: str) -> list[str]:
        (tmp_path / "script.py").write_text(text)
        return [*shlex.split(python), str(tmp_path / "script.py")]

    return written


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a folder."""
    said = {"cwd": folder, "env": os.environ | ALONE | variables, "input": "in", "capture_output": True, "text": True}
    return subprocess.run(command, **said)


def ancestry(command: list[str], folder: Path, **variables: str) -> int:
    """Number of the parent of the process that runs a script."""
    return int(run(command, folder, **variables).stdout)


def test_a_script_sees_what_it_would_see_alone(python, script, tmp_path):
    own = f"{shlex.quote(sys.executable)}"
    alone, handed = (run(script(TELL, command), tmp_path, ASKED="that") for command in (own, python))
    assert handed.returncode == alone.returncode == 0
    assert json.loads(handed.stdout) == json.loads(alone.stdout) and handed.stderr == alone.stderr == "warned\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("raise SystemExit", 0),
        ("1 / 0", 1),
        ("import os; os._exit(7)", 137),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("this is no Python", 1),
    ],
)
def test_its_end_is_told(python, script, tmp_path, text, status):
    served = ancestry(script(PARENT, python), tmp_path)
    done = run(script(text, python), tmp_path)
    assert done.returncode == status
    assert ("ZeroDivisionError" in done.stderr) == (text == "1 / 0")
    assert (done.stderr == "no\n") == ("'no'" in text)
    assert ancestry(script(PARENT, python), tmp_path) == served != os.getpid(), "the process serves on"


def test_libraries_are_loaded_once_and_the_package_anew(python, script, tmp_path):
    text = "import colorsys, overpaint.errors, os, sys; print(os.getppid(), id(colorsys), id(overpaint.errors))"
    seen = [run(script(text, python), tmp_path).stdout.split() for _ in range(2)]
    assert seen[0][:2] == seen[1][:2]
    (tmp_path / "overpaint").mkdir()
    changed = "import sys; print('overpaint' in sys.modules, 'colorsys' in sys.modules)"
    assert run(script(changed, python), tmp_path).stdout == "False True\n"


def test_other_threads_and_other_programs_run_alone(python, script, tmp_path):
    command = script(PARENT, python)
    served = ancestry(command, tmp_path)
    assert ancestry(command, tmp_path) == served != os.getpid()
    assert ancestry(command, tmp_path, OMP_NUM_THREADS="2") == os.getpid()
    assert ancestry([*shlex.split(python), "-c", PARENT], tmp_path) == os.getpid()


def test_a_script_runs_alone_where_the_process_has_gone(script, tmp_path):
    code = f"from overpaint.jobs import warm; print(warm.start({sys.executable!r}, {{}}))"
    python = run([sys.executable, "-c", code], tmp_path).stdout
    assert run(script("print(1)", python), tmp_path).stdout == "1\n"
    assert not Path(shlex.split(python)[-1]).parent.exists(), "and nothing of it is left"


def test_who_kills_the_one_that_waits_kills_the_script(python, script, tmp_path):
    text = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    with subprocess.Popen(script(text, python), env=os.environ | ALONE, stdout=subprocess.PIPE) as waiting:
        number = int(waiting.stdout.readline())
        os.kill(number, 0)
        waiting.kill()
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(number, 0)
            time.sleep(0.1)


@pytest.fixture
def main(script, tmp_path):
    """Start a process that hands on a script, interrupt it as a terminal does after its word, and tell what it said."""
    (tmp_path / "main.py").write_text(
        "import os, subprocess, sys\nfrom overpaint.jobs import warm\n"
        f"python = warm.start({sys.executable!r}, {{}})\n"
        "try: subprocess.run(f'{python} script.py', shell=True)\nexcept KeyboardInterrupt: sys.exit(5)"
    )

    def interrupted(text: str) -> str:
        script(text, "")
        command = ["env", "--default-signal=INT", sys.executable, "main.py"]
        said = {"env": os.environ | ALONE, "cwd": tmp_path, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, start_new_session=True, **said) as process:
            assert process.stderr.readline() == "begun\n"
            os.killpg(process.pid, signal.SIGINT)
            rest = process.communicate(timeout=30)[1]
        assert process.returncode == 5
        return rest

    return interrupted


BEGUN = "import sys, time\nprint('begun', file=sys.stderr, flush=True)\n"


def test_an_interrupt_lets_the_script_clean_up(main):
    text = f"import sys, time\ntry:\n exec({BEGUN!r})\n time.sleep(60)\nfinally: time.sleep(1); sys.exit('cleaned')"
    assert main(text) == "cleaned\n"


def test_an_interrupt_while_libraries_are_loaded_ends_the_script_that_waits_for_them(main, tmp_path):
    (tmp_path / "slow.py").write_text(f"{BEGUN}time.sleep(1)")
    assert "cleaned" not in main("import time\nimport slow\ntime.sleep(60)\nprint('cleaned', flush=True)")


def test_imports_that_fail_are_the_scripts_own(python, script, tmp_path):
    done = run(script("import no_such_module", python), tmp_path)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


def test_forks_that_end_while_others_are_let_go_of_do_no_harm(monkeypatch):
    """A signal that comes in the middle of its own handler runs it again, inside."""
    ended, forks, calls = {11, 12, 13}, {11, 12, 13, 14}, []

    def waited(fork: int, _: int) -> tuple[int, int]:
        calls.append(fork)
        if len(calls) == 1:
            warm._reap(forks)
        if fork not in ended | {14}:
            raise ChildProcessError
        found = fork if fork in ended else 0
        ended.discard(fork)
        return found, 0

    monkeypatch.setattr(os, "waitpid", waited)
    warm._reap(forks)
    assert forks == {14} and len(calls) > 4
