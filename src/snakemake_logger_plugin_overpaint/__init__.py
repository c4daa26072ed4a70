"""`snakemake --logger overpaint`: one live view of a study on a terminal, one line a finished job elsewhere.

Every start of Snakemake imports this package, and a job starts two: what it needs is loaded where a view is shown.
"""

import logging
import sys
from contextlib import suppress
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase


class LogHandler(LogHandlerBase):
    """Hands each event to a view; whatever goes wrong in it, Snakemake's own output takes its place."""

    writes_to_stream, writes_to_file = True, False
    has_filter = has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Choose how to show the run."""
        self.view, self.own = None, None
        try:
            if not self.common_settings.dryrun:
                from snakemake_logger_plugin_overpaint.view import view

                self.view = view(self.common_settings.nocolor)
        except Exception as error:
            self._give_up(error)

    def emit(self, record: logging.LogRecord) -> None:
        """Show an event."""
        if self.view:
            try:
                return self.view.show(record)
            except Exception as error:
                self._give_up(error)
        with suppress(Exception):  # as of a terminal that is gone
            self.own = self.own or _snakemakes_own(self.common_settings)
            self.own.handle(record)

    def expect(self, jobs: dict[str, str], idle: set[str]) -> None:
        """Tell the view the job.json and rule of every job, and the rules whose jobs do nothing."""
        if self.view:
            try:
                self.view.expect(jobs, idle)
            except Exception as error:
                self._give_up(error)

    def close(self) -> None:
        """Leave the terminal as it was, with the last lines of the run."""
        try:
            if self.view:
                self.view.close()
            self.view = None  # logging closes handlers a second time
        except Exception as error:
            self._give_up(error)
        super().close()

    def _give_up(self, error: Exception) -> None:
        """Let Snakemake's own output go on."""
        view, self.view = self.view, None
        with suppress(Exception):
            view and view.restore()
        with suppress(Exception):
            print(f"The view of the run ended ({type(error).__name__}: {error}); the run goes on.", file=sys.stderr)


def expect(workflow: Any) -> None:
    """Tell the view, where there is one, of every job that a workflow has planned."""
    for handler in workflow.logger_manager.get_log_handlers():
        if isinstance(handler, LogHandler):
            jobs = {record: job.rule.name for job in workflow.dag.jobs if (record := job.output.get("job"))}
            handler.expect(jobs, {rule.name for rule in workflow.rules if rule.norun})


def _snakemakes_own(settings: Any) -> logging.Handler:
    """The handler that Snakemake has where it is asked for no other."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    said = (settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds)
    formatter = DefaultFormatter(settings.quiet, settings.show_failed_logs)
    stream = sys.stdout if settings.stdout else sys.stderr
    return ColorizingTextHandler(settings.nocolor, stream, formatter, DefaultFilter(*said))
