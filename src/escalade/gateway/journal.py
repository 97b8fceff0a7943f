"""The journal: what is logged of requests, as lines for people and as events for programs; no prompt unless asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.types import Scope

from escalade.climb import Answered
from escalade.gateway.bodies import ChatBody
from escalade.gateway.gateway import Exchange, status_of
from escalade.gateway.keys import Key

_SAYING = ("answer", "key", "message")
"""Facts of events that a prompt or a model's text may be in."""
_QUIET = ("/live", "/health", "/ready", "/metrics")
"""Paths that programs ask over and over."""


class Journal:
    """Logs requests.

    Args:
        events: gets events by name and facts; None logs none.
        prompts: whether prompts and answers are logged.
        lines: gets lines for people; None prints none.
    """

    def __init__(
        self,
        events: Callable[[str, Mapping[str, Any]], None] | None = None,
        *,
        prompts: bool = False,
        lines: Callable[[str], None] | None = None,
    ) -> None:
        self._events, self._prompts, self._lines = events, prompts, lines

    def begun(self, exchange: Exchange) -> None:
        """A request was admitted."""
        if self._events is None:
            return
        body, plan = exchange.body, exchange.plan
        facts: dict[str, Any] = {"request": exchange.id, "holder": exchange.ticket.holder or None, "model": body.model}
        facts |= {"route": str(plan.route), "stream": bool(body.stream), "user": body.user}
        if isinstance(body, ChatBody) and body.metadata:
            facts["metadata"] = dict(body.metadata)
        if self._prompts:
            problem = plan.task.problem
            facts |= {"prompt": problem.text, "conversation": [list(said) for said in problem.conversation]}
        self._events("request", facts)

    def done(self, exchange: Exchange, item: Answered) -> None:
        """A request has an outcome."""
        if self._events is None:
            return
        used = exchange.used
        facts: dict[str, Any] = {"request": exchange.id, "status": status_of(exchange, item)}
        facts |= {"seconds": exchange.seconds, "cost_usd": str(used.cost.known), "unknown": used.cost.unknown}
        facts |= {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
        if self._prompts:
            facts["answer"] = item.outcome.answer
        self._events("reply", facts)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Something happened to a problem."""
        if self._events is not None:
            silent = () if self._prompts or facts.get("fault") == "unreachable" else _SAYING
            self._events(name, {fact: value for fact, value in facts.items() if fact not in silent})

    def __call__(
        self, scope: Scope, status: int, seconds: float, key: Key | None, exchange: Exchange | None, error: str | None
    ) -> None:
        """A request over HTTP is over."""
        path = scope["path"]
        if self._lines is None or (path in _QUIET and status < 400):
            return
        words = [f"{datetime.now():%H:%M:%S}", scope["method"], _plain(path), str(status), f"{seconds:.3f} s"]
        if key is not None:
            words.append(key.name)
        if exchange is not None:
            words.append(_plain(exchange.body.model))
        if error is not None and self._prompts:  # an engine's words may quote what it was asked
            words.append(_plain(error))
        self._lines(" ".join(words))


def to_stderr(line: str) -> None:
    """Print a line for people."""
    print(line, file=sys.stderr, flush=True)


def _plain(text: str) -> str:
    """Text of a client on one line, without signs that move the cursor."""
    return repr(text[:200])[1:-1]
