"""The gateway itself: requests on their way, from admission to what is sent back, whatever protocol they came by.

It joins the menu, the accounts and the service; it knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from escalade import ledger
from escalade.answers.grader import Grader
from escalade.cascade.outcome import Status
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Climb
from escalade.engines.base import Demand, Engine
from escalade.errors import InputError, RequestError, StoreError
from escalade.gateway.accounts import NOTHING_USED, Accounts, Ticket, Used
from escalade.gateway.bodies import Asked, Body, asked_in
from escalade.gateway.keys import Key
from escalade.gateway.menu import Menu, Plan
from escalade.limits import Limits
from escalade.pool import PoolModel
from escalade.routes import executed
from escalade.samples.store import Store
from escalade.serving import AGAIN, Service

RECORD = 0.1
"""Seconds that what a request came to waits to be recorded."""
RECENT = 20
"""Requests that are done and still shown."""
_GONE = "the client has gone"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the server takes on at most."""

    requests: int = 1024
    """Under way or waiting."""
    prompt_bytes: int = 65_536
    """Of all texts of a request."""
    seconds: float = 600.0
    """Of a request; its own deadline may be sooner."""
    samples: int = 256
    """That a route may ask for, in all its tiers."""


@dataclass(eq=False)
class Exchange:
    """One request on its way."""

    ticket: Ticket
    body: Body
    plan: Plan
    begun: float
    """By the monotonic clock."""
    answered: asyncio.Future[Answered]
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that say of which trace it is a part."""
    gone: bool = False
    """Nobody waits for it."""
    fault: str | None = None
    """Of the engine's last failure: see `EngineError.fault`."""
    code: int | None = None
    """What was sent back, as an HTTP status."""
    seconds: float | None = None
    """That it took; None while it is under way."""
    used: Used = NOTHING_USED
    """What it came to."""

    @property
    def id(self) -> str:
        """Of the request; also of its problem."""
        return self.ticket.id


class Watcher(Protocol):
    """Somebody who is told of requests."""

    def begun(self, exchange: Exchange) -> None:
        """A request was admitted."""

    def done(self, exchange: Exchange, item: Answered) -> None:
        """A request is over."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Something happened to a problem: see `escalade.executor.Executor`."""


class Gateway:
    """Answers requests.

    Args:
        menu: what is served.
        engine_of: the engine that answers for a model.
        store: keeps every sample; None keeps nothing.
        accounts: of the holders of keys.
        bounds: of the server.
        watchers: are told of requests.
    """

    def __init__(
        self,
        menu: Menu,
        engine_of: Callable[[PoolModel], Engine],
        *,
        store: Store | None,
        accounts: Accounts,
        bounds: Bounds | None = None,
        watchers: Iterable[Watcher] = (),
        grader: Grader | None = None,
    ) -> None:
        self.menu, self.accounts, self.bounds = menu, accounts, bounds or Bounds()
        self._engine_of, self._watchers = engine_of, tuple(watchers)
        self.live: dict[str, Exchange] = {}
        self.recent: deque[tuple[Exchange, Answered]] = deque(maxlen=RECENT)
        self.closing = False
        self.service = Service(
            menu.pool,
            engine_of,
            store=store,
            policy=Policy(target=menu.target),
            seed=menu.seed,
            on_answer=self._answered,
            on_event=self._event,
            on_stuck=self._stuck,
            on_short=self._short,
            grader=grader,
        )
        self._refused: dict[object, str | None] = {}
        """Routes that were looked at, and why an engine refuses them."""
        self._flushing = False
        self._unrecorded: str | None = None
        """Why what requests came to could not be recorded the last time."""
        self._typical = 1.0
        """Seconds that requests took lately."""

    def begin(self, body: Body, ident: str, key: Key | None, headers: Mapping[str, str] | None = None) -> Exchange:
        """Admit a request and have it answered.

        Raises:
            RequestError: it cannot be answered, or not now.
        """
        self._refuse_if_busy()
        asked = asked_in(body)
        self._refuse_if_long(asked)
        plan = self.menu.plan(body, asked, ident, seconds=self.bounds.seconds)
        self._refuse_route(plan)
        capped = key is not None and key.budget_usd is not None
        worst = self.menu.worst(plan) if capped or body.extra.budget_usd is not None else None
        if worst is None and body.extra.budget_usd is not None:
            raise RequestError(
                f"budget_usd cannot be kept: a model of {plan.route} has no price in pool {self.menu.pool.name!r}",
                param="escalade.budget_usd",
            )
        try:
            ticket = self.accounts.admit(ident, key, body.model, worst)
        except StoreError as error:
            self._unrecorded = str(error)
            self._flush_soon()
            raise self._out_of_order(str(error)) from error
        if ticket.reserved is not None:
            limits = plan.task.own.limits or Limits()
            own = limits.problem_usd
            limits = replace(limits, problem_usd=ticket.reserved if own is None else min(own, ticket.reserved))
            plan = replace(plan, task=replace(plan.task, own=replace(plan.task.own, limits=limits)))
        answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        answered.add_done_callback(_looked_at)
        exchange = Exchange(ticket, body, plan, self.now(), answered, headers or {})
        self.live[exchange.id] = exchange
        for watcher in self._watchers:
            watcher.begun(exchange)
        self.service.submit(plan.task)
        return exchange

    def leave(self, exchange: Exchange) -> None:
        """Nobody waits for a request any more: its samples are cancelled at their engines."""
        if exchange.id in self.live and not exchange.gone:
            exchange.gone = True
            exchange.code = exchange.code or 499
            self.service.withdraw(exchange.id, _GONE)

    def climb(self, exchange: Exchange) -> Climb | None:
        """Return a request on its way up its route; None where it waits still, or is done."""
        return self.service.climb(exchange.id)

    def failure(self, exchange: Exchange, item: Answered) -> RequestError | None:
        """Say why an outcome is no answer; None where it is one, be it a text in which no answer was found."""
        status = item.outcome.status
        why = "; ".join(item.outcome.notes) or status.value
        if status is Status.ERROR:
            if exchange.fault == "unreadable":
                return self._out_of_order(why)
            if exchange.fault == "refused":
                return RequestError(why, code="refused_by_engine", param="messages")
            down = any(self.service.down(tier.model) is not None for tier in exchange.plan.route.tiers)
            if down or exchange.fault in ("overloaded", "unreachable"):
                return RequestError(why, status=503, code="engine_unavailable", retry_after=self._pause)
            return RequestError(why, status=502, code="engine_error")
        if status is Status.BUDGET and item.outcome.answer is None:
            reserved, asked = exchange.ticket.reserved, exchange.body.extra.budget_usd
            if exchange.ticket.key is not None and reserved is not None and (asked is None or reserved < asked):
                return self.accounts.used_up(exchange.ticket.key, f"has too little left of its budget: {why}")
            return RequestError(why, status=402, code="budget_exhausted", param="escalade.budget_usd")
        if status is Status.DEADLINE and item.outcome.answer is None:
            own = exchange.body.extra.deadline
            mine = own is not None and own <= self.bounds.seconds  # what a client asked for is no fault of the server
            return RequestError(why, status=408 if mine else 504, code="deadline_exceeded")
        return None

    @staticmethod
    def now() -> float:
        """The clock that `Exchange.begun` is by."""
        return time.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why the store cannot be written; None where it can."""
        return self.service.trouble or self._unrecorded

    @property
    def ready(self) -> bool:
        """Whether requests are taken and one engine at least is there."""
        aliases = self.menu.pool.aliases
        up = any(self.service.down(alias) is None for alias in aliases)
        return not self.closing and self.trouble is None and up

    @property
    def _pause(self) -> float:
        return max(1.0, min(60.0, round(self._typical)))

    def _refuse_if_busy(self) -> None:
        if self.closing:
            raise RequestError("the server is about to stop", status=503, code="stopping", retry_after=self._pause)
        if self.trouble is not None:
            raise self._out_of_order(self.trouble)
        if len(self.live) >= self.bounds.requests:
            raise RequestError(
                f"the server has {len(self.live)} requests under way, as many as it takes (--max-requests)",
                status=429,
                code="overloaded",
                retry_after=self._pause,
            )

    def _out_of_order(self, why: str) -> RequestError:
        return RequestError(why, status=503, code="store_unavailable", retry_after=1.0)

    def _refuse_if_long(self, asked: Asked) -> None:
        if asked.size > self.bounds.prompt_bytes:
            raise RequestError(
                f"the messages have {asked.size} bytes, and this server takes {self.bounds.prompt_bytes} "
                "(--max-prompt-bytes): ask something shorter",
                code="context_length_exceeded",
                param="messages",
            )

    def _refuse_route(self, plan: Plan) -> None:
        """Refuse a route of too many samples, or one that an engine would not take, as its server has no such
        temperature."""
        route = plan.route
        if (asked := sum(tier.k for tier in route.tiers)) > self.bounds.samples:
            raise RequestError(
                f"the route asks for {asked} samples, and this server takes {self.bounds.samples} (--max-samples)",
                param="model",
            )
        if route not in self._refused:
            if len(self._refused) > 4096:
                self._refused.clear()
            try:
                for tier in executed(route, self.menu.pool).route.tiers:
                    model = self.menu.pool[tier.model]
                    self._engine_of(model).check([Demand(model, tier.temperature, tier.k, [])])
                self._refused[route] = None
            except InputError as error:
                self._refused[route] = str(error)
        if (why := self._refused[route]) is not None:
            raise RequestError(why, param="model")

    def _answered(self, item: Answered) -> None:
        exchange = self.live.pop(item.problem.id)
        exchange.seconds = self.now() - exchange.begun
        self._typical += 0.05 * (exchange.seconds - self._typical)
        exchange.used = self._used_by(exchange, item)
        self.accounts.settle(exchange.ticket, exchange.used)
        self._flush_soon()
        if not exchange.answered.done():
            exchange.answered.set_result(item)
        self.recent.appendleft((exchange, item))
        for watcher in self._watchers:
            watcher.done(exchange, item)

    def _used_by(self, exchange: Exchange, item: Answered) -> Used:
        usages = [usage for tier in item.fresh_usages for usage in tier]
        prompt = sum(usage.prompt or 0 for usage in usages)
        completion = sum(usage.completion or 0 for usage in usages)
        spent = ledger.total([item.fresh_cost, item.scoring_cost])
        charged = spent.known if not spent.unknown else self.menu.at_most(exchange.plan, item)
        return Used(status_of(exchange, item), spent, prompt, completion, item.fresh, charged)

    def _flush_soon(self) -> None:
        """Record what requests came to, of all that end within a moment at once: a reservation stands until then."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(RECORD, self._flush)

    def _flush(self) -> None:
        try:
            self.accounts.flush()
        except StoreError as error:
            self._unrecorded = str(error)
            asyncio.get_running_loop().call_later(AGAIN, self._flush)
        else:
            self._flushing, self._unrecorded = False, None

    def _stuck(self, why: str) -> None:
        """The store cannot be written: those who wait are told; what was paid for is written as soon as it can be."""
        for exchange in list(self.live.values()):
            if not exchange.answered.done():
                exchange.answered.set_exception(self._out_of_order(why))
            self.leave(exchange)

    def _short(self, ident: str) -> Limits | None:
        """A request takes more than was expected, as some of it failed and was tried again: its key may have more."""
        exchange = self.live[ident]
        limits, own = exchange.plan.task.own.limits or Limits(), exchange.body.extra.budget_usd
        had = exchange.ticket.reserved
        if had is None or (own is not None and had >= own) or (has := self.accounts.extend(exchange.ticket)) is None:
            return None
        return replace(limits, problem_usd=has if own is None else min(own, has))

    def _event(self, name: str, facts: Mapping[str, Any]) -> None:
        if name in ("failed", "unreadable") and (exchange := self.live.get(facts["problem"])) is not None:
            exchange.fault = facts.get("fault", "unreadable")
        for watcher in self._watchers:
            watcher.event(name, facts)


def _looked_at(answered: asyncio.Future[Answered]) -> None:
    """Have asyncio not complain of an error that nobody waits for any more."""
    if not answered.cancelled():
        answered.exception()


def status_of(exchange: Exchange, item: Answered) -> str:
    """Return how a request ended: the outcome's status, or that nobody waited for it."""
    return "cancelled" if exchange.gone else item.outcome.status.value
