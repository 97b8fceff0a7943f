"""Columns of numbers, one a problem: checked before anything is estimated from them. It knows no statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escalade.errors import SettingError, TableError

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Which group each problem belongs to."""

    codes: NDArray[np.intp]
    """0 .. count - 1, shape [N]."""
    count: int

    def sums(self, values: Column) -> Column:
        """Return the sum of each group, [count]."""
        return np.bincount(self.codes, weights=values, minlength=self.count).astype(np.float64, copy=False)


def column(name: str, values: ArrayLike, low: float = -math.inf, high: float = math.inf) -> Column:
    """Return the values as float64 [N], N >= 1, each a number in [low, high].

    Raises:
        TableError: they are empty, not one column, or one is NaN, infinite or out of range; names the row.

    Example:
        >>> column("correct", [True, False, 0.25], 0, 1)
        array([1.  , 0.  , 0.25])
        >>> column("correct", [1, 1.5], 0, 1)
        Traceback (most recent call last):
        escalade.errors.TableError: `correct` is 1.5 in row 1: it must be a number from 0 to 1
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"`{name}` is no column of numbers ({error}): give one number a problem") from error
    if numbers.ndim != 1:
        raise TableError(f"`{name}` has the shape {numbers.shape}: give one number a problem, shape [N]")
    if not numbers.size:
        raise TableError(f"`{name}` is empty: at least one problem is needed")
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= low) & (numbers <= high)))
    if wrong.size:
        wanted = "it must be a finite number"
        if math.isfinite(low) or math.isfinite(high):
            wanted = f"it must be a number from {low:g} to {high:g}"
        further = f" (and in {wrong.size - 1} further rows)" if wrong.size > 1 else ""
        raise TableError(f"`{name}` is {numbers[wrong[0]]:g} in row {wrong[0]}{further}: {wanted}")
    return numbers


def labels(name: str, values: ArrayLike) -> Column:
    """Return the values as float64 [N], each 0 or 1.

    Raises:
        TableError: as `column`, or a value in between.

    Example:
        >>> labels("correct", [True, False])
        array([1., 0.])
    """
    numbers = column(name, values, 0, 1)
    between = np.flatnonzero((numbers != 0) & (numbers != 1))
    if between.size:
        row = between[0]
        raise TableError(f"`{name}` is {numbers[row]:g} in row {row}: a label is 0 or 1, no expected score")
    return numbers


def same_length(**columns: Column) -> None:
    """Check that columns are over the same problems.

    Raises:
        TableError: their lengths differ.

    Example:
        >>> same_length(a=np.ones(2), b=np.ones(3))
        Traceback (most recent call last):
        escalade.errors.TableError: `a` has 2 rows and `b` has 3: both must be over the same problems, in one order
    """
    (first, values), *others = columns.items()
    for name, other in others:
        if len(other) != len(values):
            raise TableError(
                f"`{first}` has {len(values)} rows and `{name}` has {len(other)}: "
                "both must be over the same problems, in one order"
            )


def grouping(groups: ArrayLike | None, problems: int) -> Grouping:
    """Return the groups of problems that share a source; without groups each problem is its own.

    Raises:
        TableError: not one group name a problem.

    Example:
        >>> grouping(["b", "a", "b"], 3)
        Grouping(codes=array([1, 0, 1]), count=2)
    """
    if groups is None:
        return Grouping(np.arange(problems), problems)
    names = np.asarray(groups)
    if names.shape != (problems,):
        raise TableError(f"`groups` has the shape {names.shape}: give one group a problem, shape [{problems}]")
    found, codes = np.unique(names, return_inverse=True)
    return Grouping(codes, len(found))


def level_of(level: float) -> float:
    """Return a confidence level, a number between 0 and 1.

    Raises:
        SettingError: it is not.

    Example:
        >>> level_of(95)
        Traceback (most recent call last):
        escalade.errors.SettingError: level 95 is not between 0 and 1: 95 % is 0.95
    """
    if not 0 < level < 1:
        raise SettingError(f"level {level} is not between 0 and 1: 95 % is 0.95")
    return level
