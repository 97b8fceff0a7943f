"""Problems: one question with an id, a prompt, perhaps a gold answer and scores. Read from JSON lines, CSV, Parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.answers.custom import anchored
from escalade.answers.extract import extract
from escalade.answers.kinds import DEFAULT, Kind, Math, kind_of
from escalade.errors import AnswerKindError, ProblemError

ID = ("id", "problem_id", "idx")
TEXT = ("problem", "question", "prompt")
GOLD = ("gold_answer", "gold", "answer")
SOLUTION = ("original_solution", "gold_solution", "solution")
KIND = "answer_kind"
SCORE, CALIBRATED = "score_", "calibrated_score_"
SCORING = "scoring_cost_usd_"


@dataclass(frozen=True, slots=True)
class Scoring:
    """What making one score took; None is unknown."""

    tokens: int | None = None
    """Of the prompt, read by `model`."""
    model: str | None = None
    """The model of a pool, by alias or full name, that read the prompt; None where none is known to have."""
    usd: Decimal | None = None
    """As recorded; 0 is a price."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question."""

    id: str
    text: str
    gold: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Predicted success by model alias."""
    solution: str | None = None
    """The worked solution as the file has it, carried into result tables."""
    answer_kind: str | None = None
    """What kind of answer it has (`escalade.answers.kinds`); the pool's where it says none."""
    scoring: Mapping[str, Scoring] = field(default_factory=dict)
    """What its scores took, by model alias; those that come without a word on it are not here."""
    conversation: tuple[tuple[str, str], ...] = ()
    """What was said before the problem, oldest first: role (system, user, assistant) and content."""

    @property
    def fingerprint(self) -> str:
        """What samples of this problem are filed under: a hash of its text (of its id, where it has no text), and of
        what was said before it."""
        asked = self.text or f"id:{self.id}"
        if self.conversation:
            asked = json.dumps([*self.conversation, ("user", asked)])
        return hashlib.sha256(asked.encode()).hexdigest()[:32]


def shipped_problems() -> Path:
    """Return the file of the 60 word problems that ship with the package."""
    return Path(str(resources.files("escalade") / "data" / "problems.jsonl"))


def read_problems(path: str | Path, *, limit: int | None = None, answer_kind: str = DEFAULT) -> list[Problem]:
    """Return the problems of a file, in its order.

    Columns: an id (id, problem_id or idx; else rows are numbered from 0), the text (problem, question or prompt),
    perhaps a gold answer (gold_answer, gold or answer) or a worked solution it can be read from
    (original_solution, gold_solution, solution), scores (score_ALIAS, calibrated_score_ALIAS) and what they cost
    (scoring_cost_usd_ALIAS), and the kind of answer (answer_kind), where it is another than that of the pool. A kind of
    your own is looked for beside the file.

    Args:
        path: of the file.
        limit: how many to return at most; all if None.
        answer_kind: the kind of problems that name none, which says how gold answers are read.

    Raises:
        ProblemError: no such file, no rows, no column for the text, an empty text, an id that stands twice, an unknown
            kind of answer.
    """
    path = Path(path)
    table = read_table(path)
    problems = problems_from(table, str(path), folder=path.parent, answer_kind=answer_kind)
    return problems if limit is None else problems[:limit]


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of JSON lines, CSV or Parquet; ids and answers of text files stay text.

    Raises:
        ProblemError: no such file, not a table of this kind, or no rows in it.
    """
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
            for name in table.columns:
                if str(name).startswith((SCORE, CALIBRATED, SCORING)):
                    table[name] = _numbers(table[name], path)
        elif path.suffix in (".jsonl", ".ndjson", ".json"):
            table = _json_lines(path)
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif not path.exists():
            raise FileNotFoundError
        else:
            raise ProblemError(
                f"{path}: what kind of file is {path.suffix or path.name!r}? Give .jsonl, .csv or .parquet"
            )
    except FileNotFoundError as error:
        raise ProblemError(f"{path} is not there: check the path") from error
    except pd.errors.EmptyDataError as error:
        raise ProblemError(f"{path} is empty: it needs a row per problem") from error
    except (OSError, ValueError) as error:
        raise ProblemError(f"{path} cannot be read as {path.suffix.lstrip('.')}: {error}") from error
    if table.empty:
        raise ProblemError(f"{path} has no rows: it needs one per problem")
    return table


def problems_from(
    table: pd.DataFrame, place: str = "table", *, folder: Path | None = None, answer_kind: str = DEFAULT
) -> list[Problem]:
    """Return the problems of a table; `place` names it in errors, relative paths start at `folder`.

    Raises:
        ProblemError: see `read_problems`.
    """
    columns = [str(name) for name in table.columns]
    text_column = _first(TEXT, columns)
    if text_column is None:
        raise ProblemError(
            f"{place} has no column for the problem's text: name it {', '.join(TEXT[:-1])} or {TEXT[-1]} "
            f"(it has {', '.join(columns)})"
        )
    id_column, gold_column, solution_column = _first(ID, columns), _first(GOLD, columns), _first(SOLUTION, columns)
    kind_column, default = _first((KIND,), columns), kind_of(answer_kind)
    out: list[Problem] = []
    seen: dict[str, int] = {}
    for row, record in enumerate(table.to_dict("records")):
        text = record[text_column]
        if not isinstance(text, str) or not text.strip():
            raise ProblemError(f"{place}: row {row}: column {text_column!r} is {text!r}: give the problem as a text")
        at = f"{place}: row {row}"
        ident = str(row) if id_column is None else _cell(record, id_column, at)
        if ident is None:
            raise ProblemError(f"{at}: column {id_column!r} is empty: every problem needs an id")
        if ident in seen:
            raise ProblemError(f"{place}: rows {seen[ident]} and {row} have the same id {ident!r}: ids must be unique")
        seen[ident] = row
        solution = _cell(record, solution_column, at)
        own = _own_kind(record, kind_column, folder, at)
        kind = default if own is None else own
        gold = _gold(_cell(record, gold_column, at), solution, kind, at)
        name = None if own is None else own.name
        out.append(Problem(ident, text, gold, _scores(record), solution, name, scoring_in(record, at)))
    return out


def _own_kind(record: Mapping[Any, Any], column: str | None, folder: Path | None, at: str) -> Kind | None:
    spec = _cell(record, column, at)
    if spec is None:
        return None
    try:
        return kind_of(spec if folder is None else anchored(spec, folder))
    except AnswerKindError as error:
        raise ProblemError(f"{at}: column {column!r} is {spec!r}: {error}") from error


def _gold(gold: str | None, solution: str | None, kind: Kind, at: str) -> str | None:
    """The gold answer: as given, or read from a worked solution (GSM8K's `#### 42`, a boxed answer, a bare number).

    Where the answer is mathematics, what is given may itself be a worked solution: GSM8K's column `answer` is.
    """
    if gold is not None and not isinstance(kind, Math):
        return gold
    text = solution if gold is None else gold
    if text is None:
        return None
    try:
        # Not by the kind where it is mathematics: the last number of a solution is no gold answer.
        found = extract(text) if isinstance(kind, Math) else kind.extract(text)
    except AnswerKindError as error:
        raise ProblemError(f"{at}: the gold answer cannot be read: {error}") from error
    if found is not None and (gold is None or found.rule in ("hash", "boxed")):
        return found.text
    return gold


def _scores(record: Mapping[Any, Any]) -> dict[str, float]:
    # As they are: whether they are numbers in [0, 1] is asked where a strategy or a decision uses them.
    out: dict[str, float] = {}
    for prefix in (SCORE, CALIBRATED):  # the calibrated one wins
        for name, value in record.items():
            if str(name).startswith(prefix) and value is not None:
                out[str(name).removeprefix(prefix)] = value
    return out


def scoring_in(record: Mapping[Any, Any], at: str) -> dict[str, Scoring]:
    """Return what scores cost by the columns scoring_cost_usd_ALIAS of a row; an empty cell is unknown.

    Raises:
        ProblemError: a cell is no sum of money; `at` says where.

    Example:
        >>> scoring_in({"scoring_cost_usd_7B": "0.00001", "score_7B": 0.5}, "row 0")["7B"].usd
        Decimal('0.00001')
    """
    out: dict[str, Scoring] = {}
    for name, value in record.items():
        if str(name).startswith(SCORING):
            alias, usd = str(name).removeprefix(SCORING), None
            if not pd.isna(value):
                try:
                    usd = Decimal(str(value))
                except InvalidOperation:
                    usd = Decimal(-1)
                if not usd.is_finite() or usd < 0:
                    raise ProblemError(f"{at}: column {str(name)!r} is {value!r}: give USD, at least 0")
            out[alias] = Scoring(usd=usd)
    return out


def _json_lines(path: Path) -> pd.DataFrame:
    rows: list[Any] = []
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        body = json.loads(text)
        if not isinstance(body, list):
            raise ProblemError(f"{path}: a .json file must hold a list of problems; one object a line is .jsonl")
        rows = body
    else:
        # Not splitlines(): JSON strings may hold line separators of Unicode as they are.
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ProblemError(f"{path}: line {number}: not JSON: {error.msg} at column {error.colno}") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ProblemError(
                f'{path}: row {number} is {row!r}: each problem is an object, {{"id": ..., "problem": ...}}'
            )
    # dtype=object, or an id 7 beside a missing one would become 7.0
    return pd.DataFrame(rows, dtype=object)


def _numbers(column: pd.Series[str], path: Path) -> pd.Series[float]:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = column.notna() & numbers.isna() & (column.str.lower() != "nan")
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ProblemError(f"{path}: row {row}: column {column.name!r} is {column.iloc[row]!r}, it must be a number")
    return numbers


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _cell(record: Mapping[Any, Any], column: str | None, at: str) -> str | None:
    value = None if column is None else record[column]
    if not pd.api.types.is_scalar(value):
        raise ProblemError(f"{at}: column {column!r} is {value!r}: give a text or a number")
    if pd.isna(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text or None
