"""The application: which path is answered by what, over HTTP."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from escalade import __version__
from escalade.climb import Answered
from escalade.errors import RequestError
from escalade.gateway.bodies import Body, read_chat, read_completion
from escalade.gateway.gateway import Exchange, Gateway
from escalade.gateway.http import bearer, read_body, refuse_strange_host, respond, respond_error, start, within
from escalade.gateway.keys import Key, find
from escalade.gateway.live import Live, tiers_in, tiers_of
from escalade.gateway.metrics import Metrics
from escalade.gateway.openapi import document
from escalade.gateway.replies import (
    chunks,
    error_body,
    event_line,
    json_bytes,
    progress,
    receipt_headers,
    reply,
)

_logger = logging.getLogger(__name__)
RECEIPT = "x-escalade-receipt"
"""The header that turns receipts off."""
LOOK_SECONDS = 0.1
"""Between two looks at how a request climbs, where its stream says so."""
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)


_ANSWERED: Mapping[str, Callable[[bytes], Body]] = {
    "/v1/chat/completions": read_chat,
    "/v1/completions": read_completion,
}


_INWARD = {
    "engine_error": "an engine failed at this request",
    "engine_unavailable": "an engine is down",
    "store_unavailable": "the store cannot be used for now",
}
"""Errors whose words are for whoever runs the server."""


class Logger(Protocol):
    """Told of every request that is over."""

    def __call__(
        self, scope: Scope, status: int, seconds: float, key: Key | None, exchange: Exchange | None, error: str | None
    ) -> None:
        """A request is over."""


class Application:
    """Answers HTTP requests by a gateway.

    Args:
        gateway: answers them.
        keys: who may ask; none lets everybody.
        live: what the page shows.
        metrics: what Prometheus is told.
        host: as which the server answers where there are no keys.
        body_bytes: of a request, at most.
        keep_alive: seconds between two comments of a stream that has nothing else to say.
        log: is told of every request.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        live: Live,
        metrics: Metrics,
        keys: Sequence[Key] = (),
        host: str = "127.0.0.1",
        body_bytes: int = 1024 * 1024,
        keep_alive: float = 10.0,
        log: Logger | None = None,
    ) -> None:
        self._gateway, self._keys, self._live, self._metrics = gateway, tuple(keys), live, metrics
        self._host, self._body_bytes, self._keep_alive, self._log = host, body_bytes, keep_alive, log
        self._page = (resources.files("escalade") / "data" / "gateway" / "page.html").read_bytes()
        self._created = int(time.time())
        self._app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/models/{name:path}", self._model),
                Route("/health", self._health),
                Route("/ready", self._ready),
                Route("/metrics", self._tell_metrics),
                Route("/live", self._tell_live),
                Route("/openapi.json", self._openapi),
                Route("/", self._show_page),
            ],
            exception_handlers={HTTPException: _refused, RequestError: _refused},  # type: ignore[dict-item]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, count it and log it."""
        if scope["type"] != "http":
            return
        started, status = time.perf_counter(), 499
        state: dict[str, Any] = scope.setdefault("state", {})
        ident = f"req-{secrets.token_hex(12)}"
        state["id"] = ident

        async def told(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", ident.encode())]
            await send(message)

        try:
            if (read := _ANSWERED.get(scope["path"])) is not None:
                await self._answer(read, scope, receive, told)
            else:
                await self._app(scope, receive, told)
        except TimeoutError:  # the client takes no more of its reply: the connection is closed
            status = 499
            if (exchange := state.get("exchange")) is not None:
                exchange.code = status
        except Exception:
            _logger.exception("request %s failed", ident)
            if status != 499:  # its reply has begun
                raise
            await respond_error(
                told, RequestError(f"an error of the server's own; its log has it under {ident}", status=500)
            )
        finally:
            seconds = time.perf_counter() - started
            if (exchange := state.get("exchange")) is not None and exchange.code is not None:
                status = exchange.code  # a stream that failed, or was left, had begun with 200
            self._metrics.http(scope["path"], status, seconds)
            if self._log is not None:
                self._log(scope, status, seconds, state.get("key"), state.get("exchange"), state.get("error"))

    def authenticate(self, scope: Scope) -> Key | None:
        """Return the key of a request; None where none is asked for.

        Raises:
            RequestError: there is no key, an unknown one, or the request is for another host.
        """
        headers = Headers(scope=scope)
        if not self._keys:
            refuse_strange_host(headers, self._host)
            return None
        presented = bearer(headers)
        if presented is None:
            raise RequestError("no API key: send it as Authorization: Bearer KEY", status=401, code="missing_api_key")
        key = find(presented, self._keys)
        if key is None:
            raise RequestError("the API key is not one of this server's", status=401, code="invalid_api_key")
        scope["state"]["key"] = key
        return key

    async def _answer(self, read: Callable[[bytes], Body], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a completion; not by way of Starlette, which would take as long again."""
        try:
            if scope["method"] != "POST":
                what = f"{scope['method']} {scope['path']}: Method Not Allowed, give POST"
                raise RequestError(what, status=405, code="not_allowed")
            await self._complete(read, scope, receive, send)
        except RequestError as error:
            self._note(scope["state"].get("exchange"), error, scope)
            outward = self._outward(error, scope["state"]["id"])
            await respond_error(send, outward, {"allow": "POST"} if error.status == 405 else None)

    def _note(self, exchange: Exchange | None, error: RequestError, scope: Scope) -> None:
        """Keep how a request ended, for log, metrics and page."""
        scope["state"]["error"] = str(error)
        if exchange is not None:
            exchange.code = error.status

    def _outward(self, error: RequestError, ident: str) -> RequestError:
        """What is told of an error: where there are keys, nothing of what stands behind this server."""
        if not self._keys or error.code not in _INWARD:
            return error
        what = f"{_INWARD[error.code]} ({ident}; with --log-prompts the server's log says more)"
        return RequestError(what, status=error.status, code=error.code, retry_after=error.retry_after)

    async def _complete(self, read: Callable[[bytes], Body], scope: Scope, receive: Receive, send: Send) -> None:
        key = self.authenticate(scope)
        headers = Headers(scope=scope)
        body = read(await read_body(scope, receive, self._body_bytes))
        traced = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        exchange = self._gateway.begin(body, scope["state"]["id"], key, traced)
        scope["state"]["exchange"] = exchange
        receipt = headers.get(RECEIPT, "on").strip().lower() != "off"
        gone = asyncio.get_running_loop().create_task(_until_gone(receive))
        gone.add_done_callback(lambda _: self._gateway.leave(exchange))
        try:
            if body.stream:
                await self._stream(exchange, scope, send, receipt=receipt)
            else:
                await self._whole(exchange, send, receipt=receipt)
        finally:
            gone.cancel()
            self._gateway.leave(exchange)

    async def _whole(self, exchange: Exchange, send: Send, *, receipt: bool) -> None:
        item = await exchange.answered
        if exchange.gone:
            return
        if (failure := self._gateway.failure(exchange, item)) is not None:
            raise failure
        exchange.code = 200
        body = json_bytes(reply(exchange, item, int(time.time()), receipt=receipt))
        await respond(send, 200, body, receipt_headers(exchange, item) if receipt else None)

    async def _stream(self, exchange: Exchange, scope: Scope, send: Send, *, receipt: bool) -> None:
        """Say that it climbs, and how, where that is wanted; then the text, once it is decided."""
        created = int(time.time())
        more = [("x-escalade-route", str(exchange.plan.route))] if receipt else []
        kind = "text/event-stream; charset=utf-8"
        await start(
            send, 200, [("content-type", kind), ("cache-control", "no-store"), ("x-accel-buffering", "no"), *more]
        )
        try:
            item = await self._climb(exchange, send, created)
            if exchange.gone:
                return
            if (failure := self._gateway.failure(exchange, item)) is not None:
                raise failure
            exchange.code = 200
            for chunk in list(chunks(exchange, item, created, receipt=receipt)):
                await _send(send, event_line(chunk))
        except RequestError as error:
            self._note(exchange, error, scope)
            await _send(send, event_line(error_body(self._outward(error, exchange.id))))
        await _send(send, b"data: [DONE]\n\n", last=True)

    async def _climb(self, exchange: Exchange, send: Send, created: int) -> Answered:
        """Wait for the answer, with comments against idle connections and, where wanted, progress."""
        options = exchange.body.stream_options
        tell = options is not None and options.include_progress
        await _send(send, b": climbing\n\n")
        shown: list[dict[str, Any]] | None = None
        quiet = 0.0
        while True:
            pause = min(LOOK_SECONDS, self._keep_alive) if tell else self._keep_alive
            done, _ = await asyncio.wait({exchange.answered}, timeout=pause)
            tiers = shown
            if tell:
                tiers = tiers_in(exchange.answered.result()) if done else tiers_of(self._gateway, exchange)
            if tiers is not None and tiers != shown:
                shown, quiet = tiers, 0.0
                await _send(send, event_line(progress(exchange, tiers, created)))
            if done:
                return exchange.answered.result()
            quiet += pause
            if quiet >= self._keep_alive:
                quiet = 0.0
                await _send(send, b": climbing\n\n")

    async def _models(self, request: Request) -> Response:
        self.authenticate(request.scope)
        return _json({"object": "list", "data": [self._described(name) for name in self._gateway.menu.names]})

    async def _model(self, request: Request) -> Response:
        self.authenticate(request.scope)
        name = request.path_params["name"]
        menu = self._gateway.menu
        if name not in menu.names and not menu.is_route(name):
            raise RequestError(f"no model {name!r:.200}: GET /v1/models lists them", status=404, code="model_not_found")
        return _json(self._described(name))

    def _described(self, name: str) -> dict[str, Any]:
        menu = self._gateway.menu
        facts: dict[str, Any] = {"kind": "model", "name": menu.pool[name].name if name in menu.pool else None}
        if name == "auto" or menu.is_route(name):
            facts = {"kind": "route", "route": menu.pool.route if name == "auto" else name}
        elif name in menu.dishes:
            dish = menu.dishes[name]
            facts = {"kind": "policy", "route": str(dish.route), "certificate": dish.certificate}
        elif name.startswith("auto:"):
            facts = {"kind": "strategy"}
        owner = "escalade" if facts["kind"] != "model" else menu.pool.name
        return {"id": name, "object": "model", "created": self._created, "owned_by": owner, "escalade": facts}

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok", "version": __version__})

    async def _ready(self, request: Request) -> Response:
        gateway = self._gateway
        facts: dict[str, Any] = {"ready": gateway.ready, "stopping": gateway.closing}
        if not self._keys:  # else this is for everybody, and the rest is not
            aliases = gateway.menu.pool.aliases
            down = {alias: why for alias in aliases if (why := gateway.service.down(alias)) is not None}
            facts |= {"trouble": gateway.trouble, "down": down}
        return _json(facts, 200 if gateway.ready else 503)

    async def _tell_metrics(self, request: Request) -> Response:
        key = self.authenticate(request.scope)
        if key is not None and not key.observer:
            raise RequestError(
                f"key {key.name!r} is no observer's: /metrics tells of all holders", status=403, code="no_observer"
            )
        return Response(self._metrics.text(self._gateway), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _tell_live(self, request: Request) -> Response:
        key = self.authenticate(request.scope)
        return _json(self._live.view(self._gateway, None if key is None or key.observer else key.name))

    async def _openapi(self, request: Request) -> Response:
        return _json(document(keyed=bool(self._keys)))

    async def _show_page(self, request: Request) -> Response:
        return Response(
            self._page,
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": _PAGE_POLICY, "x-content-type-options": "nosniff"},
        )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, body: bytes, *, last: bool = False) -> None:
    await within(send, {"type": "http.response.body", "body": body, "more_body": not last})


def _json(body: Any, status: int = 200) -> Response:
    return Response(json_bytes(body), status, media_type="application/json")


async def _refused(request: Request, error: RequestError | HTTPException) -> Response:
    """An error as clients of OpenAI's API read it."""
    more: dict[str, str] = {}
    if isinstance(error, HTTPException):
        more = {name.lower(): value for name, value in (error.headers or {}).items()}
        allowed = (error.headers or {}).get("Allow")
        detail = f"{error.detail}, give {allowed}" if allowed else error.detail
        code = "not_found" if error.status_code == 404 else "not_allowed"
        error = RequestError(
            f"{request.method} {request.url.path!r:.200}: {detail}", status=error.status_code, code=code
        )
    request.scope["state"]["error"] = str(error)
    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    await respond_error(keep, error, more)
    head, body = sent
    response = Response(body["body"], head["status"])
    response.raw_headers = head["headers"]
    return response
