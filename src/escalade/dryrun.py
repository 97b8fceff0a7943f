"""The dry run: the routing table of a job, its breakdown, and the most it can cost. No engine is touched."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from escalade import ledger
from escalade.engines.base import chat_bound
from escalade.job import Job, most_samples
from escalade.pool import Pool
from escalade.routes import Route, executed
from escalade.routing import breakdown, expand, with_notes
from escalade.scoring import total as scoring_total
from escalade.summary import gate_of


@dataclass(frozen=True)
class Plan:
    """Where problems would go, and what that can cost."""

    table: pd.DataFrame
    """The routing table."""
    breakdown: pd.DataFrame
    """Rows per model and kind; see `routing.breakdown`."""
    worst_cost: ledger.Cost
    """Every tier reached, every sample at its token limit, prompts at one token a byte; and what scores have cost."""
    worst_samples: int
    turns: dict[str, list[str]]
    """Models that share a device and so run one after the other, in this order; by device."""
    notes: tuple[str, ...] = ()
    """What is done otherwise than asked for."""
    gate: dict[str, Any] | None = None
    """What chose between two routes by a score, and how many problems it took."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `--json` prints them."""
        usd = self.worst_cost.usd
        rows = self.breakdown.astype(object).where(self.breakdown.notna(), None).to_dict("records")
        return {
            "problems": len(self.table),
            "breakdown": rows,
            "worst_case_cost_usd": None if usd is None else float(usd),
            "worst_case_samples": self.worst_samples,
            "turns": self.turns,
            "notes": list(self.notes),
            "gate": self.gate,
            "errors": int(self.table["error"].notna().sum()) if "error" in self.table else 0,
        }


def plan(job: Job) -> Plan:
    """Return the plan of a job."""
    texts = [task.text for task in job.tasks]
    expanded = expand(texts, job.pool, errors="keep")
    if expanded["error"].isna().all():
        expanded = expanded.drop(columns="error")
    problems = pd.DataFrame(
        {
            "idx": [p.id for p in job.problems],
            "problem": [p.text for p in job.problems],
            "original_solution": pd.Series([p.solution for p in job.problems], dtype=object),
        }
    )
    scores = pd.DataFrame(
        {
            f"score_{alias}": [p.scores.get(alias) for p in job.problems]
            for alias in job.pool.aliases
            if any(alias in p.scores for p in job.problems)
        }
    )
    counted = breakdown(expanded)
    if any(task.notes for task in job.tasks):
        expanded["notes"] = with_notes(expanded["notes"], [task.notes for task in job.tasks])
    table = pd.concat([problems, scores, expanded], axis=1)
    cost = ledger.Cost()
    samples = 0
    for task in job.tasks:
        cost += scoring_total(task.scoring)
        if task.route is not None:
            more, drawn = worst_case(task.route, job.pool, task.problem.text, job.policy.max_k)
            cost += more
            samples += drawn
    return Plan(table, counted, cost, samples, _turns(job), job.notes, gate_of(job))


def _turns(job: Job) -> dict[str, list[str]]:
    used = {tier.model for route in job.routes for tier in route.tiers}
    devices: dict[str, list[str]] = {}
    for model in job.pool.models:
        if model.gpu is not None and model.alias in used:
            devices.setdefault(model.gpu, []).append(model.alias)
    return {gpu: aliases for gpu, aliases in devices.items() if len(aliases) > 1}


def worst_case(route: Route, pool: Pool, text: str, max_k: int) -> tuple[ledger.Cost, int]:
    """Return the most that one problem can cost by a route, and the samples that takes."""
    ran = executed(route, pool).route
    cost, samples = ledger.Cost(), 0
    for position, tier in enumerate(ran.tiers):
        model = pool[tier.model]
        k = most_samples(ran, position, max_k)
        bound = chat_bound(pool.prompt_of(model).messages(text))
        usages = [ledger.Usage(bound, pool.max_tokens_of(model))] * k
        cost += ledger.total(ledger.charge(usages, model.price, pool.billing))
        samples += k
    return cost, samples


def rounded(amount: Decimal) -> str:
    """Write USD with four significant digits, without an exponent."""
    return f"{Decimal(f'{amount:.4g}'):f}"
