"""Wording: counts and differences as people write them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Say how many there are of a thing.

    Example:
        >>> counted(1, "problem"), counted(1_200, "labelled problem"), counted(2, "policy", "policies")
        ('1 problem', '1,200 labelled problems', '2 policies')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def signed(value: float, digits: int = 1) -> str:
    """Write a difference with its sign; what rounds to zero has none.

    Example:
        >>> signed(1.23), signed(-0.04), signed(0.0), signed(-0.0123, 4), signed(float("nan"))
        ('+1.2', '0.0', '0.0', '-0.0123', '+nan')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text
