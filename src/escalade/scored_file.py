"""One file of scores in the published layout: its table, what it says of its probe, and what its scores took."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from escalade.errors import ScoreError
from escalade.problems import Scoring

FILE = "scored.parquet"
"""The file in each folder."""
PROBE = b"escalade.probe"
"""Key of a file's metadata: what it says of the probe that made it, as a JSON object."""


def read_file(file: Path) -> tuple[pd.DataFrame, str]:
    """Return the table of one file and which of its columns is the score.

    Raises:
        ScoreError: the file or a column is missing, or an idx does not name one row.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    if not file.is_file():
        there = ", ".join(sorted(entry.name for entry in file.parent.iterdir())) or "nothing"
        raise ScoreError(f"no file {file}: its folder holds {there}")
    try:
        names: list[str] = read_schema(file).names
        score = "calibrated_score" if "calibrated_score" in names else "score"
        for column in ("idx", "problem", score):
            if column not in names:
                raise ScoreError(f"{file} has no column {column!r}: it has {', '.join(names)}")
        known = ("idx", "problem", "original_solution", score, "prompt_tokens", "scoring_cost_usd")
        wanted = [column for column in known if column in names]
        table = pd.read_parquet(file, columns=wanted)
    except (ArrowException, OSError) as error:
        raise ScoreError(f"{file} cannot be read as Parquet: {error}") from error
    twice = table["idx"].duplicated(keep=False) | table["idx"].isna()
    if twice.any():
        idx = plain(table["idx"][twice].iloc[0])
        raise ScoreError(
            f"{file}: idx {idx!r} names {int(twice.sum())} rows or none: give each problem an idx of its own"
        )
    return table.reset_index(drop=True), score


def note_of(file: Path) -> dict[str, Any] | None:
    """Return what a file of scores says of its probe (`escalade.score_files.NOTE`); None where it says nothing.

    Raises:
        ScoreError: the file cannot be read, or what it says is no JSON object.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        found = (read_schema(file).metadata or {}).get(PROBE)
    except (ArrowException, OSError) as error:
        raise ScoreError(f"{file} cannot be read as Parquet: {error}") from error
    if found is None:
        return None
    try:
        note: Any = json.loads(found)
    except ValueError:
        note = None
    if not isinstance(note, dict):
        raise ScoreError(f"{file}: what its metadata say of its probe is no JSON object but {found!r:.60}: score anew")
    return note


def scoring_in_file(table: pd.DataFrame, model: Any, file: Path) -> list[Scoring]:
    """Return what the scores of a file took; a column that is not there is unknown.

    Raises:
        ScoreError: a cell is no count of tokens or no sum of money.
    """
    nothing = [None] * len(table)
    rows = zip(table.get("prompt_tokens", nothing), table.get("scoring_cost_usd", nothing), strict=True)
    reader = None if model is None else str(model)
    out: list[Scoring] = []
    for row, (tokens, usd) in enumerate(rows):
        try:
            read = None if pd.isna(tokens) else int(tokens)
            paid = None if pd.isna(usd) else Decimal(str(usd))
        except (TypeError, ValueError, InvalidOperation):
            read, paid = -1, None
        if (read is not None and (read < 0 or read != tokens)) or (paid is not None and not 0 <= paid < Decimal("Inf")):
            raise ScoreError(
                f"{file}: row {row}: prompt_tokens {tokens!r}, scoring_cost_usd {usd!r}: give a count, and USD"
            )
        out.append(Scoring(read, reader, paid))
    return out


def plain(value: Any) -> Any:
    """Return a value as Python has it."""
    return value.item() if isinstance(value, np.generic) else value
