"""Repricing: what recorded results would have cost by other prices, from their raw token counts, without drawing.

Requests are charged as in a run: in launch order, tier by tier, those without a sample behind the samples, the
prompt of samples that tiers share once. So by the same prices every cost is what it was, to the last digit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from escalade import ledger
from escalade.errors import SettingError, TableError
from escalade.ledger import Billing, Cost
from escalade.pool import Pool, PoolModel
from escalade.receipts import Receipt, read_table, receipts_of, scores_of
from escalade.results import ANSWERS, SAMPLES, SUMMARY, read_stamp, write_tables
from escalade.scoring import ScoreCharge, cost_of, total


@dataclass(frozen=True, slots=True)
class TierBill:
    """What one tier cost and would cost: of one problem, or of all that came to it."""

    position: int
    model: str
    k: int
    temperature: float
    requests: int
    """Samples, cancelled requests and those that broke off."""
    before: Cost
    """As recorded; a tier of a problem whose cost is unknown counts as one unknown request."""
    after: Cost


@dataclass(frozen=True, slots=True)
class ProblemBill:
    """What one problem cost and would cost."""

    id: str
    tiers: tuple[TierBill, ...]
    scores: tuple[ScoreCharge, ...] = ()
    """As recorded."""
    scores_after: tuple[ScoreCharge, ...] = ()
    """By the new prices, where their tokens and the model that read them are known; else as recorded."""

    @property
    def before(self) -> Cost:
        """As recorded."""
        return ledger.total([*(tier.before for tier in self.tiers), total(self.scores)])

    @property
    def after(self) -> Cost:
        """By the new prices."""
        return ledger.total([*(tier.after for tier in self.tiers), total(self.scores_after)])


@dataclass(frozen=True)
class Repriced:
    """Results with their new costs."""

    table: pd.DataFrame
    """One row a problem, with the new costs; lists are JSON, as in Parquet."""
    samples: pd.DataFrame | None
    """The samples beside it, with the new costs; None where there are none."""
    summary: dict[str, Any] | None
    """The summary beside it, with the new costs and what they were computed with; None where there is none."""
    problems: tuple[ProblemBill, ...]
    stamp: Mapping[str, Any]
    """What the new costs were computed with."""
    stamp_before: Mapping[str, Any] | None = None
    """What the recorded costs were computed with, where the summary says it."""
    notes: tuple[str, ...] = field(default=())
    """What is not known, and why."""
    grading: Mapping[str, Any] = field(default_factory=dict)
    """Who graded the results, as their table says."""

    @property
    def tiers(self) -> tuple[TierBill, ...]:
        """All tiers, told apart by position, model, k and temperature; each is the sum of its problems."""
        groups: dict[tuple[int, str, int, float], list[TierBill]] = {}
        for problem in self.problems:
            for tier in problem.tiers:
                groups.setdefault((tier.position, tier.model, tier.k, tier.temperature), []).append(tier)
        return tuple(
            TierBill(
                *key,
                sum(tier.requests for tier in tiers),
                ledger.total(tier.before for tier in tiers),
                ledger.total(tier.after for tier in tiers),
            )
            for key, tiers in sorted(groups.items())
        )

    @property
    def before(self) -> Cost:
        """What the results cost, as recorded."""
        return ledger.total(problem.before for problem in self.problems)

    @property
    def after(self) -> Cost:
        """What they would cost by the new prices."""
        return ledger.total(problem.after for problem in self.problems)

    @property
    def scoring(self) -> tuple[Cost, Cost] | None:
        """What scores cost, and would cost; None where no problem is charged with any."""
        if not any(problem.scores for problem in self.problems):
            return None
        before = ledger.total(total(problem.scores) for problem in self.problems)
        return before, ledger.total(total(problem.scores_after) for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `--json` prints them; money in USD, exact, as text; unknown is None."""
        return {
            "problems": len(self.problems),
            "before_usd": _text(self.before),
            "after_usd": _text(self.after),
            "requests_of_unknown_cost": self.after.unknown,
            "tiers": [
                {
                    "position": tier.position,
                    "model": tier.model,
                    "k": tier.k,
                    "temperature": tier.temperature,
                    "requests": tier.requests,
                    "before_usd": _text(tier.before),
                    "after_usd": _text(tier.after),
                }
                for tier in self.tiers
            ],
            "scoring": None
            if self.scoring is None
            else {"before_usd": _text(self.scoring[0]), "after_usd": _text(self.scoring[1])},
            "per_problem": [
                {"id": problem.id, "before_usd": _text(problem.before), "after_usd": _text(problem.after)}
                for problem in self.problems
            ],
            **self.stamp,
            "before": None if self.stamp_before is None else dict(self.stamp_before),
            "notes": list(self.notes),
        }

    def write(self, folder: str | Path) -> Path:
        """Write the tables, and the summary where there is one, under their usual names; return the folder."""
        return write_tables(
            folder, answers=self.table, samples=self.samples, summary=self.summary, grading=self.grading
        )


def reprice(results: str | Path, pool: Pool, *, billing: Billing | None = None) -> Repriced:
    """Return what the results of a run would have cost by the prices of a pool.

    A model is found in the pool by its alias, else by its full name. A model without a price has unknown cost, and so
    has a request whose tokens are not recorded where they have a price.

    Args:
        results: the folder of a run, or its answers.parquet.
        pool: has the prices, and says how prompts are billed.
        billing: in the place of the pool's.

    Raises:
        InputError: the files are no results of a run, or a model of theirs is not in the pool.
    """
    path = Path(results)
    path = path / ANSWERS if path.is_dir() else path
    if billing is not None:
        if billing not in get_args(Billing):
            raise SettingError(f"billing is {billing!r}: it is one of {', '.join(get_args(Billing))}")
        pool = pool.model_copy(update={"billing": billing})
    table = read_table(path)
    beside = path.with_name(SAMPLES)
    samples = read_table(beside) if beside.exists() else None
    charging = _Charging(pool, path)
    problems: list[ProblemBill] = []
    sample_costs: dict[int, Cost] = {}
    scores = scores_of(table, path)
    for ident, receipts in receipts_of(table, samples, path):
        bills: list[TierBill] = []
        for position, (receipt, costs) in enumerate(zip(receipts, charging.problem(receipts), strict=True)):
            tier = position, receipt.model, receipt.k, receipt.temperature
            before = Cost(unknown=1) if receipt.cost is None else Cost(receipt.cost)
            bills.append(TierBill(*tier, len(costs), before, ledger.total(costs)))
            sample_costs.update(zip(receipt.rows, costs, strict=False))  # behind: requests without a sample
        charged = next(scores)
        problems.append(ProblemBill(ident, tuple(bills), charged, charging.scores(charged)))
    summary = _summary_beside(path.with_name(SUMMARY))
    stamp = ledger.stamp(pool)
    repriced = Repriced(
        _with_costs(table, problems),
        None if samples is None else samples.assign(cost_usd=_column([sample_costs[row] for row in samples.index])),
        None,
        tuple(problems),
        stamp,
        {key: summary[key] for key in stamp} if summary is not None and set(stamp) <= set(summary) else None,
        tuple(charging.notes),
        read_stamp(path),
    )
    return repriced if summary is None else replace(repriced, summary=_renewed(summary, repriced))


class _Charging:
    """Charges what recorded tiers used, and notes what is unknown."""

    def __init__(self, pool: Pool, path: Path) -> None:
        self._pool, self._path = pool, path
        self._models: dict[tuple[str, str | None], PoolModel] = {}
        self._notes: dict[str, None] = {}
        self._uncounted = 0

    @property
    def notes(self) -> list[str]:
        """What is not known, and why."""
        if not self._uncounted:
            return list(self._notes)
        return [
            *self._notes,
            f"of {self._uncounted} requests it is not recorded how much of the prompt was cached: their cost is "
            "unknown where each request pays its prompt",
        ]

    def problem(self, receipts: Sequence[Receipt]) -> list[list[Cost]]:
        """Return the cost of each request of each tier of a problem."""
        paid: set[tuple[str, float]] = set()
        out: list[list[Cost]] = []
        for receipt in receipts:
            price = self._model(receipt.model, receipt.name).price
            shared = receipt.model, receipt.temperature
            costs = ledger.charge(receipt.usages, price, self._pool.billing, prompt_paid=shared in paid)
            if receipt.usages:
                paid.add(shared)
            if price is None:
                self._notes[f"model {receipt.model!r} has no price in pool {self._pool.name!r}"] = None
            elif self._pool.billing == "each" and price.cached_input != price.input:
                for place in receipt.uncounted:
                    costs[place] = Cost(unknown=1)
                self._uncounted += len(receipt.uncounted)
            out.append(costs)
        return out

    def scores(self, charged: Sequence[ScoreCharge]) -> tuple[ScoreCharge, ...]:
        """Return the scores of a problem at the new prices."""
        return tuple(replace(each, cost=cost_of(each.scoring, self._pool)) for each in charged)

    def _model(self, alias: str, name: str | None) -> PoolModel:
        if (alias, name) not in self._models:
            if alias in self._pool:
                found = self._pool[alias]
            elif name is not None and name in self._pool:
                found = self._pool[name]
            else:
                raise TableError(f"{self._path}: {self._pool.unknown(alias)}; give a pool that has it")
            if name is not None and found.name != name:
                self._notes[f"model {alias!r} was {name}, and is priced as {found.name}"] = None
            self._models[alias, name] = found
        return self._models[alias, name]


def _with_costs(table: pd.DataFrame, problems: Sequence[ProblemBill]) -> pd.DataFrame:
    traces: list[str] = []
    lists: list[str] = []
    for text, problem in zip(table["trace"], problems, strict=True):
        costs = [tier.after.usd for tier in problem.tiers]
        new = zip(json.loads(text), costs, strict=True)
        trace = [{**tier, "cost_usd": None if cost is None else str(cost)} for tier, cost in new]
        traces.append(json.dumps(trace, ensure_ascii=False))
        lists.append(json.dumps([_number(cost) for cost in costs]))
    renewed = table.assign(
        cost_per_tier=pd.Series(lists, dtype=object),
        total_cost_usd=_column([problem.after for problem in problems]),
        trace=pd.Series(traces, dtype=object),
    )
    if not {"scoring", "scoring_cost_usd"} <= set(table.columns):
        return renewed
    charged = [
        [
            {**each, "cost_usd": None if new.cost.usd is None else str(new.cost.usd)}
            for each, new in zip(json.loads(text or "[]"), problem.scores_after, strict=True)
        ]
        for text, problem in zip(table["scoring"], problems, strict=True)
    ]
    return renewed.assign(
        scoring_cost_usd=_column([total(problem.scores_after) for problem in problems]),
        scoring=pd.Series([json.dumps(each, ensure_ascii=False) for each in charged], dtype=object),
    )


def _renewed(summary: dict[str, Any], repriced: Repriced) -> dict[str, Any]:
    """A summary with the numbers that prices make."""
    cost, scoring = repriced.after.usd, repriced.scoring
    costs = {(t.position, t.model, t.k, t.temperature): t.after.usd for t in repriced.tiers}
    tiers = []
    for tier in summary["tiers"]:
        key = tier["position"], tier["model"], tier["k"], tier["temperature"]
        tiers.append({**tier, "cost_usd": _number(costs.get(key))})
    return {
        **summary,
        "cost_usd": _number(cost),
        "cost_per_problem_usd": _number(
            cost / len(repriced.problems) if cost is not None and repriced.problems else None
        ),
        "spent_usd": _spent(summary, repriced),
        "requests_of_unknown_cost": repriced.after.unknown,
        "tiers": tiers,
        **({"scoring": {**summary["scoring"], "cost_usd": _number(scoring[1].usd)}} if scoring else {}),
        **repriced.stamp,
    }


def _spent(summary: dict[str, Any], repriced: Repriced) -> float | None:
    """What of the cost the run itself would have paid: results do not say it of each sample, but often of all."""
    bills = [tier for problem in repriced.problems for tier in problem.tiers]
    if all(tier.before == tier.after for tier in bills):
        spent: float | None = summary["spent_usd"]
        return spent
    if summary["samples_cancelled"] or summary.get("requests_broken_off"):
        return None
    if not summary["samples_generated"]:
        return 0.0
    paid_all = summary["samples_generated"] == summary["samples_drawn"]
    # Where it paid less nevertheless, problems of one text shared a prompt.
    # Scores had been paid for before the run.
    before, after = ledger.total(tier.before for tier in bills), ledger.total(tier.after for tier in bills)
    paid_all = paid_all and summary["spent_usd"] is not None and summary["spent_usd"] == _number(before.usd)
    return _number(after.usd) if paid_all else None


def _summary_beside(path: Path) -> dict[str, Any] | None:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TableError(f"{path} is no summary: {error}") from error
    needed = ("tiers", "cost_usd", "spent_usd", "samples_cancelled", "samples_generated", "samples_drawn")
    lacking = next((key for key in needed if not isinstance(found, dict) or key not in found), None)
    if lacking is not None:
        raise TableError(f"{path} is no summary of a run: it has no {lacking!r}; take it away or restore it")
    return dict(found)


def _column(costs: Sequence[Cost]) -> pd.Series[Any]:
    return pd.Series([_number(cost.usd) for cost in costs], dtype=object).infer_objects()


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _text(cost: Cost) -> str | None:
    if cost.usd is None:
        return None
    text = f"{cost.usd:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
