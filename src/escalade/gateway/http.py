"""HTTP: bodies are read within their limits, replies are sent within theirs; what of a request is safe to act upon."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from escalade.errors import RequestError
from escalade.gateway.replies import error_body, json_bytes

BODY_SECONDS = 30.0
"""For a client to send a body, or to take the next piece of a reply."""
HEADER_SECONDS = 30.0
"""For a connection to send the head of its first request; then uvicorn's own limit for idle connections holds."""
_HEAD = 65_536
"""Bytes of a request's head."""
_DRAIN = 64 * 1024 * 1024
"""Bytes of a body that is too large which are read nonetheless: a client that still sends does not read its refusal."""
_UPGRADE = re.compile(rb"(\r\n)(upgrade:)", re.IGNORECASE)
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class Protocol(HttpToolsProtocol):
    """Connections that send no head, or one without end, are closed: uvicorn has no limit of either."""

    _timer: asyncio.TimerHandle | None = None
    _size = 0
    _between = True
    """Whether the next bytes begin a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the head of the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_SECONDS, self._close)

    def data_received(self, data: bytes) -> None:
        """Have the parser overlook a wish for another protocol, as some clients always have (h2c).

        It is not granted, and the parser would stop at it: the body would be lost.
        """
        if self._between and b"pgrade:" in data:
            head, mark, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(rb"\1x-\2", head) + mark + rest
        super().data_received(data)

    def on_message_complete(self) -> None:
        """The next bytes begin another request."""
        self._between = True
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        self._between = False
        super().on_message_begin()
        self._size = 0
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._close)

    def on_url(self, url: bytes) -> None:
        """Count the address."""
        self._add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._add(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        super().connection_lost(exc)

    def _add(self, size: int) -> None:
        self._size += size
        if self._size > _HEAD:
            raise ValueError("the head of the request is too large")  # uvicorn answers 400

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: it is too large, no JSON by its type, comes too slowly, or breaks off.
    """
    headers = Headers(scope=scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Pages of other sites may send other types without asking.
        raise RequestError(
            f"the content type is {kind or 'missing'!r:.80}: send application/json", status=415, code="unsupported_type"
        )
    if (coding := headers.get("content-encoding", "identity").strip().lower()) not in ("", "identity"):
        raise RequestError(
            f"the content encoding is {coding!r:.80}: send it plain", status=415, code="unsupported_type"
        )
    length = headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else 0
    if size > limit and "expect" in headers:
        raise _too_large(size, limit)
    parts: list[bytes] = []
    read = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError("the client broke off within its request", status=400, code="broken_off")
                part = message.get("body", b"")
                read += len(part)
                if read > max(limit, _DRAIN):
                    break
                if read <= limit:
                    parts.append(part)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise RequestError(
            f"the body did not come within {BODY_SECONDS:g} s", status=408, code="request_timeout"
        ) from None
    if read > limit:
        raise _too_large(max(size, read), limit)
    return b"".join(parts)


def _too_large(size: int, limit: int) -> RequestError:
    return RequestError(
        f"the body has {size} bytes, and this server takes {limit} (--max-body-bytes): ask something shorter",
        status=413,
        code="body_too_large",
    )


def refuse_strange_host(headers: Headers, own: str) -> None:
    """Refuse a request without a key that names another host than this one: a page of another site may have sent it.

    Raises:
        RequestError: it does.
    """
    host = headers.get("host", "").strip()
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name.lower() not in _LOCAL | {own.lower()}:
        raise RequestError(
            f"the request is for the host {name!r:.80}, and this server, which asks for no key, answers as {own} only",
            status=421,
            code="wrong_host",
        )


def bearer(headers: Headers) -> str | None:
    """Return the key that a request presents."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


async def respond(
    send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, kind: str = "application/json"
) -> None:
    """Send a whole reply."""
    given = [("content-type", kind), ("content-length", str(len(body))), *(headers or {}).items()]
    await start(send, status, given)
    await within(send, {"type": "http.response.body", "body": body})


async def start(send: Send, status: int, headers: Iterable[tuple[str, str]]) -> None:
    """Send the head of a reply."""
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def within(send: Send, message: dict[str, object]) -> None:
    """Send a part of a reply; a client that does not take it is left.

    Raises:
        TimeoutError: it did not.
    """
    sending = send(message)
    async with asyncio.timeout(BODY_SECONDS):
        await sending


async def respond_error(send: Send, error: RequestError, headers: Mapping[str, str] | None = None) -> None:
    """Send an error, and when to try again."""
    more = dict(headers or {})
    if error.retry_after is not None:
        more["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.code in ("insufficient_quota", "budget_exhausted", "deadline_exceeded"):
        more["x-should-retry"] = "false"
    if error.code == "request_timeout":  # of a body that is too large, uvicorn drops the rest
        more["connection"] = "close"
    if error.status == 401:
        more["www-authenticate"] = "Bearer"
    await respond(send, error.status, json_bytes(error_body(error)), more)
