"""Drives a machine from lists of samples, one a tier, in any order of arrival. No engine, no clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from escalade.cascade.machine import Action, Cancel, Draw, Machine
from escalade.cascade.outcome import Outcome
from escalade.cascade.policy import Policy
from escalade.pool import Pool
from escalade.routes import Route, parse_route
from escalade.samples.sample import Sample
from escalade.testing import pool_of, votes

POOL = pool_of("S", "M", "L")
Place = tuple[int, int]
"""A sample's tier and index."""
Order = Callable[[list[Place]], Place]
"""Which of the samples under way arrives next."""


def launch(places: list[Place]) -> Place:
    return min(places)


def backwards(places: list[Place]) -> Place:
    return max(places)


def shuffled(seed: int) -> Order:
    return random.Random(seed).choice


@dataclass
class Run:
    """What came of a machine."""

    machine: Machine
    actions: list[Action] = field(default_factory=list)
    arrived: list[Place] = field(default_factory=list)
    cancelled: set[Place] = field(default_factory=set)

    @property
    def outcome(self) -> Outcome:
        assert self.machine.outcome is not None
        return self.machine.outcome

    @property
    def drawn(self) -> list[int]:
        return [tier.drawn for tier in self.outcome.tiers]

    @property
    def decisions(self) -> list[list[str]]:
        return [[look.decision.value for look in tier.looks] for tier in self.outcome.tiers]


def machine_of(
    route: str | Route, policy: Policy | None = None, *, pool: Pool = POOL, **evidence: Mapping[str, float]
) -> Machine:
    return Machine(parse_route(route, pool) if isinstance(route, str) else route, policy or Policy(), **evidence)


def drive(
    machine: Machine,
    tiers: Sequence[Sequence[Sample]],
    order: Order = launch,
    between: Callable[[Machine], list[Action]] = lambda machine: [],
) -> Run:
    """Feed what the machine wants, and what it wanted once: a cancelled sample may still arrive, and is late.

    `between` is asked for further actions before each sample.
    """
    run = Run(machine)
    under_way: dict[Place, None] = {}

    def carry_out(actions: list[Action]) -> None:
        run.actions += actions
        for action in actions:
            if isinstance(action, Draw):
                for index in action.indexes:
                    under_way[action.tier, index] = None
            else:
                assert isinstance(action, Cancel) and action.indexes
                run.cancelled |= {(action.tier, index) for index in action.indexes}

    carry_out(machine.start())
    while machine.outcome is None:
        carry_out(between(machine))
        assert under_way, "the machine has no outcome and waits for nothing"
        place = order(list(under_way))
        del under_way[place]
        run.arrived.append(place)
        carry_out(machine.feed(place[0], tiers[place[0]][place[1]]))
    for tier, index in under_way:  # what comes after the end changes nothing
        before = machine.outcome
        assert machine.feed(tier, tiers[tier][index]) == [] and machine.outcome is before
    return run


def run(
    route: str | Route,
    *tiers: Sequence[str | None] | Sequence[Sample],
    policy: Policy | None = None,
    order: Order = launch,
    pool: Pool = POOL,
    **evidence: Mapping[str, float],
) -> Run:
    """Drive a route with these answers (or samples), a list for each tier."""
    rows = [[s for s in row if isinstance(s, Sample)] or votes(*row) for row in tiers]  # type: ignore[arg-type]
    return drive(machine_of(route, policy, pool=pool, **evidence), rows, order)
