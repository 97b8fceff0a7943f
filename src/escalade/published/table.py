"""Routed tables answered: rows become tasks, results become the published columns of the same rows.

How a row is answered stands in its cells (`escalade.published.cells`). This module reads and fills tables; it runs
nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from escalade import ledger
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.errors import InputError, ProblemError, TableError
from escalade.job import Job, charged
from escalade.limits import Limits
from escalade.pool import Pool
from escalade.problems import ID, Problem, problems_from
from escalade.published.cells import ROUTE, Cells
from escalade.results import Results
from escalade.routes import Kind, Route

OUTCOME_COLUMNS = (
    "majority_vote_extracted_answer",
    "majority_vote_is_correct",
    "passk_score",
    "final_confidence",
    "tiers_executed",
    "escalation_path",
    "tier_confidences",
    "cost_per_tier",
    "status",
    "decided_by",
    "notes",
)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a routed table are called; the defaults are the published names."""

    route: str = "route_to"
    prompt: str = "problem"
    gold: str = "original_solution"
    n: str = "sc_n"
    temperature: str = "sc_temp"
    tiers: str = "cascade_tiers"
    text: str = "routed_response_text"
    model: str = "response_model"
    prompt_text: str = "prompt_text"
    input_tokens: str = "input_num_tokens"
    output_tokens: str = "response_num_tokens"
    latency: str = "response_latency_s"
    error: str = "response_error"
    input_cost: str = "input_cost_usd"
    output_cost: str = "output_cost_usd"
    total_cost: str = "total_cost_usd"
    samples: str | None = "generated_solutions"


@dataclass(frozen=True)
class RoutedJob:
    """The job that the unanswered rows of a table make."""

    job: Job
    table: pd.DataFrame
    columns: Columns
    rows: tuple[int, ...]
    """Positions of the rows that are answered, one a task."""
    notes: tuple[str | None, ...]
    """Per task: what was changed about its route before it ran."""


def routed_job(
    table: pd.DataFrame,
    pool: Pool,
    *,
    columns: Columns | None = None,
    policy: Policy | None = None,
    seed: int = 0,
    votes: bool = True,
    escalate: bool = True,
) -> RoutedJob:
    """Return the job that answers the rows that have no response yet.

    A row that cannot be used carries its error; the others go on. Without `votes` every tier draws one sample;
    without `escalate` only the first tier of a cascade runs.

    Raises:
        TableError: there is no column of problems, or none that says how to answer them.
    """
    columns, policy = columns or Columns(), policy or Policy()
    if columns.prompt not in table:
        raise TableError(f"the table has no column {columns.prompt!r} of problems; it has {_names(table)}")
    if not {ROUTE, columns.route, columns.tiers} & set(table.columns):
        raise TableError(f"the table has no column {columns.route!r} of routes; it has {_names(table)}")
    done = table[columns.text].notna().tolist() if columns.text in table else [False] * len(table)
    rows = [position for position, answered in enumerate(done) if not answered]
    part = table.iloc[rows]
    tasks: list[Task] = []
    notes: list[str | None] = []
    cells = Cells(part, pool, route=columns.route, tiers=columns.tiers, n=columns.n, temperature=columns.temperature)
    for row, problem in enumerate(_problems(part, columns)):
        note = None
        try:
            if not problem.text:
                raise ProblemError(f"column {columns.prompt!r} has no text: every problem needs one")
            problem = replace(problem, scores=cells.scores(row), scoring=cells.scoring(row))
            route = cells.route(row)
            if route.is_cascade and not escalate:
                note = f"escalation is off: only the first tier of {route} runs"
                route = Route(Kind.VOTE, route.tiers[:1])
            if not votes and any(tier.k > 1 for tier in route.tiers):
                note = "; ".join(filter(None, (note, f"votes are off: one sample a tier of {route}")))
                route = replace(route, tiers=tuple(replace(tier, k=1) for tier in route.tiers))
            task = Task(problem, route, notes=cells.notes(row))
            tasks += charged([task], cells.scored(row), policy, pool)
        except InputError as error:
            tasks.append(Task(problem, None, error))
        notes.append(note)
    job = Job(pool, tuple(tasks), policy, Limits(), seed, None, "the routes of a table")
    return RoutedJob(job, table, columns, tuple(rows), tuple(notes))


def filled(routed: RoutedJob, results: Results) -> pd.DataFrame:
    """Return the table with the published columns of the answered rows; all else stays, the index too.

    Money is in USD, and input and output add up to the total. The input tokens are those of the prompts that are
    charged: under billing "once" one prompt a tier. What scores cost is of the input cost, and has a column
    scoring_cost_usd where any row is charged with some. The latency is that of the slowest sample of each tier, summed.
    Unknown is NaN or None, never 0.
    """
    names = routed.columns
    outcomes = results.to_pandas()
    numbers: dict[str, list[float | None]] = {}
    others: dict[str, list[Any]] = {name: _values(outcomes, name) for name in OUTCOME_COLUMNS}
    others["notes"] = [
        "; ".join(filter(None, (own, told))) or None for own, told in zip(routed.notes, others["notes"], strict=True)
    ]
    for name in ("passk_score", "final_confidence"):
        numbers[name] = others.pop(name)
    others[names.text] = _values(outcomes, "routed_response_text")
    others[names.model] = _values(outcomes, "response_model")
    if names.samples is not None:
        others[names.samples] = _values(outcomes, "generated_solutions")
    bills = [_bill(item, results.job.pool) for item in results.answered]
    others[names.prompt_text] = [bill.prompt for bill in bills]
    others[names.error] = [bill.error for bill in bills]
    numbers[names.input_tokens] = [bill.input_tokens for bill in bills]
    numbers[names.output_tokens] = [bill.output_tokens for bill in bills]
    numbers[names.latency] = [bill.seconds for bill in bills]
    numbers[names.input_cost] = [bill.input_cost for bill in bills]
    numbers[names.output_cost] = [bill.output_cost for bill in bills]
    numbers[names.total_cost] = [bill.total for bill in bills]
    if any(item.scoring for item in results.answered):
        spent = [item.scoring_cost.usd for item in results.answered]
        numbers["scoring_cost_usd"] = [None if usd is None else float(usd) for usd in spent]

    out = routed.table.copy()
    for name, values in (others | numbers).items():
        before = out[name].tolist() if name in out else [None] * len(out)
        for row, value in zip(routed.rows, values, strict=True):
            before[row] = value
        column = pd.Series(before, out.index, dtype="float64" if name in numbers else object)
        out[name] = column.infer_objects() if all(isinstance(value, int) for value in before) else column
    return out


@dataclass(frozen=True, slots=True)
class _Bill:
    """What one row used."""

    prompt: str | None
    error: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float | None
    input_cost: float | None
    output_cost: float | None

    @property
    def total(self) -> float | None:
        # Of the two columns as they stand, so that they add up to the last bit.
        return None if self.input_cost is None or self.output_cost is None else self.input_cost + self.output_cost


def _bill(item: Answered, pool: Pool) -> _Bill:
    failed = item.outcome.status.value == "error"
    error = ("; ".join(item.outcome.notes) or "failed") if failed else None
    if not item.tiers:
        return _Bill(None, error, None, None, None, None, None)
    owner = item.outcome.decided_by
    model = pool[item.tiers[owner if owner is not None else -1].tier.model]
    prompt = json.dumps(pool.prompt_of(model).messages(item.problem.text), ensure_ascii=False)
    spent, prompts, completions, seconds = [], [], [], []
    for use in item.tiers:
        price = pool[use.tier.model].price
        of_output = None if price is None else price.model_copy(update={"input": 0 * price.input, "cached": None})
        written = ledger.total(ledger.charge(use.usages, of_output, pool.billing))
        read = use.cost - written
        spent.append((read, written))
        each = [usage.prompt for usage in use.usages]
        if pool.billing == "once":
            # A tier that shares an earlier one's samples has its prompt paid there.
            shared = price is not None and price.input > 0 and read == ledger.Cost()
            each = [] if shared else [next((count for count in each if count is not None), None)]
        prompts += each
        completions += [usage.completion for usage in use.usages]
        seconds.append([sample.generation.seconds for sample in use.samples])
    spent.append((item.scoring_cost, ledger.Cost()))
    known = all(cost.usd is not None for pair in spent for cost in pair)
    return _Bill(
        prompt,
        error,
        _sum(prompts),
        _sum(completions),
        _latency(seconds),
        float(sum(read.known for read, _ in spent)) if known else None,
        float(sum(written.known for _, written in spent)) if known else None,
    )


def _problems(table: pd.DataFrame, columns: Columns) -> list[Problem]:
    """One problem a row, with the row's own id; a text that cannot be used is empty."""
    texts = [text if isinstance(text, str) and text.strip() else "" for text in table[columns.prompt].tolist()]
    golds: list[Any] = [None] * len(texts)
    if columns.gold in table:
        column = table[columns.gold].astype(object)
        golds = column.where(column.notna(), None).tolist()
    id_column = next((name for name in ID if name in table), None)
    ids = table[id_column].tolist() if id_column is not None else range(len(texts))
    # An empty text is the row's error, not the table's: it is not read as a problem.
    records = {"problem": [text or "?" for text in texts], "gold_answer": golds, "original_solution": golds}
    read = problems_from(pd.DataFrame(records, dtype=object)) if texts else []
    return [replace(problem, id=str(ident), text=text) for problem, ident, text in zip(read, ids, texts, strict=True)]


def _values(table: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column, with None where pandas would say NaN; none where there are no rows."""
    values = table[column].tolist() if len(table) else []
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _sum(counts: Sequence[int | None]) -> int | None:
    return None if any(count is None for count in counts) else sum(count or 0 for count in counts)


def _latency(tiers: Sequence[Sequence[float | None]]) -> float | None:
    slowest: list[float] = []
    for seconds in tiers:
        if any(value is None for value in seconds):
            return None
        slowest.append(max((value for value in seconds if value is not None), default=0.0))
    return sum(slowest)


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns)) or "none"
