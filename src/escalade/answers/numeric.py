r"""The value of a formula, and equality by value: decided at many digits, at fixed points of the variables.

Two formulas are one when their values agree at every point where both have one. The points are fixed by the
names alone, so the relation is symmetric, transitive and the same in any company. Conventions:

- `i, j, k, l, m, n`, with or without a subscript, stand for integers (`i` alone is the imaginary unit); any
  other letter for a real number, negative ones included: `\sqrt{x^2}` is not `x`.
- Powers and logarithms take their principal complex value, except that an odd root of a negative number is
  negative: `\sqrt[3]{-8}` is -2.
- `\log` without a base is natural to some and decimal to others: equal is what is equal under both.

Rational constants are compared exactly. For the rest, digits are added until the value stands still; what
does not stand still, or asks for more than `MOST_DIGITS`, has no value.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

import mpmath

from escalade.answers.formula import Call, Name, Node, Number, Power, Product, Sum

DIGITS = 60
MOST_DIGITS = 3000
POINTS = 10
NEEDED = 3
_EXACT_BITS = 100_000
_LARGEST_ARGUMENT = 10**15
_INTEGERS = frozenset("ijklmn")
_CONSTANTS = frozenset(["e", "i", "\\pi", "\\infty", "\\degree"])

Value = Any  # mpmath ships no types: an mpf or mpc


_NO_VALUE = (ArithmeticError, ValueError, TypeError, mpmath.libmp.NoConvergence)


class NoValueError(ArithmeticError):
    """A formula has no value at a point, or none that can be had within bounds."""


def same(a: Node, b: Node) -> bool | None:
    """Say whether two formulas have one value; None when too few of their values can be had.

    Values agree when they differ by less than 10^-D of their size, D = `DIGITS` plus the span in powers of ten
    of what was added up. With variables, `NEEDED` of `POINTS` points must have both values; constants have one.

    >>> same(Power(Number(Fraction(4)), Number(Fraction(1, 2))), Number(Fraction(2)))
    True
    """
    first, second = exact(a), exact(b)
    if first is not None and second is not None:
        return first == second
    names = sorted({*variables(a), *variables(b)})
    points = [{name: coordinate(name, j) for name in names} for j in range(POINTS if names else 1)]
    bases = (mpmath.e, 10) if _any(a, _bare_log) or _any(b, _bare_log) else (10,)
    verdicts = {_same_at(a, b, points, base) for base in bases}
    return verdicts.pop() if len(verdicts) == 1 else None


def proportional(a: Node, b: Node, *, signed: bool) -> bool | None:
    """Say whether a is b times a constant other than 0 (positive, when signed); None when it cannot be told.

    >>> x, two = Name("x"), Number(Fraction(2))
    >>> proportional(x, Product((two, x)), signed=True), proportional(x, Sum((two, x)), signed=True)
    (True, False)
    """
    ratio = Product((a, Power(b, Number(Fraction(-1)))))
    names = sorted(variables(ratio))
    found: list[Value] = []
    for j in range(POINTS):
        with suppress(*_NO_VALUE):
            value, span = _steady(ratio, {name: coordinate(name, j) for name in names}, 10, 2 * DIGITS)
            if span > DIGITS or not mpmath.isfinite(value):
                continue
            if (
                not value
                or (signed and (mpmath.im(value) or value < 0))
                or not close(found[0] if found else value, value, DIGITS)
            ):
                return False
            found.append(value)
    return True if len(found) >= NEEDED else None


def at(node: Node, point: Mapping[str, Fraction]) -> Value | None:
    r"""Return the value of a formula at a point to `DIGITS` digits; None where it has none or has a bare `\log`.

    >>> at(Power(Name("x"), Number(Fraction(2))), {"x": Fraction(3)})
    mpf('9.0')
    """
    if _any(node, _bare_log):
        return None
    try:
        return _steady(node, point, 10, DIGITS)[0]
    except _NO_VALUE:
        return None


def read(real: str, imaginary: str) -> Value:
    """Return the complex number that two decimals of `DIGITS` digits write."""
    with mpmath.workdps(DIGITS):
        return mpmath.mpc(real, imaginary)


def close(a: Value, b: Value, digits: int) -> bool:
    """Say whether two numbers differ by at most 10^-digits of the larger's size."""
    with mpmath.workdps(digits + 10):
        return bool(abs(a - b) <= max(abs(a), abs(b)) * mpmath.mpf(10) ** -digits)


def exact(node: Node) -> Fraction | None:
    """Return the exact value of a rational constant of at most some 30,000 digits, else None.

    >>> exact(Power(Number(Fraction(2)), Number(Fraction(-3))))
    Fraction(1, 8)
    """
    match node:
        case Number(value):
            return value
        case Sum(terms) | Product(terms):
            total = Fraction(isinstance(node, Product))
            for term in terms:
                part = exact(term)
                if part is None:
                    return None
                total = total + part if isinstance(node, Sum) else total * part
                if _bits(total) > _EXACT_BITS:
                    return None
            return total
        case Power(base, exponent):
            below, above = exact(base), exact(exponent)
            if below is None or above is None or above.denominator != 1 or (below == 0 and above <= 0):
                return None
            if abs(above.numerator) > _EXACT_BITS or _bits(below) * abs(above.numerator) > _EXACT_BITS:
                return None
            return Fraction(below**above.numerator)
        case _:
            return None


def variables(node: Node) -> set[str]:
    """Return the names in a formula that stand for no constant.

    >>> sorted(variables(Sum((Name("x"), Name("i"), Name("n_1")))))
    ['n_1', 'x']
    """
    return {part.text for part in _parts(node) if isinstance(part, Name)} - _CONSTANTS


def is_integer(name: str) -> bool:
    """Say whether a variable of this name stands for an integer: one of i to n, with or without a subscript.

    >>> is_integer("n_1"), is_integer("x"), is_integer("\\\\mu")
    (True, False, False)
    """
    return name[0] in _INTEGERS and (len(name) == 1 or name[1] == "_")


def coordinate(name: str, point: int) -> Fraction:
    """Return the value of a variable at a numbered point, fixed by its name: below 4 in size, integers below 16.

    At point 0 all are positive, at point 1 all negative.

    >>> coordinate("n", 0) == coordinate("n", 0), coordinate("n", 1).denominator, coordinate("x", 1) < 0
    (True, 1, True)
    """
    seed = int.from_bytes(hashlib.sha256(f"{name} {point}".encode()).digest()[:9], "big")
    sign = (1, -1)[point] if point < 2 else 1 - 2 * (seed & 1)
    if is_integer(name):
        return Fraction(sign * (1 + (seed >> 1) % 15))
    return sign * (Fraction(1, 4) + Fraction(seed >> 8, 2**64) * Fraction(15, 4))


def _same_at(a: Node, b: Node, points: Sequence[Mapping[str, Fraction]], base: Value) -> bool | None:
    agreed = 0
    for point in points:
        try:
            if not _agree(a, b, point, base):
                return False
        except _NO_VALUE:
            continue
        agreed += 1
    return True if agreed >= min(NEEDED, len(points)) else None


def _agree(a: Node, b: Node, point: Mapping[str, Fraction], base: Value) -> bool:
    """Compare two values at one point; raises NoValueError (or what mpmath raises) where one has none."""
    digits = DIGITS
    while True:
        readings = [_steady(node, point, base, digits) for node in (a, b)]
        needed = DIGITS + max(span for _, span in readings)
        if needed <= digits:
            break
        if needed > MOST_DIGITS:
            raise NoValueError(f"{needed} digits are needed, more than {MOST_DIGITS}")
        digits = needed
    first, second = (value for value, _ in readings)
    if mpmath.isinf(first) or mpmath.isinf(second):
        return bool(first == second)
    return close(first, second, needed)


def _steady(node: Node, point: Mapping[str, Fraction], base: Value, digits: int) -> tuple[Value, int]:
    """Evaluate with ever more digits until the value stands still; a value that shrinks with them is 0."""
    working = digits + 20
    previous = None
    while working <= 2 * MOST_DIGITS:
        evaluation = _Evaluation(point, base)
        with mpmath.workdps(working):
            value = evaluation.of(node)
            if mpmath.isnan(value) or (mpmath.isinf(value) and not isinstance(value, mpmath.mpf)):
                raise NoValueError("no number")
            if mpmath.isinf(value):
                return value, 0
            if previous is not None:
                if close(previous, value, digits):
                    return value, evaluation.span
                if _vanishes(previous, working // 2) and _vanishes(value, working):
                    return mpmath.mpf(0), evaluation.span
        previous, working = value, 2 * working
    raise NoValueError("the value does not stand still")


def _vanishes(value: Value, working: int) -> bool:
    return bool(abs(value) < mpmath.mpf(10) ** (-(working * 2) // 3))


class _Evaluation:
    """One evaluation at mpmath's present precision; `span` gathers how many digits could have been absorbed."""

    def __init__(self, point: Mapping[str, Fraction], log_base: Value) -> None:
        self.point = point
        self.log_base = log_base
        self.span = 0

    def of(self, node: Node) -> Value:
        match node:
            case Number(value):
                self._spread(int(_bits(value) * 0.30103))
                return _fraction(value)
            case Name(text):
                return self._name(text)
            case Sum(terms):
                return self._sum([self.of(term) for term in terms])
            case Product(factors):
                return mpmath.fprod(self.of(factor) for factor in factors)
            case Power(base, exponent):
                return self._power(self.of(base), exponent)
            case Call(function, arguments):
                return self._call(function, [self.of(argument) for argument in arguments])

    def _name(self, text: str) -> Value:
        if text in self.point:
            return _fraction(self.point[text])
        match text:
            case "\\pi":
                return +mpmath.pi
            case "e":
                return +mpmath.e
            case "i":
                return mpmath.mpc(0, 1)
            case "\\degree":
                return mpmath.pi / 180
            case _:
                return mpmath.inf

    def _sum(self, terms: list[Value]) -> Value:
        sizes = [size for term in terms if (size := _size(term)) is not None]
        if sizes:
            self._spread(max(sizes) - min(sizes))
        return mpmath.fsum(terms)

    def _power(self, base: Value, exponent: Node) -> Value:
        above = self.of(exponent)
        size = abs(mpmath.log(abs(base))) if base and mpmath.isfinite(base) else 1
        if mpmath.isfinite(above) and abs(above) * max(size, 1) > _LARGEST_ARGUMENT:
            raise NoValueError("a power too large")
        self._spread(-2 * min(_size(above) or 0, 0))
        root = exact(exponent)
        if root is not None and root.denominator > 1 and root.denominator % 2 and _real(base) and base < 0:
            return mpmath.power(-base, above) * (-1 if root.numerator % 2 else 1)
        if not base and not mpmath.isfinite(above):
            raise NoValueError("0 to an infinite power")
        return mpmath.power(base, above)

    def _call(self, function: str, arguments: list[Value]) -> Value:
        for argument in arguments:
            size = _size(argument)
            if size is not None:
                if size > 1000 or (size > 15 and function in _GROWING):
                    raise NoValueError(f"{function} of a number too large")
                self._spread(2 * abs(size))
            if function in ("tanh", "coth"):
                self._spread(int(abs(mpmath.re(argument))) if mpmath.isfinite(argument) else 0)
        if function == "log" and len(arguments) == 1:
            return mpmath.log(arguments[0]) / mpmath.log(self.log_base)
        if function in _WHOLE:
            return _fraction(_WHOLE[function](arguments))
        if function not in _FUNCTIONS:
            raise NoValueError(f"unknown function {function}")
        return _FUNCTIONS[function](*arguments)

    def _spread(self, digits: int) -> None:
        # Steps of 20, so that one more digit does not mean one more round.
        self.span = max(self.span, -(-digits // 20) * 20 if digits > 20 else 0)


def _fraction(value: Fraction) -> Value:
    return mpmath.mpf(value.numerator) / value.denominator


def _real(value: Value) -> bool:
    return isinstance(value, mpmath.mpf)


def _size(value: Value) -> int | None:
    """The power of ten of a number, roughly; None for 0 and what is not finite."""
    if not value or not mpmath.isfinite(value):
        return None
    return int(mpmath.mag(value) * 0.30103)


def _whole(value: Value) -> int:
    """The integer that a value is, up to the noise of the last third of its digits."""
    nearest = mpmath.nint(mpmath.re(value))
    if not mpmath.isfinite(value) or abs(value - nearest) > mpmath.mpf(10) ** -(mpmath.mp.dps * 2 // 3):
        raise NoValueError("not an integer")
    return int(nearest)


def _floor(value: Value) -> int:
    try:
        return _whole(value)
    except NoValueError:
        if not _real(value) or not mpmath.isfinite(value):
            raise
        return int(mpmath.floor(value))


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
    def chosen(*arguments: Value) -> Value:
        if not all(map(_real, arguments)):
            raise NoValueError("complex numbers have no order")
        return choose(arguments)

    return chosen


def _logarithm(value: Value, base: Value) -> Value:
    return mpmath.log(value) / mpmath.log(base)


_GROWING = frozenset(["exp", "sinh", "cosh", "tanh", "coth", "factorial", "binomial", "gcd"])
_WHOLE: dict[str, Callable[[list[Value]], Fraction]] = {
    "floor": lambda arguments: Fraction(_floor(arguments[0])),
    "ceil": lambda arguments: Fraction(-_floor(-arguments[0])),
    "gcd": lambda arguments: Fraction(math.gcd(*map(_whole, arguments))),
}
_PLAIN = "sin cos tan cot sec csc sinh cosh tanh coth exp factorial binomial"
_FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: getattr(mpmath, name) for name in _PLAIN.split()},
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    "abs": abs,
    "ln": mpmath.log,
    "log": _logarithm,
    "max": _extreme(max),
    "min": _extreme(min),
}


def _parts(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        match part:
            case Sum(inner) | Product(inner) | Call(_, inner):
                waiting.extend(inner)
            case Power(base, exponent):
                waiting += (base, exponent)
            case _:
                pass


def _any(node: Node, test: Callable[[Node], bool]) -> bool:
    return any(test(part) for part in _parts(node))


def _bare_log(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "log" and len(node.arguments) == 1


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()
