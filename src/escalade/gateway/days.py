"""Days: sums over the requests of a day, by their holders."""

from __future__ import annotations

from dataclasses import dataclass, field

from escalade.ledger import Cost


@dataclass(slots=True)
class Day:
    """Sums over the requests of a day."""

    date: str = ""
    requests: int = 0
    cost: Cost = field(default_factory=Cost)
    tokens: int = 0
    samples: int = 0
    statuses: dict[str, int] = field(default_factory=dict)

    def add(self, other: Day) -> None:
        """Add the sums of another."""
        self.requests += other.requests
        self.cost += other.cost
        self.tokens += other.tokens
        self.samples += other.samples
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count


class Days:
    """The last day of each holder.

    Example:
        >>> days = Days()
        >>> days.count("alice", "2026-01-01", "accepted", Cost(), 5, 1)
        >>> days.count("bob", "2026-01-01", "accepted", Cost(), 7, 1)
        >>> days.of("2026-01-01").tokens, days.of("2026-01-01", "bob").tokens, days.of("2026-01-02").tokens
        (12, 7, 0)
    """

    def __init__(self) -> None:
        self._by_holder: dict[str, Day] = {}

    def count(self, holder: str, date: str, status: str, cost: Cost, tokens: int, samples: int) -> None:
        """Count a request of a day; one of a day that is over is passed over."""
        day = self._by_holder.setdefault(holder, Day(date))
        if date > day.date:
            day = self._by_holder[holder] = Day(date)
        if date == day.date:
            day.add(Day(date, 1, cost, tokens, samples, {status: 1}))

    def of(self, date: str, holder: str | None = None) -> Day:
        """Return the sums of a day, of everybody or of one holder."""
        whole = Day(date)
        for name, day in self._by_holder.items():
            if day.date == date and holder in (None, name):
                whole.add(day)
        return whole
