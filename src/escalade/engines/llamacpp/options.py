"""Options of a model, and settings of the engine as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from escalade.errors import SettingError
from escalade.pool import Pool, PoolModel

GB = 10**9
"""Bytes."""
_Checked = TypeVar("_Checked", bound=BaseModel)


class Options(BaseModel):
    """Options of a model served by llama.cpp."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: int = Field(default=8, ge=1)
    """Requests under way at once."""
    context: int = Field(default=2048, ge=64)
    """Tokens of prompt and answer together, per slot."""
    threads: int = Field(default_factory=lambda: os.cpu_count() or 2, ge=1)
    memory: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    """GB that the model takes, where that is known better than it can be estimated."""


class Settings(BaseModel):
    """Settings of the engine: the table `[engines.llamacpp]` of a pool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    """GB that all loaded models may take together; None is no limit."""

    @property
    def limit(self) -> int | None:
        """The same in bytes."""
        return None if self.memory is None else int(self.memory * GB)


def options_of(model: PoolModel) -> Options:
    """Return the options of a model.

    Raises:
        SettingError: one is unknown or wrong.
    """
    return _checked(Options, model.options, f"model {model.alias}: option")


def settings_of(pool: Pool) -> Settings:
    """Return the engine's settings of a pool.

    Raises:
        SettingError: one is unknown or wrong.

    Example:
        >>> from escalade.pool import Pool, PoolModel
        >>> pool = Pool(name="mine", models=(PoolModel(alias="M", name="M"),), engines={"llamacpp": {"memory": 6.0}})
        >>> settings_of(pool).limit
        6000000000
    """
    return _checked(Settings, pool.engines.get("llamacpp", {}), f"pool {pool.name}: setting")


def _checked(kind: type[_Checked], given: Mapping[str, Any], what: str) -> _Checked:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingError(f"{what} {place!r} of engine llamacpp: {first['msg']}") from error
