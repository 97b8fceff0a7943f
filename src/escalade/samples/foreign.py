"""Foreign samples: generations that another tool has drawn, with all that its files say of how.

What a file does not say stays None; nothing is assumed here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from escalade.errors import TableError
from escalade.pool import Pool
from escalade.samples.sample import Generation

Messages = tuple[tuple[str, str], ...]
"""Role and content of each message."""
SEED, LOGPROB = "escalade_seed", "escalade_mean_logprob"
"""Fields of logs that we have written, for what those have no place for."""
_MOST = 2**53
"""Above it, numbers of tokens are no numbers of tokens."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a generation was drawn with; None is not stated."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    """Texts that end a generation."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """One generation of another tool."""

    place: str
    """File and row, for messages."""
    tool: str
    origin: str
    """Within what its problem ids are unique: a file, or a task."""
    identity: str
    """The same for the same generation, however often its file is read or converted."""
    model: str | None
    problem_id: str
    messages: Messages | None
    """What the model was sent; None where that is not known."""
    question: str | None
    """The problem's text as its data set has it."""
    gold: str | None
    index: int
    """Which of the samples of this problem, from 0 on."""
    settings: Settings
    generation: Generation
    complete: bool
    """Whether the file says why the generation ended."""
    pool: Pool | None = None
    """The pool it was drawn with, where the file carries it: this says all settings."""
    seed: int | None = None
    """Of a sample of ours that comes back from a log; else the store has one made of the identity."""

    def at(self, temperature: float) -> Foreign:
        """Return the same, drawn at this temperature."""
        return replace(self, settings=replace(self.settings, temperature=temperature))

    def sayable(self) -> Foreign:
        """Return the same with names and texts that can be hashed and printed: no halves of surrogate pairs."""
        messages = self.messages
        if messages is not None:
            messages = tuple((clean(role), clean(content)) for role, content in messages)
        return replace(
            self,
            place=clean(self.place),
            model=None if self.model is None else clean(self.model),
            problem_id=clean(self.problem_id),
            messages=messages,
            question=None if self.question is None else clean(self.question),
            gold=None if self.gold is None else clean(self.gold),
        )


class Skipped(NamedTuple):
    """A row that holds no generation, or one that is there already."""

    place: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.why}"


def clean(text: str) -> str:
    """Return a text without halves of surrogate pairs, which stand in it as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def load_json(text: str | bytes, place: str) -> Any:
    """Return what a JSON text says.

    Raises:
        TableError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{place}: not JSON: {str(error)[:200]}") from error


def part(record: Any, *names: str | int, default: Any = None) -> Any:
    """Return the value behind a path of names and positions, `default` where it does not lead on.

    Example:
        >>> part({"choices": [{"stop_reason": "stop"}]}, "choices", 0, "stop_reason")
        'stop'
    """
    for name in names:
        if isinstance(name, int):
            if not isinstance(record, list) or not 0 <= name < len(record):
                return default
            record = record[name]
        elif isinstance(record, dict) and record.get(name) is not None:
            record = record[name]
        else:
            return default
    return record


def count_of(value: Any) -> int | None:
    """Return a number of tokens, None for all that is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < _MOST else None


def seed_of(value: Any) -> int | None:
    """Return a seed of 63 bits, None for all that is none."""
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def number_of(value: Any) -> float | None:
    """Return a finite number, None for all that is none."""
    if type(value) not in (int, float) or not abs(value) < _MOST:
        return None
    return float(value)


def messages_of(value: Any) -> Messages | None:
    """Return messages given as objects with role and content; None where they are anything else."""
    if not isinstance(value, list) or not value:
        return None
    pairs = [(part(message, "role"), content_of(part(message, "content", default=""))) for message in value]
    found = [(role, content) for role, content in pairs if isinstance(role, str) and content is not None]
    return tuple(found) if len(found) == len(pairs) else None


def content_of(value: Any) -> str | None:
    """Return the text of a message, given as such or as a list of parts of which all but reasoning are text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    kinds = [(part(piece, "type"), part(piece, "text", default="")) for piece in value]
    if any(kind not in ("text", "reasoning") or not isinstance(text, str) for kind, text in kinds):
        return None
    return "\n".join(text for kind, text in kinds if kind == "text")


def one_text(value: Any) -> str | None:
    """Return a gold answer: a text, or the only one of a list; None where there are several."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value) or None
