"""Failures: what went wrong at a server, in words that name the remedy, and whether trying again can help."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

LONGEST = 300
"""Characters that are shown of what a server says."""
_RETRYABLE = frozenset({408, 409, 425, 429})
_HINTS = {
    "max_completion_tokens": "set option token_limit = 'max_completion_tokens'",
    "logprob": "set option logprobs = false",
    "seed": "set option seed = false, or a smaller seed_bits",
    "temperature": "name those it takes in option temperatures",
    "chat template": "set option endpoint = 'completion', or give the server a chat template",
    "chat_template": "set option endpoint = 'completion', or give the server a chat template",
}
"""What a refused request may be about, and what helps."""


class Said(NamedTuple):
    """What a server said of a failure."""

    text: str
    code: object = None


def can_help(status: int, code: object = None) -> bool:
    """Return whether asking again can help after a status. An account without money stays without it.

    Example:
        >>> can_help(429), can_help(503), can_help(401), can_help(429, "insufficient_quota")
        (True, True, False, False)
    """
    return (status in _RETRYABLE or status >= 500) and code != "insufficient_quota"


def said_in(body: object) -> Said:
    """Return what the body of a failure says: its message where it is JSON as the API has it, else its text.

    Example:
        >>> said_in({"error": {"message": "no such model", "code": 404}})
        Said(text='no such model', code=404)
        >>> said_in("<html><h1>502 Bad Gateway</h1></html>").text
        'an HTML page'
    """
    if isinstance(body, str):
        text = body.strip()
        if text.startswith("<"):
            return Said("an HTML page")
        if text[:1] in ("{", "["):
            try:
                return said_in(json.loads(text))
            except (ValueError, RecursionError):
                return Said(text)
        return Said(text)
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, str):
            return Said(inner)
        if isinstance(inner, dict):
            for name in ("message", "detail", "error"):
                if isinstance(inner.get(name), str):
                    return Said(inner[name], inner.get("code"))
    try:
        return Said("" if body is None else json.dumps(body))
    except (TypeError, ValueError, RecursionError):
        return Said("")


def shortened(text: str) -> str:
    """Return what a server says on one line, without signs that could hide something, and not too long.

    Example:
        >>> shortened("no\\nsuch\\x1b[2J model")
        'no such [2J model'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * LONGEST]).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def hint_of(text: str) -> str:
    """Return what helps against a refused request, or nothing.

    Example:
        >>> hint_of("Unsupported parameter: 'logprobs'")
        '; set option logprobs = false'
    """
    lowered = text.lower()
    return next((f"; {hint}" for word, hint in _HINTS.items() if word in lowered), "")


def retry_after(headers: Mapping[str, Any], *, now: float | None = None) -> float | None:
    """Return how many seconds a server asks to wait, in either form of RFC 9110, section 10.2.3; None for neither.

    Example:
        >>> retry_after({"retry-after": "2.5"}), retry_after({"retry-after": "soon"}), retry_after({})
        (2.5, None, None)
        >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=90.0)
        10.0
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = str(headers.get(name, "")).strip()
        if not value or len(value) > 64:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                until = email.utils.parsedate_to_datetime(value).timestamp()
            except (ValueError, OverflowError):
                continue
            seconds = until - (time.time() if now is None else now)
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None
