"""Recorded samples in the place of models: `replay:FILE`, or `replay:shipped` for the recording in the package.

No model is called. The samples of a problem, model and temperature are drawn in a seeded order, so that every seed
is another run and the same seed the same run, to the last digit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from escalade.engines.base import Demand, Progress, Request, chat_bound
from escalade.errors import EngineError, PoolError, SettingError, TableError
from escalade.pool import ALIAS, Pool, PoolModel
from escalade.samples.recorded import Recording, read_recording, shipped_recording
from escalade.samples.sample import Generation, sample_seed


class Engine:
    """Replays a recording."""

    def __init__(self, argument: str, pool: Pool, *, seed: int) -> None:
        self._recording = open_recording(argument)
        self._seed = seed
        self._names = {model.alias: _recorded_name(self._recording, model) for model in pool.models}
        self._order: dict[tuple[str, str, float], list[Generation]] = {}

    def check(self, demands: Sequence[Demand]) -> None:
        """Refuse models, temperatures, problems and numbers of samples that were not recorded."""
        path = self._recording.path.name
        for demand in demands:
            alias = demand.model.alias
            name = self._names[alias]
            if name is None:
                known = ", ".join(self._recording.models)
                raise TableError(f"recording {path} has no samples of {alias} ({demand.model.name}); it has {known}")
            for problem in demand.problems:
                if (problem, name) not in self._recording.rows:
                    raise TableError(
                        f"recording {path} has no samples of {alias} for problem {problem!r}: "
                        "leave out PROBLEMS to take those it has, or record it first (escalade record)"
                    )
                have = len(self._drawn(problem, name, demand.temperature, alias))
                if have < demand.k:
                    raise TableError(
                        f"the route may ask {demand.k} samples of {alias} at t={demand.temperature:g}, the recording "
                        f"{path} has {have} for problem {problem!r}: lower k (for entropy cascades also --max-k)"
                    )

    def fingerprint(self, model: PoolModel) -> str:
        """The recording and the name in it."""
        return f"replay:{self._recording.fingerprint}:{self._names[model.alias]}"

    def in_flight(self, model: PoolModel) -> int:
        """One after the other: so what settled-early stopping leaves out is never drawn."""
        return 1

    def prompt_bound(self, request: Request) -> int:
        """The recorded number, which is exact; where there is none, as a tokenizer might."""
        recorded = self._lookup(request).prompt_tokens
        return chat_bound(request.messages) if recorded is None else recorded

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Return the sample that this seed puts at the request's index."""
        return self._lookup(request)

    async def rest(self, model: PoolModel) -> None:
        """Records hold nothing."""

    async def close(self) -> None:
        """Nothing to give back."""

    def _lookup(self, request: Request) -> Generation:
        alias = request.model.alias
        if request.stop:
            raise EngineError(f"{alias} is a recording, drawn without stop texts: leave them out", refused=True)
        name = self._names[alias]
        row = [] if name is None else self._drawn(request.problem_id, name, request.temperature, alias)
        if request.index >= len(row):
            raise EngineError(
                f"recording {self._recording.path.name} has {len(row)} samples of {alias} for problem "
                f"{request.problem_id!r}, number {request.index + 1} was asked for"
            )
        return row[request.index]

    def _drawn(self, problem: str, name: str, temperature: float, alias: str) -> list[Generation]:
        """The samples in the order this seed draws them."""
        key = (problem, name, temperature)
        if key not in self._order:
            rows = self._recording.rows.get((problem, name))
            if rows is None:
                return []
            wanted = round(temperature, 6)
            found = [g for t, g in zip(rows.temperatures, rows.generations, strict=True) if t is None or t == wanted]
            if not found:
                have = ", ".join(f"t{t:g}" for t in sorted({t for t in rows.temperatures if t is not None}))
                raise TableError(
                    f"recording {self._recording.path.name} has no samples of {alias} at t{temperature:g} "
                    f"for problem {problem!r}; it has {have}"
                )
            random.Random(sample_seed(self._seed, problem, name, temperature, 0)).shuffle(found)
            self._order[key] = found
        return self._order[key]


def open_recording(argument: str) -> Recording:
    """Return the recording that stands behind `replay:`.

    Raises:
        SettingError: nothing stands there.
        TableError: the file cannot be used.
    """
    if not argument:
        raise SettingError("engine replay needs a recording: replay:FILE, or replay:shipped")
    return read_recording(shipped_recording() if argument == "shipped" else Path(argument))


def recorded_pool(recording: Recording) -> Pool:
    """Return the pool a recording was made with, else one whose aliases are its model names, without prices.

    Example:
        >>> [model.alias for model in recorded_pool(open_recording("shipped")).models]
        ['135M', '0.5B', '1.5B']
    """
    if recording.pool is not None:
        return recording.pool
    models: list[PoolModel] = []
    for name in recording.models:
        # A name with signs that routing strings do not allow keeps its letters.
        alias = name if ALIAS.fullmatch(name) else re.sub(r"[^A-Za-z0-9.+-]+", "-", name).strip("-.+") or "model"
        models.append(PoolModel(alias=alias, name=name, engine="replay"))
    try:
        return Pool(name=recording.path.stem, models=tuple(models))
    except ValueError as error:
        raise PoolError(f"recording {recording.path} has model names that cannot be aliases: {error}") from error


def _recorded_name(recording: Recording, model: PoolModel) -> str | None:
    """The name under which a pool's model was recorded: its alias or its full name."""
    return next((name for name in (model.alias, model.name) if name in recording.models), None)
