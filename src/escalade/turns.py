"""Turns: models of one device (`gpu` in the pool) have it one after the other, each until it has nothing left to do."""

from __future__ import annotations

from collections.abc import Set

from escalade.pool import Pool


class Turns:
    """Who has which device.

    A model without a `gpu` has one of its own, always. The others begin in the order of the pool.
    """

    def __init__(self, pool: Pool) -> None:
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
        return self._holder.get(self._device.get(alias, ""), alias) == alias

    def pass_on(self, busy: Set[str]) -> list[str]:
        """Pass on each device whose model is not busy to the next that is; return the models that gave one up."""
        gave: list[str] = []
        for gpu, holder in self._holder.items():
            if holder in busy:
                continue
            aliases = self._models[gpu]
            place = aliases.index(holder)
            following = [*aliases[place + 1 :], *aliases[:place]]
            heir = next((alias for alias in following if alias in busy), None)
            if heir is not None:
                self._holder[gpu] = heir
                gave.append(holder)
        return gave
