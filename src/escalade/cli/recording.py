"""Recording, seen from the command line."""

from __future__ import annotations

from pathlib import Path

from escalade import record
from escalade.cli.display import Watch, aside, console
from escalade.job import Job
from escalade.running import run_job


def show(job: Job, out: Path, store: Path) -> bool:
    """Draw what a recording holds and write it; return whether it is whole."""
    with Watch(job, store, quiet=False) as watch:
        results = run_job(job, store=store, watcher=watch)
    if results.interrupted:
        aside.print(f"stopped: what was drawn is in {store}; the same command goes on from there", soft_wrap=True)
        return False
    count = record.write(results, out)
    console.print(f"{count} samples in {out}; replay them with --engine replay:{out}", soft_wrap=True)
    return True
