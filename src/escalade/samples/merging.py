"""Merging: what another store or file holds, entered into a store. The first wins, and nothing is dropped silently.

Merging the same thing again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from itertools import islice
from typing import NamedTuple

from escalade.samples.store import Attempt, Key, Question, Store, Stored
from escalade.samples.verdicts import Verdict, Verdicts

GAVE_WAY = "gave way to the sample that is there"
"""How the message of an attempt begins that keeps the tokens of a sample which was not taken."""
_BATCH = 2000


@dataclass(frozen=True)
class Contents:
    """All that a store holds, wherever it comes from."""

    samples: Iterable[Stored]
    attempts: Iterable[Attempt] = ()
    verdicts: Iterable[Verdict] = ()
    questions: Iterable[Question] = ()


class Conflict(NamedTuple):
    """A sample that was not taken, because another one stands in its place."""

    given: Stored
    there: Stored
    new: bool
    """Whether its tokens were entered as an attempt now; else an earlier merge did that."""

    def __str__(self) -> str:
        given, there = self.given, self.there
        place = f"{given.model_name} t{given.temperature:g}, problem {given.problem_id!r}"
        if there.index != given.index:
            return f"{place}, sample {given.index}: its seed {given.seed} is that of sample {there.index}, another one"
        return f"{place}, sample {given.index}: another generation is there"


@dataclass
class Merged:
    """What a merge did."""

    added: int = 0
    equal: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    attempts: int = 0
    """New ones, those of conflicts not counted."""
    verdicts: int = 0
    """New ones."""
    questions: int = 0
    """New ones."""


def contents(store: Store, verdicts: Verdicts) -> Contents:
    """Return all that a store holds; rows are read as they are asked for."""
    return Contents(store.samples(), store.attempts(), verdicts.every(), store.questions().values())


def merge(store: Store, verdicts: Verdicts, source: Contents) -> Merged:
    """Enter what a source holds into a store.

    A sample is equal where index, seed and generation are; then there is nothing to do. Where another sample has its
    index, or its seed, it is not taken: it is a conflict, and what it cost is kept as a cancelled attempt. Of equal
    attempts, the store has afterwards as many as the one of both that had more.

    Raises:
        StoreError: a file cannot be read or written.
    """
    done = Merged()
    for batch in _batches(source.samples):
        _merge_samples(store, batch, done)
    attempts: dict[Key, list[Attempt]] = {}
    for attempt in source.attempts:
        attempts.setdefault(attempt.key, []).append(attempt)
    missing: list[Attempt] = []
    for key, given in attempts.items():
        missing += (Counter(given) - Counter(store.attempts(key))).elements()
    store.write([], missing)
    done.attempts = len(missing)
    done.verdicts = verdicts.keep(source.verdicts)
    known = store.questions()
    texts = {question.problem: question for question in source.questions if question.problem not in known}
    store.keep_questions(texts.values())
    done.questions = len(texts)
    return done


def _batches(samples: Iterable[Stored]) -> Iterator[list[Stored]]:
    several = iter(samples)
    while batch := list(islice(several, _BATCH)):
        yield batch


def _merge_samples(store: Store, batch: Sequence[Stored], done: Merged) -> None:
    by_index: dict[Key, dict[int, Stored]] = {}
    by_seed: dict[Key, dict[int, Stored]] = {}
    new: list[Stored] = []
    attempts: list[Attempt] = []
    for sample in batch:
        if sample.key not in by_index:
            there = list(store.samples(sample.key))
            by_index[sample.key] = {s.index: s for s in there}
            by_seed[sample.key] = {s.seed: s for s in there}
        indexes, seeds = by_index[sample.key], by_seed[sample.key]
        other = indexes.get(sample.index) or seeds.get(sample.seed)
        if other is None:
            indexes[sample.index] = seeds[sample.seed] = sample
            new.append(sample)
        elif (other.index, other.seed, other.generation) == (sample.index, sample.seed, sample.generation):
            done.equal += 1
        else:
            attempt = _of_conflict(sample)
            known = any(a.message == attempt.message for a in store.paid_attempts(sample.key, [sample.index]))
            done.conflicts.append(Conflict(sample, other, not known))
            if not known:
                attempts.append(attempt)
    kept = store.write(new, attempts)
    for mine, theirs in zip(new, kept, strict=True):
        if theirs is mine:
            done.added += 1
        else:  # another process was faster; the store has entered the attempt
            done.conflicts.append(Conflict(mine, theirs, True))


def _of_conflict(sample: Stored) -> Attempt:
    made = sample.generation
    text = repr((sample.seed, astuple(made))).encode("utf-8", "surrogatepass")
    message = f"{GAVE_WAY}: merged sample {hashlib.sha256(text).hexdigest()[:16]}"
    used = made.prompt_tokens, made.cached_tokens, made.completion_tokens
    return Attempt(sample.key, sample.index, "cancelled", message, sample.job, *used)
