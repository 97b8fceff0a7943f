"""Python's garbage collector, which looks less often while a run goes on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Have the garbage collector look less often: a run holds tens of thousands of objects and leaves few cycles.

    Looking at all of them over and over costs a third of the executor's time.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 100_000), max(before[1], 50), max(before[2], 100))
    try:
        yield
    finally:
        gc.set_threshold(*before)
