"""The view on a terminal. What jobs write there is caught, so that it stands above the view and not across it."""

import atexit
import fcntl
import os
import sys
import tempfile
import threading
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from snakemake_logger_plugin_overpaint.progress import Job
from snakemake_logger_plugin_overpaint.view import View, clock, last_lines, printable

REFRESH_S = 1.0
MOST_JOBS = 8  # shown of those that run


class Caught:
    """What this process and its jobs write to the terminal, kept in a file until it is shown.

    A pipe would stop jobs that write while nobody reads it, and end those that outlive this process.
    """

    def __init__(self) -> None:
        self.file, self.shown = tempfile.TemporaryFile(), 0  # noqa: SIM115
        fcntl.fcntl(self.file, fcntl.F_SETFL, os.O_APPEND)  # what opens /dev/stderr anew may cut it off
        self.places = {fd: os.dup(fd) for fd in (1, 2) if os.isatty(fd)}
        for fd in self.places:
            os.dup2(self.file.fileno(), fd)

    def new(self, last: bool = False) -> list[str]:
        """The lines that have come to an end since, and at the `last` time what has none."""
        size = os.fstat(self.file.fileno()).st_size
        self.shown = min(self.shown, size)
        content = os.pread(self.file.fileno(), size - self.shown, self.shown)
        content = content if last else content[: content.rfind(b"\n") + 1]
        self.shown += len(content)
        return content.decode("utf-8", errors="replace").splitlines()

    def release(self) -> None:
        """Let what is written reach the terminal again."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        while self.places:
            fd, place = self.places.popitem()
            os.dup2(place, fd)
            os.close(place)


class LiveView(View):
    """The jobs done and left, the time that they will take, and what runs now, drawn anew every second."""

    def __init__(self, nocolor: bool) -> None:
        super().__init__(self._print)
        terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self.console = Console(file=terminal, no_color=nocolor or None, highlight=False)  # None: as NO_COLOR says
        self.status, self.fault, self.lock, self.over = "Reading the study", None, threading.RLock(), threading.Event()
        self.live = Live(
            console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self.live.start()
        self.console.show_cursor(True)  # whatever ends this process, the terminal has one
        self.caught = Caught()
        atexit.register(self.restore)
        threading.Thread(target=self._draw_on, daemon=True).start()

    def show(self, record: Any) -> None:
        """Take in an event; one that is no news stands in the view until the first job begins."""
        if self.fault:
            raise self.fault
        with self.lock:
            self._tell()
            if getattr(record, "event", None) is None and record.msg:
                self.status = str(record.msg)
            super().show(record)

    def finish(self, record: Any) -> None:
        """A job that has ended well is counted, and no line."""
        self.progress.finish(record.job_id, record.created)

    def close(self) -> None:
        """Take the view away and say the last lines."""
        self.restore()
        super().close()

    def restore(self) -> None:
        """Give the terminal back; what was caught is written there first."""
        self.over.set()
        with self.lock:
            if not self.caught.places:
                return
            try:
                self._tell(last=True)
                self.live.stop()
            finally:
                self.caught.release()

    def _draw_on(self) -> None:
        """Draw until it is over, or cannot be done; the next event then ends the view."""
        try:
            while not self.over.wait(REFRESH_S):
                with self.lock:
                    self._tell()
                    self.live.update(self.drawn(time.time()), refresh=not self.over.is_set())
        except Exception as error:
            self.fault = error
            self.restore()

    def _tell(self, last: bool = False) -> None:
        """Put what was caught above the view."""
        if caught := self.caught.new(last):
            self.lines("\n".join(caught))

    def _print(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def drawn(self, now: float) -> Group:
        """The view as it is at a time, in seconds."""
        progress, running = self.progress, list(self.progress.running.values())
        if not progress.total:
            return Group(one_line(self.status))
        room = max(1, min(MOST_JOBS, (self.console.height - 3) // 2))
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=progress.total, completed=progress.done, width=max(10, self.console.width // 4))
        head.add_row(bar, Text(self._counted(now), no_wrap=True, overflow="ellipsis"))
        rows = [row for job in running[:room] for row in self._rows(job, now)]
        more = [one_line(f"and {len(running) - room} more")] if len(running) > room else []
        return Group(head, *rows, *more)

    def _counted(self, now: float) -> str:
        """Jobs done and left, and the time."""
        progress, (left, untimed) = self.progress, self.progress.left(now)
        said = [f"{progress.done} of {progress.total} jobs"]
        said += [f"{len(progress.failed)} failed"] if progress.failed else []
        said += [clock(now - self.began)]
        if untimed:
            return " · ".join([*said, f"more than {clock(left)} left"] if left >= 1 else said)
        return " · ".join([*said, f"about {clock(left)} left"])

    def _rows(self, job: Job, now: float) -> list[Text]:
        """A job that runs, and the last line of its log."""
        told = last_lines(job.log, job.began)[-1:] if job.log else []
        return [
            one_line(f"{clock(now - job.began):>10}  {job.said}", "bold"),
            *(one_line(f"{'':12}{line}") for line in told),
        ]


def one_line(text: str, style: str = "") -> Text:
    """Text that is cut where the terminal ends."""
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")
