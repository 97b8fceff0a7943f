"""An evaluation: what a route comes to on recorded samples, problem by problem, in expectation over all draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from escalade.evaluation.lots import Bools, Floats
from escalade.routes import Route


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a route comes to on N problems, with T tiers: expectations over the draws of recorded samples.

    NaN is unknown: `correct` without a gold answer, tokens and cost where a sample that may be drawn has none.
    """

    route: Route
    """As executed."""
    correct: Floats
    """[N] P(the outcome's answer is right)."""
    tier_cost: Floats
    """[N, T] USD at each tier, those of a fall-back included."""
    tokens: Floats
    """[N] Prompt and completion tokens of all samples drawn."""
    completion: Floats
    """[N] Completion tokens alone."""
    samples: Floats
    """[N, T] Samples drawn at each tier, those of a fall-back included."""
    reached: Floats
    """[N, T] P(the tier is executed)."""
    decided: Floats
    """[N, T] P(the tier owns the answer)."""
    no_answer: Floats
    """[N] P(no tier has an answer)."""
    exact_rows: Bools
    """[N] False where seeded Monte Carlo had a part in the numbers."""
    draws: int | None = None
    """Runs of the machine a problem, where all was simulated (`escalade.evaluation.replays`)."""
    correct_error: Floats | None = None
    """[N] Monte Carlo standard error of `correct`, where all was simulated."""
    cost_error: Floats | None = None
    """[N] Monte Carlo standard error of `cost`, where all was simulated."""
    scoring: Floats | None = None
    """[N] USD of the scores that decisions of the route may look at; None where nothing is known of any."""

    @property
    def cost(self) -> Floats:
        """[N] USD, of tiers and scores."""
        tiers = np.asarray(self.tier_cost.sum(axis=1))
        return tiers if self.scoring is None else tiers + self.scoring

    @property
    def exact(self) -> bool:
        """Whether all of it is exact, up to rounding."""
        return bool(self.exact_rows.all())

    def __len__(self) -> int:
        return len(self.correct)
