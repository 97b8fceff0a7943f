r"""Relations: inequalities in one letter as intervals, unions of intervals, and both readings of plus-minus.

Works on texts in normal notation. Values enter only where the bounds are rational numbers or infinite.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from escalade.answers import rational

_SIGN = re.compile(r"<|>|\\(?:leq|geq)(?![a-zA-Z])")
_LETTER = re.compile(r"(?:[a-zA-Z]|\\(?!pi|infty)[a-zA-Z]+)(?:_\w|_\{\w+\})?")
_HAS_RELATION = re.compile(r"[<>]|\\(?:leq?|geq?|lt|gt|leqslant|geqslant)(?![a-zA-Z])")
_OTHER = re.compile(r"[=,|;]|\\(?:neq|in|cup|cap|pm|mp|text)(?![a-zA-Z])")
_OR = re.compile(
    r"\s*(?:\\(?:text|mathrm|mbox)\s*\{\s*or\s*\}|\\(?:lor|vee|cup)(?![a-zA-Z])|(?<![a-zA-Z\\])or(?![a-zA-Z]))\s*"
)
_INTERVAL = re.compile(r"([(\[])([^(),\[\]]+),([^(),\[\]]+)([)\]])")
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])")
_ENDLESS = {"\\infty": 1, "-\\infty": -1}

Bound = tuple[int, Fraction]


class Interval(NamedTuple):
    """The solutions of an inequality: the letter, and its bounds as they are written."""

    letter: str
    opening: str
    low: str
    high: str
    closing: str


def is_relation(text: str) -> bool:
    """Say whether an inequality sign stands in a text."""
    return _HAS_RELATION.search(text) is not None


def alternatives(text: str) -> list[str]:
    """Split at "or" and at the signs that stand for it.

    >>> alternatives("x<-1 or x>2")
    ['x<-1', 'x>2']
    """
    return _OR.split(text)


def interval(spelled: str) -> Interval | None:
    r"""Read an inequality with one letter alone on a side, in normal notation; None for anything else.

    >>> interval("2<x")
    Interval(letter='x', opening='(', low='2', high='\\infty', closing=')')
    >>> interval(r"-1\leq x<3")
    Interval(letter='x', opening='[', low='-1', high='3', closing=')')
    """
    signs = _SIGN.findall(spelled)
    if not 1 <= len(signs) <= 2 or _OTHER.search(spelled):
        return None
    sides = [side.strip() for side in _SIGN.split(spelled)]
    if signs[0] in (">", "\\geq"):
        sides.reverse()
        signs = [{">": "<", "\\geq": "\\leq"}.get(sign, ">") for sign in reversed(signs)]
    if any(sign not in ("<", "\\leq") for sign in signs) or not all(sides):
        return None
    if len(signs) == 1:
        if _is_letter(sides[0]):
            sides, signs = ["-\\infty", *sides], ["<", *signs]
        elif _is_letter(sides[1]):
            sides, signs = [*sides, "\\infty"], [*signs, "<"]
    if len(sides) != 3 or not _is_letter(sides[1]):
        return None
    low, letter, high = sides
    return Interval(letter, "[" if signs[0] == "\\leq" else "(", low, high, "]" if signs[1] == "\\leq" else ")")


def _is_letter(side: str) -> bool:
    return _LETTER.fullmatch(side) is not None and side not in ("e", "i")


def is_empty_or_reversed(low: str, high: str) -> bool:
    """Say whether two canonical bounds leave nothing between them; not known where they are no rationals."""
    first, second = _bound(low), _bound(high)
    return first is not None and second is not None and first >= second


def _bound(text: str) -> Bound | None:
    if text in _ENDLESS:
        return _ENDLESS[text], Fraction(0)
    value = rational.read(text)
    return None if value is None else (0, Fraction(*value))


def merged(parts: list[str]) -> list[str]:
    """Join the intervals of a union that overlap or touch; parts that are no intervals of rationals stay.

    >>> merged(["(0,1)", "[1,2)", "(5,6)"])
    ['(0,2)', '(5,6)']
    """
    read = [_read(part) for part in parts]
    known = sorted((item for item in read if item is not None), key=lambda item: (item[0], not item[1]))
    joined: list[tuple[Bound, bool, Bound, bool, str, str]] = []
    for item in known:
        low, low_in, high, high_in, _, high_text = item
        if joined:
            before = joined[-1]
            if low < before[2] or (low == before[2] and (low_in or before[3])):
                if (high, high_in) > (before[2], before[3]):
                    joined[-1] = (*before[:2], high, high_in, before[4], high_text)
                continue
        joined.append(item)
    texts = [f"{'[' if item[1] else '('}{item[4]},{item[5]}{']' if item[3] else ')'}" for item in joined]
    return [*texts, *(part for part, item in zip(parts, read, strict=True) if item is None)]


def _read(part: str) -> tuple[Bound, bool, Bound, bool, str, str] | None:
    match = _INTERVAL.fullmatch(part)
    if match is None:
        return None
    low, high = _bound(match[2]), _bound(match[3])
    if low is None or high is None or low >= high:
        return None
    return low, match[1] == "[", high, match[4] == "]", match[2], match[3]


def is_rational_interval(part: str) -> bool:
    """Say whether a canonical part of a union is an interval between rational numbers or infinities."""
    return _read(part) is not None


def both_signs(text: str) -> tuple[str, str] | None:
    r"""Write out a single plus-minus with each sign; None when there is none or more than one.

    >>> both_signs(r"1\pm\sqrt{2}")
    ('1+\\sqrt{2}', '1-\\sqrt{2}')
    """
    parts = _PLUS_MINUS.split(text)
    if len(parts) != 2 or "\\mp" in text:
        return None
    return "+".join(parts), "-".join(parts)


def spread(pieces: list[str]) -> list[str]:
    """Write out each single plus-minus among the members of a set."""
    return [each for piece in pieces for each in (("\\pm" in piece and both_signs(piece)) or (piece,))]
