"""Results: the outcomes of a run as tables, under the published column names, with the whole trace beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from escalade.climb import Answered
from escalade.errors import TableError
from escalade.job import Job
from escalade.rows import LISTS, answer_row, sample_rows
from escalade.streaming import STAMP, ResultStream, partial_of, stamp_of
from escalade.summary import Summary
from escalade.tally import summarise


@dataclass(frozen=True)
class Results:
    """What a run gave."""

    job: Job
    answered: tuple[Answered, ...]
    """In the order of the problems; those a stopped run did not reach are missing."""
    seconds: float
    interrupted: bool = False
    grading: Mapping[str, Any] = field(default_factory=dict)
    """Who said which answers are equal: the kinds of answers with versions and settings, and what stayed undecided."""

    def summary(self) -> Summary:
        """Return accuracy, cost, tokens and who decided what; print it, or take `to_dict()`."""
        return self._summary

    @cached_property
    def _summary(self) -> Summary:
        return summarise(self.job, self.answered, self.seconds, self.grading, interrupted=self.interrupted)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per problem: the published columns, `status`, `decided_by`, `notes`, and the trace."""
        return pd.DataFrame([answer_row(self.job, item) for item in self.answered], dtype=object).infer_objects()

    def samples(self) -> pd.DataFrame:
        """Return one row per sample drawn, in the columns of recorded pools."""
        return pd.DataFrame([row for item in self.answered for row in sample_rows(self.job, item)])

    def write(self, folder: str | Path) -> Path:
        """Write answers.parquet, samples.parquet and summary.json; return the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with ResultStream(self.job, folder) as stream:
            for position, item in enumerate(self.answered):
                stream.add(position, item)
            stream.finish(self.grading)
        write_summary(self.summary(), folder)
        return folder

    def __len__(self) -> int:
        return len(self.answered)


def write_answers(table: pd.DataFrame, path: Path, grading: Mapping[str, Any]) -> None:
    """Write a result table as Parquet, with the stamp of who graded it; lists as JSON."""
    flat = table.copy()
    for column in LISTS:
        if column in flat:
            texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in flat[column]]
            flat[column] = pd.Series(texts, index=flat.index, dtype=object)
    replace_file(path, partial(_write_parquet, flat, stamp_of(grading)))


ANSWERS, SAMPLES, SUMMARY = "answers.parquet", "samples.parquet", "summary.json"
"""The files of a run's folder."""


def write_tables(
    folder: str | Path,
    *,
    answers: pd.DataFrame | None = None,
    samples: pd.DataFrame | None = None,
    summary: Mapping[str, Any] | None = None,
    grading: Mapping[str, Any] | None = None,
) -> Path:
    """Write those of the files of a run that are given, as they are, each whole; return the folder.

    The stamp of `grading`, what a grader reports, goes into the metadata of the tables.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in ((ANSWERS, answers), (SAMPLES, samples)):
        if table is not None:
            replace_file(folder / name, partial(_write_parquet, table, stamp_of(grading or {})))
    if summary is not None:
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        replace_file(folder / SUMMARY, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return folder


def read_stamp(path: Path) -> dict[str, Any]:
    """Return who graded a table of a run, {"grader": ...} as in summary.json; {} where the file does not say it.

    Raises:
        TableError: the file is not there, is no Parquet file, or its stamp is none.
    """
    try:
        found = (pq.read_metadata(path).metadata or {}).get(STAMP.encode())
        stamp = {} if found is None else json.loads(found)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: its metadata cannot be read: {error}") from error
    if not isinstance(stamp, dict):
        raise TableError(f"{path}: key {STAMP!r} of its metadata is no JSON object but {found!r:.60}")
    return stamp


def _write_parquet(table: pd.DataFrame, stamp: Mapping[str, str], path: Path) -> None:
    whole = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(whole.replace_schema_metadata({**(whole.schema.metadata or {}), **stamp}), path)


def write_summary(summary: Summary, folder: Path) -> None:
    """Write summary.json."""
    write_tables(folder, summary=summary.to_dict())


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then put it there whole."""
    partial = partial_of(path)
    write(partial)
    partial.replace(path)
