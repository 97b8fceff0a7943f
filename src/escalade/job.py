"""A job: problems, pool, routes and settings of one run, read and checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from escalade.answers.kinds import kind_of
from escalade.cascade.policy import Policy
from escalade.climb import Task
from escalade.engines.base import Demand, Engine, open_engine
from escalade.engines.replay import open_recording, recorded_pool
from escalade.errors import AnswerKindError, ProblemError, RefusedScoreError, RouteError, SettingError
from escalade.gates import Gate, GateText, parse_gate
from escalade.given_scores import Given, said_of_refused, with_scores
from escalade.limits import Limits
from escalade.pool import Pool, PoolModel, load_pool
from escalade.problems import Problem, problems_from, read_problems, shipped_problems
from escalade.routes import Kind, Route, executed, parse_route
from escalade.samples.recorded import Recording
from escalade.scores import Scores
from escalade.scoring import charges, looked_at
from escalade.strategies import Strategy, get_strategy, load_strategy
from escalade.strategies.ladder import said_of

Problems = str | Path | pd.DataFrame | Sequence[Problem] | Sequence[Mapping[str, Any]]
"""Where problems may come from: a file, a table, records, or problems as they are."""


class PolicyName(NamedTuple):
    """Which file of a policy was followed."""

    name: str
    sha256: str
    """Of its text."""


@dataclass(frozen=True)
class Job:
    """One run, ready to go."""

    pool: Pool
    tasks: tuple[Task, ...]
    policy: Policy
    limits: Limits
    seed: int
    engine: str | None
    """Answers for all models in the place of the pool's engines."""
    chosen: str
    """The route, with its gate where there is one, or the strategy's name."""
    strategy: str | None = None
    """The strategy's name, where one chose the routes."""
    defaults: tuple[str, ...] = ()
    """What was not given, and what was taken for it."""
    policy_file: PolicyName | None = None
    """Where route and settings came from a policy's file."""
    mismatches: tuple[str, ...] = ()
    """How the run differs from what its policy was made, or its calibration fitted, under."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Models whose scores are refused for routing, and why."""
    notes: tuple[str, ...] = ()
    """What is done otherwise than its names say: of refused scores, and of models that stand for others."""
    gate: Gate | None = None
    """What chose between two routes, by a score."""

    @property
    def problems(self) -> list[Problem]:
        """The problems, in order."""
        return [task.problem for task in self.tasks]

    @property
    def routes(self) -> list[Route]:
        """The distinct routes."""
        return list(dict.fromkeys(task.route for task in self.tasks if task.route is not None))

    @property
    def recorded(self) -> bool:
        """Whether recorded samples stand in the place of all models."""
        return self.engine is not None and self.engine.partition(":")[0] == "replay"

    def engines(self) -> Engines:
        """Open the engines, and have them refuse now what they cannot give."""
        engines = Engines(self.pool, self.engine, self.seed)
        by_engine: dict[int, tuple[Engine, list[Demand]]] = {}
        for demand in self.demands():
            engine = engines.of(demand.model)
            by_engine.setdefault(id(engine), (engine, []))[1].append(demand)
        for engine, demands in by_engine.values():
            engine.check(demands)
        return engines

    def demands(self) -> list[Demand]:
        """The most the run may ask of each model at each temperature."""
        most: dict[tuple[str, float], int] = {}
        who: dict[tuple[str, float], dict[str, None]] = {}
        for task in self.tasks:
            if task.route is None:
                continue
            route = executed(task.route, self.pool).route
            for position, tier in enumerate(route.tiers):
                key = (tier.model, tier.temperature)
                most[key] = max(most.get(key, 0), most_samples(route, position, self.policy.max_k))
                who.setdefault(key, {})[task.problem.id] = None
        return [Demand(self.pool[alias], t, k, list(who[alias, t])) for (alias, t), k in most.items()]


def most_samples(route: Route, position: int, max_k: int) -> int:
    """Return how many samples a tier can come to ask for: its k, or max_k where the entropy rule may explore."""
    tier = route.tiers[position]
    last = position == len(route.tiers) - 1
    explores = route.kind is Kind.ENTROPY_CASCADE and not last and tier.temperature > 0
    return max(tier.k, max_k) if explores else tier.k


class Engines:
    """The engines of a run, one per name."""

    def __init__(self, pool: Pool, override: str | None, seed: int) -> None:
        self._pool, self._override, self._seed = pool, override, seed
        self._open: dict[str, Engine] = {}

    def of(self, model: PoolModel) -> Engine:
        """The engine that answers for a model."""
        spec = self._override or model.engine
        if spec not in self._open:
            self._open[spec] = open_engine(spec, self._pool, seed=self._seed)
        return self._open[spec]

    async def close(self) -> None:
        """Close all of them."""
        for engine in self._open.values():
            await engine.close()


def prepare(
    problems: Problems | None = None,
    *,
    route: str | Route | None = None,
    gate: GateText | None = None,
    strategy: str | Strategy | None = None,
    pool: str | Path | Pool | None = None,
    engine: str | None = None,
    scores: Given | None = None,
    policy: Policy | None = None,
    limits: Limits | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Job:
    """Return the job that these inputs describe; see `escalade.run` for what they mean. A gate stands before a route.

    Raises:
        InputError: any of them cannot be used; the message names the thing, the value, the place and the remedy.
    """
    policy = policy or Policy()
    defaults: list[str] = []
    if route is not None and strategy is not None:
        raise SettingError("both a route and a strategy are given: a strategy chooses the routes; give one of them")
    if gate is not None and route is None:
        raise SettingError("a gate stands before a route, and there is none: give the route of the other problems too")
    if limit is not None and limit < 1:
        raise SettingError(f"limit is {limit}: give how many problems to take, at least 1")
    recording = open_recording(engine.partition(":")[2]) if engine and engine.split(":")[0] == "replay" else None
    chosen_pool = _pool(pool, recording, strategy, defaults)
    if engine is not None:
        chosen_pool = chosen_pool.with_own_devices()
    asked = _problems(problems, recording, chosen_pool.answer_kind, defaults)
    if limit is not None:
        asked = asked[:limit]
    asked, table = with_scores(asked, scores, chosen_pool)
    through = None if gate is None else parse_gate(gate, chosen_pool)
    if through is not None and through.score in table.refused:
        raise RefusedScoreError(through.score, table.refused[through.score])
    if strategy is not None:
        if isinstance(strategy, str):
            strategy = load_strategy(strategy) if ".py" in strategy else get_strategy(strategy)
        tasks, notes, scored = _by_strategy(asked, table, strategy, chosen_pool, policy, seed)
        chosen, rungs = strategy.name, strategy.rungs(chosen_pool)
        stand_ins = [said_of(rungs, chosen_pool)] if rungs else []
    else:
        tasks, chosen = _by_route(asked, route, through, chosen_pool, defaults)
        notes, scored, stand_ins = (), () if through is None else (through.score,), []
    notes = (*notes, *said_of_refused(table.refused))
    if notes:
        tasks = [replace(task, notes=(*task.notes, *notes)) for task in tasks]
    notes = (*stand_ins, *notes)
    tasks = charged(tasks, scored, policy, chosen_pool)
    named = chosen if strategy is not None else None
    if policy.calibration is not None:
        for parsed in dict.fromkeys(task.route for task in tasks if task.route is not None):
            for tier in executed(parsed, chosen_pool).route.tiers:
                policy.at(tier.model, tier.temperature, tier.k)  # refuses a tier that has no calibration
    return Job(
        chosen_pool,
        tuple(tasks),
        policy,
        limits or Limits(),
        seed,
        engine,
        chosen,
        named,
        tuple(defaults),
        refused=table.refused,
        notes=notes,
        gate=through,
    )


def charged(tasks: Sequence[Task], scored: Sequence[str], policy: Policy, pool: Pool) -> list[Task]:
    """Return tasks with the scores they are charged with: those that a choice of routes looked at, or decisions may.

    `scored` has the models whose scores the choice looked at.
    """
    if not any(task.problem.scoring for task in tasks):
        return list(tasks)
    routes = {task.route for task in tasks if task.route is not None}
    aliases = {route: (*scored, *looked_at(executed(route, pool).route, policy, pool)) for route in routes}
    return [
        replace(task, scoring=charges(task.problem, scored if task.route is None else aliases[task.route], pool))
        for task in tasks
    ]


def _pool(
    pool: str | Path | Pool | None,
    recording: Recording | None,
    strategy: str | Strategy | None,
    defaults: list[str],
) -> Pool:
    if isinstance(pool, Pool):
        return pool
    if pool is not None:
        return load_pool(pool)
    if recording is not None:
        return recorded_pool(recording)
    # The catalogue of strategies is written for the published pool.
    name = "qwen2.5-math" if strategy is not None else "embedded"
    defaults.append(f"pool {name}")
    return load_pool(name)


def _problems(
    problems: Problems | None, recording: Recording | None, answer_kind: str, defaults: list[str]
) -> list[Problem]:
    if problems is not None:
        given = _given(problems, answer_kind)
        if recording is not None:
            _refuse_other_texts(given, recording)
        return given
    if recording is not None:
        defaults.append(f"the problems of {recording.path.name}")
        return [
            Problem(str(row.id), _text(row.problem) or "", _text(row.gold_answer))
            for row in recording.problems.itertuples()
        ]
    defaults.append("the problems that ship with escalade")
    return read_problems(shipped_problems(), answer_kind=answer_kind)


def _given(problems: Problems, answer_kind: str) -> list[Problem]:
    if isinstance(problems, str | Path):
        return read_problems(problems, answer_kind=answer_kind)
    if isinstance(problems, pd.DataFrame):
        return _some(problems_from(problems, answer_kind=answer_kind))
    given = list(problems)
    known = [problem for problem in given if isinstance(problem, Problem)]
    if len(known) < len(given):
        return _some(problems_from(pd.DataFrame(given, dtype=object), "problems", answer_kind=answer_kind))
    _unique(known)
    _of_known_kinds(known)
    return _some(known)


def _refuse_other_texts(problems: Iterable[Problem], recording: Recording) -> None:
    """Samples are found by id: an id that stands for another question must not be answered with them."""
    texts = dict(zip(recording.problems["id"], recording.problems["problem"], strict=True))
    for problem in problems:
        recorded = _text(texts.get(problem.id))
        if recorded and problem.text and " ".join(recorded.split()) != " ".join(problem.text.split()):
            raise ProblemError(
                f"problem {problem.id!r} has another text than in the recording {recording.path.name}: "
                "its samples answer another question; give it another id, or record it"
            )


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)


def _some(problems: list[Problem]) -> list[Problem]:
    if not problems:
        raise ProblemError("there are no problems: give at least one")
    return problems


def _unique(problems: Iterable[Problem]) -> None:
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise ProblemError(f"two problems have the id {problem.id!r}: ids must be unique")
        seen.add(problem.id)


def _of_known_kinds(problems: Iterable[Problem]) -> None:
    for spec, ident in {problem.answer_kind: problem.id for problem in problems if problem.answer_kind}.items():
        try:
            kind_of(spec)
        except AnswerKindError as error:
            raise ProblemError(f"problem {ident!r}: {error}") from error


def _by_route(
    problems: list[Problem], route: str | Route | None, gate: Gate | None, pool: Pool, defaults: list[str]
) -> tuple[list[Task], str]:
    if route is None:
        if pool.route is None:
            raise SettingError(
                f"no route: give --route or --strategy (pool {pool.name!r} has {', '.join(pool.aliases)} "
                "and names no route of its own)"
            )
        route = pool.route
        defaults.append(f"route {route}")
    parsed = parse_route(route, pool) if isinstance(route, str) else route
    if gate is not None:
        ways = [gate.route if gate.takes(problem) else parsed for problem in problems]
        told = [(gate.told(problem),) for problem in problems]
        tasks = [Task(problem, way, notes=said) for problem, way, said in zip(problems, ways, told, strict=True)]
        return tasks, gate.before(parsed)
    return [Task(problem, parsed) for problem in problems], str(parsed)


def _by_strategy(
    problems: list[Problem],
    scores: Scores,
    strategy: Strategy,
    pool: Pool,
    policy: Policy,
    seed: int,
) -> tuple[list[Task], tuple[str, ...], tuple[str, ...]]:
    texts, notes, scored = strategy.choose(scores, target=policy.target, pool=pool, seed=seed)
    parsed: dict[str, Route | RouteError] = {}
    tasks: list[Task] = []
    for problem, text in zip(problems, texts, strict=True):
        if text not in parsed:
            try:
                parsed[text] = parse_route(text, pool)
            except RouteError as error:
                parsed[text] = error
        found = parsed[text]
        tasks.append(Task(problem, None, found) if isinstance(found, RouteError) else Task(problem, found))
    if all(task.route is None for task in tasks):
        first = tasks[0]
        raise SettingError(f"strategy {strategy.name!r} gives no route that pool {pool.name!r} can run: {first.error}")
    return tasks, notes, scored
