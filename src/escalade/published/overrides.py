"""A pool with some of its settings replaced: prices, billing, engine options, requests in flight, token limits.

What cannot take effect is refused by name; nothing that was given is left out silently.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from escalade.engines.base import engine_names
from escalade.errors import SettingError, nearest
from escalade.ledger import Billing
from escalade.pool import Pool, PoolModel, Price

SLOTS = "slots"
"""The option that says how many requests an engine keeps under way at once."""
_PUBLISHED_PRICES = {"input_per_mill": "input", "cached_input_per_mill": "cached", "output_per_mill": "output"}


def override(
    pool: Pool,
    *,
    engine: str | None = None,
    prices: Mapping[str, Any] | None = None,
    billing: Billing | None = None,
    options: Mapping[str, Any] | None = None,
    slots: Mapping[str, int] | None = None,
    max_tokens: int | None = None,
) -> Pool:
    """Return the pool with these settings in the place of its own; models are named by alias or full name.

    Args:
        pool: the pool, which stays as it is.
        engine: the name of the engine that answers, where it is not the models' own.
        prices: per model {"input": USD per million tokens, "output": ..., perhaps "cached": ...}, or an entry of the
            published catalogue, whose {"model_costs": {"input_per_mill": ..., ...}} is read; 0 is a price.
        billing: how the prompt of k samples is charged.
        options: per model the options of its engine, as a mapping or a dataclass.
        slots: per model how many requests may be under way; engines without slots (replay) have no use for it.
        max_tokens: of every sample of every model.

    Raises:
        SettingError: a model that is not in the pool, an option that the engine does not have, a price that is none.

    Example:
        >>> from escalade.pool import load_pool
        >>> override(load_pool("qwen2.5-math"), prices={"7B": {"input": 0, "output": 0}})["7B"].price.output
        Decimal('0')
    """
    chosen: dict[str, dict[str, Any]] = {model.alias: {} for model in pool.models}
    for word, price in (prices or {}).items():
        if word not in pool and isinstance(price, Mapping) and "model_costs" in price:
            continue  # the published catalogue has more models than any pool
        model = _model(pool, word, "prices")
        chosen[model.alias]["price"] = _price(model, price)
    merged: dict[str, dict[str, Any]] = {}
    for word, given in (options or {}).items():
        model = _model(pool, word, "options")
        spec = engine or model.engine
        merged[model.alias] = {**model.options, **_options(model, given, spec)}
    for word, number in (slots or {}).items():
        model = _model(pool, word, "batch sizes")
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"the batch size of {model.alias} is {number!r}: give an integer >= 1")
        if SLOTS in _known(engine or model.engine):
            merged[model.alias] = {**merged.get(model.alias, dict(model.options)), SLOTS: number}
    for alias, changed in merged.items():
        chosen[alias]["options"] = changed
    fields = {name: getattr(pool, name) for name in Pool.model_fields}
    if max_tokens is not None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise SettingError(f"max_tokens is {max_tokens!r}: give an integer >= 1")
        fields["max_tokens"] = max_tokens
        for changes in chosen.values():
            changes["max_tokens"] = None
    if billing is not None:
        fields["billing"] = billing
    fields["models"] = tuple(model.model_copy(update=chosen[model.alias]) for model in pool.models)
    # Made anew and not copied: a copied pool would go on finding the old models by name.
    return Pool(**fields)


def _model(pool: Pool, word: str, what: str) -> PoolModel:
    if word not in pool:
        raise SettingError(f"{what} are given for an {pool.unknown(word)}")
    return pool[word]


def _price(model: PoolModel, given: Any) -> Price:
    if isinstance(given, Price):
        return given
    if isinstance(given, Mapping) and "model_costs" in given:
        given = given["model_costs"]
    try:
        return Price.model_validate({_PUBLISHED_PRICES.get(name, name): value for name, value in given.items()})
    except (AttributeError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        said = "no mapping" if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise SettingError(
            f"the price of {model.alias} is {given!r}: {said}; give input and output in USD per million tokens"
        ) from error


def _options(model: PoolModel, given: Any, spec: str) -> dict[str, Any]:
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        given = dataclasses.asdict(given)
    if not isinstance(given, Mapping):
        raise SettingError(f"the options of {model.alias} are {given!r}: give a mapping of names to values")
    known = _known(spec)
    name = spec.partition(":")[0]
    for option in given:
        if option not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise SettingError(
                f"model {model.alias}: engine {name!r} has no option {option!r} ({has}{nearest(str(option), known)})"
            )
    return dict(given)


def _known(spec: str) -> set[str]:
    """The names of an engine's options; none where its module declares none or it was not opened by name."""
    name = spec.partition(":")[0]
    if name not in engine_names():
        return set()
    module = importlib.import_module(f"escalade.engines.{name}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{module.__name__}.options")
    found = getattr(module, "Options", None)
    return set(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else set()
