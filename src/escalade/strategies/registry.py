"""What a strategy is, and the registry it is found in.

Rules give routing strings or aliases; `Strategy.routes` turns aliases into the full names of a pool. Whether
a routing string is well-formed is checked where it is expanded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from escalade.errors import EscaladeError, RefusedScoreError, StrategyError, nearest
from escalade.pool import Pool, load_pool
from escalade.scores import Scores
from escalade.strategies.fallback import fallback_route
from escalade.strategies.ladder import ladder_costs, rungs_of, translated

COSTS: Mapping[str, float] = MappingProxyType({"1.5B": 1.0, "7B": 2.0, "72B": 9.0})
"""What one sample costs, relative to the cheapest model of the published pool."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a strategy may look at. `inputs.scores["7B"]` is an array of `inputs.rows` probabilities.

    Raises:
        StrategyError: the target is no number in [0, 1], or a cost none above 0.
    """

    scores: Scores
    target: float = 0.9
    """T, the target confidence."""
    costs: Mapping[str, float] = field(default_factory=lambda: COSTS)
    seed: int = 0

    def __post_init__(self) -> None:
        if not _number(self.target) or not 0 <= self.target <= 1:
            raise StrategyError(f"the target confidence is {self.target!r}: give a number in [0, 1], as in 0.9")
        for alias, cost in self.costs.items():
            if not _number(cost) or not cost > 0:
                raise StrategyError(f"the cost of {alias} is {cost!r}: give a number above 0")

    @property
    def rows(self) -> int:
        """The number of problems."""
        return self.scores.rows


class Choice(NamedTuple):
    """The routes that a strategy chooses."""

    routes: NDArray[np.object_]
    """One routing string a row; plain routes by the full name of their model."""
    notes: tuple[str, ...]
    """What is not as the strategy says: that it gives way to a cascade, as scores it needs are refused."""
    scored: tuple[str, ...]
    """The models whose scores were looked at; of a strategy that does not say what it needs, all that there are."""


Rule = Callable[[Inputs], Any]
"""One routing string a row, as a list, a NumPy array, a pandas Series or Categorical."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A named rule. `routes` applies it to scores and checks what it gives back."""

    name: str
    rule: Rule
    aliases: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Aliases of the models whose scores the rule looks at."""
    ladder: tuple[str, ...] = ()
    """The published aliases, if the rule is written for them: a pool's `ladder` then stands for them. Else ()."""

    @property
    def doc(self) -> str:
        """What the rule's docstring says."""
        return inspect.getdoc(self.rule) or ""

    def rungs(self, pool: Pool) -> dict[str, str]:
        """Which alias of a pool stands for which of those the rule is written for; {} where each stands for itself."""
        return rungs_of(pool) if self.ladder else {}

    def needed(self, pool: Pool) -> tuple[str, ...]:
        """The aliases of a pool whose scores the rule looks at.

        Example:
            >>> get_strategy("cascade").needed(load_pool("embedded"))
            ('0.5B', '1.5B')
        """
        rungs = self.rungs(pool)
        return tuple(dict.fromkeys(rungs.get(alias, alias) for alias in self.needs))

    def __call__(self, inputs: Inputs) -> Any:
        """Return what the rule gives, as it is."""
        return self.rule(inputs)

    def routes(
        self,
        scores: Scores,
        *,
        target: float = 0.9,
        pool: Pool | None = None,
        costs: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> NDArray[np.object_]:
        """Return one routing string a row: those of `choose`.

        Raises:
            StrategyError: see `choose`.

        Example:
            >>> scores = Scores({"1.5B": [0.95, 0.5], "7B": [0.9, 0.6]})
            >>> get_strategy("cascade").routes(scores, target=0.9).tolist()
            ['Qwen/Qwen2.5-Math-1.5B-Instruct', 'Qwen/Qwen2.5-Math-72B-Instruct']
        """
        return self.choose(scores, target=target, pool=pool, costs=costs, seed=seed).routes

    def choose(
        self,
        scores: Scores,
        *,
        target: float = 0.9,
        pool: Pool | None = None,
        costs: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> Choice:
        """Return one routing string a row, and what is to be said of them.

        Where scores that the rule needs are refused, every row goes by one cascade instead (`fallback_route`). A
        published rule takes the models of the pool's `ladder` for 1.5B, 7B and 72B, and so its routes have them.

        Args:
            scores: of the pool's models.
            target: the target confidence.
            pool: the published one if None.
            costs: relative costs by alias of the pool, in the place of the pool's own; published ratios are 1 : 2 : 9.
            seed: of rules that draw.

        Raises:
            StrategyError: scores it needs are not there, it raised, or what it gave is no column of strings.

        Example:
            >>> poor = Scores({"1.5B": [0.95, 0.5], "7B": [0.9, 0.6]}, refused={"7B": "AUROC 0.52 [0.47, 0.57]"})
            >>> get_strategy("cascade").choose(poor).notes[0].split(": ", 1)[0]
            'scores of 7B are refused (AUROC 0.52 [0.47, 0.57])'
            >>> set(get_strategy("cascade").choose(poor).routes)
            {'mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0'}
        """
        pool = pool or load_pool("qwen2.5-math")
        rungs, needed = self.rungs(pool), self.needed(pool)
        missing = [alias for alias in needed if alias not in scores and alias not in scores.refused]
        if missing:
            raise StrategyError(
                f"strategy {self.name!r} needs scores of {' and '.join(missing)}; there are scores of "
                f"{', '.join(scores.columns) or 'no model'}: add the column score_{missing[0]}, "
                "or choose another (`escalade strategies`)"
            )
        inputs = Inputs(_under(rungs, scores), target, _costs(rungs, costs, pool), seed)
        refused = [alias for alias in needed if alias in scores.refused]
        if refused:
            return self._fallen_back(refused, scores, pool)
        try:
            given = self.rule(inputs)
        except RefusedScoreError as error:  # of a strategy that does not say what it needs
            return self._fallen_back([rungs.get(error.alias, error.alias)], scores, pool)
        except EscaladeError:
            raise
        except Exception as error:
            raise StrategyError(f"strategy {self.name!r} raised {type(error).__name__}: {error}") from error
        scored = needed if needed or self.ladder else tuple(scores.columns)
        return Choice(self._column(given, scores, pool, rungs), (), scored)

    def _fallen_back(self, refused: Sequence[str], scores: Scores, pool: Pool) -> Choice:
        route = fallback_route(pool)
        why = "; ".join(f"scores of {alias} are refused ({scores.refused[alias]})" for alias in refused)
        routes = np.full(scores.rows, str(route), dtype=object)
        return Choice(routes, (f"{why}: {route} instead of the strategy {self.name}",), ())

    def _column(self, given: Any, scores: Scores, pool: Pool, rungs: Mapping[str, str]) -> NDArray[np.object_]:
        who = f"strategy {self.name!r} gave"
        try:
            values = given if isinstance(given, pd.Series | pd.Categorical) else np.asarray(given, dtype=object)
            if values.ndim != 1:
                raise ValueError
            codes, distinct = pd.factorize(values, use_na_sentinel=False)
        except (TypeError, ValueError) as error:
            raise StrategyError(f"{who} {given!r:.80}: give a list, array or Series of routing strings") from error
        if len(values) != scores.rows:
            raise StrategyError(f"{who} {len(values)} routes for {scores.rows} problems: give one a row, in order")
        for code, word in enumerate(distinct):
            if not isinstance(word, str):
                at = int(np.argmax(codes == code))
                raise StrategyError(f"{who} {list(values)[at]!r} for row {scores.ids[at]!s}: give a routing string")
        words = [str(translated(word, rungs, pool)) if rungs else word for word in distinct]
        names = np.array([pool[word].name if word in pool else word for word in words], dtype=object)
        return names[codes]


def _under(rungs: Mapping[str, str], scores: Scores) -> Scores:
    """The scores of a pool's models under the aliases that a rule is written for."""
    if not rungs:
        return scores
    columns = {alias: scores[mine] for alias, mine in rungs.items() if mine in scores}
    refused = {alias: scores.refused[mine] for alias, mine in rungs.items() if mine in scores.refused}
    return Scores(columns, scores.ids, {a: scores.sources[rungs[a]] for a in columns}, refused)


def _costs(rungs: Mapping[str, str], given: Mapping[str, float] | None, pool: Pool) -> Mapping[str, float]:
    if rungs:
        found = {a: given[mine] for a, mine in rungs.items() if mine in given} if given else ladder_costs(rungs, pool)
        return found or COSTS
    return {**COSTS, **{m.alias: m.cost for m in pool.models if m.cost is not None}} if given is None else given


_registry: dict[str, Strategy] = {}
_names: dict[str, str] = {}


def strategy(
    name: str, *, aliases: tuple[str, ...] = (), needs: tuple[str, ...] = (), ladder: tuple[str, ...] = ()
) -> Callable[[Rule], Strategy]:
    """Register a function from `Inputs` to routing strings under a name; see `Strategy` for the rest.

    Raises:
        StrategyError: a name has odd characters, or is taken by another function.

    Example:
        >>> @strategy("sure_or_large", needs=("7B",))
        ... def sure_or_large(inputs):
        ...     return np.where(inputs.scores["7B"] >= inputs.target, "7B", "mv_7B_k8_t0.7")
        >>> sure_or_large.routes(Scores({"7B": [0.99, 0.3]})).tolist()
        ['Qwen/Qwen2.5-Math-7B-Instruct', 'mv_7B_k8_t0.7']
    """

    def register(rule: Rule) -> Strategy:
        made = Strategy(name, rule, tuple(aliases), tuple(needs), tuple(ladder))
        for word in (name, *made.aliases):
            if not _NAME.fullmatch(word):
                raise StrategyError(f"strategy name {word!r}: letters, digits and . _ + - only, as it names files")
            owner = _registry.get(_names.get(word, ""))
            # The same function again is a notebook's cell or a file that was run twice.
            if owner is not None and _origin(owner.rule) != _origin(rule):
                raise StrategyError(f"strategy name {word!r} is taken by {owner.name!r}: choose another")
        if name in _registry:
            _forget(_registry[name])
        _registry[name] = made
        _names.update(dict.fromkeys((name, *made.aliases), name))
        return made

    return register


def strategies() -> list[Strategy]:
    """Return all registered strategies, in the order of registration."""
    return list(_registry.values())


def get_strategy(name: str) -> Strategy:
    """Return the strategy of this name or alias.

    Raises:
        StrategyError: there is none; names the nearest.

    Example:
        >>> get_strategy("72b_robust").name
        'bayesian_robust'
    """
    if name not in _names:
        raise StrategyError(f"no strategy {name!r}{nearest(name, _names)}; `escalade strategies` lists them")
    return _registry[_names[name]]


def load_strategy(spec: str) -> Strategy:
    """Return the strategy that `path/to/file.py:name` points at: a function there, or a name it registers.

    The file is run, under a private module name.

    Raises:
        StrategyError: no such file or name, or the file raises.
    """
    path, _, name = spec.rpartition(":")
    if not path or not name:
        raise StrategyError(f"strategy {spec!r}: give it as path/to/file.py:name")
    file = Path(path).resolve()
    if not file.is_file():
        raise StrategyError(f"strategy {spec!r}: there is no file {file}")
    private = f"_escalade_strategy_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    found = importlib.util.spec_from_loader(private, SourceFileLoader(private, str(file)))
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[private] = module  # dataclasses in the file look their module up
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[private]
        for made in [made for made in _registry.values() if made.rule.__module__ == private]:
            _forget(made)
        raise StrategyError(f"strategy {spec!r}: {file} raised {type(error).__name__}: {error}") from error
    registered = {s.name: s for s in _registry.values() if s.rule.__module__ == private}
    own = {n: v for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == private}
    chosen = registered.get(_names.get(name, "")) or getattr(module, name, None)
    if isinstance(chosen, Strategy):
        return chosen
    if name in own:
        return Strategy(name, own[name])
    known = [*registered, *own]
    has = ", ".join(known) or "no function"
    raise StrategyError(f"strategy {spec!r}: {file} has {has}{nearest(name, known)}")


def _forget(known: Strategy) -> None:
    del _registry[known.name]
    for word in [word for word, owner in _names.items() if owner == known.name]:
        del _names[word]


def _number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _origin(rule: Rule) -> tuple[str, str]:
    return rule.__module__, rule.__qualname__
