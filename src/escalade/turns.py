"""Turns: models of one device (`gpu` in the pool) have it one after the other, each until it has nothing left to do.

Where requests never end, as those of a server, it is sent nothing more once others have waited for some time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set

from escalade.pool import Pool


class Turns:
    """Who has which device.

    A model without a `gpu` has one of its own, always. The others begin in the order of the pool.

    Args:
        pool: the models.
        patience: seconds for which others wait before the model that has a device must let it go.
        now: the clock, in seconds; asked where there is a patience.
    """

    def __init__(self, pool: Pool, *, patience: float = math.inf, now: Callable[[], float] = lambda: 0.0) -> None:
        self._patience, self._now = patience, now
        self._since: dict[str, float] = {}
        """By device: since when others have waited for it."""
        self._device = {model.alias: model.gpu for model in pool.models if model.gpu is not None}
        self._models: dict[str, list[str]] = {}
        for alias, gpu in self._device.items():
            self._models.setdefault(gpu, []).append(alias)
        self._models = {gpu: aliases for gpu, aliases in self._models.items() if len(aliases) > 1}
        self._holder = {gpu: aliases[0] for gpu, aliases in self._models.items()}

    @property
    def shared(self) -> bool:
        """Whether any device is shared."""
        return bool(self._models)

    def has(self, alias: str) -> bool:
        """Whether a model may be asked now."""
        gpu = self._device.get(alias, "")
        return self._holder.get(gpu, alias) == alias and not self._must_go(gpu)

    def _must_go(self, gpu: str) -> bool:
        return gpu in self._since and self._now() - self._since[gpu] >= self._patience

    def pass_on(self, busy: Set[str], running: Set[str] = frozenset()) -> list[str]:
        """Pass on each device whose model is not busy to the next that is; return the models that gave one up.

        One that others have waited for is passed on as soon as nothing is `running` there.
        """
        gave: list[str] = []
        for gpu, holder in self._holder.items():
            aliases = self._models[gpu]
            if any(alias in busy for alias in aliases if alias != holder):
                self._since.setdefault(gpu, self._now())
            else:
                self._since.pop(gpu, None)
            if holder in busy and not (self._must_go(gpu) and holder not in running):
                continue
            place = aliases.index(holder)
            following = [*aliases[place + 1 :], *aliases[:place]]
            heir = next((alias for alias in following if alias in busy), None)
            if heir is not None:
                self._holder[gpu] = heir
                self._since.pop(gpu, None)
                gave.append(holder)
        return gave
