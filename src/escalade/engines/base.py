"""What an engine is: anything that turns a sample request into a generation.

A further engine is one file in this folder (or one folder): `engines/NAME.py` with a class `Engine` that has these
methods; pools and the command line then know it as `NAME` (or `NAME:ARGUMENT`). One that takes settings as a whole, the
table `[engines.NAME]` of a pool, has a class `Settings` beside it and checks them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from escalade.errors import SettingError, nearest
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation


@dataclass(frozen=True, slots=True)
class Request:
    """One request is one sample."""

    problem_id: str
    messages: Sequence[Mapping[str, str]]
    model: PoolModel
    temperature: float
    max_tokens: int
    index: int
    """Which of the samples of this problem, model and temperature."""
    seed: int
    stop: tuple[str, ...] = ()
    """The text ends before the first of these."""


class Progress:
    """Raw token counts of a request under way; the engine keeps them up to date, so that what a cancelled request
    has used is known.

    `on_first` is called, from whatever thread, when the first completion token is there.
    """

    __slots__ = ("_completion_tokens", "_on_first", "cached_tokens", "prompt_tokens")

    def __init__(
        self,
        prompt_tokens: int | None = None,
        cached_tokens: int | None = None,
        completion_tokens: int = 0,
        on_first: Callable[[], None] | None = None,
    ) -> None:
        self.prompt_tokens, self.cached_tokens = prompt_tokens, cached_tokens
        self._completion_tokens = completion_tokens
        self._on_first = on_first

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        return self._completion_tokens

    @completion_tokens.setter
    def completion_tokens(self, count: int) -> None:
        first = self._on_first is not None and count and not self._completion_tokens
        self._completion_tokens = count
        if first and self._on_first is not None:
            self._on_first()

    def _counts(self) -> tuple[int | None, int | None, int]:
        return self.prompt_tokens, self.cached_tokens, self._completion_tokens

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Progress) and self._counts() == other._counts()

    __hash__ = None  # type: ignore[assignment] # its counts change

    def __repr__(self) -> str:
        return "Progress(prompt_tokens={}, cached_tokens={}, completion_tokens={})".format(*self._counts())


@dataclass(frozen=True, slots=True)
class Demand:
    """The most a run may ask of one model at one temperature, told to the engine before anything is drawn."""

    model: PoolModel
    temperature: float
    k: int
    problems: Sequence[str]
    """Ids."""


@runtime_checkable
class Engine(Protocol):
    """Turns requests into generations."""

    def __init__(self, argument: str, pool: Pool, *, seed: int) -> None:
        """`argument` is what stands behind the colon of the engine's name; "" if nothing does."""

    def check(self, demands: Sequence[Demand]) -> None:
        """Refuse, before anything is drawn, what this engine cannot give; an InputError or WeightsError says why."""

    def fingerprint(self, model: PoolModel) -> str:
        """Identity of what answers: equal fingerprints mean that samples may be shared."""

    def in_flight(self, model: PoolModel) -> int:
        """How many requests of a model may be under way at once."""

    def prompt_bound(self, request: Request) -> int:
        """An upper bound on the prompt's tokens, for reserving money before it is spent."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Return one generation. Cancelling the task that awaits it stops the generation at the engine.

        Raises:
            EngineError: the request failed; `retryable` says whether trying again can help.
        """

    async def rest(self, model: PoolModel) -> None:
        """A model is not asked for a while, as another needs its device: give back what can be had again."""

    async def close(self) -> None:
        """Give back what the engine holds."""


def engine_names() -> list[str]:
    """Return the names of the engines there are."""
    import escalade.engines as package

    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base")


def open_engine(spec: str, pool: Pool, *, seed: int) -> Engine:
    """Return the engine that `NAME` or `NAME:ARGUMENT` names.

    Raises:
        SettingError: no such engine, or the pool has settings for one that takes none.
    """
    name, _, argument = spec.partition(":")
    known = engine_names()
    if name not in known:
        raise SettingError(
            f"engine {name!r} is not in this version, which has {', '.join(known)}{nearest(name, known, cutoff=0.6)}; "
            "name another in the pool or with --engine, or look without one: escalade route"
        )
    module = importlib.import_module(f"escalade.engines.{name}")
    if (given := pool.engines.get(name)) and not hasattr(module, "Settings"):
        raise SettingError(
            f"pool {pool.name}: engine {name} takes no settings, found {', '.join(given)} in [engines.{name}]; what it "
            "does with a model is said in options of the model"
        )
    engine: Engine = module.Engine(argument, pool, seed=seed)
    return engine


def chat_bound(messages: Sequence[Mapping[str, str]]) -> int:
    """Return an upper bound on the tokens of chat messages: byte-level tokenizers give at most one token a byte;
    the template adds a few per message, and perhaps a default system text."""
    return sum(len(m["content"].encode()) + 16 for m in messages) + 64
