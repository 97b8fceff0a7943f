"""Rows: what a result table says of one problem and of its samples, as plain values under the published names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from escalade.cascade.outcome import TierTrace
from escalade.climb import Answered, TierUse
from escalade.job import Job
from escalade.samples.sample import Sample
from escalade.statistics.metrics import pass_at_k

LISTS = (
    "cascade_tiers",
    "escalation_path",
    "tier_confidences",
    "cost_per_tier",
    "generated_solutions",
    "scoring",
    "trace",
)
"""Columns that hold lists in memory and JSON in Parquet."""


def passk_score(item: Answered) -> float:
    """Return pass@k of the tier that decided, k as executed; NaN where fewer than k samples were drawn."""
    position = item.outcome.decided_by
    if item.grade is None or position is None:
        return math.nan
    right = item.grade.samples[position]
    return pass_at_k(len(right), sum(right), item.tiers[position].tier.k)


def deciding_samples(item: Answered) -> Sequence[Sample]:
    """Return the samples of the tier that decided, in launch order."""
    position = item.outcome.decided_by
    return () if position is None else item.tiers[position].samples


def winning_sample(item: Answered) -> Sample | None:
    """Return the first sample that gave the answer, of the tier that decided; None where there is no answer."""
    keys = (item.outcome.answer, *item.outcome.equal)
    return next((s for s in deciding_samples(item) if s.key is not None and s.key in keys), None)


def answer_row(job: Job, item: Answered) -> dict[str, Any]:
    """Return the row of one problem, lists as lists."""
    problem, outcome, route = item.problem, item.outcome, item.executed
    owner, winner = outcome.decided_by, winning_sample(item)
    first = route.tiers[0] if route is not None else None
    name = {model.alias: model.name for model in job.pool.models}
    cost = item.cost.usd
    costs = [use.cost.usd for use in item.tiers]
    scores = item.scoring_cost.usd
    return {
        "idx": problem.id,
        "problem": problem.text,
        "original_solution": problem.solution,
        "gold_answer": problem.gold,
        "answer_kind": problem.answer_kind or job.pool.answer_kind,
        **{f"score_{alias}": score for alias, score in problem.scores.items()},
        "route": None if item.route is None else str(item.route),
        "route_to": None if first is None else name[first.model],
        "is_mv": route is not None and route.kind.value == "vote",
        "is_cascade": route is not None and route.is_cascade,
        "cascade_tiers": None
        if route is None or not route.is_cascade
        else [[name[t.model], t.k, t.temperature] for t in route.tiers],
        "sc_n": None if first is None else first.k,
        "sc_temp": None if first is None else first.temperature,
        "routed_response_text": None if winner is None else winner.generation.text,
        "response_model": None if owner is None else name[item.tiers[owner].tier.model],
        "majority_vote_extracted_answer": outcome.answer,
        "majority_vote_is_correct": None if item.grade is None else item.grade.outcome,
        "passk_score": passk_score(item),
        "final_confidence": outcome.confidence,
        "tiers_executed": len(item.tiers),
        "escalation_path": [use.tier.model for use in item.tiers],
        "tier_confidences": [t.looks[-1].confidence if t.looks else None for t in outcome.tiers],
        "cost_per_tier": [None if c is None else float(c) for c in costs],
        "scoring_cost_usd": None if scores is None else float(scores),
        "total_cost_usd": None if cost is None else float(cost),
        "generated_solutions": [sample.generation.text for sample in deciding_samples(item)],
        "status": outcome.status.value,
        "decided_by": None if owner is None else item.tiers[owner].tier.model,
        "notes": "; ".join(outcome.notes) or None,
        "scoring": [
            {
                "score": charge.alias,
                "model": charge.scoring.model,
                "tokens": charge.scoring.tokens,
                "recorded_usd": None if charge.scoring.usd is None else str(charge.scoring.usd),
                "cost_usd": None if charge.cost.usd is None else str(charge.cost.usd),
            }
            for charge in item.scoring
        ],
        "trace": trace(item),
    }


def trace(item: Answered) -> list[dict[str, Any]]:
    """Return the story of each tier, as plain values."""
    tiers = zip(item.outcome.tiers, item.tiers, strict=True)
    return [_trace(t, use, item.saved(i), item.outcome.decided_by == i) for i, (t, use) in enumerate(tiers)]


def _trace(tier: TierTrace, use: TierUse, saved: int, decided: bool) -> dict[str, Any]:
    """One tier's story, as plain values."""
    cost = use.cost.usd
    return {
        "model": tier.tier.model,
        "k": tier.tier.k,
        "temperature": tier.tier.temperature,
        "decided": decided,
        "asked": tier.asked,
        "drawn": tier.drawn,
        "saved": saved,
        "cancelled": use.cancelled,
        "broken_off": use.broken_off,
        "cost_usd": None if cost is None else f"{cost:f}",
        "prompt_tokens": [u.prompt for u in use.usages],
        "cached_tokens": [u.cached for u in use.usages],
        "completion_tokens": [u.completion for u in use.usages],
        "looks": [
            {
                "votes": [[answer, n] for answer, n in look.ballot.votes],
                "seats": look.ballot.k,
                "abstained": look.ballot.abstained,
                "undrawn": max(0, look.ballot.undrawn),
                "tie": look.ballot.tie,
                "confidence": look.confidence,
                "source": look.source,
                "threshold": look.threshold,
                "decision": look.decision.value,
                "reason": look.reason,
            }
            for look in tier.looks
        ],
    }


def sample_rows(job: Job, item: Answered) -> list[dict[str, Any]]:
    """Return one row per sample drawn for a problem, in the columns of recorded pools."""
    out: list[dict[str, Any]] = []
    for position, use in enumerate(item.tiers):
        right = [None] * len(use.samples) if item.grade is None else item.grade.samples[position]
        # Behind the costs of samples are those of requests that gave none.
        for sample, cost, correct in zip(use.samples, use.costs, right, strict=False):
            generation = sample.generation
            out.append(
                {
                    "problem_id": item.problem.id,
                    "problem": item.problem.text,
                    "gold_answer": item.problem.gold,
                    "answer_kind": item.problem.answer_kind or job.pool.answer_kind,
                    "model": use.tier.model,
                    "model_name": job.pool[use.tier.model].name,
                    "temperature": use.tier.temperature,
                    "tier": position,
                    "sample_index": sample.index,
                    "answer": sample.answer,
                    "rule": sample.rule,
                    "correct": correct,
                    "text": generation.text,
                    "prompt_tokens": generation.prompt_tokens,
                    "cached_tokens": generation.cached_tokens,
                    "completion_tokens": generation.completion_tokens,
                    "mean_logprob": generation.mean_logprob,
                    "finish_reason": generation.finish_reason,
                    "cost_usd": None if cost.usd is None else float(cost.usd),
                    "seed": sample.seed,
                }
            )
    return out
