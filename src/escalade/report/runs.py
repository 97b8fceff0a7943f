"""Runs as a report reads them: the three files of a run's folder, checked against each other.

Every ballot is graded here, not only the one that decided: its leader is right where it is the class that a sample
counted as right voted for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.answers.kinds import is_file, kind_of
from escalade.cascade.confidence import entropy_bits
from escalade.errors import AnswerKindError, TableError
from escalade.results import ANSWERS, SAMPLES, SUMMARY

_ANSWERS = (
    "idx",
    "problem",
    "gold_answer",
    "answer_kind",
    "route",
    "majority_vote_extracted_answer",
    "majority_vote_is_correct",
    "final_confidence",
    "total_cost_usd",
    "status",
    "decided_by",
    "notes",
    "trace",
)
_SAMPLES = ("problem_id", "answer", "correct")
_SUMMARY = ("problems", "correct", "graded", "route", "strategy", "tiers", "statuses")
_HELD = 2000
"""Most characters of a text that a report takes over."""


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a ballot, as recorded."""

    votes: tuple[tuple[str, float], ...]
    """(answer, votes), the leader first."""
    seats: float
    abstained: float
    undrawn: float
    tie: bool
    confidence: float | None
    source: str
    threshold: float | None
    decision: str
    reason: str

    @property
    def share(self) -> float | None:
        """The leader's votes over all seats; None where nobody voted."""
        return self.votes[0][1] / self.seats if self.votes and self.seats else None

    @property
    def entropy(self) -> float:
        """Entropy of the votes in bits; each abstention and each seat never drawn is a class of its own."""
        alone = [1.0] * round(self.abstained + self.undrawn)
        return entropy_bits([*(n for _, n in self.votes), *alone])


@dataclass(frozen=True, slots=True)
class TierStory:
    """What one tier did with one problem."""

    position: int
    model: str
    k: int
    temperature: float
    decided: bool
    asked: int
    """Seats of its last ballot."""
    samples: int
    """Generated for it and paid at it: those that it shares with an earlier tier are not among them."""
    saved: int
    cancelled: int
    broken_off: int
    """Requests that failed after they had used tokens."""
    cost: Decimal | None
    """In USD; None is unknown."""
    tokens: int | None
    """Written; None where a sample's count is unknown."""
    tokens_unused: int
    """Of these, by requests that were cancelled or broke off, as far as their engine said so."""
    looks: tuple[Look, ...]
    leader_right: bool | None
    """Whether the leader of the last look is the gold answer; None without a leader or a grade."""

    @property
    def drawn(self) -> int:
        """Seats with a sample, whether it came before the tier was settled, after it, or was shared."""
        return self.asked - self.saved - self.cancelled


@dataclass(frozen=True, slots=True)
class Story:
    """One problem of a run, from its text to its outcome."""

    id: str
    text: str
    gold: str | None
    answer: str | None
    right: bool | None
    confidence: float | None
    cost: Decimal | None
    """In USD, the sum of tiers and scores; None is unknown."""
    status: str
    decided_by: str | None
    notes: str | None
    route: str
    samples: int
    """Graded samples."""
    samples_right: int
    tiers: tuple[TierStory, ...]
    scores: Decimal | None = Decimal(0)
    """In USD, what its scores cost; None is unknown."""


@dataclass(frozen=True)
class Run:
    """One run: its problems, and what summary.json says of it."""

    name: str
    """The route, or the strategy that chose routes."""
    folder: Path
    summary: Mapping[str, Any]
    stories: tuple[Story, ...]

    @property
    def graded(self) -> int:
        """Problems with a grade."""
        return sum(story.right is not None for story in self.stories)

    @property
    def correct(self) -> int:
        """Problems answered right."""
        return sum(story.right is True for story in self.stories)

    @property
    def cost(self) -> Decimal | None:
        """In USD, over all problems; None where one is unknown."""
        costs = [story.cost for story in self.stories]
        return sum((c for c in costs if c is not None), Decimal(0)) if None not in costs else None


def read_run(folder: str | Path) -> Run:
    """Read the folder of a run.

    Raises:
        TableError: a file is missing or is not what a run writes, or the three are not of one run.

    Example:
        >>> import escalade, tempfile
        >>> results = escalade.run(engine="replay:shipped", route="mv_0.5B_k2_t0.7", limit=3)
        >>> run = read_run(results.write(tempfile.mkdtemp()))
        >>> run.name, len(run.stories), run.correct == results.summary().correct
        ('mv_0.5B_k2_t0.7', 3, True)
    """
    folder = Path(folder)
    summary = _summary(folder / SUMMARY)
    answers = _table(folder / ANSWERS, _ANSWERS, ("scoring",))
    drawn = _drawn(_table(folder / SAMPLES, _SAMPLES))
    stories = tuple(_story(row, drawn, folder / ANSWERS) for row in answers)
    if not stories:
        raise TableError(f"{folder / ANSWERS} has no problem: there is nothing to report; let the run answer some")
    name = summary["strategy"] or summary["route"]
    run = Run(str(name or "routes of a table"), folder, summary, stories)
    told, found = (summary["problems"], summary["graded"], summary["correct"]), (len(stories), run.graded, run.correct)
    if told != found:
        raise TableError(
            f"{folder}: {SUMMARY} tells of {told[0]} problems, {told[1]} graded, {told[2]} right; {ANSWERS} of "
            f"{found[0]}, {found[1]}, {found[2]}: the two are not of one run; write the folder again"
        )
    return run


def _summary(path: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TableError(
            f"{path} is not there; give the folder of a run, with {ANSWERS}, {SAMPLES}, {SUMMARY}"
        ) from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as a summary: {error}") from error
    lacking = next((key for key in _SUMMARY if not isinstance(found, dict) or key not in found), None)
    if lacking is not None:
        raise TableError(f"{path} is no summary of a run: it has no {lacking!r}; write the folder again")
    return dict(found)


def _table(path: Path, columns: tuple[str, ...], also: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The rows of a Parquet table, missing values as None; some columns are not in tables of older versions."""
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except FileNotFoundError as error:
        raise TableError(
            f"{path} is not there; give the folder of a run, with {ANSWERS}, {SAMPLES}, {SUMMARY}"
        ) from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as Parquet: {error}; write the folder again") from error
    with file:
        lacking = next((name for name in columns if name not in file.schema_arrow.names), None)
        if lacking is not None:
            raise TableError(f"{path} has no column {lacking!r}: it is not what a run writes")
        there = [*columns, *(name for name in also if name in file.schema_arrow.names)]
        rows: list[dict[str, Any]] = file.read(columns=there).to_pylist()
    return rows


def _drawn(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[str | None, bool]]]:
    """The graded samples of each problem: (answer as written, whether it is right)."""
    drawn: dict[str, list[tuple[str | None, bool]]] = {}
    for row in rows:
        if row["correct"] is not None and not pd.isna(row["correct"]):
            drawn.setdefault(str(row["problem_id"]), []).append((row["answer"], bool(row["correct"])))
    return drawn


def _story(row: Mapping[str, Any], drawn: Mapping[str, list[tuple[str | None, bool]]], path: Path) -> Story:
    ident = str(row["idx"])
    samples = drawn.get(ident, [])
    answer, right = _text(row["majority_vote_extracted_answer"]), row["majority_vote_is_correct"]
    grade = _grading(answer, right, [a for a, good in samples if good and a is not None], str(row["answer_kind"]))
    try:
        tiers = tuple(_tier(position, tier, grade) for position, tier in enumerate(json.loads(row["trace"])))
    except KeyError as error:
        raise TableError(f"{path}: the trace of problem {ident!r} lacks {error.args[0]!r}: run it again") from error
    except (TypeError, ValueError, IndexError, InvalidOperation, RecursionError) as error:
        raise TableError(f"{path}: the trace of problem {ident!r} cannot be read: {error}") from error
    try:
        charges = [each["cost_usd"] for each in json.loads(row.get("scoring") or "[]")]
        scores = None if None in charges else sum((Decimal(each) for each in charges), Decimal(0))
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise TableError(f"{path}: the scores of problem {ident!r} cannot be read: {error}") from error
    costs = [*(tier.cost for tier in tiers), scores]
    known = row["total_cost_usd"] is not None and None not in costs
    return Story(
        id=ident,
        text=(_text(row["problem"]) or "").strip(),
        gold=_text(row["gold_answer"]),
        answer=answer,
        right=None if right is None else bool(right),
        confidence=_finite(row["final_confidence"]),
        cost=sum((cost for cost in costs if cost is not None), Decimal(0)) if known else None,
        status=str(row["status"]),
        decided_by=_text(row["decided_by"]),
        notes=_text(row["notes"]),
        route=_text(row["route"]) or "not understood",
        samples=len(samples),
        samples_right=sum(good for _, good in samples),
        tiers=tiers,
        scores=scores,
    )


def _grading(answer: str | None, right: bool | None, good: list[str], kind: str) -> Callable[[str], bool | None]:
    """Whether a class of a problem's ballots is right, from its outcome and the samples that were found right."""
    keys: set[str | None] | None = None

    def grade(leader: str) -> bool | None:
        nonlocal keys
        if right is None:
            return None
        if leader == answer:
            return bool(right)
        if not good:
            return False
        if keys is None:
            if is_file(kind):  # code of a person's own: a report runs none
                return None
            try:
                keys = {kind_of(kind).key(text) for text in good}
            except AnswerKindError:
                return None
        return leader in keys

    return grade


def _tier(position: int, tier: Mapping[str, Any], grade: Callable[[str], bool | None]) -> TierStory:
    looks = tuple(_look(look) for look in tier["looks"])
    leader = looks[-1].votes[0][0] if looks and looks[-1].votes else None
    written, cancelled = list(tier["completion_tokens"]), int(tier["cancelled"])
    broken_off = int(tier.get("broken_off") or 0)  # traces of older versions do not tell of them
    samples = len(written) - cancelled - broken_off
    if samples < 0:
        raise ValueError("it counts the requests of a tier in two ways")
    unused = sum(n for n in written[samples:] if n is not None)
    return TierStory(
        position=position,
        model=str(tier["model"]),
        k=int(tier["k"]),
        temperature=float(tier["temperature"]),
        decided=bool(tier["decided"]),
        asked=int(tier["asked"]),
        samples=samples,
        saved=int(tier["saved"]),
        cancelled=cancelled,
        broken_off=broken_off,
        cost=None if tier["cost_usd"] is None else Decimal(str(tier["cost_usd"])),
        tokens=None if None in written[:samples] else sum(n for n in written[:samples] if n is not None) + unused,
        tokens_unused=unused,
        looks=looks,
        leader_right=None if leader is None else grade(leader),
    )


def _look(look: Mapping[str, Any]) -> Look:
    return Look(
        votes=tuple((str(answer), float(n)) for answer, n in look["votes"]),
        seats=float(look["seats"]),
        abstained=float(look["abstained"]),
        undrawn=float(look["undrawn"]),
        tie=bool(look["tie"]),
        confidence=_finite(look["confidence"]),
        source=str(look["source"]),
        threshold=_finite(look["threshold"]),
        decision=str(look["decision"]),
        reason=str(look["reason"]),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    text = str(value)
    return text if len(text) <= _HELD else text[: _HELD - 1] + "…"
