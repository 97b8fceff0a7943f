"""The tree of errors. Each message names the thing, the value, the place and the remedy.

EscaladeError
├── InputError          what a person gave: the command line exits with 2
│   ├── RouteError      a routing string; has the position of the offence
│   ├── PoolError       a pool or its file
│   ├── SettingError    a setting of a run: target, stop rule, limits, options of an engine
│   ├── AnswerKindError a kind of answer: its name, its file, what one of your own raised or gave back
│   ├── ProblemError    a problem file, an id
│   ├── ScoreError      a score: its row and column
│   │   └── RefusedScoreError  scores that their probe is too poor for
│   ├── StrategyError   a strategy's name or what it gave back
│   └── TableError      a result table, a recorded pool
├── EngineError         an engine failed on one request; `retryable` or not
├── RequestError        a request that the gateway refuses; has the HTTP status
├── StoreError          the store of samples
└── WeightsError        weights that cannot be fetched, do not match or are not there
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EscaladeError(Exception):
    """Base of everything this package raises on purpose."""


class InputError(EscaladeError):
    """What a person gave cannot be used as it is."""


class RouteError(InputError):
    """A routing string that is not wholly understood.

    `position` is the 0-based index of the first offending character, `offending` the text there, and
    `expected` what the grammar wanted. The message has a caret under the position.
    """

    def __init__(self, route: str, position: int, offending: str, expected: str) -> None:
        self.route, self.position, self.offending, self.expected = route, position, offending, expected
        found = f"found {offending!r}" if offending else "found the end"
        super().__init__(
            f"routing string not understood at position {position}: expected {expected}, {found}\n"
            f"  {_visible(route)}\n  {' ' * len(_visible(route[:position]))}^"
        )

    def __reduce__(self) -> tuple[type[RouteError], tuple[str, int, str, str]]:
        return RouteError, (self.route, self.position, self.offending, self.expected)


def _visible(text: str) -> str:
    """Write text so that no control character can move the caret or hide: as Python would, with both quotes in it."""
    return repr(text + "'\"")[1:-4].replace("\\'", "'")


class PoolError(InputError):
    """A pool, or the file that describes it, cannot be used."""


class SettingError(InputError):
    """A setting of a run is unknown or out of range."""


class AnswerKindError(InputError):
    """A kind of answer is unknown, or one of a person's own lacks a method, raised or gave back what it must not."""


class ProblemError(InputError):
    """A problem file or one of its problems cannot be used."""


class ScoreError(InputError):
    """A score is missing, not a number or outside [0, 1]."""


class RefusedScoreError(ScoreError):
    """Scores that their probe is too poor for: they are there, and refused for routing. `alias` is the model's."""

    def __init__(self, alias: str, reason: str) -> None:
        self.alias = alias
        super().__init__(f"scores of {alias!r} are refused ({reason}): do without them, or train a better probe")


class StrategyError(InputError):
    """A strategy is unknown, or gave back something that is no column of routing strings."""


class TableError(InputError):
    """A table (results, recorded samples) lacks a column or holds what it must not."""


class EngineError(EscaladeError):
    """A request failed at an engine.

    `retryable` says whether trying again can help, `overloaded` that the engine has too many requests, `unreachable`
    that it was not there at all, `refused` that the request itself is at fault, as one that is too long for the model
    is, and `retry_after` how many seconds it asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        overloaded: bool = False,
        unreachable: bool = False,
        refused: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.retryable = retryable or overloaded or unreachable
        self.overloaded, self.unreachable, self.refused = overloaded, unreachable, refused
        self.retry_after = retry_after
        super().__init__(message)

    @property
    def fault(self) -> str:
        """Whose fault it is, in a word: overloaded, unreachable, refused, or failed."""
        for word in ("overloaded", "unreachable", "refused"):
            if getattr(self, word):
                return word
        return "failed"


class RequestError(EscaladeError):
    """A request that the gateway refuses or cannot answer.

    `status` is the HTTP status, `code` a word for programs, `param` the field at fault, and `retry_after` after how
    many seconds trying again can help; None where it cannot, or nobody knows.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str = "invalid_request",
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after
        super().__init__(message)


class StoreError(EscaladeError):
    """The store of samples cannot be opened, or refuses a sample."""


class WeightsError(EscaladeError):
    """Weights cannot be fetched, do not match their sha256, or are not on disk."""


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Return "; did you mean 'x'?" for the known word nearest to `word`, or nothing where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""
