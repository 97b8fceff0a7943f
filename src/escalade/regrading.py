"""Regrading: results graded again, by today's grader and perhaps by other gold answers, without drawing anything.

Answers stay as they were voted; what is found again is which of them are right, and all that follows from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.answers.grader import Grader
from escalade.answers.kinds import Kind, kind_of
from escalade.errors import TableError
from escalade.problems import Problem, read_problems
from escalade.receipts import read_table
from escalade.results import ANSWERS, SAMPLES, SUMMARY, write_tables
from escalade.statistics.intervals import Interval, wilson
from escalade.statistics.metrics import pass_at_k

_THREADS = 2


@dataclass(frozen=True, slots=True)
class Change:
    """A row whose grade is another now."""

    id: str
    answer: str | None
    gold: str
    before: bool | None
    after: bool


@dataclass(frozen=True)
class Regraded:
    """Results with their new grades."""

    table: pd.DataFrame
    """One row a problem, or a sample, as it was, with the new grades."""
    samples: pd.DataFrame | None
    """The samples beside a result table, with the new grades; None where there are none."""
    summary: dict[str, Any] | None
    """The summary beside a result table, with the new numbers and the new stamp."""
    changes: tuple[Change, ...]
    graded: int
    correct: int
    before: int | None
    """How many were right before; None where some were never graded."""
    stamp: Mapping[str, Any] = field(default_factory=dict)
    stamp_before: Mapping[str, Any] | None = None

    @property
    def interval(self) -> Interval:
        """95 % interval of the accuracy now."""
        return wilson(self.correct, self.graded)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `--json` prints them."""
        accuracy = self.correct / self.graded if self.graded else None
        return {
            "graded": self.graded,
            "correct": self.correct,
            "accuracy": accuracy,
            "accuracy_ci95": None if accuracy is None else list(self.interval),
            "correct_before": self.before,
            "changes": [
                {"id": c.id, "answer": c.answer, "gold": c.gold, "before": c.before, "after": c.after}
                for c in self.changes
            ],
            **self.stamp,
            "grader_before": None if self.stamp_before is None else dict(self.stamp_before),
        }

    def write(self, folder: str | Path) -> Path:
        """Write the tables, and the summary where there is one, under their usual names; return the folder."""
        if "sample_index" in self.table:
            return write_tables(folder, samples=self.table, grading=self.stamp)
        return write_tables(folder, answers=self.table, samples=self.samples, summary=self.summary, grading=self.stamp)


def regrade(
    results: str | Path,
    problems: str | Path | Sequence[Problem] | None = None,
    *,
    kind: str | None = None,
    from_text: bool = False,
    grader: Grader | None = None,
) -> Regraded:
    """Grade results again.

    Args:
        results: the folder of a run, its answers.parquet, or a table of samples (a recording, samples.parquet).
        problems: the gold answers to grade by, joined by id; None takes those of the results.
        kind: of all answers, in the place of what problems or results say.
        from_text: of samples: extract the answers anew from the texts.
        grader: decides equality.

    Raises:
        InputError: the file is no result of ours, or a problem of it is not among `problems`.
    """
    path = Path(results)
    path = path / ANSWERS if path.is_dir() else path
    table = read_table(path)
    if "majority_vote_extracted_answer" in table:
        ids, given, old = "idx", "majority_vote_extracted_answer", "majority_vote_is_correct"
    elif {"problem_id", "sample_index"} <= set(table.columns):
        ids, given, old = "problem_id", "answer", "correct"
    else:
        raise TableError(
            f"{path} is neither a result table (majority_vote_extracted_answer) nor one of samples (problem_id, "
            "sample_index): give the folder of a run, its answers.parquet, or a recording"
        )
    golds = _Golds(table, ids, problems, kind, path)
    grader = grader or Grader()
    keys = list(_keys(table, given, golds, from_text=from_text))
    right = _graded(grader, [(golds.kind(i), key, golds.gold(i)) for i, key in enumerate(keys)])
    graded = table.assign(gold_answer=_column([golds.gold(i) for i in range(len(table))]), **{old: _column(right)})
    before = [None if value is None or value != value else bool(value) for value in table.get(old, [None] * len(table))]
    changes = [
        Change(str(table[ids].iloc[i]), keys[i], golds.gold(i) or "", before[i], now)
        for i, now in enumerate(right)
        if now is not None and now != before[i]
    ]
    samples = summary = stamp_before = None
    if ids == "idx":
        samples = _samples_beside(path, grader, problems, kind, from_text=from_text)
        if samples is not None:
            graded = graded.assign(passk_score=_pass_at_k(graded, samples))
        summary = _summary_beside(path)
        if summary is not None:
            stamp_before = summary.get("grader")
            summary = _renewed(summary, graded, samples, grader)
    known = [now for now in right if now is not None]
    was = [b for b, now in zip(before, right, strict=True) if now is not None]
    return Regraded(
        graded,
        samples,
        summary,
        tuple(changes),
        len(known),
        sum(known),
        None if None in was else sum(bool(b) for b in was),
        grader.report(),
        stamp_before,
    )


class _Golds:
    """The gold answer and the kind of each row."""

    def __init__(
        self,
        table: pd.DataFrame,
        ids: str,
        problems: str | Path | Sequence[Problem] | None,
        kind: str | None,
        path: Path,
    ) -> None:
        self._kind = kind
        self._rows: list[Problem | None]
        if problems is None:
            if "gold_answer" not in table:
                raise TableError(f"{path} has no gold answers: give them with --problems FILE")
            self._rows = [None] * len(table)
        else:
            listed = list(problems) if not isinstance(problems, str | Path) else read_problems(problems)
            by_id = {problem.id: problem for problem in listed}
            names = [str(ident) for ident in table[ids]]
            missing = next((name for name in names if name not in by_id), None)
            if missing is not None:
                raise TableError(
                    f"{path}: problem {missing!r} is not among the problems given: grade by a file that has it"
                )
            self._rows = [by_id[name] for name in names]
        self._golds = [_text(value) for value in table.get("gold_answer", [None] * len(table))]
        self._kinds = [_text(value) for value in table.get("answer_kind", [None] * len(table))]

    def gold(self, row: int) -> str | None:
        problem = self._rows[row]
        return self._golds[row] if problem is None else problem.gold

    def kind(self, row: int) -> Kind:
        problem = self._rows[row]
        own = None if problem is None else problem.answer_kind
        return kind_of(self._kind or own or self._kinds[row] or "math")


def _keys(table: pd.DataFrame, column: str, golds: _Golds, *, from_text: bool) -> Iterator[str | None]:
    nothing = [None] * len(table)
    cut_off = table.get("finish_reason", nothing)
    for row, (answer, text, finish) in enumerate(
        zip(table.get(column, nothing), table.get("text", nothing), cut_off, strict=True)
    ):
        kind = golds.kind(row)
        written = None if from_text else _text(answer)
        if written is None and _text(text) is not None:
            found = kind.extract(str(text))
            written = None if found is None else found.text
        yield None if written is None or finish == "length" else kind.key(written)


def _graded(grader: Grader, questions: Sequence[tuple[Kind, str | None, str | None]]) -> list[bool | None]:
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(lambda q: None if q[2] is None else grader.right(*q), questions))


def _samples_beside(
    path: Path,
    grader: Grader,
    problems: str | Path | Sequence[Problem] | None,
    kind: str | None,
    *,
    from_text: bool,
) -> pd.DataFrame | None:
    beside = path.with_name(SAMPLES)
    if not beside.exists():
        return None
    table = read_table(beside)
    golds = _Golds(table, "problem_id", problems, kind, beside)
    keys = _keys(table, "answer", golds, from_text=from_text)
    right = _graded(grader, [(golds.kind(i), key, golds.gold(i)) for i, key in enumerate(keys)])
    return table.assign(gold_answer=_column([golds.gold(i) for i in range(len(table))]), correct=_column(right))


def _pass_at_k(table: pd.DataFrame, samples: pd.DataFrame) -> list[float]:
    rights = {key: list(group["correct"]) for key, group in samples.groupby(["problem_id", "tier"])}
    out: list[float] = []
    for ident, trace in zip(table["idx"], table["trace"], strict=True):
        tiers = [(position, tier) for position, tier in enumerate(json.loads(trace)) if tier["decided"]]
        position, tier = tiers[0] if tiers else (-1, {"k": 0})
        right = rights.get((ident, position), [])
        out.append(math.nan if None in right else pass_at_k(len(right), sum(right), tier["k"]))
    return out


def _first_k(table: pd.DataFrame, samples: pd.DataFrame, graded: int) -> dict[str, Any] | None:
    """pass@k as a summary has it: of the deciding tier's samples in launch order, as many as all problems have."""
    rows: list[list[bool]] = []
    groups = {key: group.sort_values("sample_index") for key, group in samples.groupby(["problem_id", "tier"])}
    for ident, trace, value in zip(table["idx"], table["trace"], table["majority_vote_is_correct"], strict=True):
        position = next((p for p, tier in enumerate(json.loads(trace)) if tier["decided"]), None)
        if position is None or value is None:
            continue
        group = groups.get((ident, position))
        launched = [] if group is None else list(zip(group["sample_index"], group["correct"], strict=True))
        rows.append([bool(right) for place, (index, right) in enumerate(launched) if index == place])
    k = min((len(row) for row in rows), default=0)
    return {"k": k, "value": sum(any(row[:k]) for row in rows) / graded} if k else None


def _summary_beside(path: Path) -> dict[str, Any] | None:
    beside = path.with_name(SUMMARY)
    try:
        found: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TableError(f"{beside} is no summary: {error}") from error
    return found


def _renewed(
    summary: dict[str, Any], table: pd.DataFrame, samples: pd.DataFrame | None, grader: Grader
) -> dict[str, Any]:
    """A summary with the numbers that grades make."""
    right = [value for value in table["majority_vote_is_correct"] if value is not None]
    decided: dict[tuple[int, str, int, float], list[bool | None]] = {}
    for trace, value in zip(table["trace"], table["majority_vote_is_correct"], strict=True):
        for position, tier in enumerate(json.loads(trace)):
            if tier["decided"]:
                decided.setdefault((position, tier["model"], tier["k"], tier["temperature"]), []).append(value)
    tiers = []
    for tier in summary["tiers"]:
        grades = decided.get((tier["position"], tier["model"], tier["k"], tier["temperature"]), [])
        accuracy = sum(map(bool, grades)) / len(grades) if grades and None not in grades else None
        tiers.append({**tier, "accuracy": accuracy})
    return {
        **summary,
        "graded": len(right),
        "correct": sum(right),
        "accuracy": sum(right) / len(right) if right else None,
        "accuracy_ci95": list(wilson(sum(right), len(right))) if right else None,
        "pass_at_k": None if samples is None else _first_k(table, samples, len(right)),
        "tiers": tiers,
        **grader.report(),
    }


def _column(values: Sequence[bool | str | None]) -> pd.Series[Any]:
    return pd.Series(list(values), dtype=object)


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)
