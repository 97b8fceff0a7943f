"""What is measured of one data set: right answers, majorities, scores, and the aggregates that its authors printed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from escalade.errors import TableError
from escalade.pool import load_pool
from escalade.scores import Scores, read_published

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.intp]

SAMPLES = 8
"""Samples at T = 0.7 behind each count and each majority."""
MEASURED = {"1.5B": "m1.5b", "7B": "m7b"}
"""Models with an answer recorded per problem, and their names in the columns. 72B has aggregates only."""
PROBING = "DigitalLearningGmbH_MATH-lighteval"
SOURCES = {
    "MATH test": ("kw_wide_math_test.parquet", "DigitalLearningGmbH_MATH-lighteval"),
    "GSM8K test": ("kw_wide_gsm8k_test.parquet", "openai_gsm8k"),
}
AGGREGATES = "kw_reference_aggregates.csv"


class Recorded(NamedTuple):
    """One line of the aggregates: what the authors printed for a strategy."""

    accuracy: float
    mean_correctness: float
    """Their second column: the mean share of right samples."""
    cost: float
    """USD for the whole data set."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One data set, a row a problem; arrays are in the order of the table."""

    title: str
    greedy: Mapping[str, Flags]
    """By alias: was the greedy sample right."""
    right: Mapping[str, Counts]
    """By alias: how many of 8 samples were right; without entries where that was never measured."""
    majority: Mapping[str, Flags]
    """By alias: was the majority of those 8 samples right."""
    scores: Scores
    """The score files that the published strategies read."""
    probes: Mapping[str, Mapping[str, Floats]]
    """Every recorded probe, by name and alias."""
    recorded: Mapping[str, tuple[Recorded, ...]]
    """By strategy: what its authors recorded, the run compared with first, then other runs of theirs."""

    @property
    def rows(self) -> int:
        """The number of problems."""
        return self.scores.rows

    @property
    def counted(self) -> bool:
        """Whether samples at T = 0.7 were counted here."""
        return bool(self.right)


def read(data: Path, title: str) -> Measured:
    """Return the measurements of a data set from the folder of recorded data.

    Raises:
        TableError: a file or column is not there, or the scores are of other problems than the counts.
        ScoreError: the published score files are not there.
    """
    if title not in SOURCES:
        raise TableError(f"no data set {title!r}: there are {', '.join(SOURCES)}")
    name, dataset = SOURCES[title]
    file = data / "pools" / name
    if not file.is_file():
        raise TableError(f"no file {file}: give the folder of recorded data, the one that holds pools/ and scored/")
    table = pd.read_parquet(file)
    published = read_published(
        data / "scored", PROBING, dataset, load_pool("qwen2.5-math"), models=list(MEASURED), k=1, temp=0.0
    )
    # The score files of GSM8K hold the problem with the instruction that followed it in the prompt.
    scored = published.problems["problem"].tolist()
    if len(scored) != len(table) or not all(map(str.startswith, scored, table["problem"])):
        raise TableError(f"{file}: its problems are not those of the score files of {dataset}, in their order")
    return Measured(
        title,
        {alias: _column(table, file, f"c_{m}_k1_t0.0").astype(bool) for alias, m in MEASURED.items()},
        {alias: values.astype(np.intp) for alias, values in _where_there(table, file, "c_{}_k8_t0.7").items()},
        {alias: values.astype(bool) for alias, values in _where_there(table, file, "mv_{}_k8_t0.7").items()},
        published.scores,
        _probes(table),
        _aggregates(data / "pools" / AGGREGATES, dataset),
    )


def _column(table: pd.DataFrame, file: Path, column: str) -> NDArray[np.int64]:
    if column not in table:
        raise TableError(f"{file} has no column {column!r}: it has {', '.join(map(str, table.columns))}")
    if table[column].isna().any():
        raise TableError(f"{file}: column {column!r} is empty in row {int(table[column].isna().argmax())}")
    values: NDArray[np.int64] = table[column].to_numpy(np.int64)
    return values


def _where_there(table: pd.DataFrame, file: Path, pattern: str) -> dict[str, NDArray[np.int64]]:
    """Columns of both models; none where neither has one."""
    names = {alias: pattern.format(m) for alias, m in MEASURED.items()}
    if not any(name in table for name in names.values()):
        return {}
    return {alias: _column(table, file, name) for alias, name in names.items()}


def _probes(table: pd.DataFrame) -> dict[str, dict[str, Floats]]:
    """Every probe that scored both models, by what it was trained on and for."""
    names = {
        column.replace(f"_{MEASURED['1.5B']}_", "_{}_")
        for column in map(str, table.columns)
        if column.startswith("probe[") and f"_{MEASURED['1.5B']}_" in column
    }
    return {
        name: {alias: table[name.format(m)].to_numpy(np.float64) for alias, m in MEASURED.items()}
        for name in sorted(names)
        if all(name.format(m) in table for m in MEASURED.values())
    }


def _aggregates(file: Path, dataset: str) -> dict[str, tuple[Recorded, ...]]:
    if not file.is_file():
        raise TableError(f"no file {file}: give the folder of recorded data, the one that holds pools/ and scored/")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["dataset"] == dataset]
    # The runs that hold every strategy come first; runs of some strategies only show how far a repetition differs.
    rows.sort(key=lambda row: not row["source_notebook"].startswith("old_codebase/"))
    found: dict[str, tuple[Recorded, ...]] = {}
    for row in rows:
        name = "bayesian_robust" if row["router"] == "72b_robust" else row["router"]
        line = Recorded(float(row["acc_col1"]), float(row["acc_col2"]), float(row["cost_usd"]))
        found[name] = (*found.get(name, ()), line)
    return found
