"""Scores: predicted probabilities that a model answers a problem correctly, made before anything is sampled.

This module reads them from tables and from the published folder layout, and validates them. It does not know
what a strategy makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from escalade.errors import RefusedScoreError, ScoreError, nearest
from escalade.pool import Pool, load_pool
from escalade.problems import Scoring
from escalade.scored_file import FILE, note_of, plain, read_file, scoring_in_file

_FOLDER = re.compile(r"(?P<model>.+)_maxlen_(?P<maxlen>\d+)_k_(?P<k>\d+)_temp_(?P<temp>\d+(?:\.\d+)?)", re.ASCII)
_NO_COLUMNS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One column of scores per model, by alias, all of one length; read-only float64 arrays.

    Raises:
        ScoreError: a score is missing, no number or outside [0, 1], or lengths differ; names row and column.

    Example:
        >>> scores = Scores({"1.5B": [0.2, 0.95], "7B": [0.4, 0.99]})
        >>> scores.rows, scores["7B"].tolist()
        (2, [0.4, 0.99])
    """

    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    ids: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=object))
    """What each row is called; 0, 1, ... where not given."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each alias's scores were read: a column's name, or a file and its column."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Models whose scores are refused for routing, as their probe tells nothing, and why; they have no column."""
    scoring: Mapping[str, Sequence[Scoring]] = field(default_factory=dict)
    """What making the scores of a model took, row by row, where their source says anything of it."""

    def __init__(
        self,
        columns: Mapping[str, Any] = _NO_COLUMNS,
        ids: Iterable[Any] | None = None,
        sources: Mapping[str, str] = _NO_COLUMNS,
        refused: Mapping[str, str] = _NO_COLUMNS,
        scoring: Mapping[str, Sequence[Scoring]] = _NO_COLUMNS,
    ) -> None:
        columns = {alias: values for alias, values in columns.items() if alias not in refused}
        places = {alias: sources.get(alias, f"score_{alias}") for alias in columns}
        series = {alias: _series(values, places[alias]) for alias, values in columns.items()}
        lengths = {alias: len(values) for alias, values in series.items()}
        rows = next(iter(lengths.values()), 0)
        names = np.arange(rows) if ids is None else _array(ids)
        for alias, length in lengths.items():
            if length != len(names):
                other = "ids" if ids is not None else f"rows in {places[next(iter(lengths))]!r}"
                raise ScoreError(
                    f"column {places[alias]!r} has {length} scores for {len(names)} {other}: give one a row"
                )
        checked = {alias: _checked(values, places[alias], names) for alias, values in series.items()}
        object.__setattr__(self, "columns", checked)
        object.__setattr__(self, "ids", names)
        object.__setattr__(self, "sources", places)
        object.__setattr__(self, "refused", dict(refused))
        object.__setattr__(self, "scoring", {a: tuple(each) for a, each in scoring.items() if a in checked})

    @property
    def rows(self) -> int:
        """The number of problems."""
        return len(self.ids)

    def __contains__(self, alias: object) -> bool:
        return alias in self.columns

    def __getitem__(self, alias: str) -> NDArray[np.float64]:
        """Return the scores of a model; ScoreError where there are none, RefusedScoreError where they are refused."""
        if alias in self.refused:
            raise RefusedScoreError(alias, self.refused[alias])
        if alias not in self.columns:
            raise ScoreError(
                f"no scores of {alias!r}: there are scores of {', '.join(self.columns) or 'no model'}"
                f"{nearest(alias, self.columns)}; add the column score_{alias}"
            )
        return self.columns[alias]

    def head(self, rows: int) -> Scores:
        """Return the scores of the first rows.

        Example:
            >>> Scores({"7B": [0.3, 0.6]}, ids="ab").head(1).ids.tolist()
            ['a']
        """
        columns = {alias: values[:rows] for alias, values in self.columns.items()}
        scoring = {alias: each[:rows] for alias, each in self.scoring.items()}
        return Scores(columns, self.ids[:rows], self.sources, self.refused, scoring)


class Published(NamedTuple):
    """What the published folder layout holds for one dataset under one probe."""

    problems: pd.DataFrame
    """Columns idx, problem and, where the files have it, original_solution."""
    scores: Scores
    """Those of a probe that its file says is refused for routing are not among them, but under `refused`."""


def read_published(
    data: str | Path,
    probing: str,
    dataset: str,
    pool: Pool | None = None,
    *,
    models: Sequence[str] | None = None,
    maxlen: int | None = None,
    k: int | None = None,
    temp: float | None = None,
) -> Published:
    """Read `{data}/{probing}_probe/{dataset}/{model}_maxlen_{L}_k_{K}_temp_{T}/scored.parquet` of each model.

    `model` is the full name with / written as -. Settings left None are taken from the only folder that
    matches. Models without a folder are left out, unless `models` names them (by alias): those must be there.
    The files are joined on `idx` and must describe the same problems; rows come in the order of the first.

    Raises:
        ScoreError: a folder, file, column, row or score is missing or ambiguous; says what there is instead.
    """
    pool = pool or load_pool("qwen2.5-math")
    folder = _dataset_folder(Path(data), probing, dataset)
    return read_folder(folder, pool, models=models, maxlen=maxlen, k=k, temp=temp)


def read_folder(
    folder: Path,
    pool: Pool,
    *,
    models: Sequence[str] | None = None,
    maxlen: int | None = None,
    k: int | None = None,
    temp: float | None = None,
) -> Published:
    """Read the `{model}_maxlen_{L}_k_{K}_temp_{T}/scored.parquet` in the folder of one dataset: see `read_published`.

    Raises:
        ScoreError: as `read_published`.
    """
    for alias in models or ():
        if alias not in pool:
            raise ScoreError(f"scores of an {pool.unknown(alias)}")
    required = {pool[alias].alias for alias in models or ()}
    files: dict[str, Path] = {}
    for model in pool.models:
        if models is not None and model.alias not in required:
            continue
        matching = list(_matching(folder, model.name, maxlen, k, temp))
        if len(matching) > 1:
            raise ScoreError(
                f"{folder}: {len(matching)} folders hold scores of {model.alias}: "
                f"{', '.join(matching)}; say which by maxlen, k and temp (--probe-k, --probe-temp), or give a folder "
                "that holds one of them"
            )
        if matching:
            files[model.alias] = folder / matching[0] / FILE
        elif models is not None:
            raise _no_folder(folder, model.alias, maxlen, k, temp)
    if not files:
        raise _no_folder(folder, " or ".join(pool.aliases), maxlen, k, temp)

    first: pd.DataFrame | None = None
    first_file = next(iter(files.values()))
    columns: dict[str, Any] = {}
    sources: dict[str, str] = {}
    refused: dict[str, str] = {}
    scoring: dict[str, list[Scoring]] = {}
    for alias, file in files.items():
        table, column = read_file(file)
        note = note_of(file) or {}
        if (reason := note.get("refused")) is not None:
            refused[alias] = str(reason)
        if first is None:
            first = table
        else:
            table = _aligned(first, table, first_file, file)
        columns[alias], sources[alias] = table[column], f"{file}: {column}"
        if {"prompt_tokens", "scoring_cost_usd"} & set(table):
            scoring[alias] = scoring_in_file(table, note.get("scoring_model"), file)
    assert first is not None
    problems = first[[name for name in ("idx", "problem", "original_solution") if name in first]]
    return Published(problems, Scores(columns, problems["idx"], sources, refused, scoring))


def _array(ids: Iterable[Any]) -> NDArray[Any]:
    if isinstance(ids, pd.Series | pd.Index | np.ndarray):
        return np.asarray(ids)
    names = list(ids)
    out = np.empty(len(names), dtype=object)
    out[:] = names
    return out


def _series(values: Any, column: str) -> pd.Series[Any]:
    if isinstance(values, pd.DataFrame):
        raise ScoreError(f"column {column!r} is there {values.shape[1]} times: give it once")
    if np.ndim(values) != 1:
        raise ScoreError(f"column {column!r} is no column of scores but {values!r:.60}: give one score a row")
    return pd.Series(values).reset_index(drop=True)


def _checked(values: pd.Series[Any], column: str, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return a read-only float64 copy, or raise for the first row that has no score in [0, 1]."""
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    else:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    # Written so that NaN, which compares false with everything, is refused as well.
    bad = ~((numbers >= 0.0) & (numbers <= 1.0))
    if bad.any():
        row, count = int(bad.argmax()), int(bad.sum())
        value = values.iloc[row]
        said = "missing" if pd.isna(value) else repr(plain(value))
        remedy = (
            "a probability in [0, 1] is needed: percentages divided by 100, logits through a sigmoid"
            if np.isfinite(numbers[row])
            else "score this problem, or leave it out"
        )
        others = f" ({count} such rows of {len(numbers)})" if count > 1 else ""
        raise ScoreError(f"row {plain(ids[row])!r}, column {column!r}: the score is {said}; {remedy}{others}")
    numbers.setflags(write=False)
    return numbers


def _folders(parent: Path) -> list[str]:
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir())


def _dataset_folder(data: Path, probing: str, dataset: str) -> Path:
    if not data.is_dir():
        raise ScoreError(f"no folder {data}: give the folder that holds the *_probe folders")
    probes = [name.removesuffix("_probe") for name in _folders(data) if name.endswith("_probe")]
    if probing not in probes:
        raise ScoreError(
            f"no folder {data / f'{probing}_probe'}: the probing datasets in {data} are "
            f"{', '.join(probes) or 'none'}{nearest(probing, probes)}"
        )
    folder = data / f"{probing}_probe" / dataset
    if not folder.is_dir():
        known = _folders(folder.parent)
        under = [probe for probe in probes if (data / f"{probe}_probe" / dataset).is_dir()]
        elsewhere = f"; {dataset} was scored by the probe of {', '.join(under)}" if under else nearest(dataset, known)
        raise ScoreError(
            f"no folder {folder}: the probe of {probing} scored {', '.join(known) or 'no dataset'}{elsewhere}"
        )
    return folder


def _matching(folder: Path, name: str, maxlen: int | None, k: int | None, temp: float | None) -> Iterable[str]:
    for entry in _folders(folder):
        found = _FOLDER.fullmatch(entry)
        if (
            found is not None
            and found["model"] == name.replace("/", "-")
            and maxlen in (None, int(found["maxlen"]))
            and k in (None, int(found["k"]))
            and temp in (None, float(found["temp"]))
        ):
            yield entry


def _no_folder(folder: Path, who: str, maxlen: int | None, k: int | None, temp: float | None) -> ScoreError:
    asked = {"maxlen": maxlen, "k": k, "temp": temp}
    settings = " ".join(f"{name}={value}" for name, value in asked.items() if value is not None)
    having = f" with {settings}" if settings else ""
    there = _folders(folder)
    remedy = "score the problems with this model, or choose a strategy that does without"
    if not any(_FOLDER.fullmatch(entry) for entry in there):
        remedy = "give the folder of one data set, {probing}_probe/{dataset}, with {model}_maxlen_L_k_K_temp_T in it"
    return ScoreError(f"{folder} has no scores of {who}{having}: it holds {', '.join(there) or 'nothing'}; {remedy}")


def _aligned(first: pd.DataFrame, table: pd.DataFrame, first_file: Path, file: Path) -> pd.DataFrame:
    """Return `table` in the order of `first`, having checked that both describe the same problems."""
    remedy = "score the same problems with both models"
    for have, lack, here, there in ((first, table, first_file, file), (table, first, file, first_file)):
        alone = ~have["idx"].isin(lack["idx"])
        if alone.any():
            idx = plain(have["idx"][alone].iloc[0])
            raise ScoreError(f"idx {idx!r} is in {here}, not in {there} ({int(alone.sum())} such rows): {remedy}")
    table = table.set_index("idx").loc[first["idx"]].reset_index()
    for column in ("problem", "original_solution"):
        if column in first and column in table:
            one, other = first[column], table[column]
            differs = ~(one.eq(other) | (one.isna() & other.isna()))
            if differs.any():
                idx = plain(first["idx"][differs].iloc[0])
                raise ScoreError(f"idx {idx!r} has another {column} in {first_file} than in {file}: {remedy}")
    return table
