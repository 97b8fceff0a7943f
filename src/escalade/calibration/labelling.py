"""Labelled ballots of a bank: all that a tier's recorded samples can make, exactly, for calibrations to be fitted on.

No ballot is drawn: each problem gives every shape of votes that k of its samples can have, weighted by its chance, and
as its label the share of such ballots whose leader is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from escalade.calibration.calibration import Calibration
from escalade.calibration.calibrator import LabelledBallots, TierKey, fit
from escalade.calibration.shapes import Shape
from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.evaluation.conditions import Conditions
from escalade.evaluation.draws import draws_of
from escalade.evaluation.inventory import inventory

SIZES = (3, 5, 8)
"""Samples of the ballots that are fitted on, where none are named."""


class Fitted(NamedTuple):
    """A calibration, and the tiers that have none."""

    calibration: Calibration
    left_out: tuple[str, ...]
    """Which, and why."""


def labelled_ballots(bank: Bank, alias: str, temperature: float, sizes: Sequence[int]) -> LabelledBallots:
    """Return the ballots of a tier, each problem weighing alike at each size.

    Raises:
        SettingError: there are too many shapes to list.
        TableError: a problem has fewer samples than a ballot.

    Example:
        >>> ballots = labelled_ballots(Bank.of_recording("shipped"), "0.5B", 0.7, [3])
        >>> round(sum(ballots.weights), 6), Shape((2, 1), 3) in ballots.shapes
        (60.0, True)
    """
    shapes: list[Shape] = []
    problems: list[str] = []
    right: list[float] = []
    weights: list[float] = []
    for k in sizes:
        bank.check(alias, temperature, k)
        draws = draws_of(bank, alias, temperature, k)
        if draws is None:
            raise SettingError(f"ballots of {k} samples of {alias} at t={temperature:g} are too many to list: lower k")
        chance, good = draws.ballots(k)[:, bank.index], draws.right[:, bank.index]
        known = [Shape(tuple(int(n) for n in votes if n), k) for votes in draws.signatures.votes]
        for place, row in np.argwhere(chance > 1e-12).tolist():
            shapes.append(known[place])
            problems.append(bank.problems[row].id)
            weights.append(float(chance[place, row]))
            right.append(float(min(1.0, good[place, row] / chance[place, row])) if known[place].votes else 0.0)
    return LabelledBallots(shapes, right, problems, weights)


def fit_bank(
    bank: Bank,
    conditions: Conditions,
    day: date,
    *,
    sizes: Sequence[int] = SIZES,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Fitted:
    """Return the calibration of every tier whose samples allow it: a model at a temperature.

    Args:
        bank: the recorded samples; every problem needs a gold answer.
        conditions: under which they were drawn and graded.
        day: of the fit.
        sizes: samples of a ballot; of a tier those that every problem has.
        groups: of near-duplicates, by problem id; None: each problem by itself.
        seed: of the cross-validation.

    Raises:
        SettingError: no tier can be calibrated, or there are too few problems.

    Example:
        >>> found = fit_bank(Bank.of_recording("shipped"), Conditions(models={}, grader={}), date(2026, 1, 31))
        >>> [(tier.name, tier.curve.method) for tier in found.calibration.tiers][-1]
        ('1.5B at t=0.7', 'platt')
    """
    if not sizes or min(sizes) < 1:
        raise SettingError(f"sizes of ballots are {list(sizes)}: give integers >= 1, as 3,5,8")
    tiers: dict[TierKey, LabelledBallots] = {}
    left_out: list[str] = []
    for shelf in inventory(bank):
        there = [k for k in sorted(set(sizes)) if k <= shelf.least]
        name = f"{shelf.alias} at t={shelf.temperature:g}"
        if not there:
            left_out.append(f"{name}: {shelf.least} samples of each problem, the smallest ballot takes {min(sizes)}")
            continue
        ballots = labelled_ballots(bank, shelf.alias, shelf.temperature, there)
        if not any(shape.votes for shape in ballots.shapes):
            left_out.append(f"{name}: no sample has an answer")
            continue
        tiers[TierKey(shelf.alias, shelf.temperature)] = ballots
    if not tiers:
        raise SettingError(f"no tier of {bank.place} can be calibrated: {'; '.join(left_out)}")
    return Fitted(fit(tiers, conditions, day, problems=bank.problems, groups=groups, seed=seed), tuple(left_out))
