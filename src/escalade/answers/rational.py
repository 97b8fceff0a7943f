"""Exact rational numbers as they are written in answers: one value, one writing.

Knows signs, decimals, fractions, mixed numbers, powers of ten and repeating decimals; knows nothing of units
or money. Numbers are pairs of integers, never floats. Whatever would be long to write stays unread, so no
input can cost more than a few hundred digits of arithmetic.
"""

from __future__ import annotations

import re
from math import gcd
from typing import NamedTuple

LONGEST = 200  # characters; also far below the limit of Python's own int <-> str conversion
LARGEST_EXPONENT = 30

_DECIMAL = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:e([+-]?[0-9]{1,3}))?")
_SLASH = re.compile(r"([+-]?[0-9.]+) ?/ ?([0-9.]+)")
_FRAC = re.compile(r"([+-]?)\\[dt]?frac\{([+-]?[0-9.]+)\}\{([+-]?[0-9.]+)\}")
_MIXED = re.compile(r"([+-]?)([0-9]+) ?(?:\\frac\{([0-9]+)\}\{([0-9]+)\}|(?<= )([0-9]+)/([0-9]+))")
_SCIENTIFIC = re.compile(r"([+-]?[0-9.]+)\\cdot10\^(?:([0-9]+)|\{([+-]?[0-9]+)\})")
_REPEATING = re.compile(r"([+-]?)([0-9]*)\.([0-9]*)\\overline\{([0-9]+)\}")
_SPACED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?")


class Rational(NamedTuple):
    """A reduced fraction; the denominator is positive."""

    numerator: int
    denominator: int


def ratio(numerator: int, denominator: int) -> Rational | None:
    """Reduce a fraction; None when the denominator is 0.

    >>> ratio(2, -4)
    Rational(numerator=-1, denominator=2)
    """
    if denominator == 0:
        return None
    common = gcd(numerator, denominator) * (1 if denominator > 0 else -1)
    return Rational(numerator // common, denominator // common)


def read(text: str) -> Rational | None:
    """Read one number written in digits or in normal notation (see `notation`), else None.

    Accepts `7`, `-.5`, `1.5e3`, `3/4`, `\\frac{3}{4}`, `1 1/2`, `1\\frac{1}{2}`, `3\\cdot10^4`,
    `0.\\overline{3}` and `1 000`. An improper fraction behind a whole number (`2\\frac{5}{3}`) is a product
    to some and is not read. Never raises.

    >>> read("1 1/2")
    Rational(numerator=3, denominator=2)
    """
    if not text or len(text) > LONGEST:
        return None
    value = _decimal(text)
    if value is not None:
        return value
    if "/" in text and (match := _SLASH.fullmatch(text)):
        return _quotient(match[1], match[2], "")
    if "frac" in text and (match := _FRAC.fullmatch(text)):
        return _quotient(match[2], match[3], match[1])
    if match := _MIXED.fullmatch(text):
        whole, top, bottom = int(match[2]), int(match[3] or match[5]), int(match[4] or match[6])
        return ratio(_signed(match[1], whole * bottom + top), bottom) if top < bottom else None
    if "^" in text and (match := _SCIENTIFIC.fullmatch(text)):
        return _scaled(_decimal(match[1]), match[2] or match[3])
    if "overline" in text and (match := _REPEATING.fullmatch(text)):
        nines = 10 ** len(match[4]) - 1
        head = int((match[2] + match[3]) or "0") * nines + int(match[4])
        return ratio(_signed(match[1], head), nines * 10 ** len(match[3]))
    if " " in text and _SPACED.fullmatch(text):
        return _decimal(text.replace(" ", ""))
    return None


def write(value: Rational) -> str | None:
    """Write a number in its one canonical form, or None when that takes more than `LONGEST` characters.

    An integer is written as such, a terminating decimal without trailing zeros, anything else as
    numerator/denominator.

    >>> [write(Rational(7, 1)), write(Rational(-1, 8)), write(Rational(1, 3))]
    ['7', '-0.125', '1/3']
    """
    numerator, denominator = value
    if denominator == 1:
        text = str(numerator)
        return text if len(text) <= LONGEST else None
    rest, twos, fives = denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest == 1 and places < LONGEST:
        digits = str(abs(numerator) * 10**places // denominator).rjust(places + 1, "0")
        text = f"{'-' if numerator < 0 else ''}{digits[:-places]}.{digits[-places:]}"
        if len(text) <= LONGEST:
            return text
    text = f"{numerator}/{denominator}"
    return text if len(text) <= LONGEST else None


def _signed(sign: str, magnitude: int) -> int:
    return -magnitude if sign == "-" else magnitude


def _decimal(text: str) -> Rational | None:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, whole, places, exponent = match.groups()
    places = places or ""
    if not whole and not places:
        return None
    value = ratio(_signed(sign, int(whole + places)), 10 ** len(places))
    return _scaled(value, exponent) if exponent else value


def _scaled(value: Rational | None, exponent: str) -> Rational | None:
    if value is None or len(exponent) > 4 or abs(int(exponent)) > LARGEST_EXPONENT:
        return None
    power = int(exponent)
    return ratio(value.numerator * 10 ** max(power, 0), value.denominator * 10 ** max(-power, 0))


def _quotient(top: str, bottom: str, sign: str) -> Rational | None:
    above, below = _decimal(top), _decimal(bottom)
    if above is None or below is None:
        return None
    numerator = above.numerator * below.denominator
    return ratio(_signed(sign, numerator), above.denominator * below.numerator)
