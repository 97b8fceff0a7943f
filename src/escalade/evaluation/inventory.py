"""The inventory of a bank: of which model how many samples at which temperature every problem has, and what one costs.

It decides which routes can be evaluated at all; it evaluates none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from escalade.evaluation.bank import Bank
from escalade.routes import Kind, Route, Tier

UNSTATED = 0.7
"""How a temperature is written in routes that no sample of the recording states."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The recorded samples of one model at one temperature."""

    alias: str
    temperature: float
    """As routes write it."""
    least: int
    """Samples that every problem has."""
    most: int
    """Samples of the problem that has the most."""
    problems: int
    """Problems that have any."""
    stated: bool
    """Whether all these samples state their temperature; one that states none counts at every temperature."""
    cost: float
    """Mean cost of one sample, its prompt included, USD; NaN is unknown."""

    @property
    def greedy(self) -> bool:
        """Whether one sample is known to be a greedy one."""
        return self.temperature == 0 and self.stated

    def vote(self, k: int) -> Route:
        """Return the vote of k samples of it."""
        return Route(Kind.VOTE, (Tier(self.alias, k, self.temperature),))


def inventory(bank: Bank) -> tuple[Shelf, ...]:
    """Return the shelves of a bank: models in the order of the pool, temperatures rising.

    Example:
        >>> for shelf in inventory(Bank.of_recording("shipped"))[-2:]:
        ...     print(shelf.alias, shelf.temperature, shelf.least, shelf.stated)
        1.5B 0.0 1 True
        1.5B 0.7 8 True
    """
    ids = {problem.id for problem in bank.problems}
    found: dict[str, Counter[float | None]] = {}
    for (problem, recorded), rows in bank.rows.items():
        if problem in ids:
            found.setdefault(recorded, Counter()).update(rows.temperatures)
    written = Counter(t for of_model in found.values() for t in of_model.elements() if t)
    usual = written.most_common(1)[0][0] if written else UNSTATED
    shelves: list[Shelf] = []
    for model in bank.pool.models:
        counted = next((found[name] for name in (model.alias, model.name) if name in found), None)
        if counted is None:
            continue
        for temperature in sorted(t for t in counted if t is not None) or [usual]:
            n = bank.counts(model.alias, temperature)
            shelves.append(
                Shelf(
                    model.alias,
                    temperature,
                    int(n.min()),
                    int(n.max()),
                    int((n > 0).sum()),
                    None not in counted,
                    _cost(bank, model.alias, temperature),
                )
            )
    return tuple(shelves)


def by_cost(bank: Bank, shelves: Sequence[Shelf]) -> list[str]:
    """Return the models of shelves, the cheapest first: by the mean cost of a sample, else as the pool ranks them.

    Where neither says it, they keep the order of the pool.

    Example:
        >>> bank = Bank.of_recording("shipped")
        >>> by_cost(bank, inventory(bank))
        ['135M', '0.5B', '1.5B']
    """
    aliases = list(dict.fromkeys(shelf.alias for shelf in shelves))
    costs = {a: float(np.mean([shelf.cost for shelf in shelves if shelf.alias == a])) for a in aliases}
    if any(np.isnan(cost) for cost in costs.values()):
        costs = bank.pool.relative_costs()
    return sorted(aliases, key=lambda alias: costs.get(alias, 0.0))


def _cost(bank: Bank, alias: str, temperature: float) -> float:
    lot = bank.lot(alias, temperature)
    there = np.arange(lot.usd.shape[1]) < lot.n[:, None]
    there[np.setdiff1d(np.arange(len(lot.n)), bank.index)] = False
    return float((lot.usd + lot.opening_usd)[there].mean()) if there.any() else float("nan")
