"""Shows the events of a run: line by line, or as one view that is drawn anew every second."""

import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_overpaint.progress import Job, Progress, earlier

LAST_BYTES = 4096  # of a log, in which its last line is
LOG_LINES = 20  # of the log of a job that failed
# Of what Snakemake says without an event: what takes minutes, and that there was nothing to do.
TOLD = ("Creating conda", "Environment for", "Downloading and installing", "Nothing to be done", "Trying to restart")
STOPS = "Terminating processes on user request"
AGAIN = "Run the same command again: it goes on from what is done."


class View:
    """A line for each job that has ended, all that went wrong, and at the end what that was."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """`write` puts lines on the terminal, the last of which ends with none."""
        self.write, self.progress, self.began, self.stopped = write, Progress(), time.time(), False
        self.shown: dict[LogEvent, Callable[[Any], None]] = {
            LogEvent.RUN_INFO: self.plan, LogEvent.JOB_INFO: self.start, LogEvent.JOB_FINISHED: self.finish,
            LogEvent.JOB_ERROR: self.fail, LogEvent.GROUP_ERROR: self.fail_together, LogEvent.ERROR: self.say,
            LogEvent.PROGRESS: self.count,
        }  # fmt: skip

    def show(self, record: logging.LogRecord) -> None:
        """Take in an event and say what is to be said of it."""
        event = getattr(record, "event", None)
        self.stopped |= str(record.msg).startswith(STOPS)
        if event in self.shown:
            self.shown[event](record)
        elif event is None and (record.levelno >= logging.WARNING or str(record.msg).startswith(TOLD)):
            self.say(record)

    def expect(self, jobs: dict[str, str], idle: set[str]) -> None:
        """Learn from the records of earlier runs; jobs that do nothing take no time."""
        self.progress.earlier = earlier(jobs) | dict.fromkeys(idle, 0.0)

    def say(self, record: Any) -> None:
        """What Snakemake says, as it says it."""
        if record.levelno >= logging.INFO and record.msg:
            self.lines(str(record.msg))

    def plan(self, record: Any) -> None:
        """How many jobs there will be."""
        self.progress.plan({rule: count for rule, count in record.stats.items() if rule != "total"})
        self.lines(f"{self.progress.total} jobs to run")

    def count(self, record: Any) -> None:
        """Jobs that were skipped, or added, make Snakemake's own counts differ."""
        self.progress.done, self.progress.total = record.done, record.total

    def start(self, record: Any) -> None:
        """A job begins."""
        said = record.rule_msg or " ".join([record.rule_name, *map(str, record.wildcards.values())])
        self.progress.start(record.jobid, Job(record.rule_name, said, next(iter(record.log), ""), record.created))

    def finish(self, record: Any) -> None:
        """A job has ended well."""
        job = self.progress.finish(record.job_id, record.created)
        if job and job.log:  # what does nothing is no news
            done, total = self.progress.done, self.progress.total
            self.lines(f"[{done:>{len(str(total))}}/{total}] {job.said} ({clock(record.created - job.began)})")

    def fail(self, record: Any) -> None:
        """A job has failed: its rule, where its logs are, and what stands at the end of them."""
        job = self.progress.fail(record.jobid, record.created)
        if self.stopped:  # as the user wished
            return
        said = f" ({job.said})" if job else ""
        told = [log for log in record.log if log.endswith(".log")]  # and no notebook
        ends = [f"    {line}" for log in told for line in last_lines(log)[-LOG_LINES:]]
        self.lines("\n".join([f"Error in {record.rule_name}{said}, log: {', '.join(record.log) or 'none'}", *ends]))

    def fail_together(self, record: Any) -> None:
        """Jobs have failed that were sent to a cluster as one: as Snakemake says it."""
        for info in record.job_error_info:
            self.progress.fail(info["jobid"], record.created)
        self.lines(DefaultFormatter(show_failed_logs=True).format(record))

    def lines(self, text: str) -> None:
        """Write text, whatever is in it."""
        self.write("\n".join(map(printable, text.splitlines())))

    def close(self) -> None:
        """The last lines: how many jobs ran how long, and why those failed that did."""
        done, total, took = self.progress.done, self.progress.total, clock(time.time() - self.began)
        if self.stopped:
            self.lines(f"Stopped: {done} of {total} jobs done in {took}. {AGAIN}")
        elif total:
            self.lines(f"{done} of {total} jobs done in {took}{failures(self.progress.failed.values())}")

    def restore(self) -> None:
        """Give back what the view has taken; nothing here."""


def failures(failed: Collection[Job]) -> str:
    """A line for each job that failed, with its reason: the last line of its log that is not indented."""
    if not failed:
        return "."
    told = []
    for job in failed:
        reason = next((line for line in reversed(last_lines(job.log)) if not line[0].isspace()), job.said)
        told.append(f"  {job.rule}: {reason}  [log: {job.log or 'none'}]")
    return f", {len(told)} failed:\n" + "\n".join([*told, AGAIN])


def last_lines(log: str, since: float = 0.0) -> list[str]:
    """Lines at the end of a log that are not empty, as a terminal shows them; none of a log older than `since`."""
    with suppress(OSError), open(log, "rb") as file:
        stat = os.fstat(file.fileno())
        file.seek(max(0, stat.st_size - LAST_BYTES))
        text = file.read().decode("utf-8", errors="replace") if stat.st_mtime >= since else ""
        lines = (printable(line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n"))
        return [line for line in lines if line]
    return []


def printable(line: str) -> str:
    """A line without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in line)


def clock(seconds: float) -> str:
    """Seconds as 12 s, 3:04 min or 1:02:03 h."""
    minutes, seconds = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02} h"
    return f"{minutes}:{seconds:02} min" if minutes else f"{seconds} s"


def view(nocolor: bool) -> View:
    """A live view where standard error is a terminal that can draw one, and lines elsewhere."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        from snakemake_logger_plugin_overpaint.live import LiveView

        return LiveView(nocolor)
    return View(lambda line: print(line, file=sys.stderr, flush=True))
