"""Given scores: a table with columns score_ALIAS, or a folder of the published layout, joined to problems.

What a problem says of its scores itself gives way to what is given beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from escalade.errors import ScoreError
from escalade.pool import Pool
from escalade.problems import CALIBRATED, ID, SCORE, SCORING, Problem, Scoring, read_table, scoring_in
from escalade.scores import Scores, read_folder

Given = str | Path | pd.DataFrame
"""A table or its file, or the folder `{data}/{probing}_probe/{dataset}` of the published layout."""


class Scored(NamedTuple):
    """Problems with their scores."""

    problems: list[Problem]
    scores: Scores
    """The same scores as columns, of the pool's models; those refused are in neither."""


def with_scores(problems: Sequence[Problem], given: Given | None, pool: Pool) -> Scored:
    """Return problems with checked scores of the pool's models: those given, else their own.

    A table is joined by id. A folder is joined by `idx`, and must have the problems' very texts.

    Raises:
        ScoreError: no such file or folder, a problem has no row, another text, or no score in [0, 1].

    Example:
        >>> from escalade.pool import load_pool
        >>> table = pd.DataFrame({"id": ["a"], "score_7B": [0.7]})
        >>> found = with_scores([Problem("a", "What is 1 + 1?")], table, load_pool("qwen2.5-math"))
        >>> found.problems[0].scores, found.scores["7B"].tolist()
        ({'7B': 0.7}, [0.7])
    """
    problems = list(problems)
    refused: Mapping[str, str] = {}
    if isinstance(given, str | Path) and Path(given).is_dir():
        problems, refused = _from_folder(problems, Path(given), pool)
    elif given is not None:
        problems = _from_table(problems, given)
    ids = [problem.id for problem in problems]
    columns = {
        alias: [problem.scores.get(alias) for problem in problems]
        for alias in pool.aliases
        if any(alias in problem.scores for problem in problems)
    }
    table = Scores(columns, ids, refused=refused)
    checked = [
        replace(problem, scores={alias: float(values[row]) for alias, values in table.columns.items()})
        for row, problem in enumerate(problems)
    ]
    return Scored(checked, table)


def said_of_refused(refused: Mapping[str, str]) -> list[str]:
    """Say which models' scores are refused, and why.

    Example:
        >>> said_of_refused({"7B": "AUROC 0.52 [0.47, 0.57]"})
        ['scores of 7B are refused (AUROC 0.52 [0.47, 0.57]): nothing is decided by them']
    """
    return [
        f"scores of {alias} are refused ({reason}): nothing is decided by them" for alias, reason in refused.items()
    ]


def _from_folder(problems: list[Problem], folder: Path, pool: Pool) -> tuple[list[Problem], Mapping[str, str]]:
    read = read_folder(folder, pool)
    idents = [_ident(value) for value in read.problems["idx"]]
    rows = {ident: row for row, ident in enumerate(idents)}
    texts = read.problems["problem"].tolist()
    out: list[Problem] = []
    for problem in problems:
        row = rows.get(problem.id)
        if row is None:
            raise ScoreError(
                f"{folder} has no row for problem {problem.id!r}: score it as well, or leave it out "
                f"(its idx are {', '.join(idents[:3])}, ...)"
            )
        # A recording may know its problems by their ids only.
        if problem.text and problem.text.split() != str(texts[row]).split():
            raise ScoreError(
                f"{folder}: idx {problem.id!r} is another problem than that of this id: it has the text "
                f"{str(texts[row])!r:.60}, not {problem.text!r:.60}; give the scores of these problems"
            )
        scores = {alias: float(column[row]) for alias, column in read.scores.columns.items()}
        scoring = {alias: each[row] for alias, each in read.scores.scoring.items()}
        out.append(_with(problem, scores, scoring))
    return out, read.scores.refused


def _from_table(problems: list[Problem], scores: Given) -> list[Problem]:
    place = "scores" if isinstance(scores, pd.DataFrame) else str(scores)
    table = scores if isinstance(scores, pd.DataFrame) else read_table(Path(scores))
    column = next((name for name in ID if name in table), None)
    if column is None:
        raise ScoreError(f"{place} has no id column ({', '.join(ID)}) to join its scores to the problems by")
    columns = [str(name) for name in table.columns]
    names = [n for prefix in (SCORE, CALIBRATED) for n in columns if n.startswith(prefix)]
    if not names:
        raise ScoreError(f"{place} has no scores: name the columns score_ALIAS, as in score_7B")
    unnamed = table[column].isna()
    if unnamed.any():
        row = int(unnamed.to_numpy().argmax())
        raise ScoreError(f"{place}: row {row} has no id in column {column!r}: name the problem that its scores are of")
    ids = table[column].map(_ident)
    twice = ids[ids.duplicated()]
    if len(twice):
        raise ScoreError(f"{place}: id {twice.iloc[0]!r} stands twice in column {column!r}: one row per problem")
    rows: dict[str, dict[str, float]] = {ident: {} for ident in ids}
    for name in names:  # the calibrated ones come last and win
        alias = name.removeprefix("calibrated_").removeprefix("score_")
        for ident, value in zip(ids, table[name], strict=True):
            rows[ident][alias] = value
    missing = next((problem for problem in problems if problem.id not in rows), None)
    if missing is not None:
        raise ScoreError(f"{place} has no row for problem {missing.id!r}: every problem needs its scores")
    costs: dict[str, dict[str, Scoring]] = {}
    if priced := [name for name in columns if name.startswith(SCORING)]:
        for row, (ident, record) in enumerate(zip(ids, table[priced].to_dict("records"), strict=True)):
            costs[ident] = scoring_in(record, f"{place}: row {row}")
    return [_with(problem, rows[problem.id], costs.get(problem.id, {})) for problem in problems]


def _with(problem: Problem, scores: Mapping[str, float], scoring: Mapping[str, Scoring]) -> Problem:
    """The problem with these scores; what its own had cost does not count for others."""
    own = {alias: each for alias, each in problem.scoring.items() if alias not in scores}
    return replace(problem, scores={**problem.scores, **scores}, scoring={**own, **scoring})


def _ident(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
