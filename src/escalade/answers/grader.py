"""The grader: whether answers are equal and right, asked of their kind only where their keys leave it open.

Two answers with one key are equal. Two keys may be equal all the same, (x+1)^2 over x and x+2+1/x: that is for
the kind of answer to say, which may take long, so what it said is remembered, in memory and in the store. A pair that
it could not decide counts as different and is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Protocol

from escalade.answers.canonical import sort_key
from escalade.answers.kinds import Kind, Undecided

COMPARISONS = 200
"""Comparisons of representatives that one problem may take; beyond them keys count as different."""
_REMEMBERED = 1 << 18
_CAPPED = "not compared: the problem has taken its {} comparisons"


class Memory(Protocol):
    """Where verdicts survive the process. Called from several threads."""

    def recall(self, judge: str, a: str, b: str) -> tuple[bool, str | None] | None:
        """Return whether a and b are equal and, where that was undecided, why; None where this was never asked."""

    def remember(self, judge: str, a: str, b: str, equal: bool, undecided: str | None) -> None:
        """Keep a verdict of `judge`, which names the kind, its versions and its settings."""


class Grader:
    """Decides equality for one run, from any thread.

    Args:
        memory: keeps verdicts across runs.
        comparisons: how many comparisons of representatives one problem may take.

    Example:
        >>> from escalade.answers.kinds import kind_of
        >>> grader = Grader()
        >>> grader.right(kind_of("math"), "0.5", r"\\frac12"), grader.right(kind_of("math"), None, "None")
        (True, False)
    """

    def __init__(self, memory: Memory | None = None, *, comparisons: int = COMPARISONS) -> None:
        self.comparisons = comparisons
        self.asked = 0
        """Comparisons that a kind was asked for; the others were remembered."""
        self.undecided: dict[tuple[str, str], str] = {}
        """Pairs of keys that count as different because their kind could not decide, and why."""
        self.memory = memory
        self._kinds: dict[str, str] = {}
        self._verdicts: dict[tuple[str, str, str], bool] = {}
        self._golds: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def known(self, kind: Kind, a: str, b: str) -> bool | None:
        """Return whether two keys are equal where that takes no asking, else None."""
        if a == b:
            return True
        if kind.surely_different(a, b):
            return False
        place = kind.name, *_pair(a, b)
        verdict = self._verdicts.get(place)
        if verdict is None and self.memory is not None and kind.version:
            found = self.memory.recall(kind.version, *place[1:])
            if found is not None:
                verdict = self._note(place, *found)
        return verdict

    def same(self, kind: Kind, a: str, b: str) -> bool:
        """Return whether two keys are one answer; symmetric, as a pair is always asked in one order. Blocks."""
        verdict = self.known(kind, a, b)
        if verdict is not None:
            return verdict
        first, second = _pair(a, b)
        why: str | None = None
        try:
            verdict = bool(kind.equal(first, second))
        except Undecided as error:
            verdict, why = False, str(error)
        with self._lock:
            self.asked += 1
        if self.memory is not None and kind.version:
            self.memory.remember(kind.version, first, second, verdict, why)
        return self._note((kind.name, first, second), verdict, why)

    def names(self, kind: Kind, tally: Mapping[str, int], *, ask: bool = True) -> dict[str, str] | None:
        """Return, for each key that shares its class with another, the name of the class: its smallest key.

        Args:
            kind: of the answers.
            tally: the keys of one problem and how many samples gave each.
            ask: False returns None in the place of asking the kind.

        Keys are taken from the most frequent down, each compared with one representative a class; what comes out
        depends on the tally alone, not on the order of arrival.
        """
        classes: list[list[str]] = []
        left = self.comparisons
        for key in sorted(tally, key=lambda key: (-tally[key], sort_key(key))):
            home: list[str] | None = None
            for members in classes:
                if kind.surely_different(key, members[0]):
                    continue
                if left == 0:
                    self._note((kind.name, *_pair(key, members[0])), False, _CAPPED.format(self.comparisons))
                    break
                left -= 1
                verdict = self.known(kind, key, members[0])
                if verdict is None and not ask:
                    return None
                if self.same(kind, key, members[0]) if verdict is None else verdict:
                    home = members
                    break
            if home is None:
                classes.append([key])
            else:
                home.append(key)
        return {key: min(members, key=sort_key) for members in classes if len(members) > 1 for key in members}

    def right(self, kind: Kind, key: str | None, gold: str | None) -> bool:
        """Return whether a key answers a gold answer; False where either says nothing. Blocks where it must ask."""
        if key is None or gold is None:
            return False
        accepted = self._accepted(kind, gold)
        return key in accepted or (bool(accepted) and self.same(kind, key, accepted[0]))

    def is_open(self, kind: Kind, key: str | None, gold: str) -> bool:
        """Whether `right` would have to ask the kind."""
        if key is None:
            return False
        accepted = self._accepted(kind, gold)
        return bool(accepted) and key not in accepted and self.known(kind, key, accepted[0]) is None

    def report(self) -> dict[str, Any]:
        """Return the stamp of results: versions and settings of all kinds asked, comparisons, undecided pairs."""
        return {
            "grader": {"escalade": version("escalade"), **self._kinds},
            "comparisons": self.asked,
            "undecided_pairs": [{"a": a, "b": b, "why": why} for (a, b), why in list(self.undecided.items())],
        }

    def _accepted(self, kind: Kind, gold: str) -> tuple[str, ...]:
        place = kind.name, gold
        if place not in self._golds:
            self._kinds[kind.name] = kind.version or "no version: what it says is not kept"
            if len(self._golds) >= _REMEMBERED:
                self._golds.clear()
            self._golds[place] = kind.accepted(gold)
        return self._golds[place]

    def _note(self, place: tuple[str, str, str], verdict: bool, why: str | None) -> bool:
        with self._lock:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            self._verdicts[place] = verdict
            if why is not None:
                self.undecided[place[1], place[2]] = why
        return verdict


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a <= b else (b, a)
