"""Replays: a route run on seeded draws of recorded samples, one sample after the other, by the machine itself.

Monte Carlo, for what has no closed form: rules that heed the order of draws, tiers that share samples. Each draw is a
run as the replay engine makes it, which has one request under way, so that what is settled early is never drawn.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from escalade.cascade.machine import Draw, Machine
from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank
from escalade.evaluation.evaluation import Evaluation
from escalade.evaluation.lots import Floats, Lot
from escalade.job import most_samples
from escalade.routes import Route, executed, parse_route
from escalade.samples.sample import Sample, sample_seed
from escalade.scoring import looked_at

DRAWS = 1000
"""Runs a problem."""


def replay(
    bank: Bank, route: str | Route, policy: Policy | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Evaluation:
    """Return what a route comes to on the problems of a bank, by seeded Monte Carlo.

    Args:
        bank: the recorded samples.
        route: or its routing string.
        policy: the settings of decisions.
        draws: runs a problem.
        seed: of the draws; the same seed, the same numbers.

    Raises:
        RouteError: the string is not understood. TableError: too few samples were recorded.

    Example:
        >>> bank = Bank.of_recording("shipped").subset(range(4))
        >>> found = replay(bank, "mv_entropy_cascade_0.5B_k4_t0.7_1.5B_k3_t0.7", draws=50)
        >>> found.exact, found.draws, found.samples.shape
        (False, 50, (4, 2))
    """
    policy = policy or Policy()
    ran = executed(parse_route(route, bank.pool) if isinstance(route, str) else route, bank.pool).route
    for position, tier in enumerate(ran.tiers):
        bank.check(tier.model, tier.temperature, most_samples(ran, position, policy.max_k))
    n, tiers = len(bank), len(ran.tiers)
    correct, money, prompt, completion = (np.empty((n, draws)) for _ in range(4))
    samples, tier_cost, reached, decided = (np.zeros((n, tiers)) for _ in range(4))
    nothing = np.zeros(n)
    for row in range(n):
        for number, run in enumerate(_runs(bank, row, ran, policy, draws, seed)):
            outcome = run.machine.outcome
            assert outcome is not None
            correct[row, number] = run.right
            prompt[row, number], completion[row, number] = run.prompt, run.completion
            money[row, number] = run.usd
            samples[row] += run.samples
            tier_cost[row] += run.tier_usd
            reached[row, : len(outcome.tiers)] += 1
            if outcome.decided_by is None:
                nothing[row] += 1
            else:
                decided[row, outcome.decided_by] += 1
    correct = np.where(bank.has_gold[:, None], correct, np.nan)
    return Evaluation(
        ran,
        correct.mean(axis=1),
        tier_cost / draws,
        (prompt + completion).mean(axis=1),
        completion.mean(axis=1),
        samples / draws,
        reached / draws,
        decided / draws,
        nothing / draws,
        np.zeros(n, dtype=np.bool_),
        draws,
        _standard_error(correct),
        _standard_error(money),
        bank.scoring(looked_at(ran, policy, bank.pool)),
    )


@dataclass(slots=True)
class Run:
    """One run of the machine on one problem, and what it used."""

    machine: Machine
    samples: list[int]
    """Drawn at each tier; those of an earlier tier that are used again are not among them."""
    tier_usd: list[float]
    """Of the same samples."""
    prompt: float = 0.0
    completion: float = 0.0
    right: bool = False

    @property
    def usd(self) -> float:
        """Of all tiers."""
        return math.fsum(self.tier_usd)


Place = tuple[str, float]
"""A model and a temperature: tiers that have both in common share their samples."""


class Player:
    """Runs one route on one problem of a bank, as often as it is asked to."""

    def __init__(self, bank: Bank, row: int, route: Route, policy: Policy) -> None:
        self.bank, self.route, self.policy = bank, route, policy
        self.problem = bank.problems[row]
        self.places: list[Place] = [(tier.model, tier.temperature) for tier in route.tiers]
        at = int(bank.index[row])
        self.shelves = {place: _shelf(bank.lot(*place), at) for place in dict.fromkeys(self.places)}
        drawable = [sample for shelf in self.shelves.values() for sample in shelf.samples]
        self._alike = bool(bank.names(self.problem, drawable))
        """Whether any two keys are one answer; else nobody need be asked."""
        kind, keys = bank.kind(self.problem), {sample.key for sample in drawable}
        self._right = {key: bank.grader.right(kind, key, self.problem.gold) for key in keys}
        models = bank.pool.models
        self._thresholds = {model.alias: model.threshold for model in models if model.threshold is not None}
        self._accuracies = {model.alias: model.accuracy for model in models if model.accuracy is not None}
        self._costs = bank.pool.relative_costs()

    def play(self, orders: Mapping[Place, Sequence[int]]) -> Run:
        """Return the run that meets the samples of each place in this order."""
        machine = Machine(
            self.route,
            self.policy,
            scores=self.problem.scores,
            thresholds=self._thresholds,
            accuracies=self._accuracies,
            costs=self._costs,
        )
        run = Run(machine, [0] * len(self.places), [0.0] * len(self.places))
        drawn: dict[tuple[Place, int], Sample] = {}
        heard: list[Sample] = []
        wishes: deque[tuple[int, int]] = deque()
        actions = machine.start()
        while machine.outcome is None:
            for action in actions:
                if isinstance(action, Draw):
                    wishes.extend((action.tier, index) for index in action.indexes)
            tier, index = wishes.popleft()
            actions = []
            if machine.wants(tier, index):
                place = self.places[tier]
                if (place, index) not in drawn:
                    first = not any(other == place for other, _ in drawn)
                    drawn[place, index] = self._draw(run, tier, index, orders[place][index], first=first)
                sample = drawn[place, index]
                if self._alike:
                    heard.append(sample)
                    machine.names = self.bank.names(self.problem, heard)
                actions = machine.feed(tier, sample)
        run.right = any(self._right.get(key, False) for key in (machine.outcome.answer, *machine.outcome.equal))
        return run

    def _draw(self, run: Run, tier: int, index: int, which: int, *, first: bool) -> Sample:
        shelf = self.shelves[self.places[tier]]
        run.samples[tier] += 1
        run.prompt += shelf.prompt[which]
        run.completion += shelf.completion[which]
        run.tier_usd[tier] += shelf.usd[which] + (shelf.opening_usd[which] if first else 0.0)
        return replace(shelf.samples[which], index=index)


class _Shelf(NamedTuple):
    """The samples of one problem at one place; lists, which are quicker to read one by one."""

    samples: tuple[Sample, ...]
    prompt: list[float]
    completion: list[float]
    usd: list[float]
    opening_usd: list[float]


def _shelf(lot: Lot, row: int) -> _Shelf:
    numbers = (column[row].tolist() for column in (lot.prompt, lot.completion, lot.usd, lot.opening_usd))
    return _Shelf(lot.samples[row], *numbers)


def _runs(bank: Bank, row: int, route: Route, policy: Policy, draws: int, seed: int) -> Iterator[Run]:
    player = Player(bank, row, route, policy)
    # By problem, model and temperature, as a run's seeds are: all routes, policies and subsets meet the same draws.
    shufflers = {
        place: random.Random(sample_seed(seed, player.problem.id, *place, 0)) for place in dict.fromkeys(player.places)
    }
    orders = {place: list(range(len(shelf.samples))) for place, shelf in player.shelves.items()}
    for _ in range(draws):
        for place, order in orders.items():
            shufflers[place].shuffle(order)
        yield player.play(orders)


def _standard_error(values: Floats) -> Floats:
    draws = values.shape[1]
    if draws < 2:
        return np.full(len(values), np.nan)
    return np.asarray(values.std(axis=1, ddof=1) / np.sqrt(draws))
