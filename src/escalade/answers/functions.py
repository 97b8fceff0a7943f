"""Functions of formulas: which have a short rational value, and how a closed one is written."""

from __future__ import annotations

from math import ceil, comb, factorial, floor, gcd

from escalade.answers.polynomial import Rational, absolute
from escalade.answers.spelling import enclosed

_LARGEST_FACTORIAL = 30
_LARGEST_BINOMIAL = 300


def worked_out(function: str, numbers: list[Rational]) -> Rational | None:
    """Return the value of a function of rational numbers where that is rational and short.

    >>> worked_out("binomial", [5, 2]), worked_out("factorial", [7]), worked_out("factorial", [1000000])
    (10, 5040, None)
    """
    first = numbers[0]
    integers = all(number.denominator == 1 for number in numbers)
    match function:
        case "abs":
            return absolute(first)
        case "floor":
            return floor(first)
        case "ceil":
            return ceil(first)
        case "max":
            return max(numbers)
        case "min":
            return min(numbers)
        case "gcd" if integers:
            return gcd(*(number.numerator for number in numbers))
        case "factorial" if integers and 0 <= first <= _LARGEST_FACTORIAL:
            return factorial(first.numerator)
        case "binomial" if integers and 0 <= numbers[1] <= first <= _LARGEST_BINOMIAL:
            return comb(first.numerator, numbers[1].numerator)
        case "ln" | "log" if first == 1:
            return 0
    return None


def spelled(function: str, arguments: list[str]) -> str:
    r"""Write a function of written arguments in normal notation.

    >>> spelled("log", ["x", "2"]), spelled("factorial", ["n+1"]), spelled("floor", ["x"])
    ('\\log_2(x)', '(n+1)!', '\\lfloor x\\rfloor')
    """
    first = arguments[0]
    match function:
        case "abs":
            return f"|({first})|" if "|" in first else f"|{first}|"
        case "floor" | "ceil":
            space = " " if first[0].isalpha() else ""
            return f"\\l{function}{space}{first}\\r{function}"
        case "factorial":
            return f"{first}!" if first.isdigit() or (len(first) == 1 and first.isalpha()) else f"({first})!"
        case "binomial":
            return f"\\binom{{{first}}}{{{arguments[1]}}}"
        case "log" if len(arguments) == 2:
            return f"\\log_{enclosed(arguments[1])}({first})"
    return f"\\{function}({','.join(arguments)})"
