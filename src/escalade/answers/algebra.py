r"""Exact algebra: a formula as a quotient of polynomials over atoms, in one canonical form.

Sums, products and whole powers are multiplied out while that is cheap; roots of integers, powers of i, factorials and
binomials of small integers are worked out; numeric denominators are made rational by conjugates; common factors are
cancelled where a division or a greatest common divisor in one variable finds them. Functions and symbolic powers stay
closed over canonical arguments. Nothing is approximated, and only identities that hold for all complex values are
used: \sqrt{x^2} is not x.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import NamedTuple

from escalade.answers.formula import Call, Name, Node, Number, Power, Product, Sum
from escalade.answers.functions import spelled, worked_out
from escalade.answers.polynomial import (
    EULER,
    FUNCTION,
    IMAGINARY,
    MOST_BITS,
    NAME,
    ONE,
    PI,
    PRIME,
    ROOT,
    Atom,
    Budget,
    I,
    Monomial,
    Polynomial,
    Rational,
    TooMuchError,
    absolute,
    add_term,
    added,
    common_divisor,
    content,
    divided,
    factored,
    monomial,
    multiplied,
    order,
    quotient,
    scaled,
    whole,
)
from escalade.answers.spelling import is_exact, written

_MOST_POWER = 32
_POSITIVE = (PRIME, PI, EULER)


class Form(NamedTuple):
    """The canonical spelling of a formula, and whether a different exact spelling is certainly a different value."""

    text: str
    exact: bool


class Quotient(NamedTuple):
    """A numerator, and a denominator of two terms or more, if any."""

    top: Polynomial
    bottom: Polynomial | None = None


def canonical(node: Node) -> Form | None:
    r"""Return the canonical form of a formula, or None when it has none or is dear to work out. Never raises.

    >>> from escalade.answers.formula import parse
    >>> [canonical(parse(text)).text for text in ("2(k+1)", r"\sqrt{8}", r"\frac{2}{1+\sqrt{5}}", r"7!\cdot2")]
    ['2k+2', '2\\sqrt{2}', '\\frac{\\sqrt{5}-1}{2}', '10080']
    """
    try:
        value = _Work().value(node)
        return Form(written(*value), is_exact(*value))
    except TooMuchError:
        return None


def equation(left: Node, right: Node) -> Form | None:
    """Return left = right with everything on one side, in coprime integers, the leading term positive; else None.

    The form is the left side; `=0` is understood. A denominator or a constant side is no equation of this kind.
    """
    work = _Work()
    try:
        top, bottom = work.plus(work.value(left), work.times(work.value(right), Quotient({(): -1})))
        odd = any(power < 0 or power.denominator != 1 for term in top for _, power in term)
        if odd or bottom is not None or all(not term for term in top):
            return None
        sign = -1 if top[min(top, key=order)] < 0 else 1
        top = scaled(top, quotient(sign, content(top)))
        return Form(written(top), is_exact(top, None))
    except TooMuchError:
        return None


class _Work:
    """One formula worked out within one budget."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.bases: dict[str, Quotient] = {}

    def value(self, node: Node) -> Quotient:
        match node:
            case Number(value):
                return Quotient({(): whole(value)} if value else {})
            case Name(text):
                return Quotient({((_atom(text), 1),): 1})
            case Sum(terms):
                total = self.value(terms[0])
                for term in terms[1:]:
                    total = self.plus(total, self.value(term))
                return total
            case Product(factors):
                product = self.value(factors[0])
                for factor in factors[1:]:
                    product = self.times(product, self.value(factor))
                return product
            case Power(base, exponent):
                return self.power(self.value(base), self.value(exponent))
            case Call(function, arguments):
                return self.call(function, [self.value(argument) for argument in arguments])

    def plus(self, a: Quotient, b: Quotient) -> Quotient:
        if a.bottom is None and b.bottom is None:
            self.budget.spend(len(b.top))
            return Quotient(added(a.top, b.top))
        if a.bottom == b.bottom:
            return self.reduced(added(a.top, b.top), a.bottom or ONE)
        below_a, below_b = a.bottom or ONE, b.bottom or ONE
        top = added(multiplied(a.top, below_b, self.budget), multiplied(b.top, below_a, self.budget))
        return self.reduced(top, multiplied(below_a, below_b, self.budget))

    def times(self, a: Quotient, b: Quotient) -> Quotient:
        top = multiplied(a.top, b.top, self.budget)
        if a.bottom is None and b.bottom is None:
            product = Quotient(top)
        else:
            product = self.reduced(top, multiplied(a.bottom or ONE, b.bottom or ONE, self.budget))
        return self.unrooted(product) if self.bases else product

    def unrooted(self, value: Quotient) -> Quotient:
        """Multiply out whole powers of the bases of roots: sqrt(p)^2 is p, 1/sqrt(p) is sqrt(p)/p."""
        if not any(self.splits(atom, power) for term in value.top for atom, power in term):
            return value
        total = Quotient({})
        for term, coefficient in value.top.items():
            exponents = dict(term)
            outside = Quotient({(): coefficient})
            for atom, power in term:
                if self.splits(atom, power):
                    exponents[atom] = whole(power - floor(power))
                    outside = self.times(outside, self.whole_power(self.bases[atom.base], floor(power)))
            factor, rest = monomial(exponents)
            total = self.plus(total, self.times(Quotient({rest: factor}), outside))
        if value.bottom is None:
            return total
        return self.reduced(total.top, multiplied(total.bottom or ONE, value.bottom, self.budget))

    def splits(self, atom: Atom, power: Rational) -> bool:
        """Say whether a closed root has a whole power to be multiplied out."""
        return atom.rank == ROOT and not atom.exponent and not 0 < power < 1 and atom.base in self.bases

    def inverse(self, a: Quotient) -> Quotient:
        if not a.top:
            raise TooMuchError
        return self.reduced(a.bottom or ONE, a.top)

    def reduced(self, top: Polynomial, bottom: Polynomial) -> Quotient:
        """Return top / bottom with whatever cancels taken out."""
        if not top:
            return Quotient({})
        bottom, top = self.without_common_powers(bottom, top)
        while len(bottom) > 1 and (conjugate := _conjugate(bottom)) is not None:
            top, bottom = multiplied(top, conjugate, self.budget), multiplied(bottom, conjugate, self.budget)
        if any(atom.rank not in (PRIME, IMAGINARY) for term in bottom for atom, _ in term):
            rest: Polynomial = ONE
            top, rest = self.without_common_powers(top, rest)
            if (whole_part := divided(top, bottom, self.budget)) is not None:
                top, bottom = whole_part, ONE
            elif (reverse := divided(bottom, top, self.budget)) is not None:
                top, bottom = ONE, reverse
            elif (common := common_divisor(top, bottom, self.budget)) is not None and len(common) > 1:
                top = divided(top, common, self.budget) or top
                bottom = divided(bottom, common, self.budget) or bottom
            top = multiplied(top, _inverted(rest), self.budget)
        if len(bottom) == 1:
            return Quotient(multiplied(top, _inverted(bottom), self.budget))
        size = content(bottom)
        if bottom[min(bottom, key=order)] < 0:
            size = -size
        return Quotient(scaled(top, quotient(1, size)), scaled(bottom, quotient(1, size)))

    def without_common_powers(self, a: Polynomial, b: Polynomial) -> tuple[Polynomial, Polynomial]:
        """Divide both by the highest monomial that leaves no negative exponent in a."""
        lowest: dict[Atom, Rational] = {}
        first, *others = a
        for atom, power in first:
            if atom.rank not in (PRIME, IMAGINARY):
                lowest[atom] = power
        for term in others:
            exponents = dict(term)
            for atom in lowest.keys() | exponents.keys():
                if atom.rank not in (PRIME, IMAGINARY):
                    lowest[atom] = min(lowest.get(atom, 0), exponents.get(atom, 0))
        shift: Monomial = tuple(sorted((atom, -power) for atom, power in lowest.items() if power))
        if not shift:
            return a, b
        return multiplied(a, {shift: 1}, self.budget), multiplied(b, {shift: 1}, self.budget)

    def power(self, base: Quotient, exponent: Quotient) -> Quotient:
        constant = _constant(exponent)
        if constant is None:
            return self.symbolic_power(base, exponent)
        if constant.denominator == 1:
            return self.whole_power(base, constant.numerator)
        return self.root(base, constant)

    def whole_power(self, base: Quotient, power: int) -> Quotient:
        if power == 0:
            if not base.top:
                raise TooMuchError
            return Quotient(ONE)
        if len(base.top) == 1 and base.bottom is None:
            ((term, coefficient),) = base.top.items()
            if not term and power == -1:
                return Quotient({(): quotient(1, coefficient)})
            factor, raised = self.number_power(coefficient, power)
            exponents = {atom: times * power for atom, times in term}
            for atom, times in raised:
                exponents[atom] = exponents.get(atom, 0) + times
            more, result = monomial(exponents)
            total: Polynomial = {}
            add_term(total, whole(factor * more), result)
            return self.unrooted(Quotient(total)) if self.bases else Quotient(total)
        if power < 0:
            return self.inverse(self.whole_power(base, -power))
        if not base.top:
            return base
        if power > _MOST_POWER:
            raise TooMuchError
        result_value = base
        for bit in bin(power)[3:]:
            result_value = self.times(result_value, result_value)
            if bit == "1":
                result_value = self.times(result_value, base)
        return result_value

    def number_power(self, number: Rational, power: Rational) -> tuple[Rational, Monomial]:
        """Return |number|^power with its sign where the power is whole: a factor, and powers of primes."""
        sign = -1 if number < 0 and power.numerator % 2 else 1
        number = absolute(number)
        bits = max(number.numerator.bit_length(), number.denominator.bit_length())
        if number == 1:
            return sign, ()
        if power.denominator == 1 and bits * absolute(power) <= MOST_BITS:
            raised = number ** int(absolute(power))
            return quotient(sign, raised) if power < 0 else sign * raised, ()
        factor, term = monomial(self.primes(number, power))
        return sign * factor, term

    def primes(self, number: Rational, power: Rational, symbol: str = "") -> dict[Atom, Rational]:
        exponents: dict[Atom, Rational] = {}
        for part, side in ((number.numerator, 1), (number.denominator, -1)):
            for prime, times in factored(part, self.budget).items():
                exponents[Atom(PRIME, str(prime), symbol)] = side * times * power
        return exponents

    def root(self, base: Quotient, power: Rational) -> Quotient:
        """Return the principal power of a fraction; what has no simpler form stays a closed root."""
        if not base.top:
            if power < 0:
                raise TooMuchError
            return base
        if base.bottom is not None:
            return self.closed_root(base, power, Quotient(ONE))
        if len(base.top) > 1:
            size = content(base.top)
            outside = monomial(self.primes(size, power))
            inside = Quotient(scaled(base.top, quotient(1, size)))
            return self.closed_root(inside, power, Quotient({outside[1]: outside[0]}))
        ((term, coefficient),) = base.top.items()
        exponents = self.primes(absolute(coefficient), power)
        rest = {atom: times for atom, times in term if atom.rank not in _POSITIVE or atom.exponent}
        for atom, times in term:
            if atom not in rest:
                exponents[atom] = exponents.get(atom, 0) + times * power
        if coefficient < 0 and not rest:
            if power.denominator != 2:
                raise TooMuchError
            exponents[I] = power.numerator
        elif rest:
            ((single, times), *others) = rest.items()
            if single.rank == IMAGINARY or I in rest:
                raise TooMuchError
            if others or coefficient < 0 or single.exponent or not 0 < times <= 1:
                factor, outer = monomial(exponents)
                inner: Polynomial = {tuple(sorted(rest.items())): -1 if coefficient < 0 else 1}
                return self.closed_root(Quotient(inner), power, Quotient({outer: factor}))
            exponents[single] = times * power
        factor, result = monomial(exponents)
        return self.unrooted(Quotient({result: factor})) if self.bases else Quotient({result: factor})

    def closed_root(self, base: Quotient, power: Rational, outside: Quotient) -> Quotient:
        name = f"({written(*base)})"
        self.bases[name] = base
        return self.times(outside, Quotient({((Atom(ROOT, name), power),): 1}))

    def symbolic_power(self, base: Quotient, exponent: Quotient) -> Quotient:
        """Return base^exponent by the terms of the exponent: 2^{n+1} is 2 times 2^n, for complex values too."""
        if not base.top or exponent.bottom is not None:
            raise TooMuchError
        result = Quotient(ONE)
        for term, coefficient in exponent.top.items():
            if not term:
                result = self.times(result, self.power(base, Quotient({(): coefficient})))
            else:
                result = self.times(result, self.product_of(self.powers_of(base, written({term: 1}), coefficient)))
        return result

    def product_of(self, powers: list[tuple[Atom, Rational]]) -> Quotient:
        exponents: dict[Atom, Rational] = {}
        for atom, times in powers:
            exponents[atom] = exponents.get(atom, 0) + times
        factor, term = monomial(exponents)
        return Quotient({term: factor})

    def powers_of(self, base: Quotient, symbol: str, power: Rational) -> list[tuple[Atom, Rational]]:
        """Split base^(power * symbol) over the positive factors of the base."""
        if base.bottom is None and len(base.top) == 1:
            ((term, coefficient),) = base.top.items()
            found = list(self.primes(absolute(coefficient), power, symbol).items())
            rest: dict[Atom, Rational] = {}
            for atom, times in term:
                if atom.rank in _POSITIVE and not atom.exponent:
                    found.append((Atom(atom.rank, atom.base, symbol), times * power))
                else:
                    rest[atom] = times
            sign = -1 if coefficient < 0 else 1
            single = next(iter(rest), None)
            if single is not None and len(rest) == 1 and sign == 1 and rest[single] == 1 and not single.exponent:
                return [*found, (Atom(single.rank, single.base, symbol), power)]
            if rest or sign == -1:
                inner: Polynomial = {tuple(sorted(rest.items())): sign}
                found.append((Atom(ROOT, f"({written(inner)})", symbol), power))
            return found
        return [(Atom(ROOT, f"({written(*base)})", symbol), power)]

    def call(self, function: str, arguments: list[Quotient]) -> Quotient:
        numbers = [_constant(argument) for argument in arguments]
        if function == "exp":
            return self.power(Quotient({((Atom(EULER, "e"), 1),): 1}), arguments[0])
        known = [number for number in numbers if number is not None]
        if len(known) == len(numbers) and (result := worked_out(function, known)) is not None:
            return Quotient({(): result} if result else {})
        outside: Polynomial = ONE
        if function == "abs" and arguments[0].top:
            top, bottom = arguments[0]
            size = content(top)
            outside, sign = {(): size}, -1 if top[min(top, key=order)] < 0 else 1
            arguments = [Quotient(scaled(top, quotient(sign, size)), bottom)]
        texts = [written(*argument) for argument in arguments]
        if function in ("max", "min", "gcd"):
            texts.sort()
        closed = Quotient({((Atom(FUNCTION, spelled(function, texts)), 1),): 1})
        return closed if outside == ONE else self.times(Quotient(outside), closed)


def _atom(name: str) -> Atom:
    if name == "\\infty":
        raise TooMuchError
    rank = {"\\pi": PI, "e": EULER, "i": IMAGINARY}.get(name, NAME)
    return Atom(rank, name)


def _constant(value: Quotient) -> Rational | None:
    if value.bottom is not None or len(value.top) > 1:
        return None
    return value.top.get(()) if value.top else 0


def _inverted(single: Polynomial) -> Polynomial:
    ((term, coefficient),) = single.items()
    factor, result = monomial({atom: -power for atom, power in term})
    return {result: quotient(factor, coefficient)}


def _conjugate(number: Polynomial) -> Polynomial | None:
    """Return the conjugate in i, or in the square root of one prime; None when the number has neither or more."""
    atoms = {atom for term in number for atom, _ in term}
    powers = {power for term in number for atom, power in term if atom.rank == PRIME}
    if not atoms or any(a.rank not in (PRIME, IMAGINARY) or a.exponent for a in atoms) or powers - {Fraction(1, 2)}:
        return None
    chosen = max(atoms)
    return {term: -x if any(atom == chosen for atom, _ in term) else x for term, x in number.items()}
