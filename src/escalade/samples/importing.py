"""Importing: one file of any of the known kinds into a store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from escalade.errors import TableError
from escalade.samples.archive import is_archive, read_archive
from escalade.samples.filing import Filed, Office, place
from escalade.samples.foreign import Foreign, Settings, Skipped, clean
from escalade.samples.harness_logs import is_harness_log, read_harness
from escalade.samples.inspect_logs import is_inspect_log, read_inspect
from escalade.samples.merging import Contents, Merged, merge
from escalade.samples.recorded import read_recording
from escalade.samples.store import Store
from escalade.samples.verdicts import Verdicts


@dataclass
class Imported:
    """What came of one file."""

    path: Path
    kind: str
    merged: Merged
    usable: int = 0
    """Foreign samples that runs find."""
    apart: Counter[str] = field(default_factory=Counter)
    """Foreign samples that no run finds, by the reason."""
    skipped: list[Skipped] = field(default_factory=list)
    """What held no generation, or none that is new to the file."""


def import_file(store: Store, verdicts: Verdicts, path: Path, office: Office) -> Imported:
    """Enter a file into a store: an archive, a recording, a log of inspect_ai, samples of lm-eval.

    Raises:
        TableError: the file is none of them; a row cannot be mapped, and nothing of the file has been entered then.
        StoreError: the store refuses.
    """
    if not path.is_file():
        raise TableError(f"{path} is not there, or no file: check the path")
    if is_archive(path):
        return Imported(path, "archive of a store", merge(store, verdicts, read_archive(path)))
    kind, rows = _foreign(path)
    skipped: list[Skipped] = []
    filed: list[Filed] = []
    for row in rows:
        if isinstance(row, Skipped):
            skipped.append(Skipped(clean(row.place), clean(row.why)))
        else:
            filed.append(office.file(row.sayable()))
    if not filed:
        said = f": {skipped[0]}" if skipped else ""
        raise TableError(f"{path} has no generation in it{said}")
    questions = [one.question for one in filed if one.question is not None]
    merged = merge(store, verdicts, Contents(place(store, filed), questions=questions))
    reasons = Counter(one.why for one in filed)
    usable = reasons.pop(None, 0)
    return Imported(path, kind, merged, usable, Counter({str(why): n for why, n in reasons.items()}), skipped)


def _foreign(path: Path) -> tuple[str, Iterator[Foreign | Skipped]]:
    if is_inspect_log(path):
        return "log of inspect_ai", read_inspect(path)
    if is_harness_log(path):
        return "samples of lm-eval", read_harness(path)
    if path.suffix in (".parquet", ".csv", ".jsonl", ".ndjson"):
        return "recording", _recorded(path)
    raise TableError(
        f"{path} is nothing that can be imported: give an archive or recording (.parquet, .jsonl, .csv), a log of "
        "inspect_ai (.json, .eval) or samples of lm-eval (samples_*.jsonl)"
    )


def _recorded(path: Path) -> Iterator[Foreign]:
    recording = read_recording(path)
    texts = {str(row.id): (_text(row.problem), _text(row.gold_answer)) for row in recording.problems.itertuples()}
    complete = "finish_reason" in recording.table
    for (ident, model), rows in recording.rows.items():
        indexes: Counter[float | None] = Counter()
        for temperature, generation in zip(rows.temperatures, rows.generations, strict=True):
            index = indexes[temperature]
            indexes[temperature] += 1
            known = None if recording.pool is None or model not in recording.pool else recording.pool[model].name
            yield Foreign(
                place=f"{path}: sample {index} of {model} for problem {ident!r}",
                tool="recording",
                origin=recording.fingerprint,
                identity=json.dumps([ident, model, temperature, index, generation.text, generation.answer]),
                model=known or model,
                problem_id=ident,
                messages=None,
                question=texts[ident][0],
                gold=texts[ident][1],
                index=index,
                settings=Settings(temperature),
                generation=generation,
                complete=complete,
                pool=recording.pool,
            )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
