"""Streaming: the tables of a run written to Parquet while it goes on, problem by problem, in the order of the problems.

What is held in memory does not grow with the number of problems: rows are written in groups, and a row that comes
before its turn, once too much of such text is held, waits in a file of its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from escalade.climb import Answered
from escalade.errors import SettingError
from escalade.job import Job
from escalade.rows import answer_row, sample_rows

try:
    import fcntl
except ImportError:  # not on Windows: there nothing tells that another run writes to a folder
    fcntl = None  # type: ignore[assignment]

GROUP_ROWS, GROUP_CHARACTERS = 4096, 16_000_000
"""A group of rows is written when it has so many rows, or so much text."""
STAMP = "escalade"
"""Key of a Parquet file's metadata under which JSON says who graded: `grader`, as in summary.json."""
HELD_CHARACTERS = 32_000_000
"""Text of problems answered before their turn that is held in memory; what is beyond it waits on disk."""

_TEXT, _FLOAT, _INT, _BOOL = pa.large_string(), pa.float64(), pa.int64(), pa.bool_()
_PROBLEM = {"idx": _TEXT, "problem": _TEXT, "original_solution": _TEXT, "gold_answer": _TEXT, "answer_kind": _TEXT}
_ANSWER = {
    "route": _TEXT,
    "route_to": _TEXT,
    "is_mv": _BOOL,
    "is_cascade": _BOOL,
    "cascade_tiers": _TEXT,
    "sc_n": _INT,
    "sc_temp": _FLOAT,
    "routed_response_text": _TEXT,
    "response_model": _TEXT,
    "majority_vote_extracted_answer": _TEXT,
    "majority_vote_is_correct": _BOOL,
    "passk_score": _FLOAT,
    "final_confidence": _FLOAT,
    "tiers_executed": _INT,
    "escalation_path": _TEXT,
    "tier_confidences": _TEXT,
    "cost_per_tier": _TEXT,
    "scoring_cost_usd": _FLOAT,
    "total_cost_usd": _FLOAT,
    "generated_solutions": _TEXT,
    "status": _TEXT,
    "decided_by": _TEXT,
    "notes": _TEXT,
    "scoring": _TEXT,
    "trace": _TEXT,
}
SAMPLES = pa.schema(
    {
        "problem_id": _TEXT,
        "problem": _TEXT,
        "gold_answer": _TEXT,
        "answer_kind": _TEXT,
        "model": _TEXT,
        "model_name": _TEXT,
        "temperature": _FLOAT,
        "tier": _INT,
        "sample_index": _INT,
        "answer": _TEXT,
        "rule": _TEXT,
        "correct": _BOOL,
        "text": _TEXT,
        "prompt_tokens": _INT,
        "cached_tokens": _INT,
        "completion_tokens": _INT,
        "mean_logprob": _FLOAT,
        "finish_reason": _TEXT,
        "cost_usd": _FLOAT,
        "seed": _INT,
    }
)
"""Columns of samples.parquet."""

Row = dict[str, str | float | bool | None]
"""Plain values; lists as JSON, and null in the place of NaN."""


def answers_schema(job: Job) -> pa.Schema:
    """Return the columns of answers.parquet: the same for every run but for the scores that its problems have."""
    aliases = dict.fromkeys(alias for task in job.tasks for alias in task.problem.scores)
    return pa.schema({**_PROBLEM, **{f"score_{alias}": _FLOAT for alias in aliases}, **_ANSWER})


class ResultStream:
    """Writes answers.parquet and samples.parquet, each beside its place until `finish` moves it there.

    Use it as a context manager: what `finish` has not moved by its end is removed.

    Args:
        job: whose problems come in any order.
        folder: where the files go; what is there stays until `finish`.

    Raises:
        OSError: the files cannot be written.
        SettingError: another run writes to the folder.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self._job = job
        self._next = 0
        self._early = _Early(folder)
        self._tables: list[_Table] = []
        try:
            for name, schema in (("answers.parquet", answers_schema(job)), ("samples.parquet", SAMPLES)):
                self._tables.append(_Table(folder / name, schema))
        except BaseException:
            self._discard()
            raise

    def add(self, position: int, item: Answered) -> None:
        """Take the answered problem of a position, counted from 0; it is written when all before it are."""
        answer = _flat(answer_row(self._job, item))
        samples = [_flat(row) for row in sample_rows(self._job, item)]
        if position > self._next:
            self._early.put(position, [answer, *samples])
            return
        self._write([answer, *samples])
        while (rows := self._early.take(self._next)) is not None:
            self._write(rows)

    def finish(self, grading: Mapping[str, Any]) -> None:
        """Write what is left and move the files to their places; problems that were not answered are missing.

        Args:
            grading: what the grader reports at the end; its stamp goes into the metadata of both files.
        """
        for position in self._early.positions():
            rows = self._early.take(position)
            assert rows is not None
            self._write(rows)
        for table in self._tables:
            table.close(stamp_of(grading))
        for table in self._tables:
            table.move()

    def _write(self, rows: list[Row]) -> None:
        answers, samples = self._tables
        self._next += 1
        answers.add(rows[:1])
        samples.add(rows[1:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        self._early.close()
        for table in self._tables:
            table.discard()


def stamp_of(grading: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata that a Parquet file gets of a grading; none where nobody graded.

    Example:
        >>> stamp_of({"grader": {"escalade": "0.1.0", "math": "math 1"}, "comparisons": 7})
        {'escalade': '{"grader": {"escalade": "0.1.0", "math": "math 1"}}'}
    """
    if grading.get("grader") is None:
        return {}
    return {STAMP: json.dumps({"grader": grading["grader"]}, ensure_ascii=False)}


def partial_of(path: Path) -> Path:
    """Return the name that a file has beside its place until it is whole."""
    return path.with_name(f".{path.name}.partial")


class _Table:
    """One Parquet file in groups of rows."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._partial, self._schema = path, partial_of(path), schema
        self._moved = False
        self._lock = _hold(self._partial)
        self._writer = pq.ParquetWriter(self._partial, schema)
        self._rows: list[Row] = []
        self._characters = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._rows.append(row)
            self._characters += _characters(row)
            if len(self._rows) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
                self._flush()

    def close(self, stamp: Mapping[str, str]) -> None:
        self._flush()
        if stamp:
            self._writer.add_key_value_metadata(dict(stamp))
        self._writer.close()

    def move(self) -> None:
        self._partial.replace(self._path)
        self._moved = True

    def discard(self) -> None:
        self._writer.close()
        if not self._moved:  # else a file of that name is another run's
            self._partial.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def _flush(self) -> None:
        if self._rows:
            rows, self._rows, self._characters = self._rows, [], 0
            self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))


def _hold(partial: Path) -> IO[bytes] | None:
    """Hold a file as long as what is returned is open."""
    if fcntl is None:
        return None
    file = partial.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SettingError(f"another run writes its results to {partial.parent}; name another folder") from error
    except OSError:  # a file system without locks
        pass
    return file


class _Early:
    """Rows of problems that were answered before their turn: in memory, and once that is much, in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, list[Row]] = {}
        self._characters = 0
        self._places: dict[int, tuple[int, int]] = {}
        self._file: Any = None

    def put(self, position: int, rows: list[Row]) -> None:
        size = sum(map(_characters, rows))
        if self._characters + size <= HELD_CHARACTERS:
            self._held[position] = rows
            self._characters += size
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - open as long as this is
        start = self._file.seek(0, 2)
        self._places[position] = start, self._file.write(json.dumps(rows).encode())

    def take(self, position: int) -> list[Row] | None:
        rows = self._held.pop(position, None)
        if rows is not None:
            self._characters -= sum(map(_characters, rows))
            return rows
        if (place := self._places.pop(position, None)) is None:
            return None
        self._file.seek(place[0])
        spilled: list[Row] = json.loads(self._file.read(place[1]))
        if not self._places:
            self._file.truncate(0)
        return spilled

    def positions(self) -> list[int]:
        return sorted([*self._held, *self._places])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _flat(row: Mapping[str, Any]) -> Row:
    flat = {name: json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for name, v in row.items()}
    return {name: None if v != v else v for name, v in flat.items()}


def _characters(row: Row) -> int:
    """How much room a row takes, roughly: its text, and a thousand for the rest."""
    return 1000 + sum(len(value) for value in row.values() if isinstance(value, str))
