r"""How polynomials and their quotients are written: one spelling in normal notation, which reads back as the same.

Terms are ordered for a human reader (x^2+2x+1, \frac{\sqrt{5}-1}{2}, 4\sqrt{3}+2i); of two terms the positive one
leads. Knows nothing of how values are found.
"""

from __future__ import annotations

import re

from escalade.answers import rational
from escalade.answers.formula import are_letters
from escalade.answers.polynomial import (
    FUNCTION,
    IMAGINARY,
    PRIME,
    ROOT,
    Atom,
    Budget,
    Monomial,
    Polynomial,
    Rational,
    TooMuchError,
    absolute,
    add_term,
    content,
    monomial,
    multiplied,
    order,
    scaled,
)

_TAIL = re.compile(r"([\\^_]?)([a-zA-Z]+)\Z")
_HEAD = re.compile(r"[a-zA-Z]+")
_SCIENTIFIC = re.compile(r"-?[0-9]+e[+-][0-9]{1,3}")
_RAISED = re.compile(r"\\(?!max|min|gcd)[a-z]+(?:_(?:\w|[0-9]+|\\[a-z]+|\{[^()]*\}))?\(")


def written(top: Polynomial, bottom: Polynomial | None = None) -> str:
    r"""Write a quotient of polynomials; a rational number is written as `rational.write` does.

    Raises `TooMuchError` when a number takes too many digits.
    """
    if not top:
        return "0"
    if bottom is None and len(top) == 1 and (constant := top.get(())) is not None:
        text = rational.write(rational.Rational(constant.numerator, constant.denominator))
        if text is None:
            raise TooMuchError
        return text
    lowest: dict[Atom, Rational] = {}
    for term in top:
        for atom, power in term:
            if power < 0 and power < lowest.get(atom, 0):
                lowest[atom] = power
    below: Monomial = tuple(sorted((atom, -power) for atom, power in lowest.items()))
    if below:
        raised: Polynomial = {}
        for term, coefficient in top.items():
            exponents = dict(term)
            for atom, power in below:
                exponents[atom] = exponents.get(atom, 0) + power
            factor, shifted = monomial(exponents)
            add_term(raised, coefficient * factor, shifted)
        top = raised
    number = content(top).denominator
    if number != 1:
        top = scaled(top, number)
    if number == 1 and not below and bottom is None:
        return _sum(top)
    sign = ""
    if len(top) == 1:
        ((term, coefficient),) = top.items()
        if coefficient < 0:
            sign, top = "-", {term: -coefficient}
    under: Polynomial = {below: number} if bottom is None else multiplied(bottom, {below: number}, Budget())
    return f"{sign}\\frac{{{_sum(top)}}}{{{_sum(under)}}}"


def enclosed(text: str) -> str:
    """Put a text of more than one sign into braces, as behind ^ or _."""
    return text if len(text) == 1 or text.isdigit() or re.fullmatch(r"\\[a-zA-Z]+", text) else f"{{{text}}}"


def _sum(terms: Polynomial) -> str:
    ordered = sorted(terms, key=order) if len(terms) > 1 else list(terms)
    if len(ordered) == 2 and terms[ordered[0]] < 0 < terms[ordered[1]]:
        ordered.reverse()
    text = _signed(terms, ordered)
    if _SCIENTIFIC.fullmatch(text):  # 2e+1 would be read as 20
        text = _signed(terms, ordered[::-1])
    return text


def _signed(terms: Polynomial, ordered: list[Monomial]) -> str:
    text = ""
    for term in ordered:
        coefficient = terms[term]
        sign = "-" if coefficient < 0 else "+" if text else ""
        text += sign + _term(absolute(coefficient), term)
    return text


def _term(coefficient: Rational, term: Monomial) -> str:
    others: dict[tuple[int, str], list[tuple[Atom, Rational]]] = {}
    under: dict[int, int] = {}
    powers: dict[Rational, int] = {}
    for atom, power in term:
        if atom.rank == PRIME and 0 < power < 1 and not atom.exponent:
            index = power.denominator
            under[index] = under.get(index, 1) * int(atom.base) ** power.numerator
            if under[index].bit_length() > 600:
                raise TooMuchError
        elif atom.rank == PRIME and not atom.exponent:
            powers[power] = powers.get(power, 1) * int(atom.base)
        else:
            others.setdefault((atom.rank, atom.base), []).append((atom, power))
    numbers = [f"{base}^{enclosed(_exponent(power, ''))}" for power, base in sorted(powers.items())]
    roots = [_root(str(number), index) for index, number in sorted(under.items())]
    text = str(coefficient) if coefficient != 1 or not term else ""
    for factor in [*numbers, *roots, *map(_powers, others.values())]:
        text = joined(text, factor)
    return text


def joined(text: str, factor: str) -> str:
    """Put a factor behind a product, with the dot or space that keeps them apart."""
    if not text:
        return factor
    if factor[0].isdigit():
        return f"{text}\\cdot{factor}"
    if factor[0].isalpha() and (tail := _TAIL.search(text)):
        if tail[1] == "\\":
            return f"{text} {factor}"
        run = tail[2] + (head[0] if (head := _HEAD.match(factor)) else "")
        if not are_letters(run, script=tail[1] != ""):
            return f"{text}\\cdot {factor}"
    return text + factor


def _exponent(power: Rational, symbol: str) -> str:
    if not symbol:
        return str(power) if power.denominator == 1 else f"\\frac{{{power.numerator}}}{{{power.denominator}}}"
    top = str(power.numerator) if power.numerator != 1 else ""
    inside = joined(top, f"({symbol})" if _is_sum(symbol) else symbol)
    return inside if power.denominator == 1 else f"\\frac{{{inside}}}{{{power.denominator}}}"


def _is_sum(text: str) -> bool:
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign in "({") - (sign in ")}")
        if depth == 0 and sign in "+-" and i:
            return True
    return text.startswith("-")


def _root(radicand: str, index: int) -> str:
    return f"\\sqrt{{{radicand}}}" if index == 2 else f"\\sqrt[{index}]{{{radicand}}}"


def _powers(same: list[tuple[Atom, Rational]]) -> str:
    """Write the powers of one base in a term: x^{n+1}."""
    if len(same) == 1 or same[0][0].rank == PRIME:
        text = ""
        for atom, power in same:
            text = joined(text, _power(atom, power))
        return text
    exponents = [_exponent(power, atom.exponent) for atom, power in sorted(same, key=_plain_last)]
    base = same[0][0].base
    return f"{f'({base})' if same[0][0].rank == FUNCTION else base}^{{{'+'.join(exponents)}}}"


def _plain_last(factor: tuple[Atom, Rational]) -> tuple[bool, Atom]:
    return not factor[0].exponent, factor[0]


def _power(atom: Atom, power: Rational) -> str:
    base = atom.base
    if not atom.exponent:
        if power == 1:
            return base
        if power.numerator == 1 and power.denominator <= 100:
            return _root(base[1:-1] if atom.rank == ROOT else base, power.denominator)
    exponent = enclosed(_exponent(power, atom.exponent))
    if atom.rank == FUNCTION:
        if power.denominator == 1 and not atom.exponent and (call := _RAISED.match(base)):
            return f"{base[: call.end() - 1]}^{exponent}{base[call.end() - 1 :]}"
        base = f"({base})"
    return f"{base}^{exponent}"


def is_exact(top: Polynomial, bottom: Polynomial | None) -> bool:
    """Say whether a quotient has no other spelling: two different ones are then certainly different values.

    So for polynomials with rational coefficients in variables, \\pi or e (not both), i and roots of integers, and for
    reduced quotients in a single variable.
    """
    atoms = {atom for poly in (top, bottom or {}) for term in poly for atom, _ in term}
    if any(atom.exponent or atom.rank in (ROOT, FUNCTION) or atom.base == "\\degree" for atom in atoms):
        return False
    if {"\\pi", "e"} <= {atom.base for atom in atoms}:
        return False
    if bottom is not None and (len(atoms) > 1 or any(atom.rank in (PRIME, IMAGINARY) for atom in atoms)):
        return False
    powers = [(atom, power) for poly in (top, bottom or {}) for term in poly for atom, power in term]
    if any(power.denominator != 1 for atom, power in powers if atom.rank != PRIME):
        return False
    return len(top) == 1 or all(0 < power < 1 for atom, power in powers if atom.rank == PRIME)
