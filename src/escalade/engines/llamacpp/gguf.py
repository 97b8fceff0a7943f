"""What the header of a GGUF file tells of the memory that its model takes. No weights are read."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

from escalade.errors import WeightsError

OVERHEAD = 200_000_000
"""Bytes of a loaded model besides weights and cache: buffers for what is computed. Measured, see docs/engines.md."""
_ELEMENT = 2
"""Bytes of a number in the cache (16 bits)."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_KEPT = 4096
"""Arrays of numbers up to this length are kept: one number a layer, never a vocabulary."""

Value = int | float | bool | str | list[int]


class Need(NamedTuple):
    """Bytes that a loaded model takes, estimated."""

    weights: int
    cache: int
    """Keys and values of all tokens of all slots."""
    overhead: int = OVERHEAD

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def need_of(path: Path, *, tokens: int) -> Need:
    """Return what the model of a file takes with a cache of so many tokens (slots times context).

    weights = size of the file; cache = tokens * sum over layers of kv_heads * (key_length + value_length) * 2 bytes;
    the lengths are embedding_length / head_count where the header has none. Layers with a sliding window or a
    compressed cache take less than that.

    Raises:
        WeightsError: the file is no GGUF file, or its header lacks what this needs.
    """
    header = read_header(path)
    family = header.get("general.architecture")

    def number(key: str) -> int:
        value = header.get(f"{family}.{key}")
        if type(value) is not int or value < 1:
            raise WeightsError(
                f"{path}: its header has no number {family}.{key}, so what its model takes cannot be estimated; give "
                "option memory of the model, in GB"
            )
        return value

    of_layers = header.get(f"{family}.attention.head_count_kv")
    if isinstance(of_layers, list):
        heads = sum(of_layers)
    else:
        heads = number("block_count") * number(
            "attention.head_count" if of_layers is None else "attention.head_count_kv"
        )
    lengths = 0
    for name in ("attention.key_length", "attention.value_length"):
        whole = f"{family}.{name}" not in header
        lengths += number("embedding_length") // number("attention.head_count") if whole else number(name)
    return Need(path.stat().st_size, tokens * heads * lengths * _ELEMENT)


def read_header(path: Path) -> dict[str, Value]:
    """Return the metadata of a GGUF file: numbers, texts, and arrays of whole numbers with one for each layer.

    Raises:
        WeightsError: it cannot be read, or is no GGUF file of a known version.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            return _Reader(body).header()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, struct.error) as error:  # an empty file cannot be mapped; one cut off ends in the middle
        raise WeightsError(f"{path} is no GGUF file ({error}): fetch it again, or name another") from error


class _Reader:
    """Reads values one behind the other; numbers are little-endian."""

    def __init__(self, body: mmap.mmap) -> None:
        self._body, self._at = body, 0

    def header(self) -> dict[str, Value]:
        if self._body[:4] != b"GGUF":
            raise ValueError(f"it begins with {self._body[:4]!r}")
        self._at = 4
        version = self._number("I")
        if version not in _VERSIONS:
            raise ValueError(f"its version is {version}, known are {_VERSIONS}")
        self._number("Q")  # of tensors
        values = ((self._text(), self._value(self._number("I"))) for _ in range(self._number("Q")))
        return {key: value for key, value in values if value is not None}

    def _value(self, kind: int) -> Value | None:
        if kind == _TEXT:
            return self._text()
        if kind == _ARRAY:
            return self._array()
        number: float = self._number(_format(kind))
        return number

    def _array(self) -> list[int] | None:
        """The whole numbers of a short array; others are passed over."""
        kind, length = self._number("I"), self._number("Q")
        if kind == _TEXT:
            at, length_at = self._at, struct.Struct("<Q").unpack_from
            for _ in range(length):  # a vocabulary has a hundred thousand
                at += 8 + length_at(self._body, at)[0]
            self._pass(at - self._at)
            return None
        if kind == _ARRAY:
            for _ in range(length):
                self._array()
            return None
        code = _format(kind)
        if code in "fd?" or length > _KEPT:
            self._pass(length * struct.calcsize(code))
            return None
        return [int(self._number(code)) for _ in range(length)]

    def _number(self, code: str) -> Any:
        value = struct.unpack_from(f"<{code}", self._body, self._at)[0]
        self._at += struct.calcsize(code)
        return value

    def _text(self) -> str:
        length = self._number("Q")
        start = self._at
        self._pass(length)
        return self._body[start : self._at].decode("utf-8", "replace")

    def _pass(self, length: int) -> None:
        if length > len(self._body) - self._at:
            raise ValueError(f"it ends within the value at byte {self._at}")
        self._at += length


def _format(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"it has a value of the unknown kind {kind}")
    return _SCALARS[kind]
