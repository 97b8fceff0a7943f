"""The cache folder: which weights are on this machine, and where unfinished ones wait.

    <cache>/models/<sha256>.gguf                  whole: renamed into place only after the hash matched
    <cache>/partial/<sha256>.<source>.part        what an unfinished download left, to be resumed
    <cache>/partial/<sha256>.<source>.part01 ...  whole parts out of packages, each checked
    <cache>/partial/<sha256>.scratch/             a running pull's own, of no use to the next one
    <cache>/partial/<sha256>.lock                 held by a running pull

This module knows nothing of sources or networks.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from escalade.errors import WeightsError
from escalade.pool import PoolModel

try:
    import fcntl
except ImportError:  # Windows: two pulls at once are then the user's own business
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class ModelState:
    """What is on disk of one model."""

    alias: str
    name: str
    path: Path | None
    """Where the whole weights are."""
    size: int | None
    """Bytes of the whole file, where known."""
    whole: bool
    partial_bytes: int
    """Bytes that unfinished pulls left, to be resumed."""


def cache_folder() -> Path:
    """Return the folder for weights: $ESCALADE_CACHE, else escalade in the user's cache folder."""
    if own := os.environ.get("ESCALADE_CACHE"):
        return Path(own).expanduser().absolute()
    # A relative XDG_CACHE_HOME is to be ignored, says its specification.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "escalade"


def cached_path(sha256: str) -> Path:
    """Return where the whole file with this hash is kept, whether or not it is there yet."""
    return cache_folder() / "models" / f"{sha256}.gguf"


def partial_folder() -> Path:
    """Return where unfinished files wait."""
    return cache_folder() / "partial"


def partial_files(sha256: str, key: str = "*") -> list[Path]:
    """Return what unfinished pulls left of the file with this hash, from one source or from any."""
    return sorted(partial_folder().glob(f"{sha256}.{key}.part*"))


def locate(model: PoolModel) -> Path | None:
    """Return where the whole weights of `model` are on this machine, or None.

    Raises:
        WeightsError: the pool names a file for this model and it is not there.
    """
    if model.file is not None:
        if not model.file.is_file():
            raise WeightsError(
                f"weights of model {model.alias!r}: the pool says they are in {model.file}, "
                "but no file is there; put it there, or correct `file` in the pool"
            )
        return model.file
    if model.sha256 is not None and (path := cached_path(model.sha256)).is_file():
        return path
    return None


def require(model: PoolModel, *, pool: str) -> Path:
    """Return where the whole weights of `model` are; `pool` is how a command line would name its pool.

    Raises:
        WeightsError: they are not on this machine; says where they were looked for and what to do.
    """
    if (path := locate(model)) is not None:
        return path
    if not model.sources:
        raise WeightsError(
            f"model {model.alias!r} of pool {pool!r} has no weights: it names neither a file nor sources; "
            "set its `file` in the pool, or use another engine"
        )
    looked = cached_path(checked_sha256(model))
    raise WeightsError(
        f"weights of model {model.alias!r} are not on this machine: looked for {looked}; "
        f"fetch them with `escalade models pull --pool {pool}`"
    )


def checked_sha256(model: PoolModel) -> str:
    """Return the hash that is the identity of `model`'s weights.

    Raises:
        WeightsError: the pool gives none, so nothing fetched could be checked.
    """
    if model.sha256 is None:
        raise WeightsError(
            f"model {model.alias!r} has sources but no sha256, so what they give cannot be checked; "
            "add `sha256` to it in the pool"
        )
    return model.sha256


def state(model: PoolModel) -> ModelState:
    """Return what is on disk of `model`; a named file that is missing counts as not there."""
    try:
        path = locate(model)
    except WeightsError:
        path = None
    left = partial_files(model.sha256) if model.sha256 is not None and path is None else []
    return ModelState(
        alias=model.alias,
        name=model.name,
        path=path,
        size=size_of(path) if path is not None else model.size,
        whole=path is not None,
        partial_bytes=sum(map(size_of, left)),
    )


def size_of(path: Path) -> int:
    """Return the bytes in a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def alone(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`: one process at a time is inside; call `waiting` once if another one is."""
    if fcntl is None:
        yield
        return
    with path.open("ab") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    break  # a file system without locks: better to go on than never to pull
            else:
                break
            if not told:
                waiting()
                told = True
            time.sleep(0.2)
        # The file stays: to unlink it would let two processes lock two files of one name.
        yield
