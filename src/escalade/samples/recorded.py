"""Recorded samples: tables with one row per generation, as published or written by `escalade record`.

Columns: problem_id, model and answer or text are needed; dataset, problem, gold_answer, temperature (null: not
stated), sample_index, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, mean_logprob (nats a
token), finish_reason, seed and correct are used where they are there. A file written by `escalade record` carries
its pool, so that replaying it knows prices and full names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from escalade.errors import TableError
from escalade.pool import Pool
from escalade.samples.sample import Generation

POOL_KEY = b"escalade.pool"
"""Under which a Parquet file carries its pool, as JSON."""
_NEEDED = ("problem_id", "model")
_USED = ("temperature", *(field.name for field in fields(Generation)))


class Rows(NamedTuple):
    """The recorded samples of one problem and model: temperatures (None: not stated) and generations, in order."""

    temperatures: tuple[float | None, ...]
    generations: tuple[Generation, ...]


@dataclass(frozen=True)
class Recording:
    """A recorded pool of samples."""

    path: Path
    table: pd.DataFrame
    """As read, with `id`: problem_id, or dataset/problem_id where the file holds several data sets."""
    pool: Pool | None
    """The pool it was recorded with, where the file carries it."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:32]

    @property
    def models(self) -> list[str]:
        """Names of the models, in order of appearance."""
        return list(self.table["model"].drop_duplicates())

    @cached_property
    def problems(self) -> pd.DataFrame:
        """One row per problem, in order of appearance: id, problem, gold_answer (None where the file has none)."""
        first = self.table.drop_duplicates("id")
        columns = {"id": first["id"]}
        for name in ("problem", "gold_answer"):
            columns[name] = first[name] if name in first else pd.Series([None] * len(first), index=first.index)
        return pd.DataFrame(columns).reset_index(drop=True)

    @cached_property
    def rows(self) -> Mapping[tuple[str, str], Rows]:
        """Samples by (problem id, model name)."""
        table = self.table
        if "sample_index" in table:
            table = table.sort_values("sample_index", kind="stable")
        columns = {name: table[name].tolist() for name in _USED if name in table}
        ids, models = table["id"].tolist(), table["model"].tolist()
        found: dict[tuple[str, str], list[tuple[float | None, Generation]]] = {}
        for row, key in enumerate(zip(ids, models, strict=True)):
            record = {name: values[row] for name, values in columns.items()}
            found.setdefault(key, []).append((_rounded(record.get("temperature")), _generation(record)))
        return {
            key: Rows(tuple(t for t, _ in drawn), tuple(generation for _, generation in drawn))
            for key, drawn in found.items()
        }


def shipped_recording() -> Path:
    """Return the recording that ships with the package: its 60 problems by its three models."""
    return Path(str(resources.files("escalade") / "data" / "recording.parquet"))


def read_recording(path: Path) -> Recording:
    """Return the recorded samples of a Parquet, CSV or JSON-lines file.

    Raises:
        TableError: no such file, or a column that is needed is missing.
    """
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise TableError(f"recording {path} is not there: check the path behind replay:") from error
    return _read(path, state.st_mtime_ns, state.st_size)


# Strategies and seeds are compared on one recording again and again; a file that changed is read anew.
@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> Recording:
    pool = None
    try:
        if path.suffix == ".csv":
            texts = dict.fromkeys(("problem_id", "answer", "gold_answer", "model", "text", "problem"), str)
            # Only an empty cell is no answer: "None" and "NA" are what somebody wrote.
            table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
        elif path.suffix in (".jsonl", ".ndjson"):
            table = pd.read_json(path, lines=True, dtype=False)
        else:
            arrow = pq.read_table(path)
            metadata = arrow.schema.metadata or {}
            if POOL_KEY in metadata:
                pool = Pool.model_validate_json(metadata[POOL_KEY])
            table = arrow.to_pandas()
    except (OSError, ValueError) as error:
        raise TableError(f"recording {path} cannot be read as a table: {error}") from error
    missing = [name for name in _NEEDED if name not in table]
    if missing or not {"answer", "text"} & set(table.columns):
        lacking = ", ".join(missing) or "answer or text"
        raise TableError(f"recording {path} lacks the column {lacking}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise TableError(f"recording {path} has no rows")
    several = "dataset" in table and table["dataset"].nunique() > 1
    ids = table["problem_id"].astype(str)
    table = table.assign(id=table["dataset"].astype(str) + "/" + ids if several else ids)
    table["model"] = table["model"].astype(str)
    return Recording(path, table, pool)


def write_recording(samples: pd.DataFrame, pool: Pool, path: Path) -> None:
    """Write recorded samples as Parquet, with the pool they were recorded with."""
    arrow = pa.Table.from_pandas(samples, preserve_index=False)
    metadata = {**(arrow.schema.metadata or {}), POOL_KEY: pool.model_dump_json(exclude_defaults=True).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(arrow.replace_schema_metadata(metadata), partial, compression="zstd")
    partial.replace(path)


def _generation(record: Mapping[Any, Any]) -> Generation:
    answer = _known(record.get("answer"))
    return Generation(
        text=_known(record.get("text")),
        finish_reason=_known(record.get("finish_reason")) or "stop",
        prompt_tokens=_count(record.get("prompt_tokens")),
        cached_tokens=_count(record.get("cached_tokens")),
        completion_tokens=_count(record.get("completion_tokens")),
        reasoning_tokens=_count(record.get("reasoning_tokens")),
        mean_logprob=_known(record.get("mean_logprob")),
        answer=None if answer is None else str(answer),
    )


def _known(value: Any) -> Any:
    return None if value is None or value != value else value


def _count(value: Any) -> int | None:
    return None if value is None or value != value else int(value)


def _rounded(value: Any) -> float | None:
    # Recorded as 32-bit floats, 0.6 is 0.6000000238.
    return None if value is None or value != value else round(float(value), 6)
