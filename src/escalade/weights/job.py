"""What one pull hands to each kind of source: the model, where its unfinished bytes go, whom to tell.

This module does not know how any source is read.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from escalade.errors import WeightsError
from escalade.pool import HubSource, PackageSource, PoolModel, UrlSource
from escalade.weights.cache import partial_files, partial_folder, size_of

Progress = Callable[[int, int | None], None]
"""Told the bytes of the final file so far, which never fall, and all of them where known."""

Say = Callable[[str], None]
"""Told a sentence for the person who waits."""

Source = HubSource | PackageSource | UrlSource

CHUNK = 1 << 20


class SourceFailed(Exception):  # noqa: N818 - an event inside a pull, no error of the package's tree
    """One source cannot give the file; the next one may."""


class Found(NamedTuple):
    """A file as a source gave it, not yet compared with the model's identity."""

    path: Path
    sha256: str
    size: int


class Meter:
    """Turns what sources count into bytes of the final file that never fall."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self.total = total
        self._progress, self._done = progress, 0

    def at(self, done: int) -> None:
        """Report that `done` bytes are there."""
        if self.total is not None:
            done = min(done, self.total)
        self._done = max(self._done, done)
        self._progress(self._done, self.total)


@dataclass(frozen=True, slots=True)
class Job:
    """One model being pulled."""

    model: PoolModel
    sha256: str
    meter: Meter
    say: Say

    @property
    def scratch(self) -> Path:
        """The folder for what is of no use to the next pull; it is there and empty when a pull begins."""
        return partial_folder() / f"{self.sha256}.scratch"

    def partial(self, source: Source, ending: str) -> Path:
        """Return where unfinished bytes of `source` are kept.

        Sources do not share them: one may serve another file, and packages may split it otherwise.
        """
        return partial_folder() / f"{self.sha256}.{_key(source)}.{ending}"

    def kept(self, source: Source) -> int:
        """Return how many bytes of `source` an earlier pull left."""
        return sum(map(size_of, partial_files(self.sha256, _key(source))))

    def drop(self, source: Source) -> None:
        """Delete what is there of `source`."""
        for path in partial_files(self.sha256, _key(source)):
            path.unlink(missing_ok=True)

    def too_many(self, size: int) -> bool:
        """Say whether these are more bytes than the model has: a source must not fill the disk."""
        return self.model.size is not None and size > self.model.size

    def check_room(self, need: int) -> None:
        """Make sure the cache folder's disk has room for `need` more bytes."""
        free = shutil.disk_usage(partial_folder()).free
        if free < need:
            raise WeightsError(f"{self.no_room(need)}; {free} bytes are free")

    def no_room(self, need: int | None) -> str:
        """Say that the disk is too full, and what to do."""
        bytes_needed = "more free space than there is" if need is None else f"{need} bytes of free space"
        return (
            f"disk full: model {self.model.alias!r} needs {bytes_needed} in {partial_folder()}; "
            "make room, or set ESCALADE_CACHE to a folder that has it"
        )


def describe(source: Source) -> str:
    """Name a source for a person, without anything secret that an address may hold."""
    match source:
        case HubSource():
            return f"hub {source.hub}/{source.file}"
        case PackageSource(parts=1):
            return f"package {package_name(source, 1)} {source.version}"
        case PackageSource():
            last = package_name(source, source.parts)
            return f"packages {package_name(source, 1)} to {last} {source.version}"
        case UrlSource():
            return re.sub(r"(//)[^/@]*@|[?#].*", r"\1", source.url)


def package_name(source: PackageSource, part: int) -> str:
    """Return the name of the package that holds this part, counted from 1."""
    return source.package.replace("{part}", str(part))


def hash_of(path: Path) -> Found:
    """Read a file through and return it with its sha256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Found(path, digest, size_of(path))


def _key(source: Source) -> str:
    return hashlib.sha256(source.model_dump_json().encode()).hexdigest()[:8]
