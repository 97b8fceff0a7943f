"""Sources: where recorded samples may come from, each opened as a bank, with what was found on the way.

A source is "shipped", a recorded pool, a store, or the folder of a run. This module finds problems, gold answers,
scores and prices for it; it draws and evaluates nothing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from escalade.engines.replay import open_recording, recorded_pool
from escalade.errors import ProblemError, SettingError, TableError, nearest
from escalade.evaluation.bank import Bank, Bools
from escalade.evaluation.identity import digests, fingerprint
from escalade.evaluation.inventory import Shelf, inventory
from escalade.given_scores import said_of_refused
from escalade.job import Problems
from escalade.pool import Pool, load_pool
from escalade.problems import SCORING, shipped_problems
from escalade.samples.archive import write_archive
from escalade.samples.merging import Contents
from escalade.samples.recorded import Recording, read_recording
from escalade.samples.store import Store
from escalade.wording import counted

SHIPPED = "shipped"
SAMPLES = "samples"
"""In the place of a column to price: every sample counts one."""


@dataclass(frozen=True)
class Opened:
    """A source that was opened."""

    bank: Bank
    source: str
    """What was opened, in words."""
    unit: str
    """What is counted and priced: tokens, or the column that was named."""
    notes: tuple[str, ...]
    """What a reader of the numbers must know of their samples."""
    fingerprints: dict[str, str]
    """sha256 of the samples' file, of the problems (sorted digests), of the pool, and of scores where there are any."""


def open_bank(
    source: str | Path = SHIPPED,
    problems: Problems | None = None,
    *,
    pool: str | Path | Pool | None = None,
    scores: str | Path | pd.DataFrame | None = None,
    dataset: str | None = None,
    complete: bool = False,
    cost_column: str | None = None,
) -> Opened:
    """Return the bank of a source.

    Args:
        source: "shipped", a recorded pool (Parquet, CSV, JSON lines), a store (SQLite), or the folder of a run.
        problems: with their gold answers, "shipped" for those of the package; None takes those of the source.
        pool: gives aliases, prices and billing; None takes the one that the source carries.
        scores: a table with an id and columns score_ALIAS, or a folder of the published layout.
        dataset: only the problems of this data set, of a recording that holds several.
        complete: only the problems that have samples of every model.
        cost_column: a column of the recording that is counted in the place of completion tokens, with the prices of
            output; prompts then cost nothing. "samples" counts each sample as one.

    Problems without a gold answer are left out, and `notes` says how many.

    Raises:
        InputError: the source, or what is asked of it, cannot be used. StoreError: a store cannot be read.

    Example:
        >>> opened = open_bank()
        >>> opened.source, len(opened.bank), opened.unit
        ('the recording that ships with escalade', 60, 'tokens')
    """
    path = Path(source)
    if str(source) == SHIPPED:
        said, recording = "the recording that ships with escalade", open_recording(SHIPPED)
    elif path.is_dir():
        said, recording = f"run {path}", _of_run(path)
        problems = _problems_of_run(path) if problems is None else problems
    elif not path.is_file():
        raise TableError(
            f"source {str(source)!r} is not there: give a recorded pool, a store, the folder of a run, or {SHIPPED}"
        )
    elif _is_store(path):
        said, recording = f"store {path}", None
    else:
        said, recording = f"recording {path}", read_recording(path)
    given = shipped_problems() if isinstance(problems, str | Path) and str(problems) == SHIPPED else problems
    chosen = pool if isinstance(pool, Pool) or pool is None else load_pool(pool)
    if recording is None:
        if cost_column is not None or dataset is not None:
            name = "--cost-column" if cost_column is not None else "--dataset"
            raise SettingError(f"{name} is of recordings; a store has no further columns: leave it out")
        bank = _of_store(path, given, chosen, scores)
    else:
        if cost_column is not None:
            recording = _counting(recording, cost_column)
        bank = Bank.of_recording(recording, given, pool=chosen, scores=scores)
        if dataset is not None:
            bank = _of_dataset(bank, recording, dataset)
    bank, notes = _graded(bank)
    shelves = inventory(bank)
    if complete:
        bank, shelves, said_of = _complete(bank, shelves)
        notes += said_of
    if str(source) == SHIPPED:
        data = open_recording(SHIPPED).path
    else:
        data = path / "samples.parquet" if path.is_dir() else path
    return Opened(
        bank,
        said if dataset is None else f"{said}, data set {dataset}",
        cost_column or "tokens",
        tuple(notes + _said_of(shelves, bank)),
        {
            "samples": hashlib.sha256(data.read_bytes()).hexdigest(),
            "problems": fingerprint(digests(bank.problems)),
            "pool": hashlib.sha256(bank.pool.model_dump_json().encode()).hexdigest(),
            **_of_scores(bank),
        },
    )


def _is_store(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\x00"


def _of_store(
    path: Path, problems: Problems | None, pool: Pool | None, scores: str | Path | pd.DataFrame | None
) -> Bank:
    if pool is None or problems is None:
        with tempfile.TemporaryDirectory() as folder, Store(path) as store:
            questions = list(store.questions().values())
            exported = Path(folder) / f"{path.stem}.parquet"
            if not write_archive(Contents(store.samples(), questions=questions), exported):
                raise TableError(f"store {path} has no samples: give one that a run has filled")
            recording = read_recording(exported)
        pool = pool or recorded_pool(recording)
        if problems is None:
            problems = [
                {"id": row.id, "problem": row.problem, "answer": row.gold_answer}
                for row in recording.problems.dropna(subset=["problem"]).itertuples()
            ]
            if not problems:
                raise ProblemError(
                    f"store {path} keeps samples, but no texts and gold answers of problems: give --problems FILE "
                    f"(--problems {SHIPPED} for those that ship with escalade)"
                )
    return Bank.of_store(path, problems, pool=pool, scores=scores)


def _of_run(folder: Path) -> Recording:
    path = folder / "samples.parquet"
    if not path.is_file():
        raise TableError(f"{folder} has no samples.parquet: give the folder of a run, a recorded pool or a store")
    return read_recording(path)


def _problems_of_run(folder: Path) -> Problems | None:
    """The problems of a run's answers, with kinds of answers and scores; the samples alone know neither."""
    path = folder / "answers.parquet"
    if not path.is_file():
        return None
    table = pd.read_parquet(path)
    wanted = ["idx", "problem", "gold_answer", "answer_kind", *(n for n in table if str(n).startswith("score_"))]
    chosen = table[[name for name in wanted if name in table]].dropna(axis=1, how="all")
    if "scoring" not in table:
        return chosen
    # Of a score that a problem is not charged with it is not known what it cost.
    bills = [{each["score"]: each["cost_usd"] for each in json.loads(text)} for text in table["scoring"]]
    aliases = dict.fromkeys(alias for bill in bills for alias in bill)
    for alias in aliases:
        chosen[f"{SCORING}{alias}"] = [bill.get(alias) for bill in bills]
    return chosen


def _only(bank: Bank, there: Bools) -> Bank:
    """A bank of some of the problems that holds nothing of the others."""
    problems = tuple(problem for problem, kept in zip(bank.problems, there, strict=True) if kept)
    return Bank(bank.pool, problems, bank.rows, bank.place, bank.grader, bank.refused)


def _of_dataset(bank: Bank, recording: Recording, dataset: str) -> Bank:
    table = recording.table
    known = [] if "dataset" not in table else sorted(map(str, table["dataset"].unique()))
    if dataset not in known:
        raise TableError(
            f"{recording.path.name} has no data set {dataset!r}; it has {', '.join(known) or 'no column dataset'}"
            f"{nearest(dataset, known)}"
        )
    ids = set(table.loc[table["dataset"].astype(str) == dataset, "id"])
    there = np.array([problem.id in ids for problem in bank.problems])
    if not there.any():
        raise ProblemError(f"none of the problems given is of the data set {dataset!r}: leave out one of the two")
    return _only(bank, there)


def _counting(recording: Recording, column: str) -> Recording:
    table = recording.table
    if column == SAMPLES and column not in table:
        table = table.assign(**{SAMPLES: 1})
    if column not in table:
        numbers = [str(n) for n in table if pd.api.types.is_numeric_dtype(table[n])]
        raise TableError(
            f"{recording.path.name} has no column {column!r} to price; numbers are in {', '.join(numbers)}, "
            f"and {SAMPLES} counts each sample as one"
            f"{nearest(column, numbers)}"
        )
    counts = table[column]
    if not pd.api.types.is_numeric_dtype(counts):
        raise TableError(f"{recording.path.name}: column {column!r} holds no numbers: it cannot be priced")
    wrong = counts.notna() & ((counts < 0) | (counts % 1 != 0))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise TableError(f"{recording.path.name}: row {row}: {column} is {counts.iloc[row]!r}: give whole counts")
    return replace(recording, table=table.assign(completion_tokens=counts, prompt_tokens=0, cached_tokens=None))


def _graded(bank: Bank) -> tuple[Bank, list[str]]:
    golds = np.array([problem.gold is not None for problem in bank.problems])
    if not golds.any():
        raise ProblemError(f"{bank.place}: no problem has a gold answer: give them with --problems FILE")
    if golds.all():
        return bank, []
    without = int((~golds).sum())
    return _only(bank, golds), [f"left out without a gold answer: {counted(without, 'problem')}"]


def _complete(bank: Bank, shelves: tuple[Shelf, ...]) -> tuple[Bank, tuple[Shelf, ...], list[str]]:
    there = np.ones(len(bank), dtype=np.bool_)
    for alias in {shelf.alias for shelf in shelves}:
        of_model = [bank.counts(alias, shelf.temperature) for shelf in shelves if shelf.alias == alias]
        there &= np.logical_and.reduce([n > 0 for n in of_model])
    if not there.any():
        raise TableError(f"{bank.place}: no problem has samples of every model: name the routes that are meant")
    if there.all():
        return bank, shelves, []
    bank = _only(bank, there)
    lacking = int((~there).sum())
    said = f"left out without samples of every model (--complete): {counted(lacking, 'problem')}"
    return bank, inventory(bank), [said]


def _said_of(shelves: tuple[Shelf, ...], bank: Bank) -> list[str]:
    notes = said_of_refused(bank.refused)
    for shelf in shelves:
        who = f"{shelf.alias} t={shelf.temperature:g}"
        if shelf.least < shelf.most:
            lacking = len(bank) - shelf.problems
            none = f", {counted(lacking, 'problem')} without any (--complete leaves out such)" if lacking else ""
            notes.append(
                f"{who}: problems have from {shelf.least} to {shelf.most} samples{none}; where what was seen decided "
                "when to stop drawing, they are no fair draw"
            )
    unstated = list(dict.fromkeys(shelf.alias for shelf in shelves if not shelf.stated))
    if unstated:
        notes.append(
            f"samples of {', '.join(unstated)} do not all state a temperature: those count at every temperature"
        )
    unpriced = list(dict.fromkeys(shelf.alias for shelf in shelves if np.isnan(shelf.cost)))
    if unpriced:
        lack = [alias for alias in unpriced if bank.pool[alias].price is None]
        why = "no price in the pool" if lack else "no counts of tokens"
        remedy = "give --pool FILE with prices" if lack else "name another column to price with --cost-column"
        notes.append(f"costs of {', '.join(lack or unpriced)} are unknown ({why}): {remedy}")
    return notes


def _of_scores(bank: Bank) -> dict[str, str]:
    """The fingerprint of all scores, and of what they cost; none where there are none."""
    said = [
        f"{problem.id}\n{sorted(problem.scores.items())}\n{sorted(problem.scoring.items())}"
        for problem in bank.problems
        if problem.scores
    ]
    return {"scores": hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()} if said else {}


def facts(opened: Opened) -> dict[str, Any]:
    """Return what a file of results says of its source.

    Example:
        >>> said = facts(open_bank())
        >>> said["unit"], sorted(said["fingerprints"])
        ('tokens', ['pool', 'problems', 'samples'])
    """
    return {
        "source": opened.source,
        "unit": opened.unit,
        "source_notes": list(opened.notes),
        "fingerprints": dict(opened.fingerprints),
    }
