"""The fault suite has a short form, in every run of the tests, and a full one: `make test-faults`."""

import os
from collections.abc import Callable

import pytest

Size = Callable[[int, int], int]


@pytest.fixture(scope="session")
def size() -> Size:
    """How much of something: the first number in the short form, the second in the full one."""
    full = os.environ.get("ESCALADE_FAULTS", "") == "full"
    return lambda short, whole: whole if full else short
