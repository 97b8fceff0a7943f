"""A tally: the sums that make a summary, taken problem by problem while a run goes on, in whatever order they come."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from escalade import ledger
from escalade.cascade.outcome import Decision, Status
from escalade.climb import Answered, TierUse
from escalade.job import Job
from escalade.statistics.intervals import wilson
from escalade.summary import PassK, ScoringSummary, Summary, TierSummary, settings_of


def summarise(
    job: Job,
    answered: Iterable[Answered],
    seconds: float,
    grading: Mapping[str, Any],
    *,
    interrupted: bool = False,
) -> Summary:
    """Return the summary of what was answered."""
    tally = Tally()
    for item in answered:
        tally.add(item)
    return tally.summary(job, seconds, grading, interrupted=interrupted)


class Tally:
    """Sums over problems; neither problems nor samples are kept, and the order in which they come changes nothing."""

    def __init__(self) -> None:
        self.problems = self.graded = self.correct = 0
        self._cost = self._spent = ledger.Cost()
        self._fresh = 0
        self._prompt, self._completion = _Count(), _Count()
        self._scores, self._scored, self._scoring = 0, _Count(), ledger.Cost()
        self._statuses: Counter[Status] = Counter()
        self._tiers: dict[tuple[int, str, int, float], _Tier] = {}
        self._ended_by: set[str] = set()
        self._fewest = math.inf
        """Of the problems that have an answer and a grade, the fewest first samples that any has."""
        self._first_right: Counter[int] = Counter()
        """How many of them have their first right sample at an index."""

    def add(self, item: Answered) -> None:
        """Count one problem."""
        outcome = item.outcome
        self.problems += 1
        self._cost += item.cost
        self._spent += item.fresh_cost
        self._scoring += item.scoring_cost
        self._scores += len(item.scoring)
        for charge in item.scoring:
            # What is free without a count of tokens had none read.
            self._scored.add([0 if charge.cost == ledger.Cost() else charge.scoring.tokens], 1)
        self._fresh += item.fresh
        self._statuses[outcome.status] += 1
        if outcome.status in (Status.BUDGET, Status.DEADLINE):
            self._ended_by.update(_limits_of_the_run(outcome.notes))
        if item.grade is not None:
            self.graded += 1
            self.correct += item.grade.outcome
            if outcome.decided_by is not None:  # unanswered: no sample of it is right, whatever k
                self._launched(item.tiers[outcome.decided_by], item.grade.samples[outcome.decided_by])
        for position, use in enumerate(item.tiers):
            self._prompt.add((usage.prompt for usage in use.usages), len(use.samples))
            self._completion.add((usage.completion for usage in use.usages), len(use.samples))
            key = (position, use.tier.model, use.tier.k, use.tier.temperature)
            self._tiers.setdefault(key, _Tier()).add(item, position)

    def _launched(self, use: TierUse, right: Sequence[bool]) -> None:
        whole = 0
        while whole < len(use.samples) and use.samples[whole].index == whole:
            whole += 1
        self._fewest = min(self._fewest, whole)
        if True in right[:whole]:
            self._first_right[right.index(True)] += 1

    @property
    def statuses(self) -> dict[str, int]:
        """Problems by status."""
        return {status.value: self._statuses[status] for status in Status if status in self._statuses}

    def summary(self, job: Job, seconds: float, grading: Mapping[str, Any], *, interrupted: bool = False) -> Summary:
        """Return the summary of the problems so far; `seconds` is wall time, `grading` what the grader reports."""
        tiers = [tier.summary(*key) for key, tier in sorted(self._tiers.items(), key=lambda pair: pair[0])]
        return Summary(
            problems=self.problems,
            graded=self.graded,
            correct=self.correct,
            interval=wilson(self.correct, self.graded),
            pass_k=self._pass_k(),
            cost=self._cost,
            spent=self._spent,
            prompt_tokens=self._prompt.whole,
            completion_tokens=self._completion.whole,
            samples_drawn=sum(tier.samples for tier in tiers),
            samples_generated=self._fresh,
            samples_saved=sum(tier.saved for tier in tiers),
            samples_cancelled=sum(tier.cancelled for tier in tiers),
            requests_broken_off=sum(tier.broken_off for tier in tiers),
            seconds=seconds,
            statuses=self.statuses,
            tiers=tuple(tiers),
            settings={**settings_of(job), **ledger.stamp(job.pool), **grading},
            ended_by="; ".join(sorted(self._ended_by)) or None,
            interrupted=interrupted,
            scoring=ScoringSummary(self._scores, self._scored.whole, self._scoring) if self._scores else None,
        )

    def _pass_k(self) -> PassK | None:
        if not 0 < self._fewest < math.inf:
            return None
        k = int(self._fewest)
        return PassK(k, sum(n for index, n in self._first_right.items() if index < k) / self.graded)


@dataclass(slots=True)
class _Count:
    """A sum of tokens; unknown where a sample's count is. That of a request without one may be missing."""

    known: int = 0
    unknown: bool = False

    def add(self, counts: Iterable[int | None], samples: int) -> None:
        for position, count in enumerate(counts):
            self.known += count or 0
            self.unknown |= count is None and position < samples

    @property
    def whole(self) -> int | None:
        return None if self.unknown else self.known


@dataclass(slots=True)
class _Tier:
    """The sums of one tier."""

    asked: int = 0
    decisions: Counter[Decision] = field(default_factory=Counter)
    """Of the last looks."""
    decided: int = 0
    correct: int = 0
    ungraded: int = 0
    samples: int = 0
    saved: int = 0
    cancelled: int = 0
    broken_off: int = 0
    cost: ledger.Cost = field(default_factory=ledger.Cost)
    seconds: Fraction = Fraction(0)
    """Exact, so that the order does not show in the last digit."""
    timeless: int = 0
    """Samples of unknown time."""

    def add(self, item: Answered, position: int) -> None:
        use, looks = item.tiers[position], item.outcome.tiers[position].looks
        self.asked += 1
        if looks:
            self.decisions[looks[-1].decision] += 1
        if item.outcome.decided_by == position:
            self.decided += 1
            self.correct += item.grade is not None and item.grade.outcome
            self.ungraded += item.grade is None
        self.samples += len(use.samples)
        self.saved += item.saved(position)
        self.cancelled += use.cancelled
        self.broken_off += use.broken_off
        self.cost += use.cost
        for spent in ledger.seconds((position, _finite(s.generation.seconds)) for s in use.samples).values():
            self.seconds += Fraction(spent.known)
            self.timeless += spent.unknown

    def summary(self, position: int, model: str, k: int, temperature: float) -> TierSummary:
        return TierSummary(
            position,
            model,
            k,
            temperature,
            asked=self.asked,
            accepted=self.decisions[Decision.ACCEPT] + self.decisions[Decision.ANSWER],
            last_word=self.decisions[Decision.ANSWER],
            escalated=self.decisions[Decision.ESCALATE],
            decided=self.decided,
            correct=None if self.ungraded else self.correct,
            samples=self.samples,
            saved=self.saved,
            cancelled=self.cancelled,
            broken_off=self.broken_off,
            cost=self.cost,
            engine_seconds=ledger.Seconds(float(self.seconds), self.timeless),
        )


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) else None


def _limits_of_the_run(notes: Iterable[str]) -> list[str]:
    """Return the limits of the run that notes name, without what had been used by then."""
    heads = [note.partition(":")[0] for note in notes]
    return [head for head in heads if head.startswith("the limit of ") and head.endswith(" for the run is reached")]
