"""A kind of answer of one's own: a class or object in a Python file, and what it gives back checked."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from escalade.answers.extract import Answer
from escalade.answers.kinds import Undecided, is_file
from escalade.errors import AnswerKindError, nearest

NEEDED = {"extract": 1, "key": 1, "equal": 2}
"""The methods that a kind must have, with how many arguments they take."""
OPTIONAL = {"surely_different": 2, "accepted": 1}
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Custom:
    """A kind whose methods are somebody's own; what they raise or give back in error is an `AnswerKindError`."""

    name: str
    version: str
    """Its own `version`; empty where it has none."""
    own: Any

    def extract(self, text: str) -> Answer | None:
        """Ask for the answer in a text; the kind may give it as `Answer`, or as text alone (rule "own")."""
        found = self._ask("extract", text)
        if isinstance(found, str):
            found = Answer(found, "own")
        if found is None or (isinstance(found, Answer) and isinstance(found.text, str) and isinstance(found.rule, str)):
            return found if found is not None and found.text.strip() else None
        raise self._wrong("extract", found, "a text, an Answer or None", text)

    def key(self, answer: str) -> str | None:
        """Ask for the key of an answer; an empty one is none."""
        key = self._ask("key", answer)
        if key is None or isinstance(key, str):
            return key or None
        raise self._wrong("key", key, "a text or None", answer)

    def equal(self, a: str, b: str) -> bool:
        """Ask whether two keys are one answer."""
        return self._truth("equal", a, b)

    def surely_different(self, a: str, b: str) -> bool:
        """Ask whether two keys are surely two answers; False where the kind does not say."""
        return hasattr(self.own, "surely_different") and self._truth("surely_different", a, b)

    def accepted(self, gold: str) -> tuple[str, ...]:
        """Ask for the keys that answer a gold answer; its own key where the kind does not say."""
        if not hasattr(self.own, "accepted"):
            key = self.key(gold)
            return () if key is None else (key,)
        keys = self._ask("accepted", gold)
        if isinstance(keys, list | tuple) and all(isinstance(key, str) for key in keys):
            return tuple(key for key in keys if key)
        raise self._wrong("accepted", keys, "a tuple of keys", gold)

    def _truth(self, method: str, a: str, b: str) -> bool:
        given = self._ask(method, a, b)
        if isinstance(given, bool) or type(given).__name__ in ("bool_", "bool"):  # the latter are numpy's
            return bool(given)
        raise self._wrong(method, given, "True or False", a, b)

    def _ask(self, method: str, *arguments: str) -> Any:
        try:
            return getattr(self.own, method)(*arguments)
        except Undecided:
            raise
        except Exception as error:
            raise AnswerKindError(
                f"{self._place(method, arguments)} raised {type(error).__name__}: {_short(str(error))}"
            ) from error

    def _wrong(self, method: str, given: object, expected: str, *arguments: str) -> AnswerKindError:
        return AnswerKindError(f"{self._place(method, arguments)} gave {_short(repr(given))}: give {expected}")

    def _place(self, method: str, arguments: tuple[str, ...]) -> str:
        return f"answer kind {self.name!r}: {method}({', '.join(repr(_short(text)) for text in arguments)})"


def anchored(spec: str, folder: Path) -> str:
    """Return a spec whose path, where it has a relative one, starts at `folder`.

    >>> anchored("math", Path("/data")), anchored("own.py:Own", Path("/data"))
    ('math', '/data/own.py:Own')
    """
    if not is_file(spec):
        return spec
    path, colon, name = spec.rpartition(":") if ".py:" in spec else (spec, "", "")
    return f"{folder / path}{colon}{name}"


def load_kind(spec: str) -> Custom:
    """Return the kind that `path/to/file.py:NAME` points at: an object, or a class that is made without arguments.

    Raises:
        AnswerKindError: no such file or name, the file or the class raises, a method is lacking or cannot be called.
    """
    path, _, name = spec.rpartition(":")
    if not path or not name or not path.endswith(".py"):
        raise AnswerKindError(f"answer kind {spec!r}: give it as path/to/file.py:NAME")
    file = Path(path).resolve()
    try:
        state = file.stat()
    except OSError:
        raise AnswerKindError(f"answer kind {spec!r}: there is no file {file}") from None
    return _made(str(file), name, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=64)
def _made(file: str, name: str, state: tuple[int, int]) -> Custom:
    """Run the file, at most once as long as its `state` is the same."""
    spec = f"{file}:{name}"
    module = _run(file, spec, state)
    own = {n: v for n, v in module.items() if not n.startswith("_") and not inspect.ismodule(v)}
    if name not in module:
        classes = [n for n, v in own.items() if hasattr(v, "extract")]
        has = ", ".join(classes) or "no kind of answer"
        raise AnswerKindError(f"answer kind {spec!r}: there is no {name} in it; it has {has}{nearest(name, own)}")
    thing = module[name]
    if inspect.isclass(thing):
        try:
            thing = thing()
        except Exception as error:
            raise AnswerKindError(
                f"answer kind {spec!r}: {name}() raised {type(error).__name__}: {error}; "
                "give a class that is made without arguments, or an object"
            ) from error
    lacking = [method for method in NEEDED if not hasattr(thing, method)]
    if lacking:
        raise AnswerKindError(
            f"answer kind {spec!r}: {name} lacks {' and '.join(lacking)}; "
            "a kind has extract(text), key(answer) and equal(a, b)"
        )
    for method, count in (NEEDED | OPTIONAL).items():
        if hasattr(thing, method):
            _callable(spec, method, getattr(thing, method), count)
    version = getattr(thing, "version", "")
    if not isinstance(version, str):
        raise AnswerKindError(f"answer kind {spec!r}: version is {version!r:.60}: give a text, or none")
    return Custom(spec, f"{spec} {version}" if version else "", thing)


def _run(file: str, spec: str, state: tuple[int, int]) -> dict[str, Any]:
    private = f"_escalade_kind_{hashlib.sha256(f'{file}{state}'.encode()).hexdigest()[:16]}"
    if private in sys.modules:
        return vars(sys.modules[private])
    found = importlib.util.spec_from_loader(private, SourceFileLoader(private, file))
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[private] = module  # dataclasses in the file look their module up
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[private]
        raise AnswerKindError(f"answer kind {spec!r}: {file} raised {type(error).__name__}: {error}") from error
    return vars(module)


def _callable(spec: str, method: str, given: Callable[..., Any], count: int) -> None:
    if not callable(given) or inspect.iscoroutinefunction(given):
        raise AnswerKindError(f"answer kind {spec!r}: {method} is {given!r:.60}: make it a plain method")
    try:
        inspect.signature(given).bind(*range(count))
    except TypeError as error:
        raise AnswerKindError(
            f"answer kind {spec!r}: {method}{inspect.signature(given)} cannot be called with {count} "
            f"{'texts' if count > 1 else 'text'}: {error}"
        ) from error
    except ValueError:  # of a function written in C nothing is known
        return


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
