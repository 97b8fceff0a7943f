"""Archives: a whole store as one Parquet or JSON-lines file, and back.

Parquet has a row per sample, under the columns of a recording, so that `replay:FILE` can answer from it; attempts,
verdicts, the texts of problems and the pool stand in its metadata. JSON lines have a line per sample, attempt, verdict
and text; the field `record` says which.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from escalade.errors import TableError
from escalade.pool import Pool
from escalade.samples.merging import Contents
from escalade.samples.recorded import POOL_KEY
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Question, Stored
from escalade.samples.verdicts import Verdict

_MARK = b"escalade.store"
_KEY = ("problem_key", "model_key", "params")
_GENERATION = tuple(field.name for field in fields(Generation))
_TEXTS = ("text", "answer", "finish_reason")
_COLUMNS = {
    **dict.fromkeys(("problem_id", "model", "problem", "gold_answer"), pa.string()),
    "temperature": pa.float64(),
    "sample_index": pa.int64(),
    "seed": pa.int64(),
    "job": pa.string(),
    **{name: pa.string() if name in _TEXTS else pa.int64() for name in _GENERATION},
    "mean_logprob": pa.float64(),
    "seconds": pa.float64(),
    **dict.fromkeys(_KEY, pa.string()),
    "exact": pa.string(),
}
"""`exact` holds as JSON what Parquet cannot: texts with half a surrogate pair in them."""
_ROWS = 20_000


def write_archive(contents: Contents, path: Path, pool: Pool | None = None) -> int:
    """Write all of a store as .parquet or .jsonl; return how many samples there are.

    Args:
        contents: of the store.
        path: of the file, which is whole as soon as it has this name.
        pool: carried by Parquet, so that a replay knows names and prices.

    Raises:
        TableError: the name ends otherwise.
    """
    if path.suffix not in (".parquet", ".jsonl"):
        raise TableError(f"{path}: a store is exported to .parquet or .jsonl (or with --format): name it so")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        write = _write_parquet if path.suffix == ".parquet" else _write_lines
        count = write(contents, partial, pool)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def is_archive(path: Path) -> bool:
    """Whether a file is one that `write_archive` has written."""
    try:
        if path.suffix == ".parquet":
            return _MARK in (pq.read_schema(path).metadata or {})
        with path.open(encoding="utf-8") as lines:
            return path.suffix == ".jsonl" and '"record": "store"' in lines.read(64)
    except (OSError, ValueError):
        return False


def read_archive(path: Path) -> Contents:
    """Return what an archive holds.

    Raises:
        TableError: it is none, or damaged; file and row are named.
    """
    return _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)


def _row_of(sample: Stored, questions: Mapping[str, Question]) -> dict[str, Any]:
    question = questions.get(sample.key.problem)
    return {
        "problem_id": sample.problem_id,
        "model": sample.model_name,
        "problem": None if question is None else question.text,
        "gold_answer": None if question is None else question.gold,
        "temperature": sample.temperature,
        "sample_index": sample.index,
        "seed": sample.seed,
        "job": sample.job,
        **asdict(sample.generation),
        **dict(zip(_KEY, sample.key, strict=True)),
    }


def _sample_of(row: Mapping[str, Any]) -> Stored:
    key = Key(*(row[name] for name in _KEY))
    made = Generation(**{name: row[name] for name in _GENERATION})
    index, seed = row["sample_index"], row["seed"]
    if type(index) is not int or type(seed) is not int or not all(isinstance(part, str) for part in key):
        raise ValueError("sample_index and seed must be whole numbers, and the parts of the key texts")
    return Stored(key, index, seed, row["problem_id"], row["model"], float(row["temperature"]), row["job"], made)


def _records(contents: Contents, questions: Iterable[Question]) -> Iterator[dict[str, Any]]:
    """All but the samples."""
    for question in questions:
        yield {"record": "problem", **question._asdict()}
    for attempt in contents.attempts:
        yield {"record": "attempt", **asdict(attempt), "key": list(attempt.key)}
    for verdict in contents.verdicts:
        yield {"record": "verdict", **verdict._asdict()}


def _write_parquet(contents: Contents, path: Path, pool: Pool | None) -> int:
    questions = {question.problem: question for question in contents.questions}
    rest = json.dumps(list(_records(contents, questions.values()))).encode()
    metadata = {_MARK: base64.b64encode(zlib.compress(rest))}
    if pool is not None:
        metadata[POOL_KEY] = pool.model_dump_json(exclude_defaults=True).encode()
    schema = pa.schema(list(_COLUMNS.items()), metadata=metadata)
    count, samples = 0, iter(contents.samples)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(samples, _ROWS)):
            rows = [_encodable(_row_of(sample, questions)) for sample in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(batch)
    return count


def _encodable(row: dict[str, Any]) -> dict[str, Any]:
    exact = {}
    for name in ("text", "answer", "finish_reason"):
        value = row[name]
        if value is not None and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                exact[name] = value
                row[name] = value.encode("utf-8", "replace").decode()
    row["exact"] = json.dumps(exact) if exact else None
    return row


def _write_lines(contents: Contents, path: Path, pool: Pool | None) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"record": "store", "version": 1}) + "\n")
        for sample in contents.samples:
            file.write(json.dumps({"record": "sample", **_row_of(sample, {})}) + "\n")
            count += 1
        for record in _records(contents, contents.questions):
            file.write(json.dumps(record) + "\n")
    return count


class _Gathered:
    """Records, sorted by what they are."""

    def __init__(self) -> None:
        self.samples: list[Stored] = []
        self.attempts: list[Attempt] = []
        self.verdicts: list[Verdict] = []
        self.questions: list[Question] = []

    def take(self, record: Any) -> None:
        if not isinstance(record, dict):
            raise ValueError("it is no object")
        kind = record.pop("record", None)
        if kind == "sample":
            self.samples.append(_sample_of(record))
        elif kind == "attempt":
            self.attempts.append(Attempt(**{**record, "key": Key(*record["key"])}))
        elif kind == "verdict":
            self.verdicts.append(Verdict(**record))
        elif kind == "problem":
            self.questions.append(Question(**record))
        elif kind != "store":
            raise ValueError(f"record is {kind!r}, not store, sample, attempt, verdict or problem")

    def contents(self) -> Contents:
        return Contents(self.samples, self.attempts, self.verdicts, self.questions)


def _read_lines(path: Path) -> Contents:
    gathered = _Gathered()
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                gathered.take(json.loads(line))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise TableError(f"archive {path}: line {number}: {_said(error)}; export the store again") from error
    return gathered.contents()


def _read_parquet(path: Path) -> Contents:
    gathered = _Gathered()
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            rest = zlib.decompress(base64.b64decode(file.schema_arrow.metadata[_MARK]))
            for record in json.loads(rest):
                gathered.take(record)
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    exact = {} if row["exact"] is None else json.loads(row["exact"])
                    gathered.samples.append(_sample_of({**row, **exact}))
                    number += 1
    except (OSError, ValueError, TypeError, KeyError, RecursionError, zlib.error) as error:
        raise TableError(f"archive {path}: row {number}: {_said(error)}; export the store again") from error
    return gathered.contents()


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
