"""An outcome: the answer of a problem, the tier that owns it, and the trace of how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from escalade.cascade.ballot import Ballot
from escalade.routes import Tier


class Status(StrEnum):
    """How a problem ended."""

    ACCEPTED = "accepted"
    """A tier's confidence reached its threshold."""
    LAST_TIER = "last_tier"
    """The last tier answered."""
    FALLBACK = "fallback"
    """The last tier abstained; the surest tier below it that has an answer gave it."""
    BUDGET = "budget"
    """The money or samples allowed were used up; the best answer so far."""
    DEADLINE = "deadline"
    """The time allowed was used up; the best answer so far."""
    NO_ANSWER = "no_answer"
    """No tier found an answer."""
    ERROR = "error"
    """An engine failed for good, or the row could not be understood."""


class Decision(StrEnum):
    """What a look at a ballot leads to."""

    ACCEPT = "accept"
    EXPLORE = "explore"
    ESCALATE = "escalate"
    ANSWER = "answer"
    """The last tier's word."""
    ABSTAIN = "abstain"
    """The last tier has no answer."""
    STOP = "stop"
    """Ended from outside: out of money, samples or time."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a ballot and what was decided."""

    ballot: Ballot
    confidence: float | None
    source: str
    """What the confidence is: share, margin, ..., or score / logprob where votes say nothing; "" if unknown."""
    threshold: float | None
    """What the confidence was compared with; None where nothing was compared (last tier)."""
    decision: Decision
    reason: str


@dataclass(frozen=True, slots=True)
class TierTrace:
    """What happened at one tier."""

    tier: Tier
    """As executed; its k is what the route asked for."""
    asked: int
    """Samples the tier wanted in the end: its k, more after exploring."""
    drawn: int
    """Samples that arrived while they mattered."""
    saved: int
    """Samples that settled-early stopping left undrawn."""
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one problem. The tier in `decided_by` always owns the answer."""

    status: Status
    answer: str | None
    """Canonical key of the winning class, the smallest where it has several; None where there is none."""
    decided_by: int | None
    """Position of the owning tier in the route."""
    confidence: float | None
    """Of the look that decided. Settled early, open seats count as not won: a lower bound for share and entropy."""
    tiers: tuple[TierTrace, ...]
    notes: tuple[str, ...] = ()
    equal: tuple[str, ...] = ()
    """Other keys that were drawn and found equal to the answer."""

    @property
    def verdict(self) -> tuple[Status, str | None, int | None, tuple[Decision, ...]]:
        """All that settled-early stopping and the order of arrival must not change."""
        return self.status, self.answer, self.decided_by, tuple(t.looks[-1].decision for t in self.tiers if t.looks)
