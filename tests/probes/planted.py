"""Problems whose chances of success are known, in words and in numbers, and what a model made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from escalade.probes.labels import Labels
from escalade.probes.reading import Features
from escalade.probes.ridge import Floats
from escalade.probes.training import Block, Target
from escalade.problems import Problem
from escalade.testing import pool_of

POOL = pool_of("S", "L")


class Planted(NamedTuple):
    """N problems with D features, of which the first says how likely success is."""

    blocks: tuple[Block, ...]
    target: Target
    chance: Floats


def planted(n: int = 300, d: int = 8, *, k: int = 5, blocks: int = 3, told: int = 1, seed: int = 0) -> Planted:
    """The block `told` sees the truth, the others see noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    chance = 1 / (1 + np.exp(-1.5 * truth))
    values = [rng.normal(size=(n, d)) for _ in range(blocks)]
    values[told][:, 0] = truth
    made = tuple(Block(f"block {b}", x.astype(np.float32)) for b, x in enumerate(values))
    return Planted(made, Target(rng.binomial(k, chance).astype(float), np.full(n, float(k))), chance)


def problems(texts: Sequence[str]) -> tuple[Problem, ...]:
    return tuple(Problem(f"p{row}", text, "1") for row, text in enumerate(texts))


def labels(target: Target, texts: Sequence[str]) -> Labels:
    """Success rates of model S."""
    majority = (target.rate > 0.5).astype(float)
    return Labels(problems(texts), target.successes, target.trials, majority, "S", 0.7, "planted")


def features(blocks: Sequence[Block]) -> Features:
    """Blocks of numbers, as an encoder would give them."""
    from escalade.probes.probe import Reading

    reading = Reading(model="made", identity="made")
    return Features(tuple(blocks), reading, None, None, (None,) * len(blocks))


def shifted(values: Floats, by: int) -> Floats:
    """The same values, each at another problem."""
    return np.roll(values, by)
