"""Receipts: what each tier of recorded results used, request by request, read from the tables of a run.

The tables may come from anywhere: every number in them is checked, and what they do not say stays unknown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.errors import TableError
from escalade.ledger import Cost, Usage
from escalade.problems import Scoring
from escalade.scoring import ScoreCharge

_COUNT_MAX = 2**63 - 1
_MONEY_CHARS, _MONEY_EXPONENT = 100, 60
_OF_SAMPLES = ("problem_id", "tier", "sample_index", "model", "model_name", "cached_tokens")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one tier of one problem used."""

    model: str
    """Alias."""
    name: str | None
    """Full name, where the table of samples tells it."""
    k: int
    temperature: float
    usages: tuple[Usage, ...]
    """Of the samples in launch order, then of the cancelled requests, then of those that broke off."""
    uncounted: range
    """Those of which the tables do not say what the engine had said of its cache."""
    rows: tuple[int, ...]
    """The samples' rows in their table."""
    cost: Decimal | None
    """In USD, as recorded; None is unknown."""


def receipts_of(
    table: pd.DataFrame, samples: pd.DataFrame | None, path: Path
) -> Iterator[tuple[str, tuple[Receipt, ...]]]:
    """Yield the id of each problem of a result table, and the receipts of its tiers.

    Raises:
        TableError: it is no result table, a number in it is none, or the samples are of another run.
    """
    if not {"idx", "trace"} <= set(table.columns):
        raise TableError(
            f"{path} is no result table (idx, trace): give the folder of a run, or the answers.parquet in it"
        )
    drawn = None if samples is None else _Drawn(samples, path.with_name("samples.parquet"))
    for ident, text in zip(map(str, table["idx"]), table["trace"], strict=True):
        try:
            tiers = [dict(tier) for tier in json.loads(text)]
            yield ident, tuple(_receipt(tier, drawn, ident, position) for position, tier in enumerate(tiers))
        except KeyError as error:
            raise TableError(f"{path}: the trace of problem {ident!r} lacks {error.args[0]!r}: run it again") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise TableError(f"{path}: the trace of problem {ident!r} cannot be read: {error}") from error
    if drawn is not None:
        drawn.refuse_more()


def scores_of(table: pd.DataFrame, path: Path) -> Iterator[tuple[ScoreCharge, ...]]:
    """Yield the scores that each problem of a result table was charged with; tables of older versions have none.

    Raises:
        TableError: what the table says of them cannot be read.
    """
    for ident, text in zip(map(str, table["idx"]), table.get("scoring", [None] * len(table)), strict=True):
        try:
            yield tuple(_score(dict(each)) for each in json.loads(text or "[]"))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise TableError(f"{path}: the scores of problem {ident!r} cannot be read: {error}") from error


def _score(each: dict[str, Any]) -> ScoreCharge:
    recorded, cost = (None if each[key] is None else _money(str(each[key])) for key in ("recorded_usd", "cost_usd"))
    model = None if each["model"] is None else str(each["model"])
    scoring = Scoring(_count(each["tokens"]), model, recorded)
    return ScoreCharge(str(each["score"]), scoring, Cost(unknown=1) if cost is None else Cost(cost))


def read_table(path: Path) -> pd.DataFrame:
    """Return a Parquet table of a run; TableError where it cannot be read."""
    try:
        return pd.read_parquet(path).reset_index(drop=True)
    except FileNotFoundError as error:
        raise TableError(f"{path} is not there; give the folder of a run or a Parquet table") from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as Parquet: {error}") from error


class _Drawn:
    """The table of samples, by problem and tier."""

    def __init__(self, samples: pd.DataFrame, path: Path) -> None:
        self._path = path
        self._tiers: dict[tuple[str, int], list[int]] = {}
        lacking = next((column for column in _OF_SAMPLES if column not in samples), None)
        if lacking is not None:
            raise TableError(f"{path} has no column {lacking!r}: it is not the samples.parquet of a run")
        order = samples.sort_values("sample_index", kind="stable")
        for row, ident, tier in zip(order.index, order["problem_id"], order["tier"], strict=True):
            self._tiers.setdefault((str(ident), int(tier)), []).append(int(row))
        self._names = dict(zip(samples["model"], samples["model_name"], strict=True))
        self._cached = [None if value is None or value != value else int(value) for value in samples["cached_tokens"]]

    def name(self, alias: str) -> str | None:
        """The full name of a model."""
        return self._names.get(alias)

    def take(self, ident: str, position: int, expected: int) -> tuple[int, ...]:
        """Return the rows of a tier's samples in launch order, once."""
        rows = self._tiers.pop((ident, position), [])
        if len(rows) != expected:
            raise TableError(
                f"{self._path} has {len(rows)} samples of tier {position} of problem {ident!r}, the trace tells of "
                f"{expected}: the two are not of one run"
            )
        return tuple(rows)

    def cached(self, rows: tuple[int, ...]) -> list[int | None]:
        """The cached tokens of some rows."""
        return [self._cached[row] for row in rows]

    def refuse_more(self) -> None:
        """Refuse samples that no trace tells of."""
        for ident, position in self._tiers:
            raise TableError(
                f"{self._path} has samples of tier {position} of problem {ident!r}, of which no trace tells: the two "
                "are not of one run"
            )


def _receipt(tier: dict[str, Any], drawn: _Drawn | None, ident: str, position: int) -> Receipt:
    prompt, completion = _counts(tier["prompt_tokens"]), _counts(tier["completion_tokens"])
    # Traces of older versions know nothing of requests that broke off: these were charged to nobody.
    sampleless = (_count(tier["cancelled"]) or 0) + (_count(tier.get("broken_off")) or 0)
    if len(prompt) != len(completion) or sampleless > len(prompt):
        raise ValueError("it counts the requests of a tier in two ways")
    rows = () if drawn is None else drawn.take(ident, position, len(prompt) - sampleless)
    if tier.get("cached_tokens") is not None:
        cached = _counts(tier["cached_tokens"])
        counted = len(cached)
    else:
        cached = [] if drawn is None else drawn.cached(rows)
        counted = len(cached)
        cached += [None] * (len(prompt) - counted)
    if len(cached) != len(prompt):
        raise ValueError("it counts the requests of a tier in two ways")
    model, temperature = str(tier["model"]), float(tier["temperature"])
    if not math.isfinite(temperature):
        raise ValueError(f"{temperature!r} is no temperature")
    return Receipt(
        model,
        None if drawn is None else drawn.name(model),
        _count(tier["k"]) or 0,
        temperature,
        tuple(Usage(*counts) for counts in zip(prompt, completion, cached, strict=True)),
        range(counted, len(prompt)),
        rows,
        None if tier["cost_usd"] is None else _money(str(tier["cost_usd"])),
    )


def _counts(values: Any) -> list[int | None]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r:.40} is no list of token counts")
    return [_count(value) for value in values]


def _count(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value <= _COUNT_MAX):
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _money(text: str) -> Decimal:
    try:
        cost = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r:.40} is no sum of money") from error
    if not cost.is_finite() or len(text) > _MONEY_CHARS or abs(cost.adjusted()) > _MONEY_EXPONENT:
        raise ValueError(f"{text!r:.40} is no sum of money")
    return cost
