"""Where a run stands: what the executor counts while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from escalade import ledger


@dataclass(slots=True)
class Counters:
    """Where a run stands; read it at any time."""

    problems: int = 0
    done: int = 0
    fresh: int = 0
    stored: int = 0
    tokens: int = 0
    """Completion tokens generated in this run."""
    cost: ledger.Cost = field(default_factory=ledger.Cost)
    waiting: dict[str, int] = field(default_factory=dict)
    """Requests not yet sent, by model alias."""
    running: dict[str, int] = field(default_factory=dict)
    """Requests under way, by model alias."""
    allowed: dict[str, int] = field(default_factory=dict)
    """How many may be, by model alias, as their engines keep up."""

    def of_lane(self, alias: str, waiting: int, running: int, allowed: int) -> None:
        """Note how one model's lane stands."""
        self.waiting[alias], self.running[alias], self.allowed[alias] = waiting, running, allowed
