"""What a run shows on a terminal, elsewhere, and where something goes wrong: a job, the view, or the user's mind."""

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from helpers.checkout import ROOT
from helpers.terminal import COLOUR, on_terminal, screen

SNAKEFILE = """
import snakemake_logger_plugin_overpaint

onstart:
    snakemake_logger_plugin_overpaint.expect(workflow)

rule all:
    input: "made/b"

rule make:
    input: lambda wildcards: "made/a" if wildcards.name == "b" else []
    output: "made/{{name}}", job="made/{{name}}.job.json"
    log: "logs/{{name}}/make.log"
    message: "Making {{wildcards.name}}"
    shell: {shell!r}
"""
TRAINS = "echo 'step  3/10  loss 0.5  120 tokens/s' > {log}; sleep 1.2; touch {output}"
REASON = "There is no good b: take another."
SAYS = f"echo '{REASON}' | tee {{log}} >&2; echo ' and where' >>{{log}}"
FAILS = f"test {{wildcards.name}} = a && touch {{output}} || ({SAYS}; exit 1)"
VIEW = re.compile(r"\d of 3 jobs ·|^ +\d+ s  Making|^ {12}step  3/10")


@pytest.fixture
def command(tmp_path) -> Callable[[str], list[str]]:
    """The command that runs two jobs, one after the other, each of which runs a shell command."""

    def written(shell: str) -> list[str]:
        (tmp_path / "Snakefile").write_text(SNAKEFILE.format(shell=shell))
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--logger", "overpaint"]

    return written


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a user whose terminal has colours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONPATH")}
    return kept | {"TERM": "xterm-256color", "PYTHONPATH": f"{ROOT / 'src'}"}


def seen(said: str) -> list[str]:
    """The lines that are to be seen at the end and are not empty."""
    return [line for line in screen(said.replace("\r\n", "\n").replace("\n", "\r\n")) if line]


def viewed(lines: list[str]) -> list[str]:
    """Lines that belong to the view."""
    return [line for line in lines if VIEW.search(line)]


def test_a_terminal_shows_one_view_that_is_gone_at_the_end(command, environment, tmp_path):
    status, said = on_terminal(command(TRAINS), tmp_path, environment)
    for part in ("0 of 3 jobs", "1 of 3 jobs", "Making b", "step  3/10  loss 0.5  120 tokens/s"):
        assert part in said
    assert status == 0 and COLOUR.search(said)
    lines = seen(said)
    assert viewed(said.splitlines()) and not viewed(lines)
    assert len(lines) == 2 and lines[0] == "3 jobs to run" and re.fullmatch(r"3 of 3 jobs done in \d+ s\.", lines[1])


def test_earlier_times_tell_how_long_it_takes_without_colours_and_a_second_run_has_nothing_to_do(
    command, environment, tmp_path
):
    for name in "ab":
        record = tmp_path / f"made/{name}.job.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text('{"seconds": 30.0}')
        os.utime(record, (0, 1000 + 100 * ord(name)))
    _, said = on_terminal(command(TRAINS), tmp_path, environment | {"NO_COLOR": "1"})
    assert re.search(r"0 of 3 jobs · \d s · about (59|58) s left", said)
    assert viewed(said.splitlines()) and not COLOUR.search(said)
    status, said = on_terminal(command(TRAINS), tmp_path, environment)
    assert status == 0 and seen(said) == ["Nothing to be done (all requested files are present and up to date)."]


def test_elsewhere_a_line_says_that_a_job_has_ended(command, environment, tmp_path):
    done = subprocess.run(command("touch {output}"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stderr.isascii() and "\x1b" not in done.stderr
    said = re.sub(r"\d+ s", "1 s", done.stderr).splitlines()
    assert said == ["3 jobs to run", "[1/3] Making a (1 s)", "[2/3] Making b (1 s)", "3 of 3 jobs done in 1 s."]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_job_that_fails_is_told_at_the_end_with_its_reason_and_its_log(command, environment, tmp_path, terminal):
    if terminal:
        status, said = on_terminal(command(FAILS), tmp_path, environment)
    else:
        done = subprocess.run(command(FAILS), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        status, said = done.returncode, done.stderr
    lines = seen(said)
    assert status == 1 and not viewed(lines)
    assert REASON in lines, "what the job itself wrote to the terminal"
    assert any(line == "Error in make (Making b), log: logs/b/make.log" for line in lines)
    assert re.fullmatch(r"1 of 3 jobs done in \d s, 1 failed:", lines[-3])
    assert lines[-2] == f"  make: {REASON}  [log: logs/b/make.log]"
    assert lines[-1].startswith("Run the same command again")


def test_ctrl_c_ends_the_jobs_and_leaves_the_terminal_as_it_was(command, environment, tmp_path):
    keys = iter(["\x03"])
    status, said = on_terminal(
        command(TRAINS.replace("1.2", "60")),
        tmp_path,
        environment,
        lambda said: next(keys, "") if "step  3/10" in said else "",
    )
    assert status != 0 and next(keys, "") == "", "nothing was pressed"
    assert not viewed(seen(said)) and seen(said)[-1].startswith("Stopped: 0 of 3 jobs done in")
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is hidden"
    assert not (tmp_path / "made/a").exists()


@pytest.mark.parametrize(
    ("module", "text", "reason"),
    [
        ("rich.py", "raise ImportError('no rich here')", "no rich here"),
        ("sitecustomize.py", "import rich.live; rich.live.Live.update = lambda *_, **__: 1 / 0", "ZeroDivisionError"),
    ],
    ids=["loading", "drawing"],
)
def test_where_the_view_breaks_snakemakes_output_takes_its_place(command, environment, tmp_path, module, text, reason):
    (tmp_path / module).write_text(text)
    broken = environment | {"PYTHONPATH": f"{tmp_path}:{environment['PYTHONPATH']}"}
    status, said = on_terminal(command(TRAINS), tmp_path, broken)
    assert status == 0 and (tmp_path / "made/b").exists()
    assert reason in said and "3 of 3 steps (100%) done" in said and not viewed(seen(said))
