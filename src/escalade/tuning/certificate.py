"""Certificates: the cheapest policy that is shown to lose at most so much accuracy to a reference, or that none is.

Problems are split by groups of near-duplicates. On the planning part (60 %) a path is laid through the candidates,
from the safest to the cheapest: those that no other one beats in both mean cost and loss + one standard error. On the
certifying part (40 %), which had no say in the path, its policies are tested one after the other (Learn then Test,
fixed sequence, arXiv 2110.01052); the last one before the first failure is certified:

    P(its expected loss to the reference > max_loss) <= 1 - level        over the draw of the certifying problems

From 300 certifying labels on the loss is the net one, reference less policy, in expectation over all draws, and the
test bets (arXiv 2010.09686). With fewer it is the regret of one seeded draw a problem, 1 where the reference is right
and the policy wrong, and the test is the exact binomial one; net loss is at most regret, so that the promise is the
same. Which of the two is settled by the number of labels, before any of them is looked at. The reference and the
policies meet the same draws, as runs that share a store do. One problem of each group counts: near-duplicates are one.

The cost certificate is conformal: P(the next problem costs more than B) <= alpha. As the policy was chosen on the same
problems, B is that of the dearest policy of the path on each problem, which holds whichever was chosen.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from escalade.errors import SettingError
from escalade.evaluation.bank import Bank, Floats, Ints
from escalade.evaluation.replays import Player
from escalade.routes import Route, executed
from escalade.samples.sample import sample_seed
from escalade.statistics.guarantees import Certified, cost_quantile, labels_needed, learn_then_test
from escalade.tuning.candidate import scoring_of
from escalade.tuning.candidates import Candidate, Trials
from escalade.tuning.splits import parts_of
from escalade.tuning.tuning import Numbers, numbers
from escalade.wording import counted

Kind = Literal["net loss, betting", "regret, binomial"]
PLANNING = 0.6
"""Share of the groups that the path is laid on."""
BETTING_FROM = 300
"""Certifying labels from which expected net losses are bet on."""
LONGEST = 8
"""Policies of a path."""


class CostBound(NamedTuple):
    """P(the next problem costs more than `budget` USD) <= alpha; infinite where there are too few labels."""

    budget: float
    alpha: float


@dataclass(frozen=True)
class Certification:
    """What the certifying problems say of a path."""

    reference: Candidate
    path: tuple[Candidate, ...]
    """From the safest to the cheapest."""
    kind: Kind
    max_loss: float
    level: float
    p_values: tuple[float, ...]
    losses: tuple[float, ...]
    """Mean loss of each on the certifying labels."""
    place: int | None
    """Of the certified policy in the path; None where not even the safest passed."""
    bound: float
    """Upper bound of its loss, at the same level and by the same test; NaN where there is none."""
    labels: int
    planning: int
    needed: int | None
    """Labels, over all parts, that the safest of the path would take if it went on to lose as it did in planning;
    None where no number would do."""
    cost: CostBound
    numbers: Numbers | None
    """Of the certified policy on the certifying labels."""
    reference_numbers: Numbers
    seed: int

    @property
    def chosen(self) -> Candidate | None:
        """The certified policy."""
        return None if self.place is None else self.path[self.place]


class Verdict(NamedTuple):
    """What other problems say of one policy: all of them test it, as it was not chosen on any of them."""

    holds: bool
    kind: Kind
    p_value: float
    loss: float
    bound: float
    labels: int
    over_budget: float
    """Share of the problems that cost more than the budget; NaN without one, and where a cost is unknown."""


def certify(
    bank: Bank,
    trials: Trials,
    reference: Route,
    max_loss: float,
    *,
    level: float = 0.9,
    alpha: float = 0.1,
    groups: Sequence[Any] | None = None,
    seen: Sequence[bool] | None = None,
    seed: int = 0,
) -> Certification:
    """Return the cheapest policy that is certified to lose at most `max_loss` to a reference.

    Args:
        bank: the recorded samples of N problems.
        trials: what the candidates come to on them, the reference among them.
        reference: what the loss is counted against.
        max_loss: accuracy that may be lost, as 0.02.
        level: confidence of the promise.
        alpha: of the cost certificate.
        groups: [N] near-duplicates; None: each problem by itself.
        seen: [N] problems that a calibration was fitted on: they may plan, and may not certify.
        seed: of split and draws. It belongs to the promise: trying several voids it.

    Raises:
        SettingError: a number is out of range, or there are too few problems for two parts.

    Example:
        >>> from escalade.tuning.candidates import try_all
        >>> bank = Bank.of_recording("shipped")
        >>> trials = try_all(bank)
        >>> top = next(c.route for c in trials.candidates if str(c.route) == "mv_1.5B_k1_t0.7")
        >>> found = certify(bank, trials, top, 0.02)
        >>> found.chosen, found.labels, found.kind
        (None, 24, 'regret, binomial')
    """
    for name, value in (("max_loss", max_loss), ("level", level), ("alpha", alpha)):
        if not 0 < value < 1:
            raise SettingError(f"{name} is {value!r}: give a number in (0, 1)")
    known = list(range(len(bank))) if groups is None else list(groups)
    planning, certifying = _parts(known, seen, seed)
    against = trials.place(reference)
    path = _path(trials.of(planning), against)
    if not path:
        raise SettingError(
            f"no candidate is cheaper than the reference {reference}: there is nothing to certify; name a dearer one"
        )
    kind: Kind = "net loss, betting" if len(certifying) >= BETTING_FROM else "regret, binomial"
    policies = [trials.candidates[place] for place in (against, *path)]
    on = trials.of(certifying)
    drawn = realised(bank, certifying, policies, seed)
    losses = _losses(kind, on.correct[[against, *path]], drawn)
    tested = _tested(kind, losses, max_loss, level, seed)
    chosen = None if tested.chosen is None else path[tested.chosen]
    return Certification(
        policies[0],
        tuple(policies[1:]),
        kind,
        max_loss,
        level,
        tuple(tested.p_values.tolist()),
        tuple(tested.risks.tolist()),
        tested.chosen,
        tested.bound,
        len(certifying),
        len(planning),
        _needed(trials.correct[against, planning], trials.correct[path[0], planning], max_loss, level),
        CostBound(cost_quantile(drawn.usd[1:].max(axis=0), alpha), alpha),
        None if chosen is None else numbers(on.correct[chosen], on.cost[chosen], None),
        numbers(on.correct[against], on.cost[against], None),
        seed,
    )


def examine(
    bank: Bank,
    trials: Trials,
    place: int,
    reference: int,
    max_loss: float,
    *,
    level: float = 0.9,
    budget: float | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> Verdict:
    """Return whether one policy, chosen elsewhere, is shown on these problems to lose at most `max_loss`.

    Args:
        bank: problems that had no say in the choice.
        trials: what policy and reference come to on them.
        place, reference: which of the trials they are.
        max_loss, level, groups, seed: see `certify`.
        budget: of a cost certificate, whose overruns are counted.

    Example:
        >>> from escalade.tuning.candidates import try_all
        >>> bank = Bank.of_recording("shipped")
        >>> trials = try_all(bank)
        >>> examine(bank, trials, 0, 0, 0.05).p_value < 0.1
        True
    """
    rows = _one_a_group(list(range(len(bank))) if groups is None else list(groups), np.arange(len(bank)), seed)
    kind: Kind = "net loss, betting" if len(rows) >= BETTING_FROM else "regret, binomial"
    drawn = realised(bank, rows, [trials.candidates[reference], trials.candidates[place]], seed)
    losses = _losses(kind, trials.of(rows).correct[[reference, place]], drawn)
    tested = _tested(kind, losses, max_loss, level, seed)
    known = budget is not None and not np.isnan(drawn.usd[1]).any()
    over = float((drawn.usd[1] > budget).mean()) if known else float("nan")
    p_value, loss = float(tested.p_values[0]), float(tested.risks[0])
    return Verdict(tested.chosen is not None, kind, p_value, loss, tested.bound, len(rows), over)


class Realised(NamedTuple):
    """What each of M policies came to in one seeded draw of each of n problems."""

    right: Floats
    """[M, n] 0 or 1."""
    usd: Floats
    """[M, n] With what the scores cost that they decide by."""


def realised(bank: Bank, rows: Ints, policies: Sequence[Candidate], seed: int) -> Realised:
    """Return one seeded draw of each problem: all policies meet the samples of a tier in the same order.

    A problem that is there twice is drawn twice.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> from escalade.routes import parse_route
        >>> bank = Bank.of_recording("shipped")
        >>> policy = Candidate(parse_route("mv_1.5B_k3_t0.7", bank.pool), Policy())
        >>> realised(bank, np.arange(5), [policy, policy], seed=0).right.shape
        (2, 5)
    """
    right, usd = np.empty((len(policies), len(rows))), np.empty((len(policies), len(rows)))
    routes = [[executed(route, bank.pool).route for route in each.routes] for each in policies]
    places = list(dict.fromkeys((t.model, t.temperature) for own in routes for route in own for t in route.tiers))
    ways = [each.ways(bank).astype(int) for each in policies]
    scoring = [scoring_of(bank, each) for each in policies]
    times: Counter[str] = Counter()
    for column, row in enumerate(rows.tolist()):
        problem = bank.problems[row].id
        at = int(bank.index[row])
        orders: dict[tuple[str, float], list[int]] = {}
        for alias, temperature in places:
            n = len(bank.lot(alias, temperature).samples[at])
            own = random.Random(sample_seed(seed, problem, alias, temperature, times[problem]))
            orders[alias, temperature] = own.sample(range(n), n)
        times[problem] += 1
        for line, (own_routes, each) in enumerate(zip(routes, policies, strict=True)):
            run = Player(bank, row, own_routes[ways[line][row]], each.policy).play(orders)
            right[line, column], usd[line, column] = run.right, run.usd + scoring[line][row]
    return Realised(right, usd)


def _parts(groups: Sequence[Any], seen: Sequence[bool] | None, seed: int) -> tuple[Ints, Ints]:
    fitted = np.zeros(len(groups), dtype=bool) if seen is None else np.asarray(seen, dtype=bool)
    # Who shares a group with a problem that was seen is as good as seen.
    touched = {str(group) for group, known in zip(groups, fitted, strict=True) if known}
    unseen = np.array([str(group) not in touched for group in groups])
    free = np.flatnonzero(unseen)
    if len(free) < 2:
        raise SettingError("fewer than 2 problems are left to certify on: give some that nothing was fitted on")
    share = min(1.0, (1 - PLANNING) * len(groups) / len(free))
    part = parts_of([groups[i] for i in free.tolist()], (1 - share, share), np.random.default_rng(seed))
    certifying = free[part == 1]
    planning = np.setdiff1d(np.arange(len(groups)), certifying)
    if len(planning) < 2 or not len(certifying):
        raise SettingError(
            f"{counted(len(groups), 'problem')}: too few to plan on some and certify on others; give more"
        )
    return planning, _one_a_group(groups, certifying, seed)


def _one_a_group(groups: Sequence[Any], rows: Ints, seed: int) -> Ints:
    """One problem of each group, by seed."""
    order = np.random.default_rng(seed).permutation(rows)
    first = {str(groups[row]): int(row) for row in reversed(order.tolist())}
    return np.array(sorted(first.values()), dtype=np.int64)


def _path(trials: Trials, reference: int) -> list[int]:
    """From the safest to the cheapest, each cheaper than the reference and beaten by none in both."""
    loss = trials.correct[reference] - trials.correct
    n = loss.shape[1]
    risk = loss.mean(axis=1) + loss.std(axis=1, ddof=1) / np.sqrt(n)
    cost = trials.cost.mean(axis=1)
    path: list[int] = []
    least = np.inf
    for place in np.lexsort((risk, cost)).tolist():  # from the cheapest on
        if cost[place] < cost[reference] and risk[place] < least - 1e-12:
            path.append(place)
            least = float(risk[place])
    path.reverse()
    if len(path) > LONGEST:
        path = [path[i] for i in np.round(np.linspace(0, len(path) - 1, LONGEST)).astype(int)]
    return path


def _losses(kind: Kind, expected: Floats, drawn: Realised) -> Floats:
    if kind == "net loss, betting":
        return np.asarray(expected[0] - expected[1:])
    return np.asarray((drawn.right[0] > drawn.right[1:]).astype(np.float64))


def _tested(kind: Kind, losses: Floats, max_loss: float, level: float, seed: int) -> Certified:
    if kind == "net loss, betting":
        return learn_then_test(losses, max_loss, 1 - level, test="betting", low=-1.0, seed=seed)
    return learn_then_test(losses, max_loss, 1 - level, test="binomial")


def _needed(reference: Floats, safest: Floats, max_loss: float, level: float) -> int | None:
    rate = float(np.maximum(0.0, reference - safest).mean()) / max_loss
    if rate >= 0.95:
        return None
    return int(np.ceil(labels_needed(max_loss, 1 - level, rate) / (1 - PLANNING)))
