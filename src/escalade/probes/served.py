"""An encoder behind an OpenAI-compatible server.

Each text is a request of its own, so that its tokens are known and a failure names it. A key is read from the
environment when requests are sent; nothing here keeps or prints it. A server may cut long texts without a word (most
refuse them): that cannot be seen from here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from escalade.engines.openai.failures import can_help, retry_after, said_in, shortened
from escalade.engines.openai.options import Options, access_of, address_of
from escalade.errors import EngineError, SettingError
from escalade.probes.shards import Row

AT_ONCE = 8
"""Requests under way."""
TRIES = 5
"""Times that a text is sent before a failure that may pass is taken for one that does not."""
LONGEST_WAIT = 30.0
"""Seconds between two of them."""
_TIMEOUT = 120.0
"""Seconds for an answer."""


class Served:
    """A server's embeddings: `ADDRESS#MODEL`, the address up to and without /embeddings.

    Raises:
        SettingError: the name has no model or no address in it.

    Example:
        >>> Served("http://127.0.0.1:8080/v1#bge-small").identity
        'served:http://127.0.0.1:8080/v1#bge-small'
    """

    def __init__(self, name: str) -> None:
        url, mark, model = name.partition("#")
        if not mark or not model:
            raise SettingError(f"encoder {url}: put the name that the server has for the model behind a # ({url}#NAME)")
        try:
            self._address = address_of(url.removesuffix("/").removesuffix("/embeddings"))
        except ValueError as error:
            raise SettingError(f"encoder: the address {error}") from None
        self._model, self._options = model, Options(base_url=url.removesuffix("/").removesuffix("/embeddings"))
        self.identity = f"served:{self._address.shown}#{model}"

    def embed(self, texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        """Yield vectors as the server gives them.

        Raises:
            SettingError: there is no key for a server elsewhere, or no httpx2.
            EngineError: the server cannot be reached, refuses, or sends what is no vector.
        """
        try:
            import httpx2
        except ImportError as error:
            raise SettingError(f"encoder {self.identity} needs httpx2: pip install 'escalade[openai]'") from error
        access = access_of(self._options, os.environ, alias=self._model)
        headers = {"User-Agent": "escalade"} | ({} if access.key is None else {"Authorization": f"Bearer {access.key}"})
        with (
            httpx2.Client(
                headers=headers,
                params=dict(self._address.query),
                timeout=_TIMEOUT,
                # Nothing stands between two ends of one machine.
                trust_env=not self._address.loopback,
                follow_redirects=False,
            ) as client,
            ThreadPoolExecutor(AT_ONCE, thread_name_prefix="embeddings") as threads,
        ):
            waiting = iter(texts.items())
            under_way: dict[Future[Row], int] = {}
            try:
                while True:
                    while len(under_way) < AT_ONCE and (text := next(waiting, None)) is not None:
                        under_way[threads.submit(self._one, httpx2, client, text[1], access.clean)] = text[0]
                    if not under_way:
                        return
                    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                        place = under_way.pop(done)
                        try:
                            yield place, done.result()
                        except EngineError as error:
                            raise EngineError(f"problem {place} (counted from 0): {error}") from error
            finally:
                for job in under_way:
                    job.cancel()

    def _one(self, httpx2: Any, client: Any, text: str, clean: Any) -> Row:
        """Ask for one text, again where that can help."""
        for attempt in range(1, TRIES + 1):
            pause: float | None = None
            try:
                answer = client.post(
                    f"{self._address.shown}/embeddings",
                    json={"model": self._model, "input": text, "encoding_format": "float"},
                )
                if answer.status_code == 200:
                    return self._read(answer.text)
                said = said_in(answer.text)
                failure = f"answered with status {answer.status_code}: {shortened(clean(said.text))}"
                again = can_help(answer.status_code, said.code)
                pause = retry_after(answer.headers)
            except (httpx2.HTTPError, OSError) as error:
                failure, again = f"cannot be reached: {type(error).__name__}", True
            if not again or attempt == TRIES:
                raise EngineError(f"encoder {self.identity} {failure}", retryable=again)
            time.sleep(min(LONGEST_WAIT, 0.5 * 2 ** (attempt - 1) if pause is None else pause))
        raise AssertionError("unreachable")

    def _read(self, body: str) -> Row:
        try:
            parsed = json.loads(body)
            vector = np.asarray(parsed["data"][0]["embedding"], dtype=np.float32)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise EngineError(f"encoder {self.identity} sent what is no embedding ({type(error).__name__})") from error
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise EngineError(f"encoder {self.identity} sent what is no vector of finite numbers")
        usage = parsed.get("usage")
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return Row(vector, tokens if type(tokens) is int and tokens > 0 else -1)
