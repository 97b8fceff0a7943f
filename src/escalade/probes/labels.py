"""Labels: how the problems that a probe learns from came out, from samples or from a table.

A label is a success rate, c right of k samples, or whether the majority was right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from escalade.cascade.policy import Policy
from escalade.errors import ScoreError, SettingError, TableError
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.evaluation.inventory import Shelf, inventory
from escalade.probes.ridge import Floats
from escalade.probes.training import Target
from escalade.problems import ID, Problem, read_table

Kind = Literal["rate", "majority"]
SUCCESSES = "successes"
RATE = "success_rate"
MAJORITY = ("majority_correct", "majority_vote_is_correct")
_MOST = 1e6
_ROUNDED = 0.05
"""How far from a whole number of right samples a rate that was written in few digits may be."""


@dataclass(frozen=True, eq=False)
class Labels:
    """How N problems came out, asked of one model."""

    problems: tuple[Problem, ...]
    successes: Floats | None
    """[N] Right samples; None where only the majority is known."""
    trials: Floats
    """[N] Samples."""
    majority: Floats | None
    """[N] Whether the vote of all samples is right, 0 or 1; None where only rates are known."""
    alias: str
    temperature: float
    """Of the samples."""
    source: str
    """What was read, in words."""

    def __len__(self) -> int:
        return len(self.problems)

    def target(self, kind: Kind) -> Target:
        """Return what a probe is to predict.

        Raises:
            SettingError: labels of this kind are not there.
        """
        if kind == "rate":
            if self.successes is None:
                raise SettingError(f"{self.source} has no success rates: train on the majority (--label majority)")
            return Target(self.successes, self.trials)
        if self.majority is None:
            raise SettingError(f"{self.source} has success rates only: train on them (--label rate)")
        return Target(self.majority, np.ones(len(self.majority)))

    @property
    def kind(self) -> Kind:
        """The kind that is there; the rate, which says more, where both are."""
        return "majority" if self.successes is None else "rate"

    @property
    def k(self) -> int:
        """How many samples most problems have."""
        return int(np.median(self.trials))

    def of(self, rows: Sequence[int]) -> Labels:
        """Return the labels of some of the problems, by their places."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            problems=tuple(self.problems[row] for row in chosen),
            successes=None if self.successes is None else self.successes[chosen],
            trials=self.trials[chosen],
            majority=None if self.majority is None else self.majority[chosen],
        )


def labels_of(bank: Bank, alias: str, temperature: float | None = None) -> Labels:
    """Return the labels that the recorded samples of a model give.

    Args:
        bank: the samples; every problem needs a gold answer.
        alias: of the model.
        temperature: of the samples; None takes that which most samples of each problem have.

    Raises:
        TableError: no such samples, or a problem has none.

    Example:
        >>> labels = labels_of(Bank.of_recording("shipped"), "0.5B")
        >>> labels.temperature, labels.k, round(float(labels.target("rate").rate.mean()), 3)
        (0.7, 8, 0.304)
    """
    shelf = _shelf(bank, alias, temperature)
    lot = bank.lot(alias, shelf.temperature)
    right, n = lot.right[bank.index].sum(axis=1).astype(float), lot.n[bank.index].astype(float)
    if not n.all():
        bad = bank.problems[int(np.argmin(n))].id
        raise TableError(
            f"problem {bad!r} has no sample of {alias} at t={shelf.temperature:g} in {bank.place} "
            f"({int((n == 0).sum())} such problems): draw them, or leave the problem out"
        )
    majority = np.empty(len(bank))
    for k in np.unique(n).astype(int):
        rows = np.flatnonzero(n == k)
        voted = evaluate(bank.subset(rows), shelf.vote(int(k)), Policy(stop="none"))
        majority[rows] = np.round(voted.correct)
    return Labels(bank.problems, right, n, majority, alias, shelf.temperature, bank.place)


def read_labels(path: Path, problems: Sequence[Problem], alias: str, *, temperature: float, k: int | None) -> Labels:
    """Return the labels of a table, joined to the problems by id; a table of more problems than these is fine.

    Columns: idx, id or problem_id; `trials`, else each has `k` samples; `successes` or `success_rate`; and perhaps
    `majority_correct` or `majority_vote_is_correct`, 0 or 1. A `scored.parquet` of the published layout may have them.

    Raises:
        ScoreError: a column or a row is not there, or a value makes no sense; names row and column.
    """
    table = read_table(path)
    column = next((name for name in ID if name in table), None)
    if column is None:
        raise ScoreError(f"{path} has no id column ({', '.join(ID)}) to join its labels to the problems by")
    rows = {str(value): row for row, value in enumerate(table[column])}
    if len(rows) < len(table):
        twice = table[column].astype(str).duplicated().to_numpy().argmax()
        raise ScoreError(f"{path}: id {table[column].iloc[twice]!r} stands twice: one row per problem")
    missing = next((problem.id for problem in problems if problem.id not in rows), None)
    if missing is not None:
        raise ScoreError(f"{path} has no label of problem {missing!r}: every problem needs one")
    found = table.iloc[[rows[problem.id] for problem in problems]].reset_index(drop=True)

    def numbers(name: str, low: float, high: float) -> Floats:
        values = pd.to_numeric(found[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        bad = ~((values >= low) & (values <= high))
        if bad.any():
            row = int(bad.argmax())
            raise ScoreError(
                f"{path}: problem {problems[row].id!r}, column {name!r}: the label is {found[name].iloc[row]!r}; "
                f"give a number from {low:g} to {high:g}"
            )
        return values

    def whole(values: Floats, column: str) -> Floats:
        off = np.abs(values - np.rint(values)) > _ROUNDED
        if off.any():
            row = int(off.argmax())
            raise ScoreError(
                f"{path}: problem {problems[row].id!r}, column {column!r}: that are {values[row]:g} samples: "
                "give whole numbers, and rates of as many samples as trials (or --k) says"
            )
        return np.rint(values)

    if "trials" in found:
        trials = whole(numbers("trials", 1, _MOST), "trials")
    elif k is not None:
        trials = np.full(len(found), float(k))
    else:
        raise ScoreError(f"{path} does not say of how many samples its labels are: add a column trials, or give --k N")
    successes = majority = None
    if SUCCESSES in found:
        successes = whole(numbers(SUCCESSES, 0, _MOST), SUCCESSES)
        if (successes > trials).any():
            bad = problems[int((successes > trials).argmax())].id
            raise ScoreError(f"{path}: problem {bad!r} has more successes than trials: correct the row")
    elif RATE in found:
        successes = whole(numbers(RATE, 0, 1) * trials, RATE)
    voted = next((name for name in MAJORITY if name in found), None)
    if voted is not None:
        majority = numbers(voted, 0, 1)
        if not np.isin(majority, (0, 1)).all():
            row = int((~np.isin(majority, (0, 1))).argmax())
            raise ScoreError(
                f"{path}: problem {problems[row].id!r}, column {voted!r} is {majority[row]:g}: give 0 or 1"
            )
    if successes is None and majority is None:
        raise ScoreError(
            f"{path} has no labels: give a column {SUCCESSES}, {RATE} or {MAJORITY[0]} "
            f"(it has {', '.join(map(str, table.columns))})"
        )
    return Labels(tuple(problems), successes, trials, majority, alias, temperature, str(path))


def _shelf(bank: Bank, alias: str, temperature: float | None) -> Shelf:
    shelves = [shelf for shelf in inventory(bank) if shelf.alias == alias]
    if temperature is not None:
        shelves = [shelf for shelf in shelves if abs(shelf.temperature - temperature) < 1e-9]
    if not shelves:
        known = ", ".join(f"{shelf.alias} at t={shelf.temperature:g}" for shelf in inventory(bank)) or "none"
        asked = alias if temperature is None else f"{alias} at t={temperature:g}"
        raise TableError(f"{bank.place} has no samples of {asked}: there are {known}")
    return max(shelves, key=lambda shelf: (shelf.least, shelf.most))
