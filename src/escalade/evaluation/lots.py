"""Lots: the recorded samples of one model at one temperature as arrays, read, classed, graded and priced as in runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from escalade import ledger
from escalade.answers.canonical import sort_key
from escalade.answers.grader import Grader
from escalade.answers.kinds import Kind
from escalade.errors import TableError
from escalade.pool import Price
from escalade.problems import Problem
from escalade.samples.sample import Generation, Sample, read

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
ABSTAINS = -1
"""In the place of a class: the sample has no answer."""
NO_SAMPLE = -2
"""In the place of a class: the problem has fewer samples than the row is long."""


@dataclass(frozen=True)
class Lot:
    """The recorded samples of one model at one temperature: N problems by M, the most that a problem has."""

    samples: tuple[tuple[Sample, ...], ...]
    """Of each problem, in recorded order."""
    n: Ints
    """[N] How many there are."""
    classes: Ints
    """[N, M] Class of each sample among those of its problem, 0 for the one with the largest `sort_key`: of two classes
    the one with the higher number wins a tie; else ABSTAINS or NO_SAMPLE."""
    right: Bools
    """[N, M] Whether the class of the sample is right."""
    logprob: Floats
    """[N, M] Mean logprob, nats a token; NaN where there is none."""
    prompt: Floats
    """[N, M] Prompt tokens; NaN is unknown, as in the next three."""
    completion: Floats
    """[N, M] Completion tokens."""
    usd: Floats
    """[N, M] Cost in USD of a sample whose prompt another one has paid."""
    opening_usd: Floats
    """[N, M] What a sample costs more where it is the first of its ballot: the prompt, as the pool bills it."""
    loose: Bools
    """[N] Whether who wins a tie, or what is right, depends on which of the equal keys of a class were drawn."""

    @cached_property
    def sizes(self) -> Ints:
        """[N, C] How many samples each class has, in the order of `classes`; 0 behind the last."""
        return np.stack([(self.classes == c).sum(axis=1) for c in range(int(self.classes.max(initial=0)) + 1)], axis=1)

    @cached_property
    def class_right(self) -> Bools:
        """[N, C] Whether each class is right."""
        return np.stack([((self.classes == c) & self.right).any(axis=1) for c in range(self.sizes.shape[1])], axis=1)

    @cached_property
    def abstaining(self) -> Ints:
        """[N] How many samples abstain."""
        return np.asarray((self.classes == ABSTAINS).sum(axis=1))


def lot_of(
    found: Sequence[Sequence[Generation]],
    problems: Sequence[Problem],
    kinds: Sequence[Kind],
    grader: Grader,
    price: Price | None,
    billing: ledger.Billing,
    place: str,
) -> Lot:
    """Return the lot of these generations.

    Args:
        found: of each problem, in recorded order.
        problems: with their gold answers.
        kinds: of the answers of each problem.
        grader: says which answers are equal, and which right.
        price, billing: of the model, and how the pool bills prompts.
        place: what was read, for messages.

    Raises:
        TableError: a kind of a person's own cannot read an answer.

    Example:
        >>> from escalade.answers.kinds import kind_of
        >>> made = [Generation(None, answer=answer) for answer in ("1/2", "2", "0.5", None)]
        >>> lot = lot_of([made], [Problem("a", "", "0.5")], [kind_of("math")], Grader(), None, "once", "an example")
        >>> lot.classes.tolist(), lot.right.tolist()
        ([[1, 0, 1, -1]], [[True, False, True, False]])
    """
    drawn = [
        tuple(_read(i, generation, problem, kind, place) for i, generation in enumerate(row))
        for row, problem, kind in zip(found, problems, kinds, strict=True)
    ]
    shape = len(drawn), max(1, max(map(len, drawn), default=0))
    classes, right = np.full(shape, NO_SAMPLE, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    loose = np.zeros(shape[0], dtype=np.bool_)
    numbers = {name: np.full(shape, np.nan) for name in ("logprob", "prompt", "completion", "usd", "opening_usd")}
    for row, (samples, problem, kind) in enumerate(zip(drawn, problems, kinds, strict=True)):
        graded = _classes(grader, kind, problem.gold, samples)
        loose[row] = graded.loose
        for i, sample in enumerate(samples):
            if sample.key is None:
                classes[row, i] = ABSTAINS
            else:
                classes[row, i] = graded.number[sample.key]
                right[row, i] = classes[row, i] in graded.right
            made = sample.generation
            later, opening = _cost(made, price, billing)
            known = (made.mean_logprob, made.prompt_tokens, made.completion_tokens, later, opening)
            for column, value in zip(numbers.values(), known, strict=True):
                column[row, i] = np.nan if value is None else value
    n = np.array([len(samples) for samples in drawn], dtype=np.int64)
    return Lot(tuple(drawn), n, classes, right, **numbers, loose=loose)


def names_of(grader: Grader, kind: Kind, samples: Sequence[Sample]) -> dict[str, str]:
    """Return the class of each key that shares one with others, as a run that has drawn just these samples finds them.

    Example:
        >>> from escalade.answers.kinds import kind_of
        >>> from escalade.testing import votes
        >>> names_of(Grader(), kind_of("math"), votes("1/2", "0.5", "2"))
        {}
    """
    tally = Counter(sample.key for sample in samples if sample.key is not None)
    return (grader.names(kind, tally) or {}) if len(tally) > 1 else {}


def _read(index: int, generation: Generation, problem: Problem, kind: Kind, place: str) -> Sample:
    sample = read(index, generation, kind=kind)
    if sample.failure is not None:
        raise TableError(f"{place}: problem {problem.id!r}, sample {index}: {sample.failure}")
    return sample


@dataclass(frozen=True, slots=True)
class _Classes:
    """The classes of one problem's answers."""

    number: Mapping[str, int]
    """Of each key."""
    right: frozenset[int]
    loose: bool


def _classes(grader: Grader, kind: Kind, gold: str | None, samples: Sequence[Sample]) -> _Classes:
    names = names_of(grader, kind, samples)
    keys = dict.fromkeys(sample.key for sample in samples if sample.key is not None)
    ordered = sorted({names.get(key, key) for key in keys}, key=sort_key, reverse=True)
    places = {name: place for place, name in enumerate(ordered)}
    number = {key: places[names.get(key, key)] for key in keys}
    grades: dict[int, set[bool]] = {}
    loose = False
    for key, place in number.items():
        grades.setdefault(place, set()).add(grader.right(kind, key, gold))
        # A class is called after the smallest of its keys that were drawn; another class may lie between them.
        loose = loose or (place > 0 and sort_key(key) > sort_key(ordered[place - 1]))
    right = frozenset(place for place, found in grades.items() if True in found)
    return _Classes(number, right, loose or any(len(found) > 1 for found in grades.values()))


def _cost(made: Generation, price: Price | None, billing: ledger.Billing) -> tuple[float | None, float | None]:
    """USD of a sample whose prompt is paid, and what it costs more where it opens the prompt; None is unknown."""
    usage = ledger.Usage(made.prompt_tokens, made.completion_tokens, made.cached_tokens)
    (later,) = ledger.charge([usage], price, billing, prompt_paid=True)
    (first,) = ledger.charge([usage], price, billing)
    if later.usd is None:
        return None, None
    return float(later.usd), None if first.usd is None else float(first.usd - later.usd)
