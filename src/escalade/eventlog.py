"""The log of events: what happens in runs, one JSON object a line, for other programs to follow."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from escalade import __version__
from escalade.errors import SettingError
from escalade.job import Job
from escalade.summary import Summary, settings_of

FLUSH_SECONDS = 1.0
"""No line waits longer before it is in the file."""
FLUSH_BYTES = 1 << 16
"""Nor do so many bytes."""


class EventLog:
    """Appends events to a file; a log of earlier runs that is there goes on.

    Each line has `time` (UTC, ISO 8601, milliseconds), `event` and the event's facts. A number that JSON does not
    have is null. Where the file cannot be written any more, the run goes on without its log, and `failure` says why.
    Used as a context manager, it writes `end` where an error ends the run.

    Args:
        path: of the file; its folder must be there.
        now: the time of an event.

    Raises:
        SettingError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
        >>> with EventLog(path, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as log:
        ...     log("begun", {"problem": "p1"})
        >>> print(path.read_text(encoding="utf-8").strip())
        {"time": "2026-01-01T00:00:00.000Z", "event": "begun", "problem": "p1"}
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.failure: str | None = None
        self._path, self._now = path, now
        try:
            broken = _ends_amid_a_line(path)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise SettingError(f"{path} cannot be written as a log: {error.strerror or error}; name another") from error
        self._pending = bytearray(b"\n" if broken else b"")
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._flusher = threading.Thread(target=self._keep_flushing, name="escalade-log", daemon=True)
        self._flusher.start()

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write one event."""
        moment = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps(_plain({"time": moment, "event": event, **facts}), allow_nan=False) + "\n"
        with self._lock:
            self._pending += line.encode()
            if len(self._pending) >= FLUSH_BYTES:
                self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._closed.set()
        self._flusher.join()
        with self._lock:
            self._flush()
        self._file.close()

    def _keep_flushing(self) -> None:
        while not self._closed.wait(FLUSH_SECONDS):
            with self._lock:
                self._flush()

    def _flush(self) -> None:
        while self._pending and self.failure is None:
            try:
                written = self._file.write(self._pending)
            except OSError as error:
                self.failure = f"{self._path} cannot be written any more: {error.strerror or error}"
            else:
                del self._pending[:written]
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self("end", {"reason": f"failed: {type(error).__name__}: {error}"})
        self.close()


def start_of(job: Job, *, out: Path, store: Path | None) -> dict[str, Any]:
    """Return the facts of the event `run`: version, problems, settings and limits, and where results and samples go."""
    limits = {name: value for name, value in asdict(job.limits).items() if value is not None}
    return {
        "version": __version__,
        "problems": len(job.tasks),
        **asdict(job.policy),
        **settings_of(job),
        "limits": limits,
        "out": str(out),
        "store": None if store is None else str(store),
    }


def end_of(summary: Summary) -> dict[str, Any]:
    """Return the facts of the event `end` of a run that did not fail: why it ended, and what was done until then."""
    counts = ("problems", "graded", "correct", "samples_drawn", "samples_generated", "samples_saved", "statuses")
    whole = summary.to_dict()
    usd = summary.cost.usd
    return {
        "reason": "interrupted" if summary.interrupted else summary.ended_by or "done",
        **{name: whole[name] for name in counts},
        "cost_usd": None if usd is None else str(usd),
        "seconds": whole["seconds"],
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _ends_amid_a_line(path: Path) -> bool:
    """Whether a run that was killed left a line without its end."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
