r"""Formulas: from normal notation (see `notation`) to a small tree, for whatever works with values.

Only what is understood as a whole becomes a tree: relations, words, sums over an index, integrals, plus-minus, numbers
with a subscript and everything ambiguous (`1/2x`, `\sin x/2`, `2\frac{1}{3}`, `f(x)`) do not. Nothing is worked out
here. Input is hostile: reading is linear in its length, and bounded in tokens, depth and digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from escalade.answers import quantity

MOST_TOKENS = 400
DEEPEST = 40
MOST_DIGITS = 200

_TOKEN = re.compile(r"\\[a-zA-Z]+|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[a-zA-Z]+|\\?.", re.DOTALL)
_GREEK = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho varrho sigma tau
upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
"""
_NAMES = frozenset(f"\\{name}" for name in [*_GREEK.split(), "ell", "infty"])
_FUNCTIONS = """
sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan arccot arcsec arccsc ln log exp gcd max min
"""
_CALLS = {f"\\{name}": name for name in _FUNCTIONS.split()}
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc"}
_SEVERAL = frozenset(["gcd", "max", "min"])
_FENCES = {"(": ")", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_STARTS = frozenset([*_FENCES, *_NAMES, *_CALLS, "\\frac", "\\binom", "\\sqrt"])
_ROUNDED = {"\\lfloor": "floor", "\\lceil": "ceil", "|": "abs"}
_CONSTANTS = frozenset(["\\pi", "e", "i", "\\infty", "\\degree"])
_FUNCTION_LETTERS = frozenset("fghFGH")
_SHORT_WORDS = """
an as at be by do go he in it me my no of on so up us we lg lcm gcd max mod any all add dry fly sky try why cry shy
was has had can man day yes dx dy dz dt du dv
"""
# No products of variables: these, and the units and words of `quantity`.
# Products of neighbouring letters (ad + bc) are far commoner in formulas than the ends of years.
_WORDS = (quantity.WORDS | frozenset(_SHORT_WORDS.split())) - {"ad", "bc", "ce"}


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    r"""A letter (`x`, `x_1`), a command (`\pi`, `\alpha`, `\infty`, `\degree`), `e` or `i`."""

    text: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added up; a difference is a sum with a factor -1."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied; a quotient is a product with a power -1."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """A base to an exponent; an n-th root is the power 1/n."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function of one or more arguments: sin, log (argument, then base), factorial, abs, floor, binomial, max, ..."""

    function: str
    arguments: tuple[Node, ...]


Node = Number | Name | Sum | Product | Power | Call

_MINUS = Number(Fraction(-1))


class _UnreadError(Exception):
    """The text is not wholly understood."""


def parse(text: str) -> Node | None:
    r"""Read one formula in normal notation; None when it is not wholly understood. Never raises.

    >>> parse(r"\log_2 8")
    Call(function='log', arguments=(Number(value=Fraction(8, 1)), Number(value=Fraction(2, 1))))
    >>> parse("x=2"), parse("two words"), parse("1/2x")
    (None, None, None)
    """
    try:
        reader = _Reader(_tokens(text))
        node = reader.sum(0, "")
    except _UnreadError:
        return None
    return node if reader.at == reader.end else None


def letters(node: Node) -> frozenset[str]:
    r"""Return the variables of a formula: every name but \pi, e, i, \infty and \degree.

    >>> sorted(letters(parse(r"2\pi r+x_1")))
    ['r', 'x_1']
    """
    match node:
        case Name(text):
            return frozenset() if text in _CONSTANTS else frozenset([text])
        case Sum(parts) | Product(parts) | Call(_, parts):
            return frozenset[str]().union(*map(letters, parts))
        case Power(base, exponent):
            return letters(base) | letters(exponent)
    return frozenset()


def _tokens(text: str) -> list[str]:
    if len(text) > MOST_TOKENS * 10:
        raise _UnreadError
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        if len(token) > 1 and token.isalpha():
            script = bool(tokens) and tokens[-1] in ("^", "_")
            if not (set(token.lower()) <= set("xyz") if token == text else are_letters(token, script=script)):
                raise _UnreadError
            tokens += token
        else:
            tokens.append(token)
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise _UnreadError
    return tokens


def are_letters(run: str, *, script: bool = False) -> bool:
    """Say whether a run of letters in a formula is a product of variables rather than a word.

    Two letters are, and three without e, i, o, u, unless they are a known word. Right behind `^` or `_` the first
    letter is a script of its own.

    >>> [are_letters(run) for run in ("ab", "xyz", "cm", "dog", "june")]
    [True, True, False, False, False]
    """
    low = run.lower()
    rest = low[1:] if script else low
    return low not in _WORDS and (len(rest) <= 2 or (len(rest) == 3 and set("eiou").isdisjoint(rest)))


class _Reader:
    """Reads tokens by recursive descent; a closing sign ends a level, `depth` bounds them."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at, self.end = 0, len(tokens)

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < self.end else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise _UnreadError

    def sum(self, depth: int, closing: str) -> Node:
        if depth > DEEPEST:
            raise _UnreadError
        terms: list[Node] = []
        while True:
            sign = self.peek()
            if sign in ("+", "-"):
                self.at += 1
            elif terms:
                break
            term = self.product(depth, closing)
            if sign == "-":
                term = Number(-term.value) if isinstance(term, Number) else _product([_MINUS, term])
            terms.append(term)
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def product(self, depth: int, closing: str) -> Node:
        factors, loose = self.chain(depth, closing)
        divided = False
        while (sign := self.peek()) in ("\\cdot", "/"):
            if loose or (divided and sign == "/"):  # \sin x/2: of the angle or the sine? 5/1/21: a date?
                raise _UnreadError
            self.at += 1
            divided = sign == "/"
            if divided:
                factor, loose = self.factor(depth, closing)
                if self.starts(closing):  # 1/2x
                    raise _UnreadError
                factors.append(Power(factor, _MINUS))
            else:
                more, loose = self.chain(depth, closing)
                factors += more
        return _product(factors)

    def chain(self, depth: int, closing: str) -> tuple[list[Node], bool]:
        """Read factors that stand side by side; also tell whether the last is a function without brackets."""
        first = self.peek()
        node, loose = self.factor(depth, closing)
        factors = [node]
        plain = isinstance(node, Number) and first[0] in ".0123456789"
        while self.starts(closing) and not loose:
            token = self.peek()
            if token[0] in ".0123456789":  # 1 2, x2
                raise _UnreadError
            node, loose = self.factor(depth, closing)
            if plain and token == "\\frac" and _numeric(node):  # 2\frac{1}{3}: mixed, or a product?
                raise _UnreadError
            plain = False
            factors.append(node)
        while loose and self.peek() in _CALLS:
            node, loose = self.factor(depth, closing)
            factors.append(node)
        if self.starts(closing):
            raise _UnreadError
        return factors, loose

    def starts(self, closing: str) -> bool:
        """Say whether the next token begins a factor."""
        token = self.peek()
        if token == "" or token == closing:
            return False
        if token == " ":
            self.at += 1
            return self.starts(closing)
        return token[0].isalnum() or token in _STARTS

    def factor(self, depth: int, closing: str) -> tuple[Node, bool]:
        """Read one factor with what stands behind it; also tell whether it is a function without brackets."""
        while self.peek() == " ":
            self.at += 1
        token = self.take()
        loose = False
        if not token:
            raise _UnreadError
        if token[0] in ".0123456789":
            if token == "." or len(token) > MOST_DIGITS:
                raise _UnreadError
            node: Node = Number(Fraction(int(token)) if token.isdigit() else Fraction(token))
        elif (token.isascii() and token.isalpha()) or token in _NAMES:
            node = self.name(token)
        elif token in _CALLS:
            node, loose = self.call(_CALLS[token], depth, closing)
            if loose:
                return node, True
            if self.peek() == "^":  # \sin(x)^2
                raise _UnreadError
        elif token in _FENCES:
            node = self.sum(depth + 1, _FENCES[token])
            self.expect(_FENCES[token])
            if token in _ROUNDED:
                node = Call(_ROUNDED[token], (node,))
        else:
            node = self.operator(token, depth)
        return self.scripts(node, depth), loose

    def name(self, token: str) -> Node:
        if self.peek() == "_":
            self.at += 1
            index = self.take()
            if not (index.isascii() and index.isalnum()) or len(index) > 4:
                raise _UnreadError
            token = f"{token}_{index}"
        function = token[0] in _FUNCTION_LETTERS or (token[0] == "\\" and token not in _CONSTANTS)
        inverse = self.peek() == "^" and "(" in self.tokens[self.at + 2 : self.at + 6]  # f^{-1}(x)
        of_a_letter = (
            self.tokens[self.at : self.at + 3 : 2] == ["(", ")"] and self.tokens[self.at + 1].isalpha()
        )  # P(A)
        if of_a_letter or (function and (inverse or self.peek() == "(")):
            raise _UnreadError
        return Name(token)

    def operator(self, token: str, depth: int) -> Node:
        if token == "\\frac":
            top, bottom = self.group(depth), self.group(depth)
            return _product([top, Power(bottom, _MINUS)])
        if token == "\\binom":
            return Call("binomial", (self.group(depth), self.group(depth)))
        if token == "\\sqrt":
            root = Fraction(1, 2)
            if self.peek() == "[":
                self.at += 1
                index = self.take()
                if not (index.isascii() and index.isdigit()) or not int(index[:3]) > 1 or len(index) > 3:
                    raise _UnreadError
                self.expect("]")
                root = Fraction(1, int(index))
            return Power(self.group(depth), Number(root))
        raise _UnreadError

    def group(self, depth: int) -> Node:
        self.expect("{")
        node = self.sum(depth + 1, "}")
        self.expect("}")
        return node

    def script(self, depth: int) -> Node:
        if self.peek() == "{":
            return self.group(depth)
        token = self.take()
        if token[:1] and token[0] in "0123456789" and len(token) <= MOST_DIGITS:
            return Number(Fraction(token))
        if token in _NAMES or (token.isascii() and token.isalpha()):
            return Name(token)
        raise _UnreadError

    def scripts(self, node: Node, depth: int) -> Node:
        raised = False
        while (sign := self.peek()) in ("^", "!", "\\degree"):
            self.at += 1
            if raised:  # x^2^3, 2^3!, 3!!
                raise _UnreadError
            if sign == "^":
                node, raised = Power(node, self.script(depth)), True
            elif sign == "!":
                node, raised = Call("factorial", (node,)), self.peek() != "^"
            else:
                node, raised = Product((node, Name("\\degree"))), True
        if self.peek() == "_":
            raise _UnreadError
        return node

    def call(self, function: str, depth: int, closing: str) -> tuple[Node, bool]:
        r"""Read the base, power and argument of a function: \log_2 8, \sin^2 x, \sin 2x, \max(1,2)."""
        base: Node | None = None
        power: Node | None = None
        while (sign := self.peek()) in ("_", "^"):
            self.at += 1
            if sign == "_" and function == "log" and base is None:
                base = self.script(depth)
            elif sign == "^" and power is None and function not in _SEVERAL:
                power = self.script(depth)
            else:
                raise _UnreadError
        if power == _MINUS:
            if function not in _INVERSES:
                raise _UnreadError
            function, power = _INVERSES[function], None
        while self.peek() == " ":
            self.at += 1
        loose = self.peek() != "("
        if loose:
            if function in _SEVERAL:
                raise _UnreadError
            arguments = [self.angle(depth + 1, closing)]
        else:
            self.at += 1
            arguments = [self.sum(depth + 1, ")")]
            while function in _SEVERAL and self.peek() == ",":
                self.at += 1
                arguments.append(self.sum(depth + 1, ")"))
            self.expect(")")
        node: Node = Call(function, (*arguments, base) if base is not None else tuple(arguments))
        return (node if power is None else Power(node, power)), loose

    def angle(self, depth: int, closing: str) -> Node:
        """Read the argument of a function without brackets: the factors up to the next sign or function."""
        if depth > DEEPEST or self.peek() in _CALLS or self.peek() == "-":
            raise _UnreadError
        factors = [self.factor(depth, closing)[0]]
        plain = isinstance(factors[0], Number)
        while self.starts(closing) and self.peek() not in _CALLS:
            token = self.peek()
            node = self.factor(depth, closing)[0]
            if token[0] in ".0123456789([|" or (plain and token == "\\frac" and _numeric(node)):
                raise _UnreadError
            plain = False
            factors.append(node)
        return _product(factors)


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _numeric(node: Node) -> bool:
    r"""Say whether a \frac is one of two plain numbers."""
    match node:
        case Product((Number(), Power(Number(), _))):
            return True
        case _:
            return False
