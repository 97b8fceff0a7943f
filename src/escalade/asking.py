"""Asking: how a wish of a climb becomes a request to an engine, and what came of it a record of the store.

This module does not decide when something is asked, nor what is made of the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from escalade import ledger
from escalade.answers.kinds import Kind, kind_of
from escalade.climb import Climb, Drawing, Task, Wish
from escalade.engines.base import Engine, Progress, Request
from escalade.errors import EngineError, EscaladeError, SettingError
from escalade.limits import Amount
from escalade.pool import Pool, PoolModel
from escalade.problems import Problem
from escalade.samples.sample import Sample, read, sample_seed
from escalade.samples.store import Attempt, Key, Stored

_REMEMBERED = 4096
"""Parameters of samples, and kinds of answers, that are kept in memory."""


@dataclass(slots=True)
class Event:
    """What came of a request: a sample, an attempt, or neither where the engine had not been asked yet."""

    wish: Wish
    stored: Stored | None = None
    attempt: Attempt | None = None
    failure: str | None = None
    """Why the engine failed."""
    error: EngineError | None = None
    """How it failed, where it said so: then trying again may help."""


class Asking:
    """What a run asks of the engines, and under which keys the store has it."""

    def __init__(self, pool: Pool, engine_of: Callable[[PoolModel], Engine], seed: int) -> None:
        self._pool, self._engine_of, self._seed = pool, engine_of, seed
        self._params: dict[tuple[str, float, int | None, int, tuple[str, ...]], str] = {}
        self._fingerprints: dict[str, str] = {}
        self._kinds: dict[str, Kind] = {}

    def capacity(self, alias: str) -> int:
        """Return how many requests of a model may be under way."""
        model = self._pool[alias]
        return self._engine_of(model).in_flight(model)

    async def rest(self, alias: str) -> None:
        """Tell an engine that a model is not asked for a while."""
        model = self._pool[alias]
        await self._engine_of(model).rest(model)

    def refuse_unpriced(self, tasks: Iterable[Task]) -> None:
        """Refuse a limit of money for tasks that may use a model without a price, or have scores of unknown cost."""
        tasks = list(tasks)
        unknown = next(((t, each) for t in tasks for each in t.scoring if each.cost.usd is None), None)
        if unknown is not None:
            task, score = unknown
            raise SettingError(
                f"money is limited, but what the score of {score.alias} for problem {task.problem.id!r} cost is "
                "unknown: give the scores their cost (0 is one), or limit samples or seconds"
            )
        aliases = {tier.model for task in tasks if task.route is not None for tier in task.route.tiers}
        lacking = [alias for alias in self._pool.aliases if alias in aliases and self._pool[alias].price is None]
        if lacking:
            raise SettingError(
                f"money is limited, but {', '.join(lacking)} of pool {self._pool.name!r} has no price, so its cost is "
                "unknown: give the model a price in the pool file (0 is one), or limit samples or seconds"
            )

    def key(self, climb: Climb, position: int) -> Key:
        """Return the key of a tier's samples."""
        return self._drawing(climb, position).key

    def request(self, climb: Climb, position: int, index: int) -> Request:
        """Return the request for one sample of a tier."""
        drawing = self._drawing(climb, position)
        model, temperature = drawing.model, drawing.temperature
        own = climb.task.own
        run_seed = self._seed if own.seed is None else own.seed
        seed = sample_seed(run_seed, climb.fingerprint, model.name, temperature, index)
        ident, messages, most = climb.task.problem.id, drawing.messages, drawing.max_tokens
        return Request(ident, messages, model, temperature, most, index, seed, own.stop)

    def worst(self, climb: Climb, position: int) -> Amount:
        """Return the most that one request of a tier can use; where money is limited, every model has a price."""
        drawing = self._drawing(climb, position)
        if drawing.worst is None:
            request, price = self.request(climb, position, 0), drawing.model.price
            usd = Decimal(0)
            if price is not None:
                bound = self._engine_of(request.model).prompt_bound(request)
                usd = ledger.worst(bound, request.max_tokens, price)
            drawing.worst = Amount(usd, request.max_tokens, 1)
        return drawing.worst

    def _drawing(self, climb: Climb, position: int) -> Drawing:
        """What the requests of a tier have in common, made once."""
        drawing = climb.drawings[position]
        if drawing is None:
            tier = climb.route.tiers[position]
            model = self._pool[tier.model]
            if tier.model not in self._fingerprints:
                self._fingerprints[tier.model] = self._engine_of(model).fingerprint(model)
            own, problem = climb.task.own, climb.task.problem
            most = self._pool.max_tokens_of(model)
            if own.max_tokens is not None:
                most = min(most, own.max_tokens)
            place = (tier.model, tier.temperature, own.seed, most, own.stop)
            if place not in self._params:
                if len(self._params) > _REMEMBERED:
                    self._params.clear()
                seed = self._seed if own.seed is None else own.seed
                self._params[place] = params_of(
                    self._pool, model, tier.temperature, seed, max_tokens=most, stop=own.stop
                )
            key = Key(climb.fingerprint, self._fingerprints[tier.model], self._params[place])
            messages = self._pool.prompt_of(model).messages(problem.text, problem.conversation)
            drawing = Drawing(key, model, tier.temperature, messages, most)
            climb.drawings[position] = drawing
        return drawing

    def start(self, wish: Wish, happened: Callable[[Event], None], on_first: Callable[[], None] | None = None) -> None:
        """Ask an engine for a sample, once; `happened` is told what comes of it, however it ends.

        `on_first` is called, from whatever thread, at its first token.
        """
        # What can fail for a fault of the row fails here: in the task an error would be the engine's.
        request = self.request(wish.climb, wish.tier, wish.index)
        wish.progress = progress = Progress(on_first=on_first)
        wish.at_engine = False
        wish.job = asyncio.get_running_loop().create_task(self._ask(wish, request, progress, happened))

    async def _ask(self, wish: Wish, request: Request, progress: Progress, happened: Callable[[Event], None]) -> None:
        # The end is told here and not in a callback of the task, which would cost the loop another turn.
        if wish.unwanted:
            happened(Event(wish))
            return
        wish.at_engine = True
        try:
            generation = await self._engine_of(request.model).sample(request, progress)
        except asyncio.CancelledError:
            happened(Event(wish, attempt=self._attempt(wish, "cancelled", "no longer wanted")))
            raise
        except BaseException as error:
            # An engine may be anybody's: its fault, whatever it is, is this row's and not the run's.
            reason = said(wish, error)
            known = error if isinstance(error, EngineError) else None
            attempt = self._attempt(wish, "error", reason if known is None else str(error))
            happened(Event(wish, attempt=attempt, failure=reason, error=known))
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        else:
            happened(
                Event(
                    wish,
                    Stored(
                        self.key(wish.climb, wish.tier),
                        wish.index,
                        request.seed,
                        request.problem_id,
                        request.model.name,
                        request.temperature,
                        wish.climb.job,
                        generation,
                    ),
                )
            )

    def _attempt(self, wish: Wish, kind: str, message: str) -> Attempt:
        key, used = self.key(wish.climb, wish.tier), wish.progress or Progress()
        return Attempt(
            key,
            wish.index,
            kind,
            message,
            wish.climb.job,
            used.prompt_tokens,
            used.cached_tokens,
            used.completion_tokens,
        )

    def kind(self, problem: Problem) -> Kind:
        """Return what kind of answer a problem has: its own, else the pool's."""
        spec = problem.answer_kind or self._pool.answer_kind
        if spec not in self._kinds:  # one for the whole run, even if its file changes meanwhile
            if len(self._kinds) > _REMEMBERED:
                self._kinds.clear()
            self._kinds[spec] = kind_of(spec)
        return self._kinds[spec]

    def read(self, stored: Stored, problem: Problem) -> Sample:
        """Return the sample that a record of a problem holds."""
        return read(stored.index, stored.generation, kind=self.kind(problem), seed=stored.seed)


def said(wish: Wish, error: BaseException | str) -> str:
    """Return what went wrong at an engine, as a note of an outcome."""
    name = "" if isinstance(error, EscaladeError | str) else f"{type(error).__name__}: "
    return f"{wish.climb.route.tiers[wish.tier].model}: {name}{error}"


def params_of(
    pool: Pool,
    model: PoolModel,
    temperature: float,
    seed: int,
    *,
    max_tokens: int | None = None,
    stop: Sequence[str] = (),
) -> str:
    """Return the fingerprint of prompt and sampling parameters: samples with the same may stand for each other.

    The run seed is one of them but for greedy samples, which no seed changes.
    """
    parts = {
        "prompt": pool.prompt_of(model).fingerprint,
        "temperature": temperature,
        "max_tokens": pool.max_tokens_of(model) if max_tokens is None else max_tokens,
        "top_p": model.top_p,
        "top_k": model.top_k,
        "seed": seed if temperature > 0 else None,
        **({"stop": list(stop)} if stop else {}),
    }
    return json.dumps(parts, sort_keys=True)
