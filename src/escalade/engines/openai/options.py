"""Options of a model behind an OpenAI-compatible server, and what of the environment they name.

A key is read from the environment when it is used. It is not an option, so no pool, recording, fingerprint or
message can hold it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError

from escalade.errors import SettingError, nearest
from escalade.pool import PoolModel

OURS = frozenset(
    {"model", "messages", "prompt", "n", "stream", "stream_options", "seed", "temperature", "top_p"}
    | {"max_tokens", "max_completion_tokens", "logprobs", "top_logprobs"}
)
"""What a request says by itself; `extra_body` may not."""
SHORTEST = 4
"""Signs of a secret that is taken out of messages; what is shorter hides nothing, and would tear words apart."""
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key"})
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]


class Address(NamedTuple):
    """A server's address in its parts; what stands in `shown` may be printed."""

    shown: str
    """Scheme, host, port and path."""
    query: Mapping[str, str]
    """May hold keys, so it is sent and not shown."""
    loopback: bool


def address_of(url: str) -> Address:
    """Return the parts of a server's address.

    Raises:
        ValueError: it is none, or holds a password; the message does not repeat it.

    Example:
        >>> address_of("http://LOCALHOST:8000/v1/").shown
        'http://localhost:8000/v1'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    known = host is not None and (":" in host or (len(host) < 254 and _HOST.fullmatch(host)))
    if parts.scheme not in ("http", "https") or not host or not known or not _VISIBLE.fullmatch(url) or " " in url:
        raise ValueError("is no address of a server; such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a name or password: name an environment variable in `api_key_env` or `headers`")
    if parts.fragment:
        raise ValueError("must not have a part behind a #")
    path = parts.path.rstrip("/")
    if path.endswith("/completions"):
        raise ValueError("is that of an endpoint; give the part before it, which mostly ends in /v1")
    place = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{path}"
    return Address(shown, dict(parse_qsl(parts.query, keep_blank_values=True)), _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(url: str) -> str:
    address_of(url)
    return url


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if name.lower() in SECRET_HEADERS and not value.startswith("env:"):
            raise ValueError(f"{name} is a secret and must not stand in a pool: write 'env:NAME', and set NAME")
        if not _VISIBLE.fullmatch(value):
            raise ValueError(f"the value of {name} is empty, or has signs that cannot be sent")
    return headers


def _body(body: Mapping[str, Any]) -> Mapping[str, Any]:
    if taken := sorted(OURS & set(body)):
        raise ValueError(f"{', '.join(taken)} cannot be set here: a pool, a route or an option does it")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot be sent as JSON: {error}") from None
    return body


class Options(BaseModel):
    """Options of a model behind an OpenAI-compatible server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: Annotated[str, AfterValidator(_address)] | None = None
    """Address up to and without /chat/completions."""
    api_key_env: str = Field(default="OPENAI_API_KEY", min_length=1)
    """Name of the environment variable that holds the key."""
    headers: Annotated[Mapping[str, str], AfterValidator(_headers)] = {}
    """Further headers; the value `env:NAME` stands for that of an environment variable."""
    served_model: str | None = Field(default=None, min_length=1)
    """The server's name for the model; the model's `name` where not given."""
    endpoint: Literal["chat", "completion"] = "chat"
    """Whether messages are sent, or one text without a template (base models)."""
    in_flight: int = Field(default=32, ge=1, le=4096)
    """Requests under way at once."""
    timeout: Seconds = 600.0
    """Seconds for a whole answer."""
    connect_timeout: Seconds = 10.0
    """Seconds for a connection."""
    seed: StrictBool = True
    """Whether the server honours the seed of a request; else none is sent."""
    seed_bits: int = Field(default=31, ge=16, le=63)
    """Seeds are cut to so many bits: 31 are taken everywhere, vLLM and OpenAI take 63."""
    logprobs: StrictBool = True
    """Whether the server gives log probabilities of what it sampled."""
    temperatures: tuple[float, ...] | None = None
    """The temperatures the server takes, where it does not take all."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit of tokens."""
    continuous_usage: StrictBool = False
    """Ask for token counts in every piece of a stream (vLLM, SGLang): a cancelled request then knows its prompt's."""
    extra_body: Annotated[Mapping[str, Any], AfterValidator(_body)] = {}
    """Further parts of every request, such as `min_p = 0.0` or `chat_template_kwargs`."""
    identity: str | None = Field(default=None, min_length=1)
    """What the server serves. Servers of one identity share samples; else address and name tell them apart."""

    def print_of(self, model: PoolModel) -> str:
        """Return what tells apart the samples of two servers: no header, key or query is part of it."""
        if self.identity is not None:
            what = self.identity
        else:
            what = f"{address_of(self.base_url or '').shown} {self.served_model or model.name}"
        changing = {
            "endpoint": self.endpoint,
            "seed_bits": self.seed_bits if self.seed else None,
            "extra_body": self.extra_body,
        }
        mark = hashlib.sha256(json.dumps(changing, sort_keys=True).encode()).hexdigest()[:16]
        return f"openai:{what}:{mark}"


def options_of(model: PoolModel, base_url: str) -> Options:
    """Return the options of a model; those that another engine's model has are not ours, and mean nothing here.

    Raises:
        SettingError: an option is unknown or cannot be used.
    """
    mine = dict(model.options) if model.engine.partition(":")[0] == "openai" else {}
    if base_url:
        mine["base_url"] = base_url
    try:
        return Options.model_validate(mine)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        known = f"; known are {', '.join(Options.model_fields)}{nearest(place, Options.model_fields)}"
        said = f"unknown{known}" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        # Not chained: what pydantic raises repeats the value.
        raise SettingError(f"model {model.alias}: option {place!r} of engine openai: {said}") from None


@dataclass(frozen=True, slots=True)
class Access:
    """What a request carries from the environment. None of it may be printed or kept."""

    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Longest first, so that none is left in part when another that begins it is taken out."""

    def clean(self, text: str) -> str:
        """Return text without any secret in it."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        return text


def access_of(options: Options, environment: Mapping[str, str], *, alias: str) -> Access:
    """Return the key and headers that options name.

    Raises:
        SettingError: a variable is not set (a server on this machine needs no key), or cannot be a header.
    """
    address = address_of(options.base_url or "")
    secrets = list(address.query.values())

    def named(variable: str) -> str | None:
        value = environment.get(variable, "").strip()
        if not value:
            return None
        if not _VISIBLE.fullmatch(value):
            raise SettingError(f"model {alias}: the value of {variable} has signs that cannot be sent: set it anew")
        secrets.extend({value, value.rpartition(" ")[2]})  # "Bearer KEY" is as secret without its first word
        return value

    headers: dict[str, str] = {}
    for name, value in options.headers.items():
        found = named(value.removeprefix("env:")) if value.startswith("env:") else value
        if found is None:
            raise SettingError(f"model {alias}: header {name} needs the environment variable {value[4:]}: set it")
        headers[name] = found
    key = named(options.api_key_env)
    if key is None and not address.loopback and not SECRET_HEADERS & {name.lower() for name in headers}:
        raise SettingError(
            f"model {alias}: no key for {address.shown}: set the environment variable {options.api_key_env}, "
            "or name another in option `api_key_env` (any value where the server asks for none)"
        )
    hidden = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
    return Access(key, headers, tuple(hidden))
