"""Results: the outcomes of a run as tables, under the published column names, with the whole trace beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.climb import Answered
from escalade.job import Job
from escalade.rows import LISTS, answer_row, sample_rows
from escalade.streaming import ResultStream, partial_of
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
            stream.finish()
        write_summary(self.summary(), folder)
        return folder

    def __len__(self) -> int:
        return len(self.answered)


def write_answers(table: pd.DataFrame, path: Path) -> None:
    """Write a result table as Parquet; lists as JSON."""
    flat = table.copy()
    for column in LISTS:
        if column in flat:
            texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in flat[column]]
            flat[column] = pd.Series(texts, index=flat.index, dtype=object)
    replace_file(path, lambda target: flat.to_parquet(target, index=False))


ANSWERS, SAMPLES, SUMMARY = "answers.parquet", "samples.parquet", "summary.json"
"""The files of a run's folder."""


def write_tables(
    folder: str | Path,
    *,
    answers: pd.DataFrame | None = None,
    samples: pd.DataFrame | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Path:
    """Write those of the files of a run that are given, as they are, each whole; return the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in ((ANSWERS, answers), (SAMPLES, samples)):
        if table is not None:
            replace_file(folder / name, partial(table.to_parquet, index=False))
    if summary is not None:
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        replace_file(folder / SUMMARY, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return folder


def write_summary(summary: Summary, folder: Path) -> None:
    """Write summary.json."""
    write_tables(folder, summary=summary.to_dict())


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then put it there whole."""
    partial = partial_of(path)
    write(partial)
    partial.replace(path)
