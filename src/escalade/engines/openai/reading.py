"""Reading: the pieces of one answer as a server sends them, put together into a generation.

A server is not trusted: what is not as the API says is an error of the request, and no number is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from escalade.engines.base import Progress
from escalade.errors import EngineError
from escalade.samples.sample import Generation

LONGEST = 2**23
"""Characters of an answer; a server that goes on beyond is stopped."""
_STOPPED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
_CUT_OFF = frozenset({"length", "max_tokens", "max_completion_tokens"})
_BROKEN = frozenset({"abort", "error"})


class Reading:
    """What has come of one request so far; `progress` is kept up to date.

    Example:
        >>> reading = Reading(Progress())
        >>> reading.take({"choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": "stop"}]})
        >>> reading.take({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
        >>> reading.generation(seconds=0.5).completion_tokens
        2
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._pieces: list[str] = []
        self._length = 0
        self._finish: str | None = None
        self._begun = False
        self._counted: int | None = None
        """Completion tokens by the server's own count."""
        self._reasoning: int | None = None
        self._logprobs = 0.0
        self._tokens = 0
        """Tokens with a logprob."""

    def take(self, event: object) -> None:
        """Take in one piece, or a whole answer of a server that does not stream.

        Raises:
            EngineError: it is not as the API says, or goes on without end.
        """
        if not isinstance(event, dict):
            raise _garbled(f"sent {type(event).__name__} in the place of an object")
        choices = event.get("choices") or []
        if not isinstance(choices, list):
            raise _garbled(f"sent `choices` that are no list but {type(choices).__name__}")
        for choice in choices:
            if not isinstance(choice, dict):
                raise _garbled(f"sent a choice that is no object but {type(choice).__name__}")
            if not choice.get("index"):  # one was asked for
                self._begun = True
                self._take_choice(choice)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._take_usage(usage)

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        message = choice.get("delta") or choice.get("message") or {}
        if not isinstance(message, dict):
            raise _garbled(f"sent a message that is no object but {type(message).__name__}")
        text = choice.get("text") if "text" in choice else message.get("content")
        if not isinstance(text, str | None):
            raise _garbled(f"sent content that is no text but {type(text).__name__}")
        thought = message.get("reasoning_content") or message.get("reasoning")
        if text:
            self._pieces.append(text)
            self._length += len(text)
            if self._length > LONGEST:
                raise EngineError(f"sent more than {LONGEST} characters, which can be no answer")
        sampled = self._take_logprobs(choice.get("logprobs"))
        if self._counted is None:
            self._progress.completion_tokens += sampled or (1 if text or thought else 0)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._finish = finish

    def _take_logprobs(self, logprobs: object) -> int:
        """Take in the logprobs of a piece; return of how many tokens."""
        if not isinstance(logprobs, dict):
            return 0
        entries = logprobs.get("content")
        if isinstance(entries, list):
            values = [entry.get("logprob") if isinstance(entry, dict) else None for entry in entries]
        else:
            values = logprobs.get("token_logprobs") or []
        if not isinstance(values, list):
            return 0
        for value in values:
            # One that is none makes the mean one that is none, which is given as unknown.
            number = isinstance(value, int | float) and not isinstance(value, bool)
            self._logprobs += min(_real(value), 0.0) if number else math.nan
        self._tokens += len(values)
        return len(values)

    def _take_usage(self, usage: Mapping[str, Any]) -> None:
        prompt, completion = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
        of_prompt, of_completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
        cached = count_of(of_prompt.get("cached_tokens")) if isinstance(of_prompt, dict) else None
        if prompt is not None:
            self._progress.prompt_tokens = prompt
        if cached is not None and prompt is not None:
            self._progress.cached_tokens = min(cached, prompt)
        if completion is not None:
            self._counted = self._progress.completion_tokens = completion
        if isinstance(of_completion, dict):
            self._reasoning = count_of(of_completion.get("reasoning_tokens"))

    def generation(self, *, seconds: float) -> Generation:
        """Return the whole answer.

        Completion tokens are those of the server's usage, else of its logprobs, else unknown.

        Raises:
            EngineError: there is none, or not all of it.
        """
        if not self._begun:
            raise _garbled("sent an answer without any choice")
        if self._finish is None:
            raise EngineError("ended its answer in the middle: no finish reason came", retryable=True)
        if self._finish in _BROKEN:
            raise EngineError(f"gave up in the middle of its answer ({self._finish})", retryable=True)
        mean = self._logprobs / self._tokens if self._tokens else math.nan
        counted = self._counted if self._counted is not None else (self._tokens or None)
        return Generation(
            text=whole("".join(self._pieces)),
            finish_reason=finish_of(self._finish),
            prompt_tokens=self._progress.prompt_tokens,
            cached_tokens=self._progress.cached_tokens,
            completion_tokens=counted,
            reasoning_tokens=self._reasoning,
            mean_logprob=mean if math.isfinite(mean) else None,
            seconds=seconds,
        )


def finish_of(reason: str) -> str:
    """Return a server's finish reason in our words: stop, length, or what the server calls it, shortened.

    Example:
        >>> finish_of("eos"), finish_of("max_tokens"), finish_of("content_filter")
        ('stop', 'length', 'content_filter')
    """
    if reason in _STOPPED:
        return "stop"
    return "length" if reason in _CUT_OFF else whole(reason[:40])


def whole(text: str) -> str:
    """Return text that can be stored: halves of a character are joined, those without their other half replaced.

    Example:
        >>> whole("\\ud83d" + "\\ude00") == "\\U0001f600", whole("\\ud83d") == "\\ufffd"
        (True, True)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def count_of(value: object) -> int | None:
    """Return a number of tokens; None for what cannot be one.

    Example:
        >>> count_of(7), count_of(-1), count_of(True), count_of("7"), count_of(10**30)
        (7, None, None, None, None)
    """
    return value if type(value) is int and 0 <= value < 2**53 else None


def _real(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _garbled(what: str) -> EngineError:
    return EngineError(what, retryable=True)
