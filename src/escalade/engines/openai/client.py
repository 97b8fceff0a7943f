"""Client: asks one server for the answers of one model, through the official SDK.

The SDK is imported with the first client. It tries nothing again by itself, sends no account of this machine, and takes
no proxy for a server on this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from escalade.engines.base import Progress, Request
from escalade.engines.openai.failures import can_help, hint_of, retry_after, said_in, shortened
from escalade.engines.openai.options import Options, access_of, address_of
from escalade.engines.openai.reading import Reading
from escalade.errors import EngineError, SettingError, nearest
from escalade.pool import PoolModel
from escalade.samples.sample import Generation

try:
    import httpx2
    import openai
except ImportError as error:
    raise SettingError("engine openai needs the SDK of that name: pip install 'escalade[openai]'") from error

# What the SDK tells of the machine it runs on, and of itself.
_TELLTALE = (
    *(
        f"X-Stainless-{part}"
        for part in ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
    ),
    *("OpenAI-Organization", "OpenAI-Project"),
)
_PER_REQUEST = ("X-Stainless-Retry-Count", "X-Stainless-Read-Timeout")
_LISTING = 5.0
"""Seconds for a server to say which models it has."""


class Client:
    """One model at one server. Made anew, it reads its key from the environment.

    Raises:
        SettingError: a key or header is not there.
    """

    def __init__(self, model: PoolModel, options: Options) -> None:
        self._model, self._options = model, options
        self._name = options.served_model or model.name
        self._address = address_of(options.base_url or "")
        self._access = access_of(options, os.environ, alias=model.alias)
        self._counts = True
        """Whether the server takes the wish for token counts at the end of a stream."""
        self._listing = asyncio.Lock()
        self._served: list[str] | None = None
        given = {name.lower() for name in self._access.headers}
        self._omitted: dict[str, Any] = {name: openai.Omit() for name in _PER_REQUEST}
        if self._access.key is None and "authorization" not in given:
            self._omitted["Authorization"] = openai.Omit()
        plain: dict[str, Any] = {name: openai.Omit() for name in _TELLTALE if name.lower() not in given}
        headers = {"User-Agent": "escalade", "Accept-Encoding": "identity", **plain, **self._access.headers}
        http = httpx2.AsyncClient(
            # A read has no limit of its own: a model may think for long before its first token.
            timeout=httpx2.Timeout(None, connect=options.connect_timeout),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=options.in_flight),
            # Proxies and certificates of the environment; nothing stands between two ends of one machine.
            trust_env=not self._address.loopback,
            follow_redirects=False,
        )
        try:
            self._sdk = openai.AsyncOpenAI(
                api_key=self._access.key or "none",
                base_url=self._address.shown,
                default_query=dict(self._address.query),
                default_headers=headers,
                max_retries=0,
                http_client=http,
            )
        except httpx2.InvalidURL:
            raise SettingError(f"model {model.alias}: option base_url: {self._address.shown} is no address") from None

    async def generate(self, request: Request, progress: Progress) -> Generation:
        """Return one answer. Cancelled, it closes the connection, upon which servers stop generating.

        Raises:
            EngineError: the server cannot be reached, refuses, is too slow or sends what is no answer.
        """
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._generate(request, progress)
        except TimeoutError:
            raise self._error(
                f"gave no whole answer in {self._options.timeout:g} s; raise option timeout, or lower in_flight",
                retryable=True,
            ) from None

    async def _generate(self, request: Request, progress: Progress) -> Generation:
        started = time.perf_counter()
        while True:
            body, counts = self._body(request), self._counts
            reading = Reading(progress)
            try:
                await self._read(body, reading)
                return reading.generation(seconds=time.perf_counter() - started)
            except openai.APIStatusError as error:
                said = said_in(error.response.text)
                if counts and error.status_code in (400, 422) and "stream_options" in said.text:
                    self._counts = False  # an old server, which counts for itself only
                    continue
                raise await self._refusal(error, said.text, said.code) from None
            except openai.APIError as error:
                raise self._lost(error) from None
            except EngineError as error:
                raise self._error(str(error), retryable=error.retryable) from None
            except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
                raise self._error(f"cannot be reached: {type(error).__name__}", unreachable=True) from None
            except (ValueError, RecursionError) as error:
                raise self._error(f"sent what is no JSON ({type(error).__name__})", retryable=True) from None

    async def _read(self, body: Mapping[str, Any], reading: Reading) -> None:
        stream: openai.AsyncStream[object] = await self._sdk.post(
            "/chat/completions" if self._options.endpoint == "chat" else "/completions",
            cast_to=object,
            body=body,
            options={"headers": self._omitted},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        async with stream:
            kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":  # a server that does not stream
                whole = json.loads(await stream.response.aread())
                if isinstance(whole, dict) and "error" in whole and "choices" not in whole:
                    raise EngineError(f"answered with an error: {self._quoted(said_in(whole).text)}", retryable=True)
                reading.take(whole)
                return
            if kind == "text/html":
                raise EngineError("sent an HTML page; base_url mostly ends in /v1", retryable=True)
            async for event in stream:
                reading.take(event)

    def _body(self, request: Request) -> dict[str, Any]:
        """Return what is sent. What the pool leaves open is sent as neutral where every server knows it."""
        options, model = self._options, request.model
        chat = options.endpoint == "chat"
        body: dict[str, Any] = {
            "model": self._name,
            "temperature": request.temperature,
            "top_p": model.top_p if model.top_p is not None else 1.0,
            options.token_limit: request.max_tokens,
            "n": 1,
            "stream": True,
        }
        if chat:
            body["messages"] = [dict(message) for message in request.messages]
        else:
            body["prompt"] = "\n\n".join(message["content"] for message in request.messages)
        if model.top_k is not None:
            body["top_k"] = model.top_k
        if request.stop:
            body["stop"] = list(request.stop)
        if options.seed:
            body["seed"] = request.seed % 2**options.seed_bits
        if options.logprobs and chat:
            body |= {"logprobs": True, "top_logprobs": 1}  # without a number llama.cpp gives twenty, with 0 none
        elif options.logprobs:
            body["logprobs"] = 1
        if self._counts:
            body["stream_options"] = {"include_usage": True}
            if options.continuous_usage:
                body["stream_options"]["continuous_usage_stats"] = True
        return body | dict(options.extra_body)

    async def _refusal(self, error: openai.APIStatusError, text: str, code: object) -> EngineError:
        """What a status other than success means."""
        status, options = error.status_code, self._options
        said = self._quoted(text)
        remedy = ""
        if status in (401, 403):
            there = "its value is refused" if self._access.key is not None else "it is not set"
            remedy = f"; the key is that of the environment variable {options.api_key_env}: {there}"
        elif status == 404:
            remedy = await self._known()
        elif status in (400, 422):
            remedy = hint_of(text)
        elif 300 <= status < 400:
            remedy = "; it redirects, which is not followed: give the address it redirects to as base_url"
        retryable = can_help(status, code)
        wait = retry_after(error.response.headers) if retryable else None
        overloaded = retryable and (status == 429 or wait is not None)
        what = f"answered with status {status}: {said}{remedy}"
        refused = status in (400, 413, 422)
        return self._error(what, retryable=retryable, overloaded=overloaded, refused=refused, retry_after=wait)

    def _lost(self, error: openai.APIError) -> EngineError:
        """What a failure without a status means: no connection, a lost one, or an error within a stream."""
        if isinstance(error, openai.APITimeoutError):
            seconds = self._options.connect_timeout
            what = f"took no connection in {seconds:g} s: is it running, and is the address right?"
            return self._error(what, unreachable=True)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            if isinstance(cause, httpx2.ConnectError):
                why = self._quoted(str(cause))
                what = f"cannot be reached ({why}): is it running, and is the address right?"
                return self._error(what, unreachable=True)
            return self._error(f"broke the connection ({type(cause).__name__})", retryable=True)
        said = said_in(error.body if error.body is not None else error.message)
        text = said.text or error.message
        status = said.code if type(said.code) is int and 400 <= said.code < 600 else 500
        what = f"failed in the middle of its answer: {self._quoted(text)}"
        return self._error(what, retryable=can_help(status, said.code))

    async def _known(self) -> str:
        """Say which models a server has that knows not this one; it is asked once."""
        async with self._listing:
            if self._served is None:
                self._served = await self._list()
        if not self._served:
            return f"; nor does it say which models it has: is base_url right ({self._address.shown})?"
        shown = ", ".join(self._served[:8]) + (", ..." if len(self._served) > 8 else "")
        near = nearest(self._name, self._served)
        return f"; it has {shown}{near}; name one in option served_model (asked for was {self._name!r})"

    async def _list(self) -> list[str]:
        try:
            async with asyncio.timeout(_LISTING):
                found = await self._sdk.get("/models", cast_to=object, options={"headers": self._omitted})
        except (openai.APIError, httpx2.HTTPError, OSError, ValueError, RecursionError):
            return []
        rows = found.get("data") if isinstance(found, dict) else None
        names = [row.get("id") for row in rows[:1000] if isinstance(row, dict)] if isinstance(rows, list) else []
        return [self._quoted(name)[:80] for name in names if isinstance(name, str) and name]

    def _quoted(self, text: str) -> str:
        """A server's words: it may repeat the key, or whatever it likes."""
        return shortened(self._access.clean(text)) or "nothing more"

    def _error(self, what: str, **how: Any) -> EngineError:
        return EngineError(self._access.clean(f"server {self._address.shown} {what}"), **how)

    async def close(self) -> None:
        """Close all connections."""
        await self._sdk.close()
