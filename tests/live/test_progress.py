"""How long the rest of a run takes, from times that are known: shares, what is waiting, what runs, what was earlier."""

import logging
import os
import random
import subprocess
import sys
from statistics import mean
from types import SimpleNamespace

import pytest

import snakemake_logger_plugin_overpaint as plugin
from snakemake_logger_plugin_overpaint import view
from snakemake_logger_plugin_overpaint.progress import Job, Progress, Shares, earlier, mean_shares


def scheduled(seconds: list[float], slots: int) -> list[tuple[float, float]]:
    """When jobs begin and end that run on so many slots, in their order."""
    free, found = [0.0] * slots, []
    for length in seconds:
        began = min(free)
        free[free.index(began)] = began + length
        found.append((began, began + length))
    return found


def run(jobs: list[tuple[float, float]], until: float, known: dict[str, float] | None = None) -> Progress:
    """A run of jobs of one rule, as it is at a time."""
    progress = Progress(known or {})
    progress.plan({"rule": len(jobs)})
    events = [(began, 1, number) for number, (began, _) in enumerate(jobs)]
    events += [(ended, 0, number) for number, (_, ended) in enumerate(jobs)]
    for now, begins, number in sorted(event for event in events if event[0] <= until):
        if begins:
            progress.start(number, Job("rule", "", "", now))
        else:
            progress.finish(number, now)
    return progress


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_shares_add_up_to_the_time_in_which_anything_ran(slots):
    draw = random.Random(slots)
    jobs = scheduled([draw.uniform(0, 9) for _ in range(50)], slots)
    found = mean_shares([("rule", began, ended) for began, ended in jobs])
    assert 50 * found["rule"] == pytest.approx(max(ended for _, ended in jobs))
    assert mean(ended - began for began, ended in jobs) == pytest.approx(found["rule"] * slots, rel=0.1), "the control"


def test_nothing_is_dealt_while_nothing_runs():
    shares = Shares()
    shares.start("a", 10.0)
    assert shares.stop("a", 13.0) == 3.0
    shares.start("b", 100.0)
    assert shares.so_far("b", 101.0) == 1.0 and shares.stop("b", 99.0) == 1.0, "a clock that is set back takes nothing"


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("part", [0.25, 0.5, 0.75, 1.0])
def test_the_time_left_is_right_where_all_jobs_are_alike(slots, part):
    jobs = scheduled([3.0] * 40, slots)
    end = max(ended for _, ended in jobs)
    left, untimed = run(jobs, part * end).left(part * end)
    assert left == pytest.approx((1 - part) * end, abs=3.0) and untimed == 0


def test_the_time_left_is_that_of_earlier_runs_until_there_are_own_times():
    jobs = scheduled([3.0] * 10, 1)
    assert run(jobs, 1.0).left(1.0) == (0.0, 10), "nothing is known, and that is said"
    assert run(jobs, 1.0, {"rule": 7.0}).left(1.0) == (69.0, 0)
    assert run(jobs, 3.5, {"rule": 7.0}).left(3.5) == (26.5, 0)


def test_more_jobs_take_longer_and_time_that_passes_takes_of_it():
    known, few, many = {"a": 2.0, "b": 5.0}, Progress(), Progress()
    for progress, count in ((few, 3), (many, 4)):
        progress.earlier = known
        progress.plan({"a": 2, "b": count, "c": 1})
        progress.start(0, Job("b", "", "", 0.0))
    assert (few.left(0.0), many.left(0.0)) == ((19.0, 1), (24.0, 1))
    assert few.left(4.0)[0] == 15.0 and few.left(1000.0)[0] == 14.0, "a job that takes longer than it should"


def test_a_job_that_begins_again_was_counted():
    progress = Progress({"rule": 2.0})
    progress.plan({"rule": 2})
    progress.start(0, Job("rule", "", "", 0.0))
    progress.fail(0, 1.0)
    assert len(progress.failed) == 1 and progress.left(1.0) == (2.0, 0)
    progress.start(0, Job("rule", "", "", 1.0))
    assert not progress.failed and progress.left(1.0) == (4.0, 0)
    progress.finish(0, 3.0)
    assert progress.times == {"rule": [2.0]} and progress.left(3.0) == (2.0, 0)


def test_records_tell_the_shares_of_their_rules_and_damaged_ones_nothing(tmp_path):
    good = '{"seconds": 10.0}'
    said = {"a": good, "b": good, "c": "{}", "d": "", "e": "[]", "f": good.replace("10.0", '"10"')}
    said |= {"g": good.replace("10.0", "NaN"), "h": good.replace("10.0", "Infinity"), "i": good[:-1]}
    for name, text in said.items():
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (0, 1000 if name == "a" else 1005))
    found = earlier({str(tmp_path / name): name for name in (*said, "none")})
    assert found == {"a": 7.5, "b": 7.5}, "they ran at once for 5 of 15 seconds"


def handler(**settings) -> plugin.LogHandler:
    """The plugin's handler as Snakemake makes it."""
    said = dict.fromkeys(("dryrun", "debug_dag", "verbose", "stdout", "printshellcmds", "show_failed_logs"), False)
    return plugin.LogHandler(SimpleNamespace(**said | {"nocolor": True, "quiet": set()} | settings), None)


def record(message: str, level: int = logging.INFO, **more) -> logging.LogRecord:
    """What Snakemake logs."""
    made = logging.makeLogRecord({"msg": message, "levelno": level, "levelname": logging.getLevelName(level)})
    made.__dict__.update(more)
    return made


def test_a_view_that_breaks_is_replaced_and_nothing_that_was_said_is_lost(capsys, monkeypatch):
    shown = handler()
    shown.emit(record("a warning", logging.WARNING))
    assert capsys.readouterr().err == "a warning\n"
    monkeypatch.setattr(shown.view, "say", lambda record: 1 / 0)
    shown.emit(record("an error", logging.ERROR))
    shown.emit(record("Select jobs to execute..."))
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said and "an error" in said and "Select jobs" in said
    shown.expect({"a": "b"}, set())
    shown.close()
    assert capsys.readouterr().err == ""


def test_of_what_is_no_event_only_news_is_told(capsys):
    for message in (
        "Creating conda environment envs/unlearn.yaml...",
        "Select jobs to execute...",
        "Building DAG of jobs...",
    ):
        handler().emit(record(message))
    assert capsys.readouterr().err == "Creating conda environment envs/unlearn.yaml...\n"


def test_jobs_that_failed_together_are_told_one_by_one(capsys):
    shown = handler()
    shown.emit(record("stats", event="run_info", stats={"rule": 2, "total": 2}))
    failed = []
    for number in (1, 2):
        job = {"jobid": number, "rule_name": "rule", "log": [], "output": []}
        shown.emit(record("job", event="job_info", rule_msg=f"Making {number}", wildcards={}, **job))
        failed.append(job)
    said = {"aux_logs": ["slurm.log"], "job_error_info": failed}
    shown.emit(record("Error in group g", event="group_error", **said))
    shown.close()
    err = capsys.readouterr().err
    assert "slurm.log" in err and "0 of 2 jobs done in 0 s, 2 failed:" in err
    assert "  rule: Making 1  [log: none]\n  rule: Making 2  [log: none]" in err


def test_a_dry_run_is_told_by_snakemake_itself(capsys):
    handler(dryrun=True, stdout=True).emit(record("Job stats: ..."))
    assert "Job stats" in capsys.readouterr().out


def test_what_a_job_wrote_is_no_command_to_the_terminal(capsys, tmp_path):
    (tmp_path / "log").write_text("first\nstep 1\rstep \x1b]0;x\x072\n\x1b\n\n")
    assert view.last_lines(str(tmp_path / "log")) == ["first", "step  ]0;x 2"]
    assert view.last_lines(str(tmp_path / "none")) == []
    os.utime(tmp_path / "log", (0, 5))
    assert view.last_lines(str(tmp_path / "log"), 6.0) == [] != view.last_lines(str(tmp_path / "log"), 4.0)
    handler().emit(record("a\x1b[2Jb", logging.WARNING))
    assert capsys.readouterr().err == "a [2Jb\n"


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599, "59:59 min"), (7325, "2:02:05 h")]
)
def test_a_time_is_told_in_the_unit_that_suits_it(seconds, said):
    assert view.clock(seconds) == said


def test_only_where_a_view_is_shown_anything_is_loaded_for_it():
    """Every start of Snakemake imports the plugin, two a job."""
    for module, loaded in (("", False), (".live", True)):
        code = f"import sys, snakemake_logger_plugin_overpaint{module}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        assert ({"rich", "snakemake.logging"} <= set(done.stdout.split())) == loaded
        assert bool({"rich", "snakemake"} & set(done.stdout.split())) == loaded


def test_thousands_of_jobs_are_drawn_in_as_few_lines_as_some(monkeypatch):
    from rich.console import Console

    from snakemake_logger_plugin_overpaint import live

    shown = live.LiveView.__new__(live.LiveView)
    view.View.__init__(shown, print)
    read = []
    monkeypatch.setattr(live, "last_lines", lambda log, since: read.append(log) or ["step 1"])
    shown.console = Console(width=40, height=30)
    shown.progress.plan({"rule": 9000})
    for number in range(5000):
        shown.progress.start(number, Job("rule", "a name that is longer than the terminal is wide", "log", 0.0))
    with shown.console.capture() as drawn:
        shown.console.print(shown.drawn(10.0))
    lines = drawn.get().splitlines()
    assert len(lines) == 2 * live.MOST_JOBS + 2 and len(read) == live.MOST_JOBS
    assert max(map(len, lines)) <= 40 and lines[-1] == f"and {5000 - live.MOST_JOBS} more"
