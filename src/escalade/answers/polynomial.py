r"""Polynomials with rational coefficients over atoms: variables, \pi, e, i, roots of primes, and what stays closed.

A monomial maps atoms to exponents, which may be negative or fractions; a polynomial maps monomials to coefficients
other than 0. Roots of primes keep exponents between 0 and 1, i the exponent 1, so that equal numbers have equal
monomials. Everything is bounded: whoever multiplies pays from a budget, and `TooMuchError` is raised when it is spent.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd, isqrt, lcm, log2
from typing import NamedTuple

Rational = int | Fraction

MOST_TERMS = 64
MOST_BITS = 664  # 200 digits
_LARGEST_TRIAL = 10_000

PRIME, PI, EULER, NAME, IMAGINARY, ROOT, FUNCTION = range(7)


class TooMuchError(Exception):
    """The formula is dearer to work out than its key is worth, or has no value."""


class Atom(NamedTuple):
    r"""What is not multiplied out: a base (`2`, `\pi`, `x`, `(x+1)`, `\sin(x)`) to a symbolic exponent, if any."""

    rank: int
    base: str
    exponent: str = ""


Monomial = tuple[tuple[Atom, Rational], ...]
Polynomial = dict[Monomial, Rational]

ONE: Polynomial = {(): 1}
I = Atom(IMAGINARY, "i")  # noqa: E741 - its name


class Budget:
    """What a formula may cost: products of terms, and trial divisions."""

    __slots__ = ("left",)

    def __init__(self, left: int = 1500) -> None:
        self.left = left

    def spend(self, steps: int) -> None:
        """Pay; raises `TooMuchError` when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise TooMuchError


def whole(value: Rational) -> Rational:
    """Write a fraction with denominator 1 as an integer."""
    return value.numerator if value.denominator == 1 else value


def absolute(value: Rational) -> Rational:
    """Return the value without its sign."""
    return -value if value < 0 else value


def quotient(a: Rational, b: Rational) -> Rational:
    """Divide exactly."""
    return whole(Fraction(a) / b)


def monomial(exponents: dict[Atom, Rational]) -> tuple[Rational, Monomial]:
    """Collect the numeric part of a product of atoms: whole powers of primes (while short) and of i."""
    factor: Rational = 1
    kept: list[tuple[Atom, Rational]] = []
    for atom in sorted(exponents):
        power = exponents[atom]
        if power.denominator == 1:
            power = power.numerator
            if power == 0:
                continue
        if atom.exponent == "":
            if atom.rank == PRIME:
                prime, times = int(atom.base), power.numerator // power.denominator
                if times and is_short(prime, times):
                    factor *= prime**times if times > 0 else Fraction(1, prime**-times)
                    power = whole(power - times)
                    if power == 0:
                        continue
            elif atom.rank == IMAGINARY:
                if power.denominator != 1:
                    raise TooMuchError
                turns = power.numerator % 4
                factor = -factor if turns >= 2 else factor
                if turns % 2 == 0:
                    continue
                power = 1
        kept.append((atom, power))
    return whole(factor), tuple(kept)


def is_short(prime: int, power: int) -> bool:
    """Say whether a power of a prime is written out in digits."""
    return abs(power) * log2(prime) <= MOST_BITS


def add_term(total: Polynomial, coefficient: Rational, term: Monomial) -> None:
    """Add one term in place."""
    if max(coefficient.numerator.bit_length(), coefficient.denominator.bit_length()) > MOST_BITS:
        raise TooMuchError
    if has_long_power(term):
        coefficient, term = _gathered(coefficient, term)
    value = total.get(term, 0) + coefficient
    if value:
        total[term] = whole(value)
        if len(total) > MOST_TERMS:
            raise TooMuchError
    else:
        total.pop(term, None)


def has_long_power(term: Monomial) -> bool:
    """Say whether a power of a prime stands in a term that is too long to be written out."""
    return any(atom.rank == PRIME and not atom.exponent and not 0 < power < 1 for atom, power in term)


def _gathered(coefficient: Rational, term: Monomial) -> tuple[Rational, Monomial]:
    """Move the factors p of the coefficient into a long power of p, so that each prime stands in one place."""
    exponents = dict(term)
    top, bottom = coefficient.numerator, coefficient.denominator
    for atom, power in term:
        if atom.rank == PRIME and not atom.exponent and not 0 < power < 1:
            prime = int(atom.base)
            while top and top % prime == 0:
                top, exponents[atom] = top // prime, exponents[atom] + 1
            while bottom % prime == 0:
                bottom, exponents[atom] = bottom // prime, exponents[atom] - 1
    factor, term = monomial(exponents)
    return whole(Fraction(top, bottom) * factor), term


def added(a: Polynomial, b: Polynomial) -> Polynomial:
    """Return a + b."""
    total = a.copy()
    for term, coefficient in b.items():
        add_term(total, coefficient, term)
    return total


def multiplied(a: Polynomial, b: Polynomial, budget: Budget) -> Polynomial:
    """Return a * b."""
    budget.spend(len(a) * len(b) * (4 if _has_roots(a) and _has_roots(b) else 1))
    product: Polynomial = {}
    for first, x in a.items():
        for second, y in b.items():
            if not first or not second:
                add_term(product, whole(x * y), first or second)
                continue
            exponents = dict(first)
            for atom, power in second:
                exponents[atom] = exponents.get(atom, 0) + power
            factor, term = monomial(exponents)
            add_term(product, whole(x * y * factor), term)
    return product


def _has_roots(a: Polynomial) -> bool:
    """Say whether exponents are fractions, which are slow."""
    return any(atom.rank == PRIME or power.denominator != 1 for term in a for atom, power in term[:1])


def scaled(a: Polynomial, factor: Rational) -> Polynomial:
    """Return a * factor, factor not 0."""
    return a if factor == 1 else {term: whole(x * factor) for term, x in a.items()}


def content(a: Polynomial) -> Rational:
    """Return the positive rational that leaves coprime integers as coefficients."""
    top = gcd(*(x.numerator for x in a.values()))
    bottom = lcm(*(x.denominator for x in a.values()))
    if bottom.bit_length() > MOST_BITS:
        raise TooMuchError
    return whole(Fraction(top, bottom))


def order(term: Monomial) -> tuple[object, ...]:
    """Return the place of a term in a sum: real before imaginary, high degrees first, then by letters."""
    names = tuple((atom, -power) for atom, power in term if atom.rank not in (PRIME, PI, EULER, IMAGINARY))
    numbers = tuple((atom, -power) for atom, power in term if atom.rank in (PI, EULER))
    roots = tuple((atom, power) for atom, power in term if atom.rank == PRIME)
    imaginary = any(atom.rank == IMAGINARY for atom, _ in term)
    return imaginary, sum(power for _, power in names), names, not numbers, numbers, not roots, roots


def divided(a: Polynomial, b: Polynomial, budget: Budget) -> Polynomial | None:
    """Return a / b when the division leaves no rest, else None."""
    leading = min(b, key=order)
    rest, result = a, dict[Monomial, Rational]()
    for _ in range(MOST_TERMS):
        if not rest:
            return result
        budget.spend(2 * len(rest))
        first = min(rest, key=order)
        exponents = dict(first)
        for atom, power in leading:
            exponents[atom] = exponents.get(atom, 0) - power
        if any(power < 0 for atom, power in exponents.items() if atom.rank != PRIME):
            return None
        factor, term = monomial(exponents)
        step = quotient(rest[first] * factor, b[leading])
        add_term(result, step, term)
        rest = added(rest, multiplied(b, {term: -step}, budget))
    return None


def common_divisor(a: Polynomial, b: Polynomial, budget: Budget) -> Polynomial | None:
    """Return the greatest common divisor of two polynomials in one and the same atom; None when they have more."""
    atoms = {atom for poly in (a, b) for term in poly for atom, _ in term}
    if len(atoms) != 1 or any(power.denominator != 1 or power < 0 for p in (a, b) for term in p for _, power in term):
        return None
    while b:
        leading = min(b, key=order)
        while a and order(first := min(a, key=order)) <= order(leading):
            budget.spend(2 * len(a))
            atom = next(iter(atoms))
            shift = dict(first).get(atom, 0) - dict(leading).get(atom, 0)
            term: Monomial = ((atom, shift),) if shift else ()
            a = added(a, multiplied(b, {term: quotient(-a[first], b[leading])}, budget))
        a, b = b, a
    return a


def factored(number: int, budget: Budget) -> dict[int, int]:
    """Return the prime factors of a positive integer with exponents; raises `TooMuchError` when they are too large."""
    found: dict[int, int] = {}
    divisor, most = 2, _LARGEST_TRIAL
    repeat = 1
    while number > 1:
        if divisor > most or divisor * divisor > number:
            if divisor * divisor <= number:
                root = isqrt(number)
                if root * root != number:
                    raise TooMuchError
                number, repeat = root, 2 * repeat
                continue
            found[number] = found.get(number, 0) + repeat
            break
        while number % divisor == 0:
            number //= divisor
            found[divisor] = found.get(divisor, 0) + repeat
        divisor += 1 if divisor == 2 else 2
        if divisor % 100 == 1:
            budget.spend(10)
    return found
