"""Points: what policies come to on recorded problems, problem by problem: routes, and strategies that choose routes.

A strategy is a policy like any other: each of the routes that it chooses is evaluated on the problems it is chosen for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank, Floats, Ints
from escalade.evaluation.evaluation import Evaluation
from escalade.evaluation.exact import evaluate, thresholds_of
from escalade.routes import Kind, Route, Tier, executed, parse_route
from escalade.scores import Scores
from escalade.scoring import looked_at
from escalade.statistics.metrics import pass_at_k
from escalade.strategies import Strategy
from escalade.strategies.ladder import said_of

RUNS = 12_000
"""Runs of the machine, over all problems, where a route has no closed form."""


@dataclass(frozen=True, slots=True)
class PointTier:
    """What one tier does in a policy, on average over problems and draws."""

    model: str
    k: int
    temperature: float
    reached: float
    """Share of the problems that come to it."""
    decided: float
    """Share of the problems that it decides."""
    samples: float
    """Drawn, a problem of all problems."""
    cost_usd: float
    """USD, a problem of all problems; NaN is unknown. Tiers, and what scores cost, sum to the policy."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPoint:
    """What a policy comes to on N problems, in expectation over all draws of the recorded samples."""

    name: str
    kind: str
    """route, strategy or reference."""
    route: str | None
    """Its routing string; None where problems have different ones."""
    target: float | None
    """The target confidence; None where it plays no part."""
    correct: Floats
    """[N] P(the answer is right)."""
    cost: Floats
    """[N] USD; NaN is unknown."""
    tokens: Floats
    """[N]"""
    samples: Floats
    """[N]"""
    escalated: float
    """Share of the problems that go beyond their first tier."""
    tiers: tuple[PointTier, ...]
    pass_at_k: float
    """Mean over problems of pass@k of the tier that decides, its k; NaN where that has no value."""
    majority_at_k: float
    """The same of the vote of k of the tier that decides."""
    exact: bool = True
    correct_error: float = 0.0
    """Monte Carlo standard error of the accuracy."""
    cost_error: float = 0.0
    """Monte Carlo standard error of the mean cost, USD."""
    in_sample: bool = False
    """Whether it was chosen on the very problems it is evaluated on."""
    paired: bool = True
    """Whether its arrays are of these problems one by one, so that it can be compared with others in pairs."""
    candidate: bool = True
    """Whether one could choose it: not so the oracle, and a mix is no point but a line between two."""
    scoring_usd: float = 0.0
    """USD a problem for scores, which with the tiers make the cost; NaN is unknown."""

    @property
    def accuracy(self) -> float:
        """Mean P(right)."""
        return float(self.correct.mean())

    @property
    def cost_usd(self) -> float:
        """Mean cost a problem, USD."""
        return float(self.cost.mean())

    def same(self, other: PolicyPoint) -> bool:
        """Return whether the other comes to the same on every problem: then the two are one, whatever their names.

        Samples count as well: where costs are unknown, all of them are alike.
        """
        return all(
            np.array_equal(mine, theirs, equal_nan=True)
            for mine, theirs in (
                (self.correct, other.correct),
                (self.cost, other.cost),
                (self.samples, other.samples),
            )
        )


class Chosen(NamedTuple):
    """What a strategy chooses for the problems of a panel."""

    routes: list[Route]
    scored: tuple[str, ...]
    """The models whose scores it looked at."""


@dataclass(frozen=True, eq=False)
class Panel:
    """A bank and the settings of decisions, on which policies are made points; nothing is worked out twice."""

    bank: Bank
    policy: Policy
    """Its target is that of policies for which none is given."""
    draws: int | None = None
    """Runs a problem, where a route has no closed form; None divides `RUNS` among the problems, at least 20 each."""
    seed: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    """What strategies did otherwise than they say, each once."""
    _known: dict[tuple[Route, float, bytes | None], Evaluation] = field(default_factory=dict)

    def evaluation(self, route: Route, target: float | None = None, rows: Ints | None = None) -> Evaluation:
        """Return what a route comes to, on all problems or on some of them, by their places."""
        ran = executed(route, self.bank.pool).route
        policy = self.policy
        if target is not None and self.heeds_target(ran):
            policy = replace(policy, target=target)
        if len(ran.tiers) == 1 and ran.tiers[0].k == 1:  # nothing to stop, nothing to be sure of
            policy = self.closed().policy
        key = (ran, policy.target, None if rows is None else rows.tobytes())
        if key not in self._known:
            bank = self.bank if rows is None else self.bank.subset(rows)
            draws = max(20, RUNS // len(self.bank)) if self.draws is None else self.draws
            self._known[key] = evaluate(bank, ran, policy, draws=draws, seed=self.seed)
        return self._known[key]

    def closed(self) -> Panel:
        """Return the panel for a grid of routes: by share, with an exact stop rule, so that none is simulated."""
        rule = self.policy.stop_rule.name
        stop = self.policy.stop if rule in ("verdict", "exact", "none") else "verdict"
        policy = replace(self.policy, confidence="share", calibration=None, aggregate="last", stop=stop)
        return self if policy == self.policy else Panel(self.bank, policy, self.draws, self.seed)

    def heeds_target(self, route: Route) -> bool:
        """Return whether the target confidence can play a part in a route.

        Example:
            >>> panel = Panel(Bank.of_recording("shipped"), Policy())
            >>> both = ["mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", "mv_cascade_0.5B_k5_t0.7_c0.8_1.5B_k3_t0.7"]
            >>> [panel.heeds_target(parse_route(route, panel.bank.pool)) for route in both]
            [True, False]
        """
        ran = executed(route, self.bank.pool).route
        low, high = (thresholds_of(ran, replace(self.policy, target=t), self.bank.pool) for t in (0.0, 1.0))
        by_votes = ran.kind is Kind.ENTROPY_CASCADE
        return any(
            a != b and not (by_votes and tier.k > 1)
            for a, b, tier in zip(low[:-1], high[:-1], ran.tiers[:-1], strict=True)
        )

    def of_route(
        self,
        route: str | Route,
        *,
        target: float | None = None,
        name: str | None = None,
        kind: str = "route",
        in_sample: bool = False,
    ) -> PolicyPoint:
        """Return the point of a route.

        Raises:
            RouteError: the routing string is not understood. TableError: too few samples were recorded.
        """
        parsed = parse_route(route, self.bank.pool) if isinstance(route, str) else route
        used = target if self.heeds_target(parsed) else None
        found = self.evaluation(parsed, target)
        return self._point(
            name or short_name(parsed, self.bank),
            kind,
            str(parsed),
            used,
            [(np.arange(len(self.bank)), found)],
            in_sample,
        )

    def of_strategy(self, strategy: Strategy, target: float) -> PolicyPoint:
        """Return the point of a strategy.

        Raises:
            StrategyError: scores it needs are not there. RouteError: a route of it is none of this pool. TableError:
                too few samples were recorded.
        """
        routes, scored = self.choice_of(strategy, target)
        texts = np.array([str(route) for route in routes], dtype=object)
        parts: list[tuple[Ints, Evaluation]] = []
        heeds = False
        for text in dict.fromkeys(texts):
            rows = np.flatnonzero(texts == text)
            route = routes[int(rows[0])]
            heeds = heeds or self.heeds_target(route)
            parts.append((rows, self.evaluation(route, target, rows)))
        only = str(texts[0]) if len(parts) == 1 else None
        fixed = not heeds and all(
            [str(r) for r in self.routes_of(strategy, t)] == texts.tolist() for t in (0.0, 0.5, 1.0)
        )
        return self._point(strategy.name, "strategy", only, None if fixed else target, parts, False, scored)

    def routes_of(self, strategy: Strategy, target: float) -> list[Route]:
        """Return the route of each problem."""
        return self.choice_of(strategy, target).routes

    def choice_of(self, strategy: Strategy, target: float) -> Chosen:
        """Return the route of each problem, and the models whose scores were looked at for it."""
        texts, notes, scored = strategy.choose(self.scores, target=target, pool=self.bank.pool, seed=self.seed)
        rungs = strategy.rungs(self.bank.pool)
        self.notes.update(dict.fromkeys([*([said_of(rungs, self.bank.pool)] if rungs else []), *notes]))
        parsed = {text: parse_route(text, self.bank.pool) for text in dict.fromkeys(texts)}
        return Chosen([parsed[text] for text in texts], scored)

    @cached_property
    def scores(self) -> Scores:
        """The scores of the models that every problem has."""
        columns: dict[str, Floats] = {}
        for alias in self.bank.pool.aliases:
            values = self.bank.scores(alias)
            if not np.isnan(values).any():
                columns[alias] = values
        return Scores(columns, [problem.id for problem in self.bank.problems], refused=self.bank.refused)

    def _point(
        self,
        name: str,
        kind: str,
        route: str | None,
        target: float | None,
        parts: Sequence[tuple[Ints, Evaluation]],
        in_sample: bool,
        scored: Sequence[str] = (),
    ) -> PolicyPoint:
        n = len(self.bank)
        correct, cost, tokens, samples, beyond, scoring = (np.zeros(n) for _ in range(6))
        shown = np.empty(n), np.empty(n)
        errors = np.zeros(n), np.zeros(n)
        tiers: dict[tuple[int, Tier], PointTier] = {}
        for rows, found in parts:
            # Sums of probabilities may pass 1 by rounding.
            bank = self.bank.subset(rows)
            own = bank.scoring((*scored, *looked_at(found.route, self.policy, bank.pool)))
            scoring[rows] = 0.0 if own is None else own
            correct[rows], tokens[rows] = found.correct.clip(0.0, 1.0), found.tokens
            cost[rows] = found.tier_cost.sum(axis=1) + scoring[rows]
            samples[rows] = found.samples.sum(axis=1)
            beyond[rows] = found.reached[:, 1] if found.reached.shape[1] > 1 else 0.0
            for values, of_tier in zip(shown, self._shown(found, rows), strict=True):
                values[rows] = of_tier
            for values, error in zip(errors, (found.correct_error, found.cost_error), strict=True):
                values[rows] = 0.0 if error is None else error
            for position, tier in enumerate(found.route.tiers):
                before = tiers.get((position, tier), PointTier(tier.model, tier.k, tier.temperature, 0, 0, 0, 0))
                tiers[position, tier] = replace(
                    before,
                    reached=before.reached + float(found.reached[:, position].sum()) / n,
                    decided=before.decided + float(found.decided[:, position].sum()) / n,
                    samples=before.samples + float(found.samples[:, position].sum()) / n,
                    cost_usd=before.cost_usd + float(found.tier_cost[:, position].sum()) / n,
                )
        return PolicyPoint(
            name,
            kind,
            route,
            target,
            correct,
            cost,
            tokens,
            samples,
            float(beyond.mean()),
            tuple(tiers[key] for key in sorted(tiers, key=lambda key: key[0])),
            float(shown[0].mean()),
            float(shown[1].mean()),
            all(found.exact for _, found in parts),
            correct_error=float(np.sqrt((errors[0] ** 2).sum()) / n),
            cost_error=float(np.sqrt((errors[1] ** 2).sum()) / n),
            in_sample=in_sample,
            scoring_usd=float(scoring.mean()),
        )

    def _shown(self, found: Evaluation, rows: Ints) -> tuple[Floats, Floats]:
        """[N] pass@k and majority@k of the tier that decides, each in expectation over who does."""
        passed, voted = np.zeros(len(rows)), np.zeros(len(rows))
        weights = found.decided.copy()
        weights[weights.sum(axis=1) == 0, -1] = 1.0  # where nobody ever has an answer, the last tier has the last word
        weights /= weights.sum(axis=1, keepdims=True)
        index, closed = self.bank.index[rows], self.closed().policy
        for tier, weight in zip(found.route.tiers, weights.T, strict=True):
            lot = self.bank.lot(tier.model, tier.temperature)
            right = lot.right[index].sum(axis=1)
            of = np.array([pass_at_k(int(n), int(c), tier.k) for n, c in zip(lot.n[index], right, strict=True)])
            vote = evaluate(self.bank.subset(rows), Route(Kind.VOTE, (replace(tier, threshold=None),)), closed)
            passed += np.where(weight > 0, weight * of, 0.0)
            voted += np.where(weight > 0, weight * vote.correct, 0.0)
        return passed, voted


def short_name(route: Route, bank: Bank) -> str:
    """Return a name for a route that people read: models with their k; temperatures where a model has several.

    Example:
        >>> bank = Bank.of_recording("shipped")
        >>> for text in ("1.5B", "mv_0.5B_k8_t0.7", "mv_entropy_cascade_0.5B_k4_t0.7_c0.75_1.5B_k1_t0.0"):
        ...     print(short_name(parse_route(text, bank.pool), bank))
        1.5B
        vote 0.5B k8
        entropy 0.5B k4 c0.75 > 1.5B
    """
    if route.kind is Kind.GREEDY:
        return route.tiers[0].model
    words: list[str] = []
    for tier in route.tiers:
        said = tier.model if tier.k == 1 else f"{tier.model} k{tier.k}"
        if (tier.k == 1) == (tier.temperature > 0) or _temperatures(bank, tier.model) > 1:
            said += f" t{tier.temperature:g}"
        if tier.threshold is not None:
            said += f" c{tier.threshold:g}"
        words.append(said)
    rule = {Kind.GREEDY: "", Kind.VOTE: "vote ", Kind.CASCADE: "", Kind.ENTROPY_CASCADE: "entropy "}[route.kind]
    if route.kind is Kind.VOTE and route.tiers[0].k == 1:
        rule = "one "
    return rule + " > ".join(words)


def _temperatures(bank: Bank, alias: str) -> int:
    """How many temperatures above 0 were recorded of a model."""

    def counted() -> int:
        names = (alias, bank.pool[alias].name)
        return len({t for (_, name), rows in bank.rows.items() if name in names for t in rows.temperatures if t})

    return bank.remembered(("temperatures", alias), counted)
