"""Prices: what a model charges, perhaps from one day to another, and the file that a table of them may have.

Which entry is in force depends on the day alone; the day is passed in. This module does not know what a pool is
besides the table of its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from escalade.errors import PoolError, nearest

Amount = Annotated[Decimal, Field(ge=0, le=10**9)]
"""USD per million tokens."""
DECIMALS = 30
"""The most that a price has."""
_DAY = timedelta(days=1)


class Price(BaseModel):
    """What a model charges, in USD per million tokens. 0 is a price; a model without one has unknown cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Amount
    cached: Amount | None = None
    """Prompt tokens served from the cache; the input price where not stated."""
    output: Amount

    @field_validator("input", "cached", "output", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        # TOML floats arrive as binary; their shortest decimal form is what the person wrote.
        return str(value) if isinstance(value, float) else value

    @field_validator("input", "cached", "output")
    @classmethod
    def _bounded(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and -int(value.as_tuple().exponent) > DECIMALS:
            raise ValueError(f"has more than {DECIMALS} decimals; write fewer")
        return value

    @property
    def cached_input(self) -> Decimal:
        """The price of a cached prompt token, in USD per million."""
        return self.input if self.cached is None else self.cached


class DatedPrice(Price):
    """A price in force from one day on: until the day before the next entry, or until a last day of its own.

    Example:
        >>> DatedPrice.model_validate({"from": "2026-01-01", "input": "0.1", "output": "0.4"}).from_
        datetime.date(2026, 1, 1)
    """

    model_config = ConfigDict(populate_by_name=True)

    from_: date = Field(alias="from")
    """The first day."""
    until: date | None = None
    """The last day."""

    @field_validator("from_", "until", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        # A number would be taken for seconds since 1970, a time of day for its day.
        if isinstance(value, str):
            return day_of(value)
        if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
            raise ValueError("is no date: write 2026-01-31")
        return value


def day_of(text: str) -> date:
    """Return the day that a text names, ValueError where it names none.

    Example:
        >>> day_of("2026-01-31")
        datetime.date(2026, 1, 31)
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date: write YYYY-MM-DD, as in 2026-01-31") from error


def ordered(entries: Sequence[DatedPrice]) -> tuple[DatedPrice, ...]:
    """Return the entries by their first days, one in force on each day from the first on.

    Raises:
        ValueError: two overlap, there is a gap between two, or one ends before it begins.
    """
    out = tuple(sorted(entries, key=lambda entry: entry.from_))
    for entry in out:
        if entry.until is not None and entry.until < entry.from_:
            raise ValueError(f"the price from {entry.from_} ends before it begins, on {entry.until}: exchange them")
    for one, two in pairwise(out):
        if one.from_ == two.from_ or (one.until is not None and one.until >= two.from_):
            raise ValueError(
                f"the prices from {one.from_} and from {two.from_} overlap: on {two.from_} both are in force; "
                "let the first end the day before, or leave `until` out"
            )
        if one.until is not None and one.until < two.from_ - _DAY:
            raise ValueError(
                f"no price is in force from {one.until + _DAY} to {two.from_ - _DAY}: add an entry for these days, "
                f"or leave out until = {one.until}"
            )
    return out


def in_force(alias: str, entries: Sequence[DatedPrice], day: date) -> DatedPrice:
    """Return the entry of a model that is in force on a day; the entries are `ordered`.

    Raises:
        ValueError: there is none; it names the model, the day and the remedy.
    """
    found = next((entry for entry in reversed(entries) if entry.from_ <= day), None)
    if found is None:
        why = f"its first price is in force from {entries[0].from_}"
    elif found.until is not None and found.until < day:
        why = f"its last price is in force until {found.until}"
    else:
        return found
    raise ValueError(f"model {alias!r} has no price in force on {day}: {why}; add an entry, or choose another day")


def dated(body: Mapping[str, Any]) -> bool:
    """Whether a model in the table of a pool file has prices with dates."""
    models = body.get("models")
    return isinstance(models, list) and any(isinstance(model, Mapping) and model.get("prices") for model in models)


def with_price_file(body: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table of a pool file with the entries of the price file that it names at its models.

    The price file is a list of [[prices]], each with `model` (alias or full name), `from`, `input`, `output` and
    perhaps `cached` and `until`. Entries of models that the pool does not have are for other pools.

    Raises:
        PoolError: the file cannot be read, an entry names no model, or a model of the pool has no price there.
    """
    path = folder / str(body["prices"])
    entries = _read(path)
    models: list[Any] = []
    given = body.get("models")
    for model in given if isinstance(given, list) else []:
        if not isinstance(model, Mapping):
            models.append(model)
            continue
        words = (model.get("alias"), model.get("name"))
        mine = [{k: v for k, v in entry.items() if k != "model"} for entry in entries if entry["model"] in words]
        alias = model.get("alias")
        if mine and ("price" in model or "prices" in model):
            raise PoolError(f"model {alias!r} has a price in the pool file and in {path} too: give one of them")
        if not mine and "price" not in model and "prices" not in model:
            known = [str(entry["model"]) for entry in entries]
            raise PoolError(
                f"{path} has no price of model {alias!r} ({model.get('name')}): add an entry"
                + nearest(str(model.get("name")), known)
            )
        models.append({**model, "prices": mine} if mine else dict(model))
    return {**{key: value for key, value in body.items() if key != "prices"}, "models": models}


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PoolError(f"price file {path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PoolError(f"price file {path} is not TOML in UTF-8: {error}") from error
    entries = body.get("prices")
    unknown = next((key for key in body if key != "prices"), None)
    if unknown is not None or not isinstance(entries, list) or not entries:
        said = "it has no entry" if unknown is None else f"key {unknown!r} is unknown"
        raise PoolError(f"price file {path}: {said}; it is a list of [[prices]] with model, from, input and output")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
            raise PoolError(f"price file {path}: prices.{number} names no model: add model = an alias or a full name")
    return entries
