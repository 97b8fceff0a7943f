"""Tuning: the route for a goal, and what it is worth on problems that had no say in the choice.

What a goal (`escalade.tuning.goals`) chooses is partly lucky. How much is measured: the whole choice is made anew on
the training parts of repeated K-fold splits (near-duplicates together), and each problem's held-out numbers come from
choices it had no say in.

    optimism = in-sample accuracy - held-out accuracy        (Efron & Tibshirani 1993, chapter 17)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from escalade.errors import SettingError
from escalade.evaluation.bank import Floats
from escalade.routes import Route
from escalade.statistics.intervals import (
    Interval,
    Mean,
    NonInferiority,
    mean_score,
    non_inferior,
    paired_difference,
)
from escalade.statistics.resampling import Ratio, cost_ratio
from escalade.tuning.candidates import Candidate, Trials
from escalade.tuning.coins import coin
from escalade.tuning.goals import ROUNDING, Goal, best_single, choose, dearest_single
from escalade.tuning.splits import parts_of
from escalade.wording import counted, signed

MARGIN = 0.01
"""Accuracy that may be lost to the reference and still pass for no worse."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Mean accuracy and mean cost (USD a problem), each with its interval over problems."""

    accuracy: Mean
    cost: Mean


class Gain(NamedTuple):
    """A held-out difference of accuracies; the interval allows for the chance of the choice."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Tuned:
    """A route chosen for a goal, and what is known of it."""

    goal: Goal
    chosen: Candidate
    in_sample: Numbers
    """On the problems it was chosen on: flattered."""
    held_out: Numbers
    """Of the choice made anew on other problems, each time; intervals do not hold the chance of the choice."""
    stability: float
    """Share of the training parts that chose the same route."""
    unmet: float
    """Share of the training parts on which no candidate met the goal."""
    single: Candidate
    """The best single model at a cost of at most that of the chosen route, on the same problems."""
    single_in_sample: Numbers
    single_held_out: Numbers
    gain: Gain
    """Held-out accuracy of the choice less that of the best single model at equal cost, chosen on the same parts."""
    reference: Candidate
    reference_numbers: Numbers
    against_reference: NonInferiority
    """Held-out accuracy of the choice less the reference's, with the margin of one point."""
    cost_to_reference: Ratio
    """Held-out cost of the choice over the reference's."""
    problems: int
    groups: int
    folds: int
    repeats: int
    over_coin: Gain | None = None
    """Where a score chooses between two routes, held-out accuracy less that of a coin in its place, for its money."""

    @property
    def optimism(self) -> float:
        """In-sample accuracy less held-out accuracy."""
        return self.in_sample.accuracy.value - self.held_out.accuracy.value

    @property
    def verdict(self) -> str:
        """Whether tuning beat the best single model at equal cost on held-out problems, in one sentence."""
        value, (low, high) = self.gain
        said = _points(self.gain)
        if (value == 0 and low >= -ROUNDING and high <= ROUNDING) or self._same_as_single:
            return "Nothing is gained over the best single model at equal cost: it is what was chosen."
        if low > 0:
            found = f"Held out it beats the best single model at equal cost: {said}."
        elif high < 0:
            found = f"Held out it loses to the best single model at equal cost: {said}."
        else:
            found = f"Held out it is not shown to beat the best single model at equal cost: {said}."
        return found if self.over_coin is None else f"{found} {self._of_the_score(self.over_coin)}"

    def _of_the_score(self, gain: Gain) -> str:
        """What of the gain is the score's, as any two routes can be mixed."""
        shown = "" if gain.interval.low > 0 else "not shown to be "
        return f"The score is {shown}worth more than a coin in its place for the same money: {_points(gain)}."

    @property
    def _same_as_single(self) -> bool:
        return self.gain.value == 0 and self.chosen.single


def tune(
    trials: Trials,
    goal: Goal,
    *,
    groups: Sequence[Any] | None = None,
    reference: Route | None = None,
    folds: int = 5,
    repeats: int = 10,
    seed: int = 0,
) -> Tuned:
    """Return the route that a goal chooses on all problems, with its in-sample and its held-out numbers.

    Args:
        trials: what the candidates come to.
        goal: a budget or an accuracy.
        groups: [N] which problems belong together, and are never parted by a split; None: each by itself.
        reference: among the candidates; None takes one sample of the dearest model.
        folds: parts of a split; each is held out once.
        repeats: splits.
        seed: of the splits.

    Raises:
        SettingError: no candidate meets the goal (says which comes nearest), or there are fewer groups than folds.

    Example:
        >>> from escalade.tuning.candidates import try_all
        >>> from escalade.evaluation.bank import Bank
        >>> trials = try_all(Bank.of_recording("shipped"))
        >>> tuned = tune(trials, Goal(budget=4e-5), repeats=3)
        >>> str(tuned.chosen.route), tuned.in_sample.cost.value <= 4e-5, tuned.optimism > 0
        ('mv_cascade_0.5B_k1_t0.0_c0.86_1.5B_k1_t0.0', True, True)
    """
    problems = trials.correct.shape[1]
    everyone = np.ones(problems, dtype=np.int64)
    place, met = choose(trials, everyone, goal)
    if not met:
        raise SettingError(_unmet(trials, place, goal))
    single = best_single(trials, everyone, float(trials.cost[place].mean()))
    against = dearest_single(trials) if reference is None else trials.place(reference)
    known = list(range(problems)) if groups is None else list(groups)
    held = _held_out(trials, goal, known, folds, repeats, seed)
    correct, cost = trials.correct[against], trials.cost[against]
    return Tuned(
        goal,
        trials.candidates[place],
        numbers(trials.correct[place], trials.cost[place], known),
        numbers(held.correct, held.cost, known),
        held.chosen[place] / held.chosen.total(),
        held.unmet / held.chosen.total(),
        trials.candidates[single],
        numbers(trials.correct[single], trials.cost[single], known),
        numbers(held.single_correct, held.single_cost, known),
        _gain(held.correct - held.single_correct, held.once[0], held.once[1], known, folds),
        trials.candidates[against],
        numbers(correct, cost, known),
        non_inferior(held.correct, correct, MARGIN, groups=known),
        cost_ratio(held.cost, cost, known, seed=seed),
        problems,
        len(set(known)),
        folds,
        repeats,
        None
        if place not in trials.between
        else _gain(held.correct - held.coin_correct, held.once[0], held.once[2], known, folds),
    )


def tune_frontier(
    trials: Trials,
    *,
    groups: Sequence[Any] | None = None,
    reference: Route | None = None,
    points: int = 10,
    folds: int = 5,
    repeats: int = 10,
    seed: int = 0,
) -> list[Tuned]:
    """Return what budgets buy, from the cheapest candidate's cost to that of the dearest that no cheaper one beats.

    The budgets are costs of in-sample undominated candidates, at most `points` of them; see `tune` for the rest.

    Example:
        >>> from escalade.tuning.candidates import try_all
        >>> from escalade.evaluation.bank import Bank
        >>> trials = try_all(Bank.of_recording("shipped"))
        >>> found = tune_frontier(trials, points=3, repeats=1)
        >>> costs = [tuned.in_sample.cost.value for tuned in found]
        >>> costs == sorted(costs)
        True
    """
    if points < 2:
        raise SettingError(f"points is {points!r}: a frontier has at least 2")
    accuracy, cost = trials.correct.mean(axis=1), trials.cost.mean(axis=1)
    order = np.lexsort((-accuracy, cost))
    highest = np.maximum.accumulate(accuracy[order])
    budgets = cost[order][np.r_[True, highest[1:] > highest[:-1]]]
    if len(budgets) > points:
        budgets = budgets[np.round(np.linspace(0, len(budgets) - 1, points)).astype(int)]
    found = [
        tune(trials, Goal(budget=float(b)), groups=groups, reference=reference, folds=folds, repeats=repeats, seed=seed)
        for b in budgets
    ]
    return list({(t.chosen.way, str(t.chosen.policy)): t for t in found}.values())


def numbers(correct: Floats, cost: Floats, groups: Sequence[Any] | None) -> Numbers:
    """Return accuracy and cost of one policy with intervals; that of the cost is a score interval up to the largest."""
    top = float(cost.max())
    if top == 0:
        return Numbers(mean_score(correct, groups), Mean(0.0, Interval(0.0, 0.0)))
    _, (low, high) = mean_score(np.minimum(cost / top, 1.0), groups)
    return Numbers(mean_score(correct, groups), Mean(float(cost.mean()), Interval(low * top, high * top)))


@dataclass(slots=True)
class _HeldOut:
    """Per problem, means over the splits: each from a choice made without it."""

    correct: Floats
    cost: Floats
    single_correct: Floats
    single_cost: Floats
    coin_correct: Floats
    once: Floats
    """[3, N] `correct`, `single_correct` and `coin_correct` of the first split alone."""
    chosen: Counter[int]
    unmet: int


def _held_out(trials: Trials, goal: Goal, groups: Sequence[Any], folds: int, repeats: int, seed: int) -> _HeldOut:
    if folds < 2 or repeats < 1:
        raise SettingError(f"folds is {folds}, repeats {repeats}: give at least 2 folds and 1 repeat")
    if len(set(groups)) < folds:
        raise SettingError(
            f"the problems are {counted(len(set(groups)), 'group')}, too few for {folds} folds: give fewer folds"
        )
    n, rng = trials.correct.shape[1], np.random.default_rng(seed)
    out = _HeldOut(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((3, n)), Counter(), 0)
    for repeat in range(repeats):
        fold = parts_of(groups, [1.0] * folds, rng)
        for held in range(folds):
            training, rows = (fold != held).astype(np.int64), fold == held
            place, met = choose(trials, training, goal)
            single = best_single(trials, training, float(trials.cost[place] @ training / training.sum()))
            by_coin = coin(trials, place, training / training.sum())
            out.correct[rows] += trials.correct[place, rows] / repeats
            out.cost[rows] += trials.cost[place, rows] / repeats
            out.single_correct[rows] += trials.correct[single, rows] / repeats
            out.single_cost[rows] += trials.cost[single, rows] / repeats
            out.coin_correct[rows] += by_coin[rows] / repeats
            if repeat == 0:
                out.once[:, rows] = trials.correct[place, rows], trials.correct[single, rows], by_coin[rows]
            out.chosen[place] += 1
            out.unmet += not met
    # Sums of shares may be 1 + 1e-16.
    out.correct, out.single_correct = np.minimum(out.correct, 1.0), np.minimum(out.single_correct, 1.0)
    return out


def _gain(ahead: Floats, once: Floats, other: Floats, groups: Sequence[Any], folds: int) -> Gain:
    """The mean over all splits, with the interval of one of them, as repeats add no problems.

    Widened by sqrt(K / (K - 1)), as training parts overlap (Nadeau & Bengio 2003). On 400 cascades that differ by luck
    alone, 60 problems and 10 x 5 parts, the interval lies above 0 in 2.5 % of 200 simulations; the plain one, over all
    splits, in 17 % of 60.
    """
    value = float(ahead.mean())
    first, (low, high), _ = paired_difference(once, other, groups)
    wider = (folds / (folds - 1)) ** 0.5
    return Gain(value, Interval(value - wider * (first - low), value + wider * (high - first)))


def _points(gain: Gain) -> str:
    low, high = gain.interval
    return f"{signed(100 * gain.value)} points ({signed(100 * low)} to {signed(100 * high)})"


def _unmet(trials: Trials, nearest: int, goal: Goal) -> str:
    accuracy, cost = float(trials.correct[nearest].mean()), float(trials.cost[nearest].mean())
    said = f"{trials.candidates[nearest].way} (accuracy {accuracy:.3f}, {cost:.3g} USD a problem)"
    if goal.budget is not None:
        return f"no candidate costs at most {goal.budget:g} USD a problem: the cheapest is {said}; give a larger budget"
    return f"no candidate reaches the accuracy asked for: the nearest is {said}; ask for less, or record more samples"
