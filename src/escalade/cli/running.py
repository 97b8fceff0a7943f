"""A run, seen from the command line."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from escalade.cli import display
from escalade.eventlog import EventLog, end_of, start_of
from escalade.job import Job
from escalade.running import stream_job
from escalade.summary import Summary


def show(job: Job, out: Path, store: Path | None, log_file: Path | None, *, as_json: bool) -> Summary:
    """Run a job, its results written to a folder meanwhile; show how it goes and what it gave.

    Raises:
        SettingError: the log of events cannot be written.
    """
    with ExitStack() as stack:
        log = None if log_file is None else stack.enter_context(EventLog(log_file))
        if log is not None:
            log("run", start_of(job, out=out, store=store))
        with display.Watch(job, store, quiet=as_json) as watch:
            summary = stream_job(job, out, store=store, watcher=watch, on_event=log)
        if log is not None:
            log("end", end_of(summary))
    if log is not None and log.failure is not None:
        display.aside.print(f"warning: {log.failure}", style="yellow", markup=False, soft_wrap=True)
    if as_json:
        display.as_json(summary.to_dict())
    else:
        display.summary(summary, out, store)
    return summary
