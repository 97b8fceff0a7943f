"""The summary of a run: accuracy with its interval, pass@k, cost, tokens, and what each tier did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from typing import Any

from escalade import ledger
from escalade.cascade.outcome import Decision
from escalade.climb import Answered, TierUse
from escalade.evaluation.metrics import Interval, wilson
from escalade.job import Job


@dataclass(frozen=True, slots=True)
class TierSummary:
    """What one tier did over all problems. Tiers are told apart by position, model, k and temperature."""

    position: int
    model: str
    k: int
    temperature: float
    asked: int
    """Problems that came to this tier."""
    accepted: int
    """Problems whose answer was taken here, the last tier's word included."""
    last_word: int
    """Of these, how many because the tier was the last."""
    escalated: int
    decided: int
    """Problems whose outcome this tier owns, fall-backs included."""
    correct: int | None
    """Of those decided, how many are right; None where gold answers are missing."""
    samples: int
    saved: int
    cancelled: int
    cost: ledger.Cost

    @property
    def accuracy(self) -> float | None:
        """Of the problems this tier decided."""
        return self.correct / self.decided if self.correct is not None and self.decided else None


@dataclass(frozen=True, slots=True)
class PassK:
    """pass@k of the tier that decided, at the largest k whose first k samples every problem has.

    The first k in launch order, because settled-early stopping makes the number of samples depend on them.
    """

    k: int
    value: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a run. `str` gives a short text, `to_dict` what `--json` prints."""

    problems: int
    graded: int
    """Problems with a gold answer; accuracy is over these."""
    correct: int
    interval: Interval
    pass_k: PassK | None
    cost: ledger.Cost
    spent: ledger.Cost
    """What this run added to what the store had paid for already."""
    prompt_tokens: int | None
    completion_tokens: int | None
    """None where a sample's count is unknown. A request cancelled before its first token counts for nothing here."""
    samples_drawn: int
    samples_generated: int
    """Drawn in this run; the others came from the store."""
    samples_saved: int
    samples_cancelled: int
    seconds: float
    statuses: Mapping[str, int]
    tiers: tuple[TierSummary, ...]
    settings: Mapping[str, Any]
    interrupted: bool

    @property
    def accuracy(self) -> float | None:
        """Share of graded problems answered right."""
        return self.correct / self.graded if self.graded else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `--json` prints them; unknown is None. Money in USD."""
        accuracy = self.accuracy
        per_problem = self.cost.usd / self.problems if self.cost.usd is not None and self.problems else None
        return {
            "problems": self.problems,
            "graded": self.graded,
            "correct": self.correct,
            "accuracy": accuracy,
            "accuracy_ci95": None if accuracy is None else list(self.interval),
            "pass_at_k": None if self.pass_k is None else {"k": self.pass_k.k, "value": self.pass_k.value},
            "cost_usd": _number(self.cost.usd),
            "cost_per_problem_usd": _number(per_problem),
            "spent_usd": _number(self.spent.usd),
            "requests_of_unknown_cost": self.cost.unknown,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "samples_drawn": self.samples_drawn,
            "samples_generated": self.samples_generated,
            "samples_saved": self.samples_saved,
            "samples_cancelled": self.samples_cancelled,
            "seconds": round(self.seconds, 3),
            "statuses": dict(self.statuses),
            "tiers": [
                {
                    "position": tier.position,
                    "model": tier.model,
                    "k": tier.k,
                    "temperature": tier.temperature,
                    "asked": tier.asked,
                    "accepted": tier.accepted,
                    "last_word": tier.last_word,
                    "escalated": tier.escalated,
                    "decided": tier.decided,
                    "accuracy": tier.accuracy,
                    "cost_usd": _number(tier.cost.usd),
                    "samples_drawn": tier.samples,
                    "samples_saved": tier.saved,
                    "samples_cancelled": tier.cancelled,
                }
                for tier in self.tiers
            ],
            **self.settings,
            "interrupted": self.interrupted,
        }

    def __str__(self) -> str:
        parts = [f"{self.problems} problems"]
        if self.accuracy is not None:
            low, high = self.interval
            parts.append(f"accuracy {self.accuracy:.3f} [{low:.3f}, {high:.3f}]")
        parts += [f"cost {self.cost}", f"{self.samples_drawn} samples drawn, {self.samples_saved} saved"]
        return ", ".join(parts)


def summarise(
    job: Job,
    answered: Sequence[Answered],
    seconds: float,
    grading: Mapping[str, Any],
    *,
    interrupted: bool = False,
) -> Summary:
    """Return the summary of what was answered."""
    graded = [item for item in answered if item.grade is not None]
    correct = sum(item.grade.outcome for item in graded if item.grade is not None)
    uses = [use for item in answered for use in item.tiers]
    return Summary(
        problems=len(answered),
        graded=len(graded),
        correct=correct,
        interval=wilson(correct, len(graded)),
        pass_k=_pass_k(graded),
        cost=ledger.total(item.cost for item in answered),
        spent=ledger.total(item.fresh_cost for item in answered),
        prompt_tokens=_tokens([[usage.prompt for usage in use.usages] for use in uses], uses),
        completion_tokens=_tokens([[usage.completion for usage in use.usages] for use in uses], uses),
        samples_drawn=sum(len(use.samples) for item in answered for use in item.tiers),
        samples_generated=sum(item.fresh for item in answered),
        samples_saved=sum(item.saved(p) for item in answered for p in range(len(item.tiers))),
        samples_cancelled=sum(use.cancelled for item in answered for use in item.tiers),
        seconds=seconds,
        statuses=dict(Counter(item.outcome.status.value for item in answered)),
        tiers=_tiers(answered),
        settings={
            "route": None if job.strategy else job.chosen,
            "strategy": job.strategy,
            "pool": job.pool.name,
            "engine": job.engine,
            "target": job.policy.target,
            "confidence": job.policy.confidence,
            "stop": job.policy.stop,
            "aggregate": job.policy.aggregate,
            "seed": job.seed,
            **ledger.stamp(job.pool),
            **grading,
        },
        interrupted=interrupted,
    )


def _tiers(answered: Sequence[Answered]) -> tuple[TierSummary, ...]:
    groups: dict[tuple[int, str, int, float], list[tuple[Answered, int]]] = {}
    for item in answered:
        for position, use in enumerate(item.tiers):
            key = (position, use.tier.model, use.tier.k, use.tier.temperature)
            groups.setdefault(key, []).append((item, position))
    out: list[TierSummary] = []
    for (position, model, k, temperature), members in sorted(groups.items()):
        last = [
            item.outcome.tiers[p].looks[-1].decision if item.outcome.tiers[p].looks else None for item, p in members
        ]
        decided = [item for item, p in members if item.outcome.decided_by == p]
        grades = [item.grade for item in decided]
        right = sum(g.outcome for g in grades if g is not None) if None not in grades else None
        uses = [item.tiers[p] for item, p in members]
        out.append(
            TierSummary(
                position,
                model,
                k,
                temperature,
                asked=len(members),
                accepted=sum(d in (Decision.ACCEPT, Decision.ANSWER) for d in last),
                last_word=sum(d is Decision.ANSWER for d in last),
                escalated=sum(d is Decision.ESCALATE for d in last),
                decided=len(decided),
                correct=right,
                samples=sum(len(use.samples) for use in uses),
                saved=sum(item.saved(p) for item, p in members),
                cancelled=sum(use.cancelled for use in uses),
                cost=ledger.total(use.cost for use in uses),
            )
        )
    return tuple(out)


def _pass_k(graded: Sequence[Answered]) -> PassK | None:
    rows: list[list[bool]] = []
    for item in graded:
        position = item.outcome.decided_by
        if position is None or item.grade is None:
            continue  # unanswered: no sample of it is right, whatever k
        launched = takewhile(lambda pair: pair[0] == pair[1].index, enumerate(item.tiers[position].samples))
        rows.append([right for _, right in zip(launched, item.grade.samples[position], strict=False)])
    k = min((len(row) for row in rows), default=0)
    return PassK(k, sum(any(row[:k]) for row in rows) / len(graded)) if k else None


def _tokens(counts: Sequence[Sequence[int | None]], uses: Sequence[TierUse]) -> int | None:
    total = 0
    for row, use in zip(counts, uses, strict=True):
        for position, count in enumerate(row):
            if count is None and position < len(use.samples):
                return None
            total += count or 0
    return total


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
