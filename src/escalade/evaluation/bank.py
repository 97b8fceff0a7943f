"""A bank: the recorded samples of all problems as arrays, read, classed, graded and priced as a run would.

It holds what was drawn and knows nothing of routes. What is worked out from it, such as the distributions of ballots,
is kept beside its samples (`Bank.remembered`), so that it is worked out once for all routes, thresholds and subsets.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from escalade.answers.grader import Grader
from escalade.answers.kinds import Kind, kind_of
from escalade.engines.replay import open_recording, recorded_pool
from escalade.errors import TableError
from escalade.evaluation.lots import Bools as Bools
from escalade.evaluation.lots import Floats as Floats
from escalade.evaluation.lots import Ints as Ints
from escalade.evaluation.lots import Lot, lot_of, names_of
from escalade.job import Problems, prepare
from escalade.pool import Pool, load_pool
from escalade.problems import Problem
from escalade.routes import Kind as RouteKind
from escalade.routes import Route, Tier
from escalade.samples.archive import write_archive
from escalade.samples.merging import Contents
from escalade.samples.recorded import Recording, Rows, read_recording
from escalade.samples.sample import Generation, Sample
from escalade.samples.store import Store
from escalade.scoring import charges, total

_Worked = TypeVar("_Worked")


@dataclass(eq=False)
class Bank:
    """The recorded samples of N problems, and all that their evaluation needs.

    `root` is the bank that holds the samples, itself unless it is a subset, and `index` the rows of it that count.

    Example:
        >>> bank = Bank.of_recording(open_recording("shipped"))
        >>> len(bank), bank.counts("0.5B", 0.7)[:3].tolist(), len(bank.subset(range(12)))
        (60, [8, 8, 8], 12)
    """

    pool: Pool
    problems: tuple[Problem, ...]
    rows: Mapping[tuple[str, str], Rows]
    """By problem id and name in the recording: an alias or a full name of the pool."""
    place: str
    """What the samples were read from, for messages."""
    grader: Grader = field(default_factory=Grader)
    refused: Mapping[str, str] = field(default_factory=dict)
    """Models whose scores are refused for routing, and why; the problems do not have them."""
    _worked_out: dict[Any, Any] = field(default_factory=dict)
    _root: Bank | None = None
    _index: Ints | None = None

    @classmethod
    def of_recording(
        cls,
        recording: Recording | str | Path,
        problems: Problems | None = None,
        *,
        pool: str | Path | Pool | None = None,
        scores: str | Path | pd.DataFrame | None = None,
    ) -> Self:
        """Return the bank of a recording.

        Args:
            recording: or its file, or "shipped".
            problems: with their gold answers; None takes those of the recording.
            pool: gives names, prices and billing; None takes the recording's own.
            scores: a table with an id and columns score_ALIAS, or a folder of the published layout, joined to the
                problems.

        Raises:
            InputError: as `escalade.run` on `replay:FILE` would, and where one id stands for two problems or two ways
                of sampling are mixed (files exported from a store say so).
        """
        if not isinstance(recording, Recording):
            recording = open_recording(str(recording))
        chosen = pool if isinstance(pool, Pool) else recorded_pool(recording) if pool is None else load_pool(pool)
        _refuse_mixed(recording)
        # Any route will do: a job reads problems, scores and pool as a run does.
        alias = chosen.models[0].alias
        job = prepare(
            problems,
            route=Route(RouteKind.GREEDY, (Tier(alias, 1, 0.0),), chosen[alias].name),
            pool=chosen,
            engine=f"replay:{recording.path}",
            scores=scores,
        )
        return cls(job.pool, tuple(job.problems), recording.rows, recording.path.name, refused=job.refused)

    @classmethod
    def of_store(
        cls,
        path: str | Path,
        problems: Problems,
        *,
        pool: str | Path | Pool,
        scores: str | Path | pd.DataFrame | None = None,
    ) -> Self:
        """Return the bank of a store: of its samples those that answer these problems, found by their texts.

        Raises:
            InputError: see `of_recording`. StoreError: the store cannot be read.
        """
        path = Path(path)
        if not path.is_file():
            raise TableError(f"store {path} is not there: check the path")
        pool = pool if isinstance(pool, Pool) else load_pool(pool)
        alias = pool.models[0].alias
        route = Route(RouteKind.GREEDY, (Tier(alias, 1, 0.0),), pool[alias].name)
        job = prepare(problems, route=route, pool=pool, scores=scores)
        asked = job.problems
        ids = {problem.fingerprint: problem.id for problem in asked}
        with tempfile.TemporaryDirectory() as folder, Store(path) as store:
            exported = Path(folder) / f"{path.stem}.parquet"
            found = (replace(s, problem_id=ids[s.key.problem]) for s in store.samples() if s.key.problem in ids)
            if not write_archive(Contents(found), exported, pool):
                raise TableError(f"store {path} has no sample of these problems: give those that were answered with it")
            recording = read_recording(exported)
            _refuse_mixed(recording)
            return cls(pool, tuple(asked), recording.rows, path.name, refused=job.refused)

    def __len__(self) -> int:
        return len(self.problems)

    @property
    def root(self) -> Bank:
        """The bank that holds the samples."""
        return self if self._root is None else self._root

    @cached_property
    def index(self) -> Ints:
        """[N] Which rows of the root these problems are."""
        return np.arange(len(self.problems)) if self._index is None else self._index

    def subset(self, indexes: Sequence[int] | range | Ints) -> Bank:
        """Return the bank of some of the problems, perhaps some of them twice; samples and tables are shared."""
        chosen = np.asarray(indexes, dtype=np.int64)
        problems = tuple(self.problems[i] for i in chosen)
        return replace(self, problems=problems, _worked_out={}, _root=self.root, _index=self.index[chosen])

    def remembered(self, key: Any, work: Callable[[], _Worked]) -> _Worked:
        """Return what was worked out for this key, for the root and all its subsets; work it out the first time."""
        known = self.root._worked_out
        if key not in known:
            known[key] = work()
        value: _Worked = known[key]
        return value

    def scores(self, alias: str) -> Floats:
        """[N] Scores of a model, NaN where a problem has none."""
        problems = self.root.problems
        return self.remembered(
            ("scores", alias),
            lambda: np.array([problem.scores.get(alias, np.nan) for problem in problems], dtype=float),
        )[self.index]

    def scoring(self, aliases: Sequence[str]) -> Floats | None:
        """[N] USD for the scores of some models, NaN is unknown; None where no problem says what any of them cost."""
        known = [self.remembered(("scoring", a), partial(self._scoring, a)) for a in dict.fromkeys(aliases)]
        given = [of for of in known if of is not None]
        return np.asarray(sum(given))[self.index] if given else None

    def _scoring(self, alias: str) -> Floats | None:
        bills = [charges(problem, [alias], self.pool) for problem in self.root.problems]
        if not any(bills):
            return None
        costs = [total(bill).usd for bill in bills]
        return np.array([np.nan if usd is None else float(usd) for usd in costs])

    @cached_property
    def has_gold(self) -> Bools:
        """[N] Whether each problem has a gold answer."""
        return np.array([problem.gold is not None for problem in self.problems], dtype=np.bool_)

    def counts(self, alias: str, temperature: float) -> Ints:
        """[N] How many samples each problem has of a model at a temperature.

        Example:
            >>> Bank.of_recording("shipped").counts("0.5B", 0.3).max()
            np.int64(0)
        """
        return np.array([len(self._found(p.id, alias, temperature)) for p in self.problems], dtype=np.int64)

    def check(self, alias: str, temperature: float, k: int) -> None:
        """Refuse what was not recorded: k samples of a model at a temperature, for every problem.

        Raises:
            TableError: names the first problem that has fewer.
        """
        n = self.lot(alias, temperature).n[self.index]
        if (n >= k).all():
            return
        short = int(np.argmax(n < k))
        problem, name = self.problems[short].id, self._name(alias)
        at = sorted({t for t in self._rows(problem, name).temperatures if t is not None})
        other = "" if n[short] or not at else f" (it has some at {', '.join(f't{t:g}' for t in at)})"
        raise TableError(
            f"the route may ask {k} samples of {alias} at t={temperature:g}, {self.place} has {n[short]} for problem "
            f"{problem!r}{other}, and fewer than {k} for {int((n < k).sum())} of {len(n)} problems: lower k, record "
            "more, or leave those problems out"
        )

    def lot(self, alias: str, temperature: float) -> Lot:
        """Return the samples of a model at a temperature, of all problems of the root.

        Raises:
            TableError: the model was not recorded at all, or an answer cannot be read.
        """
        root = self.root

        def read() -> Lot:
            found = [root._found(problem.id, alias, temperature) for problem in root.problems]
            kinds = [root.kind(problem) for problem in root.problems]
            return lot_of(
                found, root.problems, kinds, root.grader, root.pool[alias].price, root.pool.billing, root.place
            )

        return self.remembered(("lot", alias, temperature), read)

    def kind(self, problem: Problem) -> Kind:
        """Return what kind of answer a problem has: its own, else the pool's."""
        return kind_of(problem.answer_kind or self.pool.answer_kind)

    def names(self, problem: Problem, samples: Sequence[Sample]) -> dict[str, str]:
        """Return the class of each key that shares one, as a run that has drawn just these samples finds them."""
        return names_of(self.grader, self.kind(problem), samples)

    def _name(self, alias: str) -> str:
        model = self.pool[alias]
        known: dict[str, None] = self.remembered("names", lambda: {name: None for _, name in self.rows})
        for name in (model.alias, model.name):
            if name in known:
                return name
        raise TableError(f"{self.place} has no samples of {alias} ({model.name}); it has {', '.join(known)}")

    def _rows(self, problem: str, name: str) -> Rows:
        return self.rows.get((problem, name), Rows((), ()))

    def _found(self, problem: str, alias: str, temperature: float) -> list[Generation]:
        rows, wanted = self._rows(problem, self._name(alias)), round(temperature, 6)
        return [g for t, g in zip(rows.temperatures, rows.generations, strict=True) if t is None or t == wanted]


def _refuse_mixed(recording: Recording) -> None:
    """Refuse samples that are no draws of one distribution, where the file says so: those of a store do."""
    table = recording.table
    if "problem_key" not in table or "params" not in table:
        return
    texts = table.groupby("id")["problem_key"].nunique()
    if (texts > 1).any():
        raise TableError(
            f"{recording.path.name}: the id {texts.idxmax()!r} stands for {texts.max()} different problems: "
            "give the problems that are meant (Bank.of_store finds samples by the problem's text)"
        )
    settings = table["model_key"].astype(str) + " " + table["params"].map(_without_seed)
    places = list(zip(table["id"], table["model"], table["temperature"], strict=True))
    ways = settings.groupby(pd.Series(places, index=settings.index)).nunique()
    if (ways > 1).any():
        ident, model, temperature = ways.index[int(ways.argmax())]
        raise TableError(
            f"{recording.path.name}: the samples of {model} at t={temperature:g} for problem {ident!r} were drawn in "
            f"{ways.max()} ways (prompt, limit of tokens, sampling or weights): keep runs that differ in these in "
            "stores of their own"
        )


def _without_seed(params: str) -> str:
    try:
        parts = json.loads(params)
    except ValueError:
        return params
    if not isinstance(parts, dict):
        return params
    return json.dumps({name: value for name, value in parts.items() if name != "seed"}, sort_keys=True)
