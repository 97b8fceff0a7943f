r"""Equality of answers that keys cannot tell, decided in worker processes that are killed at a time limit.

`e^{i\pi}` and -1, `\log_2 8` and 3: what decides it (see `worker`) may hang, eat memory or crash on a hostile
text, so none of it runs here. Workers are programs of their own, started at first need and kept: no fork
of the caller, no thread, no signal handler, so scripts, notebooks, threads and running event loops may all ask. For
POSIX systems.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

VERSION = 1
"""Number of the rules by which pairs are decided; raised by hand when they change."""
LONGEST = 2000  # characters of a key that a worker is asked about; the message then fits into the pipe whole
_STARTUP = 60.0  # seconds; a worker not ready by then is replaced
_LIBRARIES = ("latex2sympy2_extended", "sympy", "mpmath")
_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from escalade.answers.worker import main
main(int(sys.argv[2]))
"""


class Verdict(StrEnum):
    """What is known of two answers; the last two mean that it could not be told."""

    EQUAL = "equal"
    DIFFERENT = "different"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Workers:
    """A pool of worker processes. Any number of threads may ask it; at most `size` pairs are decided at once.

    Args:
        size: number of processes; as many as processors but at most two, if None.
        seconds: time limit of a pair, counted from when a worker is free for it, start-up included.
        memory: bytes of address space that a worker may use.
        pairs: number of pairs after which a worker is replaced, so that memory stays flat.

    Raises:
        ValueError: a number is not positive.

    >>> with Workers(size=1, seconds=20) as pool:
    ...     pool.check(r"\\sin 30\\degree", "0.5")
    <Verdict.EQUAL: 'equal'>
    """

    def __init__(
        self, size: int | None = None, *, seconds: float = 2.0, memory: int = 1 << 30, pairs: int = 2000
    ) -> None:
        size = min(2, os.cpu_count() or 1) if size is None else size
        for name, value in (("size", size), ("seconds", seconds), ("memory", memory), ("pairs", pairs)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} is {value}; give a positive number")
        self.size = size
        self.seconds = seconds
        self.memory = memory
        self.pairs = pairs
        self._alive: set[_Worker] = set()
        self._reset()
        self._end = weakref.finalize(self, _end_all, self._alive)  # also at the end of the program
        _pools.add(self)

    def check(self, a: str, b: str) -> Verdict:
        """Say whether two canonical keys are one answer; blocks for `seconds` at the most once a worker is free.

        Symmetric. A verdict of TIMEOUT or FAILED (out of memory, crashed, or beyond what is evaluated) leaves it open.

        Raises:
            RuntimeError: the pool is closed.
        """
        if a == b:
            return Verdict.EQUAL
        if max(len(a), len(b)) > LONGEST:
            return Verdict.FAILED
        # One order for both directions makes the relation symmetric whatever the libraries do.
        a, b = sorted((a, b))
        deadline = math.inf
        for _ in range(2):  # a worker may have died before it was asked; the second time it is the pair's doing
            with suppress(OSError, _GoneError):
                worker = self._take()
                deadline = min(deadline, time.monotonic() + self.seconds)
                try:
                    return worker.ask(a, b, deadline)
                except BaseException:  # an interrupt leaves a pair in the pipe
                    worker.over = True
                    raise
                finally:
                    self._give(worker)
        return Verdict.FAILED

    def close(self) -> None:
        """End all processes once the pairs under way are decided. A closed pool cannot be asked again."""
        with self._free:
            self._closed = True
            self._free.notify_all()
            while self._busy:
                self._free.wait()
            self._idle.clear()
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reset(self) -> None:
        self._free = threading.Condition()
        self._closed = False
        self._idle: list[_Worker] = []
        self._busy = 0

    def _take(self) -> _Worker:
        with self._free:
            while not self._closed and self._busy >= self.size:
                self._free.wait()
            if self._closed:
                raise RuntimeError("the pool of workers is closed; make another Workers()")
            # The one used last is the one most surely warm.
            worker = self._idle.pop() if self._idle else self._started()
            self._busy += 1
            return worker

    def _give(self, worker: _Worker) -> None:
        """Take back a worker; one that is used up is replaced at once, so that the next pair finds a warm one."""
        replacement: _Worker | None = worker
        if worker.over or worker.asked >= self.pairs:
            self._alive.discard(worker)
            worker.end()
            replacement = None
            if not self._closed:
                with suppress(OSError):
                    replacement = self._started()
        with self._free:
            self._busy -= 1
            if replacement is not None:
                self._idle.append(replacement)
            self._free.notify_all()

    def _started(self) -> _Worker:
        worker = _Worker(self.memory)
        self._alive.add(worker)
        return worker

    def _forget(self) -> None:
        """Let go of the processes in a forked child: they are its parent's."""
        closed = self._closed
        for worker in self._alive:
            worker.forget()
        self._alive.clear()
        self._reset()
        self._closed = closed


class _GoneError(Exception):
    """A worker ended before it gave a verdict."""


class _Worker:
    """One process and its pipes, used by one thread at a time; `over` when it must be replaced."""

    def __init__(self, memory: int) -> None:
        command = [sys.executable, "-P", "-c", _BOOT, _ROOT, str(memory)]
        # A session of its own keeps Ctrl-C in the caller's terminal from it.
        self.process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.poll = select.poll()
        self.poll.register(self.stdout, select.POLLIN)
        self.begun = time.monotonic()
        self.ready = False
        self.over = False
        self.asked = 0
        self.received = b""

    def ask(self, a: str, b: str, deadline: float) -> Verdict:
        """Have one pair decided; raises _GoneError when the process ends before that."""
        try:
            while (message := self.hear(time.monotonic() if self.ready else deadline)) is not None:
                self.note(message)
            if not self.ready:  # warming up: it is let finish that, or no time limit below it would ever be kept
                self.over = time.monotonic() - self.begun > _STARTUP
                return Verdict.TIMEOUT
            self.asked += 1
            request = [self.asked, max(deadline - time.monotonic(), 0.0), a, b]
            self.stdin.write(json.dumps(request).encode() + b"\n")
            while (message := self.hear(deadline)) is not None:
                if isinstance(message, list) and message[0] == self.asked:
                    self.over = not message[2]
                    return Verdict(message[1])
                self.note(message)
        except (EOFError, BrokenPipeError) as error:
            raise _GoneError from error
        self.over = self.ready
        return Verdict.TIMEOUT

    def hear(self, deadline: float) -> object:
        """Return the next message, None when there is none by then; raises EOFError when the process has ended."""
        while b"\n" not in self.received:
            if not self.poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
                return None
            chunk = os.read(self.stdout.fileno(), 1 << 16)
            if not chunk:
                raise EOFError
            self.received += chunk
        line, self.received = self.received.split(b"\n", 1)
        message: object = json.loads(line)
        return message

    def note(self, message: object) -> None:
        if message in ("ready", "warming"):
            self.ready = message == "ready"

    def end(self) -> None:
        """Kill the process and wait for its end; may be called again."""
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()

    def forget(self) -> None:
        """Close the pipes; the process belongs to another."""
        self.process.returncode = 0
        self.stdin.close()
        self.stdout.close()


def workers() -> Workers:
    """Return the pool that all of this process shares, made at first need and closed at its end."""
    global _shared
    with _sharing:
        if _shared is None:
            _shared = Workers()
        return _shared


def version() -> dict[str, str]:
    """Return the names and versions of what decides pairs, the rules here included; imports none of it.

    >>> sorted(version())
    ['latex2sympy2_extended', 'mpmath', 'rules', 'sympy']
    """
    found = {"rules": str(VERSION)}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "absent"
    return found


def _end_all(alive: set[_Worker]) -> None:
    while alive:
        alive.pop().end()


def _after_fork() -> None:
    global _sharing
    _sharing = threading.Lock()
    for pool in list(_pools):
        pool._forget()


_pools: weakref.WeakSet[Workers] = weakref.WeakSet()
_shared: Workers | None = None
_sharing = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)
