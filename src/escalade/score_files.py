"""Files of scores in the published layout: written whole, each with the probe that made it in its metadata.

They are read by `escalade.scores`. What a probe is, this module does not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.errors import ScoreError
from escalade.scored_file import FILE, PROBE, note_of
from escalade.scores import Scores

NOTE = ("probe", "sha256", "features", "scoring_model", "refused", "prior_strength")
"""What the metadata say of a probe: its name, the hash of its file, its kind of features, the model that reads prompts
for it (null: none does), why its scores are refused for routing (null: they are not), and as how many samples a score
counts (null: unknown)."""
_COLUMNS = ("idx", "problem", "original_solution", "score", "calibrated_score", "prompt_tokens", "scoring_cost_usd")


def write_published(
    folder: str | Path,
    probing: str,
    dataset: str,
    model_name: str,
    *,
    maxlen: int,
    k: int,
    temp: float,
    table: pd.DataFrame,
    note: Mapping[str, Any],
    replace: bool = False,
) -> Path:
    """Write `{folder}/{probing}_probe/{dataset}/{model}_maxlen_{L}_k_{K}_temp_{T}/scored.parquet`; return its path.

    Written beside its place and then moved there: a file of this name is always whole.

    Args:
        folder, probing, dataset, model_name: names with / are written as folders have them.
        maxlen, k, temp: settings of the samples that the scores predict.
        table: columns idx, problem, score; and original_solution, calibrated_score, prompt_tokens (read by the
            scoring model; missing is unknown) and scoring_cost_usd (missing is unknown), where there are any.
        note: what `NOTE` lists; what is left out is null, but for probe and sha256.
        replace: whether scores of another probe may be overwritten; those of the same one are.

    Raises:
        ScoreError: a column, key or score is missing or wrong, or another probe's scores are there.

    Example:
        >>> import tempfile
        >>> table = pd.DataFrame({"idx": [7], "problem": ["1 + 1?"], "score": [0.9], "prompt_tokens": [12]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     note = {"probe": "p", "sha256": "5f" * 32}
        ...     path = write_published(folder, "a/b", "c/d", "m/S", maxlen=200, k=5, temp=0.7, table=table, note=note)
        ...     path.relative_to(folder).as_posix()
        'a_b_probe/c_d/m-S_maxlen_200_k_5_temp_0.7/scored.parquet'
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = f"{model_name.replace('/', '-')}_maxlen_{maxlen}_k_{k}_temp_{float(temp)}"
    file = Path(folder) / f"{_flat(probing)}_probe" / _flat(dataset) / run / FILE
    kept = _note(note, file)
    if not replace and file.exists() and (note_of(file) or {}).get("sha256") != kept["sha256"]:
        raise ScoreError(
            f"{file} holds scores of another probe than {kept['probe']!r}: name another folder, or replace them"
        )
    whole = pa.Table.from_pandas(_checked(table, file), preserve_index=False)
    metadata = {**(whole.schema.metadata or {}), PROBE: json.dumps(kept, ensure_ascii=False).encode()}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        pq.write_table(whole.replace_schema_metadata(metadata), partial)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def _flat(name: str) -> str:
    return name.replace("/", "_")


def _note(note: Mapping[str, Any], file: Path) -> dict[str, Any]:
    unknown = sorted(set(note) - set(NOTE))
    if unknown:
        raise ScoreError(f"{file}: the note of its probe has {unknown[0]!r}; it has {', '.join(NOTE)}")
    for key in ("probe", "sha256"):
        if not isinstance(note.get(key), str) or not note[key]:
            raise ScoreError(f"{file}: the note of its probe has {key} {note.get(key)!r}: give a text")
    return {key: note.get(key) for key in NOTE}


def _checked(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    for column in ("idx", "problem", "score"):
        if column not in table:
            raise ScoreError(f"{file} needs a column {column!r}: the table has {', '.join(map(str, table.columns))}")
    twice = table["idx"].duplicated(keep=False) | table["idx"].isna()
    if twice.any():
        raise ScoreError(f"{file}: idx {table['idx'][twice].iloc[0]!r} names {int(twice.sum())} rows or none")
    there = [name for name in ("score", "calibrated_score") if name in table]
    scores = Scores({name: table[name] for name in there}, table["idx"], {name: f"{file}: {name}" for name in there})
    out = table[[name for name in _COLUMNS if name in table]].reset_index(drop=True).assign(**scores.columns)
    # A column of nothing but None has no type of its own.
    out["prompt_tokens"] = _counts(table, file)
    out["scoring_cost_usd"] = pd.to_numeric(out.get("scoring_cost_usd", pd.Series(index=out.index, dtype=float)))
    out["scoring_cost_usd"] = out["scoring_cost_usd"].astype("float64")
    wrong = ~(out["scoring_cost_usd"].isna() | (out["scoring_cost_usd"] >= 0))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ScoreError(f"{file}: row {row}: scoring_cost_usd is {out['scoring_cost_usd'][row]}: give USD, at least 0")
    return out


def _counts(table: pd.DataFrame, file: Path) -> pd.Series[Any]:
    given = table["prompt_tokens"] if "prompt_tokens" in table else pd.Series([None] * len(table), dtype=object)
    try:
        counts = given.reset_index(drop=True).astype("Int64")
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{file}: prompt_tokens are whole numbers, or missing where they are unknown") from error
    if (counts < 0).any():
        raise ScoreError(f"{file}: prompt_tokens has {int(counts.min())}: give counts, at least 0")
    return counts
