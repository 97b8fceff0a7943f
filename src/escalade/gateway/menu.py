"""The menu: what a model's name in a request means.

A routing string, an alias or full name, `auto` (the pool's own route), `auto:STRATEGY`, or the name of a policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256

from escalade import ledger
from escalade.answers.kinds import is_file, kind_of
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Own, Task
from escalade.engines.base import chat_bound
from escalade.errors import EscaladeError, RequestError, SettingError, StrategyError, nearest
from escalade.gates import Gate
from escalade.gateway.bodies import Asked, Body
from escalade.given_scores import said_of_refused, with_scores
from escalade.job import charged, most_samples
from escalade.ledger import Cost, Usage, worst
from escalade.limits import Limits
from escalade.policies import KeptPolicy, conditions_of
from escalade.pool import Pool
from escalade.problems import Problem, Scoring
from escalade.routes import Kind, Route, Tier, executed, parse_route
from escalade.samples.sample import sample_seed
from escalade.scores import Scores
from escalade.scoring import total
from escalade.strategies import Strategy, get_strategy, strategies
from escalade.strategies.ladder import said_of

AUTO = "auto"
_LONGEST = 64
"""Characters of a policy's name that is served."""

Scorer = Callable[[Problem], tuple[Mapping[str, float], Mapping[str, Scoring], Mapping[str, str]]]
"""From a problem to scores by alias, what they took, and the scores that are refused and why."""


@dataclass(frozen=True, slots=True)
class Dish:
    """A policy that is served."""

    name: str
    route: Route
    gate: Gate | None
    policy: Policy
    mismatches: tuple[str, ...]
    """How the pool differs from what the policy was made under: then its numbers need not hold."""
    certificate: str | None
    """Id of its certificate: a hash of what was certified."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one request is answered."""

    task: Task
    dish: Dish | None = None

    @property
    def route(self) -> Route:
        """The route, as asked for."""
        assert self.task.route is not None
        return self.task.route


@dataclass(frozen=True)
class Menu:
    """What is served.

    Args:
        pool: the models.
        policies: files of policies; their names are model names.
        target: the target confidence where neither request nor policy gives one.
        seed: of samples, where a request gives none.
        scorer: scores problems that come without scores.

    Raises:
        SettingError: two names are one, or a policy's name cannot be a model's.
    """

    pool: Pool
    policies: Sequence[KeptPolicy] = ()
    target: float = 0.9
    seed: int = 0
    scorer: Scorer | None = None
    dishes: Mapping[str, Dish] = field(init=False)

    def __post_init__(self) -> None:
        Policy(target=self.target)  # refuses what is none
        dishes: dict[str, Dish] = {}
        for kept in self.policies:
            name = kept.file.name
            if name in dishes:
                raise SettingError(f"two policies have the name {name!r}: change `name` in {kept.path}")
            strange = name.startswith(("mv_", AUTO)) or len(name) > _LONGEST or not name.isprintable()
            if name in self.pool or strange or not name.strip():
                raise SettingError(
                    f"policy {kept.path}: its name {name[:80]!r} cannot be a model name, as it is one already, begins "
                    f"with mv_ or {AUTO}, is empty or longer than {_LONGEST} characters: change `name` in the file"
                )
            dishes[name] = _dish(kept, self.pool)
        object.__setattr__(self, "dishes", dishes)

    @property
    def names(self) -> list[str]:
        """All names but routing strings, which are as many as one likes."""
        own = [AUTO] if self.pool.route is not None else []
        models = [word for model in self.pool.models for word in dict.fromkeys((model.alias, model.name))]
        return [*own, *models, *self.dishes, *(f"{AUTO}:{strategy.name}" for strategy in self.strategies)]

    def is_route(self, name: str) -> bool:
        """Whether a name is a routing string of this pool's models."""
        try:
            return name.startswith("mv_") and parse_route(name, self.pool) is not None
        except EscaladeError:
            return False

    @property
    def strategies(self) -> list[Strategy]:
        """The strategies whose models the pool has."""
        mine = [(each, list(each.rungs(self.pool).values()) or each.ladder) for each in strategies()]
        return [each for each, aliases in mine if all(alias in self.pool for alias in aliases)]

    def plan(self, body: Body, asked: Asked, ident: str, *, seconds: float = math.inf) -> Plan:
        """Return how a request is answered; `seconds` is the most that it may take, whatever it asks for.

        Raises:
            RequestError: no such model, or what the request wants besides cannot be kept on this route.
        """
        extra = body.extra
        if extra.answer_kind is not None:
            self._refuse_kind(extra.answer_kind)
        problem = Problem(
            ident,
            asked.problem,
            scores=self._by_alias(extra.scores or {}),
            answer_kind=extra.answer_kind,
            conversation=asked.conversation,
        )
        try:
            plan = self._plan(body, problem)
        except RequestError:
            raise
        except EscaladeError as error:
            raise RequestError(str(error), param="model") from error
        route, stopped = plan.route, plan.task.own.policy or Policy(target=self.target)
        route, policy = self._with_temperature(route, body, stopped)
        self._refuse_top_p(route, body)
        choices = body.n or 1
        if choices > 1:
            route, policy = self._with_choices(route, choices, policy)
        own = Own(
            policy=policy,
            limits=Limits(problem_usd=extra.budget_usd, problem_seconds=min(extra.deadline or math.inf, seconds)),
            seed=self.seed if body.seed is None else body.seed,
            max_tokens=asked.max_tokens,
            stop=body.stops,
            choices=choices,
            latency=extra.latency_target,
        )
        return replace(plan, task=replace(plan.task, route=route, own=own))

    def _refuse_kind(self, spec: str) -> None:
        if is_file(spec) and spec != self.pool.answer_kind:  # a file is run; a request must not say which
            raise RequestError(
                f"answer_kind {spec!r:.80} is a file: only the pool's own may be one", param="escalade.answer_kind"
            )
        try:
            kind_of(spec)
        except EscaladeError as error:
            raise RequestError(str(error), param="escalade.answer_kind") from error

    def _plan(self, body: Body, problem: Problem) -> Plan:
        name, extra = body.model, body.extra
        if name in self.dishes:
            if extra.target is not None:
                raise RequestError(
                    f"policy {name!r} has its thresholds: leave target out, or name a route", param="escalade.target"
                )
            return self._by_policy(self.dishes[name], problem)
        policy = Policy(target=self.target if extra.target is None else extra.target)
        if name.startswith(f"{AUTO}:"):
            return self._by_strategy(name.removeprefix(f"{AUTO}:"), problem, policy, body.seed)
        text = self.pool.route if name == AUTO else name
        if text is None:
            raise RequestError(
                f"pool {self.pool.name!r} names no route of its own: name a model or a route", param="model"
            )
        try:
            route = parse_route(text, self.pool)
        except EscaladeError as error:
            if text.startswith("mv_"):
                raise
            raise RequestError(
                f"no model {text!r:.200}{nearest(text, self.names)}: GET /v1/models lists them, and any routing string "
                f"of {', '.join(self.pool.aliases)} is one",
                status=404,
                code="model_not_found",
                param="model",
            ) from error
        scored = self._scored(problem) if problem.scores else (problem, {})
        return Plan(self._task(scored[0], route, policy, (), ()))

    def _by_policy(self, dish: Dish, problem: Problem) -> Plan:
        gate, notes, looked = dish.gate, (), ()
        if gate is not None or problem.scores or dish.policy.confidence in ("score", "prior"):
            problem, _ = self._scored(problem)
        if gate is None:
            return Plan(self._task(problem, dish.route, dish.policy, notes, looked), dish)
        if gate.score not in problem.scores:
            raise RequestError(
                f"the gate of policy {dish.name!r} looks at the score of {gate.score}: give it in the request "
                f'("escalade": {{"scores": {{"{gate.score}": 0.7}}}}), or start the server with --probe',
                param="escalade.scores",
            )
        route = gate.route if gate.takes(problem) else dish.route
        return Plan(self._task(problem, route, dish.policy, (gate.told(problem),), (gate.score,)), dish)

    def _by_alias(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores by alias, whether they came by it or by a model's full name."""
        found: dict[str, float] = {}
        for word, score in scores.items():
            if word not in self.pool:
                raise RequestError(self.pool.unknown(word), param=f"escalade.scores.{word}")
            alias = self.pool[word].alias
            if alias in found:
                raise RequestError(f"there are two scores of {alias}: give one", param=f"escalade.scores.{word}")
            found[alias] = score
        return found

    def _by_strategy(self, name: str, problem: Problem, policy: Policy, given: int | None) -> Plan:
        try:
            strategy = get_strategy(name)
        except StrategyError as error:
            near = nearest(f"{AUTO}:{name}", self.names)
            raise RequestError(
                f"no strategy {name!r:.200}{near}: GET /v1/models lists them",
                status=404,
                code="model_not_found",
                param="model",
            ) from error
        if strategy not in self.strategies:
            raise RequestError(
                f"strategy {name!r} chooses between {', '.join(strategy.ladder)}, and pool {self.pool.name!r} has "
                f"{', '.join(self.pool.aliases)} and no `ladder` that says which stand for them",
                status=404,
                code="model_not_found",
                param="model",
            )
        problem, refused = self._scored(problem)
        missing = [alias for alias in strategy.needed(self.pool) if alias not in {*problem.scores, *refused}]
        if missing:
            raise RequestError(
                f"strategy {name!r} needs scores of {' and '.join(missing)}: give them in the request "
                f'("escalade": {{"scores": {{"{missing[0]}": 0.7, ...}}}}), or start the server with --probe',
                param="escalade.scores",
            )
        table = with_scores([problem], None, self.pool).scores
        if refused:
            table = Scores(table.columns, table.ids, refused=refused)
        # One row has one draw of a strategy that draws: it is another for each problem.
        seed = sample_seed(self.seed if given is None else given, problem.fingerprint, strategy.name, 0.0, 0)
        choice = strategy.choose(table, target=policy.target, pool=self.pool, seed=seed)
        rungs = strategy.rungs(self.pool)
        notes = [*([said_of(rungs, self.pool)] if rungs else []), *choice.notes, *said_of_refused(refused)]
        route = parse_route(str(choice.routes[0]), self.pool)
        return Plan(self._task(problem, route, policy, notes, choice.scored))

    def _task(
        self, problem: Problem, route: Route, policy: Policy, notes: Sequence[str], scored: Sequence[str]
    ) -> Task:
        if policy.calibration is not None:
            for tier in executed(route, self.pool).route.tiers:
                policy.at(tier.model, tier.temperature, tier.k)
        task = Task(problem, route, notes=tuple(notes), own=Own(policy=policy))
        return charged([task], scored, policy, self.pool)[0]

    def _scored(self, problem: Problem) -> tuple[Problem, Mapping[str, str]]:
        """The problem with checked scores, and those that are refused."""
        refused: Mapping[str, str] = {}
        if not problem.scores and self.scorer is not None:
            scores, scoring, refused = self.scorer(problem)
            problem = replace(problem, scores=scores, scoring=scoring)
        return with_scores([problem], None, self.pool).problems[0], refused

    def _with_temperature(self, route: Route, body: Body, policy: Policy) -> tuple[Route, Policy]:
        given = body.temperature
        if given is None or all(t.temperature == given for t in executed(route, self.pool, votes=True).route.tiers):
            return route, policy
        if route.kind is not Kind.GREEDY:
            raise RequestError(
                f"temperature is {given:g}, and {route} says its own: leave it out, or write another route",
                param="temperature",
            )
        (tier,) = route.tiers
        if self.pool[tier.model].greedy_only:
            raise RequestError(
                f"temperature is {given:g}, and {tier.model} is greedy only in this pool: leave it out",
                param="temperature",
            )
        return Route(Kind.VOTE, (replace(tier, temperature=float(given)),)), policy

    def _refuse_top_p(self, route: Route, body: Body) -> None:
        if body.top_p is None:
            return
        for tier in route.tiers:
            mine = self.pool[tier.model].top_p or 1.0
            if body.top_p != mine:
                raise RequestError(
                    f"top_p is {body.top_p:g}, and the pool asks {tier.model} with {mine:g}: leave it out",
                    param="top_p",
                )

    def _with_choices(self, route: Route, n: int, policy: Policy) -> tuple[Route, Policy]:
        (tier, *more) = route.tiers
        if more or tier.k > 1:
            raise RequestError(
                f"n is {n}, and {route} decides on one answer: leave n out, or name a single model", param="n"
            )
        if self.pool[tier.model].greedy_only:
            raise RequestError(f"n is {n}, and {tier.model} is greedy only in this pool: leave n out", param="n")
        return Route(Kind.VOTE, (Tier(tier.model, n, tier.temperature),)), replace(policy, stop="none")

    def worst(self, plan: Plan) -> Decimal | None:
        """Return the most that a request can cost if nothing of it fails; None where a model has no price."""
        task, costs = plan.task, [total(plan.task.scoring)]
        ran = executed(plan.route, self.pool, votes=True).route
        most = (task.own.policy or Policy()).max_k
        for position, tier in enumerate(ran.tiers):
            price = self.pool[tier.model].price
            if price is None:
                return None
            prompt, completion = self._bounds(task, tier.model)
            costs += [Cost(worst(prompt, completion, price))] * most_samples(ran, position, most)
        return ledger.total(costs).known

    def at_most(self, plan: Plan, item: Answered) -> Decimal:
        """Return what the requests of this run cost, tokens that are not known taken at the most there can be.

        A model without a price counts nothing: where money is limited there is none.
        """
        costs = [item.scoring_cost]
        for use, usages in zip(item.tiers, item.fresh_usages, strict=False):
            prompt, completion = self._bounds(plan.task, use.tier.model)
            whole = [
                Usage(
                    prompt if usage.prompt is None else usage.prompt,
                    completion if usage.completion is None else usage.completion,
                    usage.cached,
                )
                for usage in usages
            ]
            costs += ledger.charge(whole, self.pool[use.tier.model].price, self.pool.billing)
        return ledger.total(costs).known

    def _bounds(self, task: Task, alias: str) -> tuple[int, int]:
        """The most tokens that the prompt and a sample of a model can have."""
        model = self.pool[alias]
        messages = self.pool.prompt_of(model).messages(task.problem.text, task.problem.conversation)
        limit = self.pool.max_tokens_of(model)
        return chat_bound(messages), limit if task.own.max_tokens is None else min(limit, task.own.max_tokens)


def _dish(kept: KeptPolicy, pool: Pool) -> Dish:
    file = kept.file
    try:
        route, gate = file.parsed(pool), None if file.gate is None else file.gate.parsed(pool)
    except EscaladeError as error:
        raise SettingError(f"policy {kept.path} does not fit pool {pool.name!r}: {error}") from error
    now = conditions_of(pool, [Problem("", "")])  # of the pool's own kind of answers, which it stands for
    found: dict[str, None] = {}
    for each in (route, *([gate.route] if gate is not None else [])):
        found.update(dict.fromkeys(file.mismatches(now, executed(each, pool).route)))
    certified = [part for part in (file.certificate, file.cost_certificate) if part is not None]
    digest = sha256("".join(part.model_dump_json() for part in certified).encode()).hexdigest()[:16]
    return Dish(file.name, route, gate, file.policy(), tuple(found), digest if certified else None)
