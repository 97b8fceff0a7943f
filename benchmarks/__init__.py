"""Measurements of escalade beside a plainer way to the same thing: `python -m benchmarks NAME [--json]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, ours beside a peer's where there is one."""

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    """Peer over ours: how many times as much the peer takes."""
    unit: str
    n: int
    """How many items were worked on."""
