"""Bodies: what a request may say, and what of it is honoured or refused.

Nothing is ignored: a field that this server does not know, or a value that it cannot keep, is an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, Tag, ValidationError, field_validator

from escalade.complaints import complaints
from escalade.errors import RequestError

Text = Annotated[str, Field(strict=True)]
AnyBody = TypeVar("AnyBody", bound=BaseModel)


def _form(value: object) -> str:
    return "<list>" if isinstance(value, list) else "<text>"


# In angle brackets, so that no tag is taken for a key of the body.
def _text_or(many: Any) -> Any:
    """A text, or a list in its place."""
    return Annotated[
        Annotated[str, Field(strict=True), Tag("<text>")] | Annotated[many, Tag("<list>")], Discriminator(_form)
    ]


Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Nothing = Annotated[float, Field(ge=0, le=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
MOST_CHOICES = 64
"""Choices that one request may ask for."""


class Strict(BaseModel):
    """A table of a body; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Message(Strict):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: _text_or(list[TextPart]) | None = None  # type: ignore[valid-type] # a form of fields, made once
    name: None = None
    """No model here is told of names."""
    refusal: None = None
    """As replies have it, and as clients send them back; so with the others."""
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content or ())


class StreamOptions(Strict):
    """What a stream says besides the text."""

    include_usage: StrictBool = False
    """A last chunk has the usage."""
    include_progress: StrictBool = False
    """Chunks without choices say how the request climbs: tiers, votes so far, decisions."""


class Extra(Strict):
    """The object `escalade` of a request: what other servers do not have."""

    answer_kind: Text | None = None
    """What kind of answer the problem has; the pool's where it is not given. `free` has no vote."""
    budget_usd: Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=18)] | None = None
    """The most that the answer may cost."""
    deadline: Annotated[float, Field(gt=0, le=86_400, strict=True)] | None = None
    """Seconds, after which the best answer so far is the answer."""
    latency_target: Annotated[float, Field(gt=0, le=86_400, strict=True)] | None = None
    """Seconds in which an answer is hoped for: see `escalade.climb.Own`."""
    scores: Annotated[dict[str, Share], Field(max_length=100)] | None = None
    """Success predicted before generation, by model alias."""
    target: Share | None = None
    """Target confidence; the server's where it is not given."""


class _Body(Strict):
    model: Annotated[str, Field(min_length=1, max_length=2000, strict=True)]
    """A routing string, an alias or full name, auto, auto:STRATEGY, or the name of a policy."""
    max_tokens: Count | None = None
    """Of each sample; the pool's limit where that is lower."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES, strict=True)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None
    """Of the samples; the server's where it is not given."""
    stop: _text_or(Annotated[list[Text], Field(max_length=4)]) | None = None  # type: ignore[valid-type]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    """Of a route that names a single model; that of a vote or cascade stands in the route."""
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    """Taken where it is the pool's."""
    frequency_penalty: Nothing | None = None
    presence_penalty: Nothing | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    user: Text | None = None
    """Goes into the log of events."""
    top_logprobs: None = None
    service_tier: Literal["auto", "default"] | None = None
    """There is one."""
    escalade: Extra | None = None

    @property
    def extra(self) -> Extra:
        """What the request wants that other servers do not have."""
        return self.escalade or Extra()

    @field_validator("stop")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if value == "" or (isinstance(value, list) and "" in value):
            raise ValueError("an empty text would end every sample before its first token")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts before which a sample ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class TextFormat(Strict):
    """The only format of responses there is."""

    type: Literal["text"]


class ChatBody(_Body):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Count | None = None
    """The newer name of max_tokens."""
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: StrictBool | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    reasoning_effort: None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    """Goes into the log of events."""
    store: Literal[False] | None = None


class CompletionBody(_Body):
    """The body of /v1/completions."""

    prompt: _text_or(Annotated[list[Text], Field(min_length=1, max_length=1)])  # type: ignore[valid-type]
    """One problem."""
    echo: Literal[False] | None = None
    best_of: Annotated[int, Field(ge=1, le=1, strict=True)] | None = None
    logprobs: None = None
    suffix: None = None


Body = ChatBody | CompletionBody


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks: the problem, and what was said before it."""

    problem: str
    conversation: tuple[tuple[str, str], ...]
    max_tokens: int | None

    @property
    def size(self) -> int:
        """Bytes of all its texts."""
        return len(self.problem.encode()) + sum(len(content.encode()) for _, content in self.conversation)


def read_chat(raw: bytes) -> ChatBody:
    """Return the body of a chat request.

    Raises:
        RequestError: it is no JSON, or a field is unknown, lacking or cannot be honoured; all of them are named.
    """
    return _read(ChatBody, raw)


def read_completion(raw: bytes) -> CompletionBody:
    """Return the body of a completion request.

    Raises:
        RequestError: as `read_chat`.
    """
    return _read(CompletionBody, raw)


def asked_in(body: Body) -> Asked:
    """Return the problem of a body: the last user message, or the prompt.

    Raises:
        RequestError: the conversation does not end with a user's message, or the problem is empty.
    """
    if body.stream_options is not None and not body.stream:
        raise RequestError("stream_options say what a stream tells, and stream is false", param="stream_options")
    if isinstance(body, CompletionBody):
        prompt = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
        return Asked(_some(prompt, "prompt"), (), body.max_tokens)
    *before, last = body.messages
    if last.role != "user":
        raise RequestError(
            f"the last message is of the role {last.role!r}: the problem is the last message, of the role 'user'",
            param=f"messages.{len(before)}.role",
        )
    most, newer = body.max_tokens, body.max_completion_tokens
    if most is not None and newer is not None and most != newer:
        raise RequestError(
            f"max_tokens is {most} and max_completion_tokens {newer}: they mean the same; give one",
            param="max_completion_tokens",
        )
    said = tuple(("system" if m.role == "developer" else m.role, m.text) for m in before)
    return Asked(_some(last.text, f"messages.{len(before)}.content"), said, newer if most is None else most)


def _some(text: str, param: str) -> str:
    if not text.strip():
        raise RequestError(f"{param} is empty: give the problem as a text", param=param)
    return text


def _read(kind: type[AnyBody], raw: bytes) -> AnyBody:
    try:
        given = json.loads(raw.decode())  # as bytes, other encodings would be guessed
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8: byte {error.start} is {raw[error.start]:#04x}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise RequestError(f"the body is no JSON object, but {str(given)[:40]!r}")
    if b"\\u" in raw and (place := _broken(given)) is not None:
        raise RequestError(f"{place} has half a surrogate pair in it: send whole signs", param=place)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        said = [_with_remedy(each) for each in complaints(error, given, _KEYS_OF, kind)]
        place = ".".join(str(part) for part in error.errors()[0]["loc"] if not str(part).startswith("<"))
        raise RequestError("; ".join(said[:5]), param=place or None) from None


_KEYS_OF: Mapping[str, type[BaseModel]] = {
    "content": TextPart,
    "escalade": Extra,
    "messages": Message,
    "response_format": TextFormat,
    "stream_options": StreamOptions,
}
_REMEDIES: Mapping[str, str] = {
    "best_of": "a routing string says how many samples there are and how one is chosen: name one as model",
    "frequency_penalty": "no engine here is told of it: leave it out",
    "logit_bias": "no engine here is told of it: leave it out",
    "logprobs": "there are none of an answer that several samples vote on: leave it out",
    "name": "names of speakers are not passed on to models: leave name out",
    "presence_penalty": "no engine here is told of it: leave it out",
    "response_format": "only text is given: leave it out",
    "store": "samples are kept as the server was told at its start: leave it out",
    "functions": "models here call no tools: leave it out",
    "tools": "models here call no tools: leave it out",
}


def _broken(value: Any, place: str = "") -> str | None:
    """Where a text stands that is no Unicode; JSON can escape halves of signs."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return place or "body"
    elif isinstance(value, dict):
        for key, part in value.items():
            inner = f"{place}.{key}" if place else str(key)
            if (found := _broken(key, place) or _broken(part, inner)) is not None:
                return found
    elif isinstance(value, list):
        for number, part in enumerate(value):
            if (found := _broken(part, f"{place}.{number}")) is not None:
                return found
    return None


def _with_remedy(complaint: str) -> str:
    path = complaint.partition(":")[0].split(".")
    remedy = _REMEDIES.get(path[-1]) or _REMEDIES.get(path[0])
    return complaint if remedy is None else f"{complaint}; {remedy}"
