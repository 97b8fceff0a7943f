"""The cells of a table that say how each of its rows is to be answered, read row by row.

In this order: a routing string (column `route`, or the route column itself); a list of tiers; a model with a number
of samples and a temperature. A row that says two things at once is refused, and so is one that says nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from escalade.errors import RouteError, ScoreError, TableError
from escalade.pool import Pool
from escalade.problems import CALIBRATED, SCORE, SCORING, Scoring, scoring_in
from escalade.routes import Kind, Route, Tier, parse_route
from escalade.routing import FALLBACK, STRATEGY_SCORES

ROUTE = "route"
"""The column of whole routing strings."""


class Cells:
    """The cells of a table that say how its rows are answered."""

    def __init__(self, table: pd.DataFrame, pool: Pool, *, route: str, tiers: str, n: str, temperature: str) -> None:
        self._pool = pool
        self._route, self._tiers, self._n, self._temperature = route, tiers, n, temperature
        names = (ROUTE, FALLBACK, STRATEGY_SCORES, route, tiers, n, temperature)
        self._cells = {name: table[name].tolist() for name in names if name in table}
        self._scoring = {name: table[name].tolist() for name in table if str(name).startswith(SCORING)}
        self._scores = {
            (alias, prefix): table[f"{prefix}{alias}"].tolist()
            for alias in pool.aliases
            for prefix in (SCORE, CALIBRATED)  # the calibrated one comes last and wins
            if f"{prefix}{alias}" in table
        }

    def scores(self, row: int) -> dict[str, float]:
        """The scores of a row; a model without one has none."""
        out: dict[str, float] = {}
        for (alias, prefix), values in self._scores.items():
            value = values[row]
            if value is None or value is pd.NA or value != value:
                continue
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ScoreError(f"column {prefix + alias!r}: the score is {value!r}; give a probability in [0, 1]")
            out[alias] = float(value)
        return out

    def scoring(self, row: int) -> dict[str, Scoring]:
        """What the scores of a row took, where its table says so."""
        return scoring_in({name: values[row] for name, values in self._scoring.items()}, "the row")

    def scored(self, row: int) -> tuple[str, ...]:
        """The models whose scores the strategy looked at that routed the row."""
        said = self._cell(STRATEGY_SCORES, row)
        return () if said is None else tuple(filter(None, str(said).split(",")))

    def notes(self, row: int) -> tuple[str, ...]:
        """What the row says of why it is not routed as its strategy would."""
        said = self._cell(FALLBACK, row)
        return () if said is None else (str(said),)

    def route(self, row: int) -> Route:
        """The route of a row."""
        written, name, tiers = (self._cell(column, row) for column in (ROUTE, self._route, self._tiers))
        for text in (written, name):
            if isinstance(text, str) and text.startswith("mv_"):
                route = parse_route(text, self._pool)
                if text is written:
                    self._agree(route, name)
                return route
        if isinstance(tiers, str):
            try:
                tiers = json.loads(tiers)
            except ValueError as error:
                raise TableError(f"column {self._tiers!r}: {tiers!r:.80} is no JSON") from error
        if tiers is not None:
            if not isinstance(tiers, Sequence) or not tiers or any(len(tier) != 3 for tier in tiers):
                raise TableError(f"column {self._tiers!r}: {tiers!r:.80} is no list of [model name, k, temperature]")
            return Route(Kind.CASCADE, tuple(self._tier(*tier) for tier in tiers))
        if name is None:
            name = written
        if name is None:
            raise TableError(f"no route: the columns {ROUTE!r}, {self._route!r} and the tiers are empty")
        route = parse_route(name, self._pool)
        if written is not None:
            self._agree(parse_route(written, self._pool), name)
        k, temperature = self._cell(self._n, row), self._cell(self._temperature, row)
        tier = self._tier(name, 1 if k is None else k, 0.0 if temperature is None else temperature)
        return route if tier == route.tiers[0] else Route(Kind.VOTE, (tier,))

    def _cell(self, column: str, row: int) -> Any:
        values = self._cells.get(column)
        value = None if values is None else values[row]
        if value is not None and not isinstance(value, str | list | tuple) and hasattr(value, "tolist"):
            value = value.tolist()  # Parquet gives lists as arrays
        return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value

    def _agree(self, route: Route, name: Any) -> None:
        if name in self._pool and self._pool[name].alias != route.tiers[0].model:
            raise TableError(
                f"column {ROUTE!r} says {route}, column {self._route!r} says {name}: "
                "change both, or leave the first out"
            )

    def _tier(self, name: Any, k: Any, temperature: Any) -> Tier:
        if name not in self._pool:
            raise RouteError(str(name), 0, str(name), f"a model; {self._pool.unknown(str(name))}")
        alias = self._pool[name].alias
        if isinstance(k, bool) or not isinstance(k, int | float) or not k >= 1 or k != math.floor(k):
            raise TableError(f"{alias}: the number of samples is {k!r}; give an integer >= 1")
        if not isinstance(temperature, int | float) or not 0 <= temperature < math.inf:
            raise TableError(f"{alias}: the temperature is {temperature!r}; give a number >= 0")
        return Tier(alias, int(k), float(temperature))
