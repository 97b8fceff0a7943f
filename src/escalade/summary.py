"""The summary of a run: accuracy with its interval, pass@k, cost, tokens, and what each tier did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from escalade import ledger
from escalade.job import Job
from escalade.statistics.intervals import Interval


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
    broken_off: int
    """Requests that failed after they had used tokens, which are in the sums; each try counts."""
    cost: ledger.Cost
    engine_seconds: ledger.Seconds
    """Of the samples, each with its own time, whenever it was drawn."""

    @property
    def accuracy(self) -> float | None:
        """Of the problems this tier decided."""
        return self.correct / self.decided if self.correct is not None and self.decided else None


@dataclass(frozen=True, slots=True)
class ScoringSummary:
    """What the scores cost that problems are charged with."""

    scores: int
    """One a problem and model."""
    tokens: int | None
    """Of prompts, read by the models that scored; None where it is not known of all."""
    cost: ledger.Cost


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
    """The tiers' and the scores'."""
    spent: ledger.Cost
    """What this run added to what the store had paid for already; scores had been paid for before."""
    prompt_tokens: int | None
    completion_tokens: int | None
    """None where a sample's count is unknown. Of a request without a sample, unknown counts are left out."""
    samples_drawn: int
    samples_generated: int
    """Drawn in this run; the others came from the store."""
    samples_saved: int
    samples_cancelled: int
    requests_broken_off: int
    seconds: float
    statuses: Mapping[str, int]
    tiers: tuple[TierSummary, ...]
    settings: Mapping[str, Any]
    ended_by: str | None
    """The limit that ended the run; None where none did."""
    interrupted: bool
    scoring: ScoringSummary | None = None
    """None where no problem is charged with a score."""

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
            "scoring": None
            if self.scoring is None
            else {
                "scores": self.scoring.scores,
                "tokens": self.scoring.tokens,
                "cost_usd": _number(self.scoring.cost.usd),
            },
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "samples_drawn": self.samples_drawn,
            "samples_generated": self.samples_generated,
            "samples_saved": self.samples_saved,
            "samples_cancelled": self.samples_cancelled,
            "requests_broken_off": self.requests_broken_off,
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
                    "requests_broken_off": tier.broken_off,
                    "engine_seconds": tier.engine_seconds.whole,
                }
                for tier in self.tiers
            ],
            **self.settings,
            "ended_by": self.ended_by,
            "interrupted": self.interrupted,
        }

    def __str__(self) -> str:
        parts = [f"{self.problems} problems"]
        if self.accuracy is not None:
            low, high = self.interval
            parts.append(f"accuracy {self.accuracy:.3f} [{low:.3f}, {high:.3f}]")
        parts += [f"cost {self.cost}", f"{self.samples_drawn} samples drawn, {self.samples_saved} saved"]
        return ", ".join(parts)


def settings_of(job: Job) -> dict[str, Any]:
    """Return what a job was asked to do, as plain values."""
    return {
        "route": None if job.strategy else job.chosen,
        "gate": gate_of(job),
        "strategy": job.strategy,
        "pool": job.pool.name,
        "engine": job.engine,
        "target": job.policy.target,
        "confidence": job.policy.confidence,
        "prior_strength": job.policy.prior_strength if job.policy.confidence == "prior" else None,
        "stop": job.policy.stop,
        "aggregate": job.policy.aggregate,
        "calibration": None if job.policy.calibration is None else job.policy.calibration.fingerprint,
        "policy_file": None if job.policy_file is None else job.policy_file._asdict(),
        "mismatches": list(job.mismatches),
        "notes": list(job.notes),
        "seed": job.seed,
    }


def gate_of(job: Job) -> dict[str, Any] | None:
    """Return what chose between two routes by a score, and how many problems it took; None where nothing did."""
    gate = job.gate
    if gate is None:
        return None
    return {
        "score": gate.score,
        "at_least": gate.at_least,
        "route": str(gate.route),
        "problems": sum(gate.takes(problem) for problem in job.problems),
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
