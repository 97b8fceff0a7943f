"""API keys: a file of hashes, and finding the key that a request presents.

    [[keys]]
    name = "alice"
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    budget_usd = "5.00"        # a day, in UTC; per = "month" or "ever" for others
    requests_per_minute = 60
    concurrent = 8

A key is 192 random bits, so that its plain sha256 tells nothing; `escalade key NAME` makes one. The key itself is kept
nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError, field_validator

from escalade.complaints import complaints
from escalade.errors import SettingError

Period = Literal["day", "month", "ever"]
_PREFIX = "esc-"


class Key(BaseModel):
    """One key, and what its holder may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    sha256: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the key, in UTF-8."""
    budget_usd: Annotated[Decimal, Field(ge=0)] | None = None
    per: Period = "day"
    """What the budget is for, by the calendar of UTC."""
    requests_per_minute: Annotated[int, Field(ge=1, strict=True)] | None = None
    concurrent: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Requests under way at once."""
    observer: StrictBool = False
    """Whether its holder may see what all holders do: /metrics, and everybody's requests on the page."""

    @field_validator("budget_usd", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        return str(value) if isinstance(value, float) else value  # 0.1 is a tenth, not its binary neighbour


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[tuple[Key, ...], Field(min_length=1)]


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file.

    Raises:
        SettingError: no such file, no TOML, an unknown key of it, a name or hash that stands twice.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(
            f"keys {path} cannot be read: {error}; escalade key NAME --keys FILE makes such a file"
        ) from error
    try:
        keys = _File.model_validate(body).keys
    except ValidationError as error:
        raise SettingError(f"keys {path}: " + "; ".join(complaints(error, body, {"keys": Key}, _File))) from error
    for what in ("name", "sha256"):
        values = [getattr(key, what) for key in keys]
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise SettingError(f"keys {path}: two keys have the {what} {twice!r}: each stands for one holder")
    return keys


def find(presented: str, keys: Sequence[Key]) -> Key | None:
    """Return the key that was presented; how long that takes tells nothing of any key.

    Example:
        >>> key = Key(name="alice", sha256=digest("esc-1"))
        >>> find("esc-1", [key]) is key, find("esc-2", [key])
        (True, None)
    """
    mine, found = digest(presented), None
    for key in keys:  # all of them, always
        if hmac.compare_digest(mine, key.sha256):
            found = key
    return found


def digest(key: str) -> str:
    """Return what is kept of a key: its sha256."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(name: str, path: Path, settings: Mapping[str, str | int | bool]) -> str:
    """Make a key, add its hash to a file that only its owner may read, and return the key: it is not kept anywhere.

    Raises:
        SettingError: the name is taken or has odd characters, a setting is out of range, the file cannot be written.
    """
    secret = _PREFIX + secrets.token_urlsafe(24)
    rows: dict[str, str | int | bool] = {"name": name, "sha256": digest(secret), **settings}
    known = read_keys(path) if path.exists() and path.stat().st_size else ()
    try:
        key = Key.model_validate(rows)
    except ValidationError as error:
        raise SettingError(f"key {name!r}: " + "; ".join(complaints(error, rows, {}, Key))) from error
    if key.budget_usd is not None:
        rows["budget_usd"] = f"{key.budget_usd:f}"
    if any(other.name == key.name for other in known):
        raise SettingError(f"keys {path}: there is a key of {name!r}: take its table out first, or choose another name")
    try:
        lines = "\n".join(f"{word} = {json.dumps(value)}" for word, value in rows.items())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            file.write(f"{chr(10) if known else ''}[[keys]]\n{lines}\n")
    except OSError as error:
        raise SettingError(f"keys {path} cannot be written: {error.strerror or error}; name another") from error
    return secret
