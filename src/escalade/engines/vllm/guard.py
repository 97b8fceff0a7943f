"""Guard: a small process that ends vLLM's processes when this one is killed, so that no GPU stays taken.

vLLM's own processes do not notice that. The guard waits on a pipe: a word on it means that all went well, its end
without a word that whoever held it is gone. This file is also what the guard runs, so it imports little.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

GRACE = 20.0
"""Seconds to end by oneself after SIGTERM."""


class Guard:
    """Watches over processes, by id, from now until it is released."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", __file__, *map(str, processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not meant for it
        )

    def release(self) -> None:
        """Say that the processes have ended; their ids may belong to others from now on."""
        try:
            self._guard.communicate(b"released", timeout=GRACE)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.communicate()


def end(processes: Sequence[int], grace: float = GRACE) -> None:
    """End processes by id: asked first, then forced."""
    left = [process for process in processes if _sent(process, signal.SIGTERM)]
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [process for process in left if _sent(process, 0)]
    for process in left:
        _sent(process, signal.SIGKILL)


def _sent(process: int, what: int) -> bool:
    try:
        os.kill(process, what)
    except OSError:
        return False
    return True


if __name__ == "__main__" and not sys.stdin.buffer.read():
    end([int(process) for process in sys.argv[1:]])
