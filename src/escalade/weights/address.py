"""Weights at an address: a file on a model hub, or a plain URL. A cut download goes on where it stopped."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from escalade.pool import HubSource, UrlSource
from escalade.weights.cache import size_of
from escalade.weights.job import CHUNK, Found, Job, SourceFailed, describe, hash_of

OPEN_SECONDS = 10.0
"""How long an answer may take to begin; an unreachable hub costs this much."""

STALL_SECONDS = 30.0
"""How long a download may stand still."""

RESUMES = 5
"""How often a cut download is taken up again within one pull."""


def hub_address(source: HubSource) -> str:
    """Return the address of a hub file, at $HF_ENDPOINT where that is set."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    revision = quote(source.revision, safe="")
    return f"{endpoint.rstrip('/')}/{quote(source.hub)}/resolve/{revision}/{quote(source.file)}"


def fetch_address(job: Job, source: HubSource | UrlSource) -> Found:
    """Download the file of `source`, going on from what is already there.

    Raises:
        SourceFailed: it cannot be reached, or ends too early too often.
        OSError: the disk.
    """
    url = hub_address(source) if isinstance(source, HubSource) else source.url
    if url.partition(":")[0].lower() not in ("http", "https", "file"):
        raise SourceFailed("is no http, https or file address")
    part = job.partial(source, "part")
    if job.model.size is not None:
        if size_of(part) > job.model.size:
            part.unlink()
        job.check_room(job.model.size - size_of(part))
    for _ in range(1 + RESUMES):
        before = size_of(part)
        cut = None if before == job.model.size else _download(job, url, part)
        if cut is None:
            return hash_of(part)
        if size_of(part) <= before:
            break
        job.say(f"{describe(source)}: {cut} after {size_of(part)} bytes; resuming there")
    raise SourceFailed(f"{cut} after {size_of(part)} bytes, which are kept for the next pull")


def _download(job: Job, url: str, part: Path) -> str | None:
    """Add to `part` what one connection brings; return what cut it short, None when all has come."""
    start = size_of(part)
    with _open(url, start) as response:
        # Only a 206 goes on where the file stopped; any other answer begins at the beginning.
        resumed = getattr(response, "status", None) == 206
        done = start if resumed else 0
        total = _total(response, start if resumed else None)
        if total is not None and job.model.size not in (None, total):
            raise SourceFailed(f"has {total} bytes there, not the {job.model.size} the model has")
        job.meter.total = job.model.size or total
        with part.open("ab" if resumed else "wb") as file:
            while True:
                job.meter.at(done)
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, HTTPException) as error:
                    return f"was cut ({_reason(error)})"
                if not chunk:
                    break
                done += len(chunk)
                if job.too_many(done):
                    file.truncate(0)
                    raise SourceFailed(f"gives more than the {job.model.size} bytes the model has")
                file.write(chunk)
    return "was cut" if total is not None and done < total else None


def _open(url: str, start: int) -> Any:
    headers = {"User-Agent": "escalade", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        return _within(OPEN_SECONDS, lambda: urllib.request.urlopen(request, timeout=STALL_SECONDS))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing after what we have, so what we have is not its beginning
            return _open(url, 0)
        raise SourceFailed(f"answers HTTP {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise SourceFailed(f"cannot be reached (no answer within {OPEN_SECONDS:g} s)") from error
    except (OSError, HTTPException, ValueError) as error:
        raise SourceFailed(f"cannot be reached ({_reason(error)})") from error


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    # A socket's time-out counts for each address of a host anew, and not at all for looking the host up.
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except (TimeoutError, KeyboardInterrupt):
        future.add_done_callback(lambda late: late.exception() or late.result().close())
        raise


def _total(response: Any, start: int | None) -> int | None:
    if start is None:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    stated = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated)
    if match is None or int(match[1]) != start:
        raise SourceFailed(f"was asked to go on at byte {start} and answered with {stated or 'no range'!r}")
    return None if match[2] == "*" else int(match[2])


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner) or type(inner).__name__
