"""The routing table: how each problem is to be answered, under the published column names.

Strategies give routing strings; here each distinct string is parsed once and expanded into columns. This
module knows nothing of samples, prices or engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from escalade.errors import RouteError, TableError
from escalade.pool import Pool, load_pool
from escalade.routes import Kind, executed, parse_route
from escalade.scores import Scores
from escalade.strategies import Strategy, get_strategy

PROBLEM_COLUMNS = ("idx", "problem", "original_solution")
ROUTE_COLUMNS = ("route_to", "is_mv", "is_cascade", "cascade_tiers", "sc_n", "sc_temp", "route", "notes")
FALLBACK = "fallback"
"""The column that says why a row does not go by what the strategy would choose; a table without it has no such row."""
STRATEGY_SCORES = "strategy_scores"
"""The column of the models whose scores the strategy looked at, comma separated; where scores say what they took."""
_SEPARATOR = "; "


def expand(
    routes: Any,
    pool: Pool | None = None,
    *,
    errors: Literal["raise", "keep"] = "raise",
    ids: Iterable[Any] | None = None,
) -> pd.DataFrame:
    """Return one row of routing columns for each routing string, as the pool lets it run.

    `route_to` is the full name of the first tier's model, `sc_n` and `sc_temp` that tier's k and temperature.
    `is_mv` marks simple votes, `is_cascade` cascades of either kind, never both. `cascade_tiers` is a list of
    (full name, k, temperature), shared by all rows of a route, and None where there is no cascade. `route` is
    the canonical routing string as asked for; `notes` says what the pool changed, or None.

    With `errors="keep"` a string that cannot be read fills the column `error` of its rows, whose k is 0.

    Raises:
        RouteError: a string cannot be read; names the row, by `ids` or its number.

    Example:
        >>> table = expand(["7B", "mv_cascade_7B_k5_t0.7_72B_k1_t0.0"])
        >>> table["sc_n"].tolist(), table["is_cascade"].tolist()
        ([1, 5], [False, True])
        >>> table["cascade_tiers"][1]
        [('Qwen/Qwen2.5-Math-7B-Instruct', 5, 0.7), ('Qwen/Qwen2.5-Math-72B-Instruct', 1, 0.0)]
    """
    pool = pool or load_pool("qwen2.5-math")
    whole = isinstance(routes, pd.Series | pd.Categorical)
    codes, distinct = pd.factorize(routes if whole else np.asarray(routes, dtype=object), use_na_sentinel=False)
    records: list[dict[str, Any]] = []
    for code, text in enumerate(distinct):
        try:
            records.append(_record(text, pool))
        except RouteError as error:
            if errors == "raise":
                row = int(np.argmax(codes == code))
                raise _at_row(error, row if ids is None else list(ids)[row]) from error
            records.append(_refused(text, error))
    columns = [*ROUTE_COLUMNS, "error"] if errors == "keep" else list(ROUTE_COLUMNS)
    table = pd.DataFrame(records, columns=columns)
    # Strings with None in them would become a string column, and None a NaN.
    for column in {"cascade_tiers", "notes", "error"} & set(columns):
        table[column] = pd.Series([record.get(column) for record in records], dtype=object)
    return table.take(codes).reset_index(drop=True)


def routing_table(
    problems: pd.DataFrame,
    scores: Scores,
    strategy: Strategy | str,
    *,
    target: float = 0.9,
    pool: Pool | None = None,
    costs: Mapping[str, float] | None = None,
    seed: int = 0,
    errors: Literal["raise", "keep"] = "raise",
) -> pd.DataFrame:
    """Return the published routing table of a strategy: problems, scores and routing columns, row by row.

    `problems` has any of the columns idx, problem, original_solution, in the order of the scores. Where scores that the
    strategy needs are refused, a further column `fallback` says so, and `notes` does. Where the scores say what making
    them took, `strategy_scores` has the models whose scores the strategy looked at.

    Raises:
        TableError: problems and scores are not about the same rows.
        StrategyError, RouteError: the strategy cannot be used, or a route of its cannot be read.
    """
    pool = pool or load_pool("qwen2.5-math")
    if len(problems) != scores.rows:
        raise TableError(f"{len(problems)} problems and scores of {scores.rows}: give both, row by row")
    if "idx" in problems:
        differs = np.asarray(problems["idx"], dtype=object) != np.asarray(scores.ids, dtype=object)
        if differs.any():
            row = int(np.argmax(differs))
            raise TableError(
                f"row {row}: the problem has idx {problems['idx'].iloc[row]}, the scores {scores.ids[row]}: "
                "sort both alike, or give the scores ids=problems['idx']"
            )
    if isinstance(strategy, str):
        strategy = get_strategy(strategy)
    routes, notes, scored = strategy.choose(scores, target=target, pool=pool, costs=costs, seed=seed)
    expanded = expand(routes, pool, errors=errors, ids=scores.ids)
    if notes:
        expanded["notes"] = with_notes(expanded["notes"], [notes] * len(expanded))
        expanded[FALLBACK] = _SEPARATOR.join(notes)
    left = problems[[name for name in PROBLEM_COLUMNS if name in problems]].reset_index(drop=True)
    middle = pd.DataFrame({f"score_{alias}": values for alias, values in scores.columns.items()})
    if scores.scoring:
        expanded[STRATEGY_SCORES] = ",".join(scored)
    return pd.concat([left, middle, expanded], axis=1)


def with_notes(column: pd.Series[Any], before: Iterable[Iterable[str]]) -> pd.Series[Any]:
    """Return a column of notes with others before them, row by row."""
    notes = [
        _SEPARATOR.join([*own, *([] if text is None else [text])]) or None
        for own, text in zip(before, column, strict=True)
    ]
    return pd.Series(notes, column.index, dtype=object)


def write_routing(table: pd.DataFrame, path: str | Path) -> None:
    """Write a routing table as Parquet, `cascade_tiers` as a JSON list of [model name, k, temperature].

    Written beside its place and then moved there: a file of this name is always whole.
    """
    path = Path(path)
    # Rows of one route share their list: it is written out once.
    lists = {id(tiers): tiers for tiers in table["cascade_tiers"] if isinstance(tiers, list)}
    texts = {key: json.dumps(tiers) for key, tiers in lists.items()}
    written = [texts.get(id(tiers)) for tiers in table["cascade_tiers"]]
    flat = table.assign(cascade_tiers=pd.Series(written, table.index, dtype=object))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    flat.to_parquet(partial, index=False)
    partial.replace(path)


def read_routing(path: str | Path) -> pd.DataFrame:
    """Read what `write_routing` wrote: tiers as tuples again, None where there is nothing.

    Raises:
        TableError: no such file, not Parquet, a routing column is missing or a list of tiers is no such list.
    """
    from pyarrow import ArrowException

    try:
        table = pd.read_parquet(path)
    except (ArrowException, OSError) as error:
        raise TableError(f"routing table {path} cannot be read: {error}") from error
    missing = [column for column in ROUTE_COLUMNS if column not in table]
    if missing:
        raise TableError(f"{path} is no routing table of ours: it lacks the column {missing[0]!r}")
    codes, distinct = pd.factorize(table["cascade_tiers"])
    tiers = np.empty(len(distinct) + 1, dtype=object)  # the last, None, is where the code -1 points
    for code, text in enumerate(distinct):
        try:
            tiers[code] = [(str(model), int(k), float(t)) for model, k, t in json.loads(text)]
        except (TypeError, ValueError) as error:
            raise TableError(
                f"{path}: row {int(np.argmax(codes == code))}: cascade_tiers {text!r:.80} is no JSON list "
                "of [model name, k, temperature]; write the table anew"
            ) from error
    table["cascade_tiers"] = pd.Series(tiers[codes], dtype=object)
    for column in {"notes", "error"} & set(table.columns):
        values = table[column].astype(object)
        table[column] = values.where(values.notna(), None)
    return table


def breakdown(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many rows go to each model and kind of route, most first.

    Columns: `model` (full name; of a cascade its first tier's), `kind` (greedy, vote, cascade, entropy_cascade,
    error), `rows`, `share`, `k_min` and `k_max` of that tier as executed, and `overrides`: each note with the
    number of its rows, or None.

    Example:
        >>> breakdown(expand(["7B", "7B", "mv_7B_k4_t0.7"]))[["kind", "rows", "k_max"]].values.tolist()
        [['greedy', 2, 1], ['vote', 1, 4]]
    """
    failed = table["error"].notna() if "error" in table else pd.Series(False, table.index)
    entropy = table["route"].astype(object).str.startswith("mv_entropy_cascade_", na=False)
    kind = pd.Series(Kind.GREEDY.value, table.index, dtype=object)
    for holds, name in (
        (table["is_mv"], Kind.VOTE.value),
        (table["is_cascade"], Kind.CASCADE.value),
        (table["is_cascade"] & entropy, Kind.ENTROPY_CASCADE.value),
        (failed, "error"),
    ):
        kind[holds] = name
    facts = pd.DataFrame({"model": table["route_to"], "kind": kind, "k": table["sc_n"], "notes": table["notes"]})
    groups = facts.groupby(["model", "kind"], sort=False, dropna=False)
    out = groups["k"].agg(rows="size", k_min="min", k_max="max").reset_index()
    out.insert(3, "share", out["rows"] / max(len(table), 1))
    out["overrides"] = pd.Series([_counted(group) for _, group in groups["notes"]], dtype=object)
    return out.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def _record(text: Any, pool: Pool) -> dict[str, Any]:
    asked = parse_route(text, pool)
    route, notes = executed(asked, pool)
    first = route.tiers[0]
    tiers = [(pool[tier.model].name, tier.k, tier.temperature) for tier in route.tiers]
    return {
        "route_to": tiers[0][0],
        "is_mv": route.kind is Kind.VOTE,
        "is_cascade": route.is_cascade,
        "cascade_tiers": tiers if route.is_cascade else None,
        "sc_n": first.k,
        "sc_temp": first.temperature,
        "route": str(asked),
        "notes": _SEPARATOR.join(notes) or None,
    }


def _refused(text: Any, error: RouteError) -> dict[str, Any]:
    empty = {"route_to": None, "is_mv": False, "is_cascade": False, "cascade_tiers": None, "notes": None}
    return {**empty, "sc_n": 0, "sc_temp": np.nan, "route": str(text), "error": str(error)}


def _at_row(error: RouteError, row: Any) -> RouteError:
    told = RouteError(error.route, error.position, error.offending, error.expected)
    told.args = (f"row {row!s}: {error}",)
    return told


def _counted(notes: pd.Series[Any]) -> str | None:
    counts = notes.dropna().value_counts()
    return _SEPARATOR.join(f"{note} ({rows} rows)" for note, rows in counts.items()) or None
