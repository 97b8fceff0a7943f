"""Complaints: what is wrong in a file of settings, in the words of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from escalade.errors import nearest


def complaints(
    error: ValidationError,
    body: Mapping[str, Any],
    keys_of: Mapping[str, type[BaseModel]],
    whole: type[BaseModel],
) -> Iterator[str]:
    """Say of each offence where it is, what is there and what was expected.

    `body` is what was read, `whole` what it should have been, `keys_of` what its tables should have been, by key.
    """
    items = error.errors()
    for item in items:
        where = item["loc"]
        if where == ("models",) and item["type"] == "too_short":
            if len(items) == 1:  # else there are models, but refused ones, and why is said
                yield "models: there are none; give at least one [[models]]"
            continue
        place = ".".join(str(part) for part in where if not str(part).startswith("<")) or "file"
        models = body.get("models")
        if where[:1] == ("models",) and len(where) > 1 and isinstance(models, list):
            entry = models[int(where[1])]
            if isinstance(entry, dict) and "alias" in entry:
                place += f" (alias {entry['alias']!r})"
        if item["type"] == "extra_forbidden":
            part = keys_of.get(next((str(p) for p in reversed(where[:-1]) if p in keys_of), ""), whole)
            known = [field.alias or name for name, field in part.model_fields.items()]
            there = f" (it is {item['input']!r}); " if _is_short(item["input"]) else "; "
            yield f"{place}: unknown key{there}known are {', '.join(known)}{nearest(str(where[-1]), known)}"
        elif item["type"] == "missing":
            yield f"{place}: missing; it must be given"
        else:
            text = item["msg"].removeprefix("Value error, ")
            for python, toml in (("tuple", "list"), ("dictionary", "table")):
                text = text.replace(f"valid {python}", f"valid {toml}")
            yield f"{place}: {text}" + (f" (it is {item['input']!r})" if _is_short(item["input"]) else "")


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool)
