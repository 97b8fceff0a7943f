"""The catalogue of strategies: the published rules, whole columns at once.

p1 and p7 stand for the scores of 1.5B and 7B, T for the target confidence, c for cost ratios, D = |p1 - p7|.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from escalade.errors import StrategyError
from escalade.strategies.ladder import LADDER
from escalade.strategies.registry import Inputs
from escalade.strategies.registry import strategy as registered

MAX_K = 8
strategy = partial(registered, ladder=LADDER)


def samples_for(score: NDArray[np.float64], most: int = MAX_K) -> NDArray[np.intp]:
    """Return k = clamp(floor(most (1 - score)), 1, most), with an exact floor.

    Example:
        >>> samples_for(np.array([0.95, 0.875, 0.75, 0.5, 0.0])).tolist()
        [1, 1, 2, 4, 8]
        >>> samples_for(np.array([0.8]), most=10).tolist()  # where floor(10 * (1 - 0.8)) is 1 in floats
        [2]
    """
    # floor(most (1 - p)) >= j exactly if p <= (most - j) / most. A division is rounded correctly, so each
    # bound is the very float that a person's decimal is read as, and nothing is subtracted.
    bounds = np.arange(most) / most
    k: NDArray[np.intp] = np.maximum(most - np.searchsorted(bounds, score, side="left"), 1)
    return k


def _first(*cases: tuple[NDArray[np.bool_], str], otherwise: str) -> NDArray[np.object_]:
    """Return, for each row, the text of the first case that holds."""
    texts = np.array([*(text for _, text in cases), otherwise], dtype=object)
    chosen: NDArray[np.object_] = texts[np.select([holds for holds, _ in cases], range(len(cases)), len(cases))]
    return chosen


def _decimal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # 0.9 - 0.8 is 0.09999999999999998: without this a difference of 0.10 would pass as smaller than 0.10.
    return np.round(values, 12)


def _gap(inputs: Inputs) -> NDArray[np.float64]:
    return _decimal(np.abs(inputs.scores["1.5B"] - inputs.scores["7B"]))


def _trusted(inputs: Inputs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return inputs.scores["1.5B"] >= inputs.target, inputs.scores["7B"] >= inputs.target


def _cost(inputs: Inputs, alias: str) -> float:
    if alias not in inputs.costs:
        raise StrategyError(f"no cost of {alias}: costs are given for {', '.join(inputs.costs) or 'no model'}")
    return float(inputs.costs[alias])


def _best(inputs: Inputs, merit: Callable[[NDArray[np.float64], float], NDArray[np.float64]]) -> Any:
    """Return the trusted one of 1.5B and 7B with more merit, 1.5B on a tie; 72B where none is trusted."""
    small, medium = (_decimal(merit(inputs.scores[m], _cost(inputs, m))) for m in _BOTH)
    first, second = _trusted(inputs)
    return _first((first & (~second | (small >= medium)), "1.5B"), (second, "7B"), otherwise="72B")


_BOTH = ("1.5B", "7B")


@strategy("random")
def _random(inputs: Inputs) -> Any:
    """1.5B, 7B or 72B with equal probability, seeded. The floor that any use of scores has to beat."""
    models = np.array(LADDER, dtype=object)
    return models[np.random.default_rng(inputs.seed).integers(3, size=inputs.rows)]


def _constant(name: str, route: str, doc: str) -> None:
    def rule(inputs: Inputs) -> Any:
        return np.full(inputs.rows, route, dtype=object)

    rule.__doc__ = doc
    strategy(name)(rule)


for _m in LADDER:
    _constant(f"always_{_m}", _m, f"Every problem to {_m}, one greedy sample. A fixed point to compare with.")


@strategy("cascade", needs=_BOTH)
def _cascade(inputs: Inputs) -> Any:
    """1.5B if p1 >= T, else 7B if p7 >= T, else 72B. The plain rule, good where scores are calibrated."""
    small, medium = _trusted(inputs)
    return _first((small, "1.5B"), (medium, "7B"), otherwise="72B")


@strategy("bayesian_robust", aliases=("72b_robust",), needs=_BOTH)
def _bayesian_robust(inputs: Inputs) -> Any:
    """1.5B if p1 >= T and p7 >= T, else 7B if p7 >= T, else 72B. Guards against one overconfident probe."""
    small, medium = _trusted(inputs)
    return _first((small & medium, "1.5B"), (medium, "7B"), otherwise="72B")


def _disagreement(limit: float) -> None:
    def rule(inputs: Inputs) -> Any:
        small, medium = _trusted(inputs)
        return _first((small & (_gap(inputs) < limit), "1.5B"), (medium, "7B"), otherwise="72B")

    rule.__doc__ = f"""1.5B if p1 >= T and D < {limit:.2f}, else 7B if p7 >= T, else 72B: for probes that err.

    Not monotone: a higher p1 or p7 can widen D and make the route dearer."""
    strategy(f"disagreement_{limit:.2f}", needs=_BOTH)(rule)


for _limit in (0.10, 0.15, 0.20):
    _disagreement(_limit)


@strategy("cost_utility", needs=_BOTH)
def _cost_utility(inputs: Inputs) -> Any:
    """Among 1.5B and 7B with p >= T the largest p/c, else 72B. For targets that several models meet.

    At costs 1 : 2 it is `cascade` for every T >= 0.5; below, p7 > 2 p1 takes the dearer 7B: not monotone.
    """
    return _best(inputs, lambda p, c: p / c)


@strategy("adjusted_thresholds", needs=_BOTH)
def _adjusted_thresholds(inputs: Inputs) -> Any:
    """The first of 1.5B and 7B with p >= T - 0.05 (c - 1), else 72B. Spares 72B: the dearer need less."""
    small, medium = (inputs.scores[m] >= round(inputs.target - 0.05 * (_cost(inputs, m) - 1), 12) for m in _BOTH)
    return _first((small, "1.5B"), (medium, "7B"), otherwise="72B")


@strategy("expected_cost", needs=_BOTH)
def _expected_cost(inputs: Inputs) -> Any:
    """Among 1.5B and 7B with p >= T the smallest c (1 - p), else 72B. Weighs the money lost on wrong answers.

    Not monotone, as published: a higher p7 can draw a problem from 1.5B to the dearer 7B.
    """
    return _best(inputs, lambda p, c: -c * (1 - p))


_constant("mv_always_1.5B", "mv_1.5B_k8_t0.7", "Every problem to a vote of 8 of 1.5B. What voting alone can do.")
_constant("mv_always_7B", "mv_7B_k8_t0.7", "Every problem to a vote of 8 of 7B. What voting alone can do.")
_constant("mv_always_72B", "mv_72B_k8_t0.7", "Every problem to a vote of 8 of 72B; one sample where greedy only.")


def _mv_adaptive_escalation(name: str, small: float, medium: float) -> None:
    def rule(inputs: Inputs) -> Any:
        gap = _gap(inputs)
        return _first((gap > small, "mv_1.5B_k8_t0.7"), (gap > medium, "mv_7B_k8_t0.7"), otherwise="72B")

    rule.__doc__ = f"""A vote of 1.5B if D > {small:.2f}, else of 7B if D > {medium:.2f}, else 72B. Ignores T.

    Not monotone, as published: only the difference counts, so the more the probes agree the stronger the
    model, and a problem that both find easy goes to 72B. Kept for comparison."""
    strategy(name, needs=_BOTH)(rule)


_mv_adaptive_escalation("mv_adaptive_escalation_tight", 0.15, 0.10)
_mv_adaptive_escalation("mv_adaptive_escalation_loose", 0.20, 0.15)


def _adaptive_k(
    variant: str, doc: str, *, prefix: str = "mv_cascade_", skip_from: int = MAX_K + 1, dual: bool = False
) -> None:
    texts = np.empty(MAX_K + 1, dtype=object)
    for k in range(1, MAX_K + 1):
        tier = f"k{k}_t{0.0 if k == 1 else 0.7}"
        small = f"1.5B_{tier}_" if k < skip_from else ""
        texts[k] = f"{prefix}{small}7B_{tier}_72B_k1_t0.0"

    def rule(inputs: Inputs) -> Any:
        p1 = inputs.scores["1.5B"]
        k = samples_for(p1)
        routes = np.where(p1 >= 0.85, "mv_1.5B_k1_t0.0", texts[k])
        if dual:
            routes[(k >= skip_from) & (inputs.scores["7B"] < 0.4)] = "mv_cascade_72B_k1_t0.0"
        return routes

    rule.__doc__ = doc
    name = f"adaptive_k_sampling{variant}"
    strategy(name, aliases=(f"mv_{name}",), needs=_BOTH if dual else ("1.5B",))(rule)


_adaptive_k(
    "",
    """Cascade of all three with k = clamp(floor(8 (1 - p1)), 1, 8) samples; 1.5B alone if p1 >= 0.85.

    Spends samples where 1.5B is likely to be wrong. For p1 in (0.75, 0.85) k is 1: such a greedy tier has no
    vote, and its confidence is the model's score. The many values of k are still one load of each model.""",
)
_adaptive_k(
    "_with_escalation",
    """As adaptive_k_sampling, but k >= 5 skips 1.5B: on hard problems its samples would be thrown away.

    Monotone in its first tier, not in its dearest path: that costs 19 at k = 5, and 21 with 1.5B at k = 4.""",
    skip_from=5,
)
_adaptive_k(
    "_with_dual_escalation",
    """As adaptive_k_sampling_with_escalation, and k >= 5 with p7 < 0.4 goes straight to one sample of 72B.

    Not monotone in money: a p7 raised to 0.4 buys k samples of 7B before the same 72B.""",
    skip_from=5,
    dual=True,
)
_adaptive_k(
    "_with_entropy_escalation",
    """As adaptive_k_sampling under the entropy rule: an unclear ballot draws more before it escalates.""",
    prefix="mv_entropy_cascade_",
)
