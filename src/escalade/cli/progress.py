"""Progress: what a run is doing now, tier by tier and model by model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from escalade.cascade.outcome import Decision
from escalade.climb import Answered
from escalade.counters import Counters
from escalade.pool import Pool

WINDOW = 30
"""Seconds over which the speed of a model is taken."""


@dataclass(slots=True)
class _TierNow:
    done: int = 0
    accepted: int = 0


class Rate:
    """Tokens a second over the last seconds, or over those since the first where they are fewer.

    Example:
        >>> clock = iter([0.0, 1.0, 2.0]).__next__
        >>> rate = Rate(clock)
        >>> rate.add(30), rate.add(10), rate.value
        (None, None, 20.0)
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None
        self._seconds: deque[tuple[int, int]] = deque(maxlen=WINDOW + 1)
        """Tokens of each whole second."""

    def add(self, tokens: int) -> None:
        """Enter tokens that have just come."""
        moment = self._now()
        if self._first is None:
            self._first = moment
        before = self._seconds.pop() if self._seconds and self._seconds[-1][0] == int(moment) else (int(moment), 0)
        self._seconds.append((before[0], before[1] + tokens))

    @property
    def value(self) -> float:
        """Tokens a second; 0 before the first."""
        if self._first is None:
            return 0.0
        moment = self._now()
        recent = sum(tokens for second, tokens in self._seconds if second > moment - WINDOW)
        return recent / min(max(moment - self._first, 1.0), WINDOW)


class Tiers:
    """What each tier and model of a run is doing, from its events and answered problems."""

    def __init__(self, pool: Pool) -> None:
        self._order = pool.aliases
        self._now: dict[tuple[int, str], _TierNow] = {}
        self._rates: dict[str, Rate] = {}
        self._warned: set[tuple[str, str]] = set()

    def answered(self, item: Answered) -> None:
        """Take a problem that is done."""
        for position, trace in enumerate(item.outcome.tiers):
            now = self._now.setdefault((position, trace.tier.model), _TierNow())
            now.done += 1
            now.accepted += bool(trace.looks) and trace.looks[-1].decision in (Decision.ACCEPT, Decision.ANSWER)

    def event(self, name: str, facts: Mapping[str, Any]) -> str | None:
        """Take an event; return a warning where it calls for one that has not been given yet."""
        alias = facts.get("model")
        if alias is None:
            return None
        if name == "sent":
            self._rates.setdefault(alias, Rate())
            self._now.setdefault((facts["tier"], alias), _TierNow())
        elif name in ("sample", "cancelled", "failed"):
            self._rates.setdefault(alias, Rate()).add(facts.get("tokens") or 0)
        elif name in ("left_alone", "given_up") and (name, alias) not in self._warned:
            self._warned.add((name, alias))
            if name == "given_up":
                return f"{facts['message']}: its engine is given up for this run"
            return f"{alias}: its engine fails at every request, and is left alone for a while before it is tried again"
        return None

    def table(self, counters: Counters, *, speed: bool) -> Table:
        """Return a line for each tier: of its model what waits, what is under way, how fast; of itself what it accepts.

        A model of several tiers has one queue, shown at the first of them.
        """
        table = Table(box=None, show_header=False, pad_edge=False, style="dim")
        seen: set[str] = set()
        for (position, alias), now in sorted(self._now.items(), key=lambda pair: self._place(pair[0])):
            cells = ["", "", ""]
            if alias not in seen:
                seen.add(alias)
                cells[:2] = [f"{counters.waiting.get(alias, 0)} waiting", self._under_way(alias, counters)]
                if speed:
                    cells[2] = f"{self._rates[alias].value:.0f} tokens/s" if alias in self._rates else ""
            share = f"accepts {now.accepted / now.done:.0%} of {now.done}" if now.done else ""
            table.add_row(f"tier {position + 1}", escape(alias), *cells, share)
        return table

    def _place(self, tier: tuple[int, str]) -> tuple[int, int]:
        return tier[0], self._order.index(tier[1])

    def _under_way(self, alias: str, counters: Counters) -> str:
        allowed = counters.allowed.get(alias)
        return f"{counters.running.get(alias, 0)}{'' if allowed is None else f' of {allowed}'} under way"
