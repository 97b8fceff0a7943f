r"""The canonical key of an answer: two answers are equal when their keys are one string.

Equality by key is an equivalence relation by construction. A key is its own key. What counts as equal:

| written | key | strict | rule |
|---|---|---|---|
| `7`, `7.0`, `+7`, `7.`, `$7$`, `(7)`, `{7}` | `7` | same | an integer |
| `0.5`, `.50`, `1/2`, `\frac12`, `\dfrac{1}{2}` | `0.5` | same | a terminating decimal |
| `1/3`, `2/6`, `0.\overline{3}` | `1/3` | same | any other rational, reduced; never rounded: 0.33 is not 1/3 |
| `1 1/2`, `1\frac12` | `1.5` | same | a mixed number; `2\frac{5}{3}` (improper) stays text |
| `1,000`, `1{,}000`, `1\,000`, `1 000`, `1e3`, `1\times10^3` | `1000` | same | groups of three; exponent to 30 |
| `\$5`, `$5` | `5` | `$5` | money is dropped, not converted: 5 cents is 5 |
| `5 \text{cm}`, `5cm` | `5` | `5cm` | so are units: `12 apples` is 12 |
| `90^\circ`, `90°` | `90` | `90\degree` | degree signs are dropped, but stay behind \sin, \cos, \tan, ... |
| `50%`, `50\%` | `50` | `0.5` | percent is a unit; 50% is not 0.5 |
| `5 million` | `5000000` | same | scale words multiply |
| `4th`, `4^{\text{th}}` | `4` | text | an ordinal is its number, also `4th grade` |
| `4 pm`, `4 p.m.`, `4 \text{ p.m.}` | `4pm` | same | a time of day keeps its half |
| `2 thirds` | text | text | such words change the value |
| `x = 5`, `5 = x` | `5` | `x=5` | the left side is a name, also `f(x) = 5`, `x \in [1,2]` |
| `(1, 2)`, `(2/2,2.0)` | `(1,2)` | same | a tuple or open interval: ordered |
| `[1,2)` | `[1,2)` | same | brackets count |
| `\{2, 1\}`, `{1,2,2}` | `{1,2}` | same | a set: sorted, without repeats; `\{2\}` is 2 |
| `2, 1`, `2 and 1` | `{1,2}` | `(2,1)` | a bare list without repeats is the set of its members |
| `1, 2, 1` | `1, 1, 2` | `(1,2,1)` | a bare list with repeats: sorted, its own kind |
| `1,2,...,n` | `1, 2, ..., n` | `(1,2,...,n)` | a list with an ellipsis keeps its order |
| `y=2, x=1` | `{x=1,y=2}` | `(y=2,x=1)` | different names on the left stay |
| `1\pm\sqrt{19}` | `{1-\sqrt{19},\sqrt{19}+1}` | same | both values; with two plus-minus signs it stays text |
| `\begin{pmatrix}1/2\\2\end{pmatrix}` | `\begin{matrix}0.5\\2\end{matrix}` | same | p, b, B alike; not `vmatrix` |
| `(2,3)\cup(0,1]`, `(0,1]\cup(2,3)` | `(0,1]\cup(2,3)` | same | a union is sorted |
| `(0,1)\cup[1,2)`, `(0,2)\cup(0,1)` | `(0,2)` | same | and joined where rational bounds touch |
| `x>2`, `2<x`, `x\in(2,\infty)` | `(2,\infty)` | `x\in(2,\infty)` | an inequality with constant bounds is an interval |
| `-1\le x<3`, `3>x\ge-1` | `[-1,3)` | `x\in[-1,3)` | |
| `x<-1 or x>2` | `(-\infty,-1)\cup(2,\infty)` | `x\in(-\infty,-1)\cup(2,\infty)` | "or" |
| `\mathbb{R}`, `\Bbb R`, `(-\infty,+\infty)` | `(-\infty,\infty)` | same | the real numbers |
| `5/1/2021` | `05/01/2021` | same | a date, padded, never reordered |
| `2021-05-01` | `2021-05-01` | same | a date too, and no difference of numbers |
| `5-10`, `5 - 10 \text{ cm}` | `5-10` | text | two numbers with a dash may be a range |
| `2(k+1)`, `2+2k`, `k+k+2` | `2k+2` | same | a polynomial, multiplied out |
| `\frac{x^2-1}{x-1}`, `1+x` | `x+1` | same | common factors cancel |
| `3\pi/4`, `\frac{3\pi}{4}`, `0.75\pi` | `\frac{3\pi}{4}` | same | a slash divides by one factor; `1/2x` stays text |
| `\sqrt{12}`, `\frac{6}{\sqrt3}`, `2\cdot3^{1/2}` | `2\sqrt{3}` | same | roots of integers, rational denominators |
| `\frac{2}{1+\sqrt5}`, `\frac{\sqrt5-1}2` | `\frac{\sqrt{5}-1}{2}` | same | |
| `\sqrt{-4}`, `\frac{4}{-2i}` | `2i` | same | i is the imaginary unit, e is 2.718... |
| `7!\times2`, `\binom{16}{2}\cdot84` | `10080` | same | factorials to 30, binomials to 300, powers to 200 digits |
| `4^{1002}\cdot2`, `2^{2005}` | `2^2005` | same | longer powers stay powers of primes |
| `\sin^2 x+1`, `1+(\sin x)^2` | `\sin^2(x)+1` | same | functions stay closed: `\sin 2x` is not `2\sin x\cos x` |
| `2x\cdot3y`, `6yx` | `6xy` | same | in a formula two letters are a product, see below |
| `2x+4y=6`, `x+2y-3=0` | `x+2y-3=0` | same | an equation: on one side, coprime integers |
| `y=2x` | `2x` | `y=2x` | but a name alone on the left goes, as above |
| `X+1` | `x+1` | `X+1` | the case of letters does not count |
| `"Sunday"`, `\text{Sunday}.` | `sunday` | `Sunday` | quotes, wrappers and a last period do not count |
| `1+2\sqrt{3` | text | text | cut off: not equal to its repair |
| `none`, `null`, `nan`, `n/a`, `no answer`, `[invalid]`, empty | None | None | placeholders are never an answer |
| `undefined`, `no solution`, `\emptyset`, `1/0` | text | text | these are answers |

Letters run together are a product only in a formula, that is next to a digit, an operator or a command: two of them,
or three without e, i, o, u, unless they are a known word or unit (`cm`, `am`, `max`). Alone, only x, y and z are: `xy`
is `yx`, but `ab` is a word. Letters before a bracket are factors, `x(x+1)`, except f, g, h and Greek ones.

The algebra is exact, and bounded: what is dear to multiply out stays as it is written. Nothing is approximated and
no identity of functions is used; whether e^{i\pi} is -1 is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from escalade.answers import algebra, brackets, formula, markup, notation, quantity, rational, relation

LONGEST = 1000  # characters; beyond it an answer is compared as plain text
_CACHED = 200
_MOST_FORMS = 1 << 13
_FORMS: dict[str, algebra.Form | None] = {}
_ROUNDS = 12
_DEEPEST = 12
_INTEGER = re.compile(r"-?[1-9][0-9]{0,17}|0")
_PLACEHOLDER = re.compile(r"none|null|nan|n/a|no answer|invalid|[?-]|\.\.\.|\[(?:\.\.\.|[a-z][a-z _-]+)?\]|\(\)|\{\}")
_NAME = re.compile(
    r"\s*(?:(?![x-z]{2,3}\s*=)[a-zA-Z]{1,12}|\\[a-zA-Z]+|\\(?:text|mathrm)\s*\{[^{}]*\})(?:_(?:\w|\{\w+\}))?(?:\([a-zA-Z](?:,\s?[a-zA-Z])*\))?"
    r"\s*(?:=|\\in(?![a-z]))|\s*\([a-zA-Z](?:,\s?[a-zA-Z])*\)\s*="
)
_AND = re.compile(r"\s*(?:\\(?:text|mathrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![a-z\\])(?:and|or)(?![a-z]))\s*")
_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_DASHED = re.compile(r"[0-9]+-[0-9]{1,2}-[0-9]+|[0-9]+(?:\.[0-9]+)? ?- ?[0-9]+(?:\.[0-9]+)?")
_MATRIX = re.compile(r"\\begin\{([bpvBV]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_CUP = re.compile(r"\\cup(?![a-zA-Z])")
_REALS = re.compile(r"\\(?:mathbb|Bbb|mathbf) ?\{? ?[rR] ?\}?|\\[rR]|all real numbers|all reals")
_REAL_LINE = "(-\\infty,\\infty)"
_PERCENT = re.compile(r"(.*[0-9}]) ?\\?%", re.DOTALL)
_CUT_UNIT = re.compile(r"(?:\^ ?\{ ?)?\\(?:text|textrm|textbf|textit|mathrm|mbox|hbox|rm) ?\{[^{}\\0-9]{0,12}\Z")
_PROSE = re.compile(r"(?<![a-zA-Z])(?!arc|sinh|cosh|tanh|coth)[a-zA-Z]{4}")
_BASE = re.compile(r"([0-9]+)_(?:[0-9]|\{?[0-9]{1,2}\}?)")
_PLAIN_WORDS = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)*|[0-9]{2}/[0-9]{2}/[0-9]{4}|-?\\infty|\\emptyset")
_LETTER = re.compile(r"(?:[a-zA-Z]|\\(?!pi|infty)[a-zA-Z]+)(?:_\w|_\{\w+\})?")


def key(answer: str, strict: bool = False) -> str | None:
    r"""Return the canonical key of an answer, or None when it says nothing.

    The rule is the table at the top of this module; key(key(a)) == key(a). Strict keys keep units, money, percent,
    names on the left, the order of lists and the case of letters. Never raises; evaluates nothing as code.

    >>> [key(a) for a in (r"\frac12", "0.50", "$1,000", "x = 5 cm", r"\{2, 1\}", "2(k+1)", "[invalid]")]
    ['0.5', '0.5', '1000', '5', '{1,2}', '2k+2', None]
    >>> key("5 cm", strict=True), key("50%", strict=True), key("2, 1", strict=True)
    ('5cm', '0.5', '(2,1)')
    """
    if _INTEGER.fullmatch(answer):
        return answer
    return _remembered(answer, strict) if len(answer) <= _CACHED else _settled(answer, strict)


def accepted(gold: str, strict: bool = False) -> tuple[str, ...]:
    r"""Return the keys that answer a gold, its own first; none when the gold says nothing.

    A gold in another base is also answered by its digits alone, one in percent by its value, an equation y = ... by
    the equation with everything on one side. When strict, only its own key will do.

    >>> accepted("4343_6"), accepted(r"50\%"), accepted("y=2x"), accepted("7")
    (('4343_6', '4343'), ('50', '0.5'), ('2x', '2x-y=0'), ('7',))
    """
    own = key(gold, strict)
    if own is None or strict:
        return () if own is None else (own,)
    text = markup.without_markup(gold, strict=False)
    other: str | None = None
    if base := _BASE.fullmatch(own):
        other = key(base[1])
    elif percent := _PERCENT.fullmatch(text):
        other = _hundredth(percent[1])
    elif text.count("=") == 1:
        left, right = notation.normal(text).split("=")
        if _LETTER.fullmatch(left) and not _is_constant(_value(right) or right):
            other = _one_sided(left, right)
    return (own,) if other is None or other == own else (own, other)


def exact(key: str) -> bool:
    r"""Say whether a canonical key has no other spelling: two different exact keys are surely different answers.

    So for numbers (in any base), words, dates and exact algebra (see `spelling.is_exact`), for tuples, sets, matrices,
    unions and equations of such, and for what is cut off. Strict keys too.

    >>> [exact(k) for k in ("0.5", "sunday", r"\frac{\sqrt{5}-1}{2}", "(1,2x)", r"\sin(x)")]
    [True, True, True, True, False]
    """
    return _INTEGER.fullmatch(key) is not None or _exact(key)


@lru_cache(maxsize=1 << 14)
def _exact(key: str, depth: int = 0) -> bool:
    if rational.read(key) is not None or any(rx.fullmatch(key) for rx in (_PLAIN_WORDS, _BASE, _DASHED)):
        return True
    if key.count("{") != key.count("}") or ("\\" not in key and _PROSE.search(key)):
        return True
    if not key or depth > _DEEPEST or "..." in key:
        return False
    if matrix := _MATRIX.fullmatch(key):
        cells = [cell for row in matrix[2].split("\\\\") for cell in row.split("&")]
        return matrix[1] == "matrix" and all(_exact(cell, depth + 1) for cell in cells)
    if "\\cup" in key:
        return all(relation.is_rational_interval(part) for part in _CUP.split(key))
    if key[0] in "([{":
        pieces, end = brackets.split(key, 1)
        if end == len(key) and len(pieces) > 1:
            return all(_exact(piece, depth + 1) for piece in pieces)
    pieces, _ = brackets.split(key, 0)
    if len(pieces) > 1:
        return all(_exact(piece.strip(), depth + 1) for piece in pieces)
    left, equals, right = key.partition("=")
    if equals and _LETTER.fullmatch(left):
        return _exact(right, depth + 1)
    form = _algebra(left)
    if form is None or form.text != left or not form.exact:
        return False
    node = formula.parse(left) if right == "0" else None
    return not equals or (node is not None and len(formula.letters(node)) > 1)


@lru_cache(maxsize=1 << 15)
def sort_key(key: str) -> tuple[int, Fraction, str]:
    """Return the place of a canonical key in a total order: numbers by value first, then text.

    >>> sorted(["b", "10", "1/3", "2"], key=sort_key)
    ['1/3', '2', '10', 'b']
    """
    value = rational.read(key)
    return (1, Fraction(0), key) if value is None else (0, Fraction(*value), key)


def _settled(answer: str, strict: bool) -> str | None:
    """Rewrite until nothing changes. Returning only fixed points is what makes `key` idempotent."""
    current = answer
    for _ in range(_ROUNDS):
        if (number := _number(current)) is not None:
            return number
        following = _form(current, 0, strict)
        if following is None or following == current:
            return following
        current = following
    return None


_remembered = lru_cache(maxsize=1 << 15)(_settled)


def _form(answer: str, depth: int, strict: bool) -> str | None:
    text = markup.without_markup(answer, strict=strict)
    if not text or _PLACEHOLDER.fullmatch(text.casefold() if strict else text):
        return None
    if len(text) > LONGEST or depth > _DEEPEST:
        return text
    if missing := text.count("{") - text.count("}"):
        unit = _CUT_UNIT.search(text)
        if unit is None or text.count("{", 0, unit.start()) != text.count("}"):
            return text
        text += "}" * missing
    if text.startswith("{{") and not set("{}") & set(core := text.strip("{}")):
        text = f"{{{core}}}"
    if strict and (percent := _PERCENT.fullmatch(text)) and (share := _hundredth(percent[1])) is not None:
        return share
    text = quantity.without_signs(text, strict=strict).strip()
    if not text or (number := _number(text)) is not None:
        return number if text else None
    if _DASHED.fullmatch(text):
        return text.replace(" ", "")
    if date := _DATE.fullmatch(text):
        return f"{int(date[1]):02}/{int(date[2]):02}/{date[3]}"
    if _REALS.fullmatch(text):
        return _REAL_LINE
    if text.startswith("\\begin") and (matrix := _MATRIX.fullmatch(text)):
        return _matrix(matrix[1], matrix[2], depth, strict)
    if relation.is_relation(text) and (solved := _solution(text, depth, strict)) is not None:
        return solved
    if (collection := _collection(text, depth, strict)) is not None:
        return collection
    if (bare := quantity.without_unit(text, strict=strict)) != text:
        return _form(bare, depth + 1, strict)
    if (name := _NAME.match(text)) and not set("=<>") & set(text[name.end() :]) and text[name.end() :].strip():
        if depth or strict:
            value = _form(text[name.end() :], depth + 1, strict) or notation.normal(text[name.end() :])
            return notation.normal(name[0]) + value
        return _form(text[name.end() :], depth + 1, strict)
    if "\\pm" in text and (values := _both(text)) is not None:
        return values
    return _plain(text, depth, strict)


def _number(text: str) -> str | None:
    value = rational.read(text)
    return None if value is None else rational.write(value)


def _plain(text: str, depth: int, strict: bool) -> str | None:
    spelled = notation.normal(text)
    if (value := _value(spelled)) is not None:
        return value
    sides = spelled.split("=")
    if len(sides) > 1:
        worked_out = {_value(side) for side in sides}
        value = worked_out.pop() if len(worked_out) == 1 else None
        if value is not None and _is_constant(value):  # 2+3=5
            return value
    if len(sides) == 2:
        left, right = sides
        if _LETTER.fullmatch(right) and left and _LETTER.fullmatch(left) is None:
            left, right = right, left
            if depth == 0:
                return f"{left}={right}"
        if (equation := _one_sided(left, right)) is not None:
            return equation
    return (brackets.fractions(spelled) if "/" in spelled else spelled) or None


def _value(spelled: str) -> str | None:
    """Return the key of a number or formula; None when it is neither, or a word."""
    if (number := _number(spelled)) is not None:
        return number
    if spelled == "+\\infty":
        return "\\infty"
    if len(spelled) < 2 or (spelled.isalpha() and not set(spelled.lower()) <= set("xyz")):
        return None
    form = _algebra(spelled)
    return None if form is None else form.text


def _algebra(spelled: str) -> algebra.Form | None:
    if spelled in _FORMS:
        return _FORMS[spelled]
    node = formula.parse(spelled)
    form = None if node is None else algebra.canonical(node)
    if len(_FORMS) >= _MOST_FORMS:
        _FORMS.clear()
    _FORMS[spelled] = form
    if form is not None:
        _FORMS[form.text] = form  # a written form is its own form
    return form


def _one_sided(left: str, right: str) -> str | None:
    """Return the key of an equation with everything on the left; None where algebra does not understand it."""
    sides = formula.parse(left), formula.parse(right)
    form = None if sides[0] is None or sides[1] is None else algebra.equation(sides[0], sides[1])
    return None if form is None or _NAME.match(f"{form.text}=") else f"{form.text}=0"


def _both(text: str) -> str | None:
    """Return the set of the two values that a plus-minus gives."""
    signs = relation.both_signs(text)
    values = [] if signs is None else [_value(notation.normal(each)) for each in signs]
    known = [value for value in values if value is not None]
    return _set(sorted(dict.fromkeys(known), key=sort_key)) if len(known) == 2 else None


def _hundredth(percent: str) -> str | None:
    value = rational.read(key(percent) or "")
    return None if value is None else _number(f"{value.numerator}/{value.denominator * 100}")


def _solution(text: str, depth: int, strict: bool) -> str | None:
    """Return the interval or union that solves an inequality with constant bounds, or several joined by "or"."""
    found = [relation.interval(notation.normal(part)) for part in relation.alternatives(text)]
    parts: list[str] = []
    for each in found:
        if each is None or found[0] is None or each.letter != found[0].letter:
            return None
        low, high = (_form(bound, depth + 1, strict) or "" for bound in (each.low, each.high))
        if not (_is_constant(low) and _is_constant(high)) or relation.is_empty_or_reversed(low, high):
            return None
        parts.append(f"{each.opening}{low},{high}{each.closing}")
    letter = f"{found[0].letter}\\in" if strict and found[0] is not None else ""
    return letter + _union(parts)


def _is_constant(bound: str) -> bool:
    if bound in ("\\infty", "-\\infty") or rational.read(bound) is not None:
        return True
    node = formula.parse(bound)
    return node is not None and not formula.letters(node)


def _union(parts: list[str]) -> str:
    return "\\cup".join(sorted(dict.fromkeys(relation.merged(parts)), key=sort_key))


def _collection(text: str, depth: int, strict: bool) -> str | None:
    """Read a tuple, interval, set, union or bare list; None when the text is none of them."""
    opening = "\\{" if text.startswith("\\{") else text[0]
    if opening in brackets.OPENING:
        pieces, end = brackets.split(text, len(opening))
        if end == len(text):
            return _bracketed(opening, pieces, text[-1], depth, strict)
    if "\\cup" in text and _NAME.match(text) is None and len(pieces := _CUP.split(text)) > 1:
        return _union(_parts(pieces, depth, strict))
    pieces = [piece for part in brackets.split(text, 0)[0] for piece in _AND.split(part) if piece.strip()]
    if len(pieces) < 2 or not all(brackets.is_mathematical(piece) for piece in pieces):
        return None
    return _listed(pieces, depth, strict)


def _bracketed(opening: str, pieces: list[str], closing: str, depth: int, strict: bool) -> str | None:
    if len(pieces) > 1:
        if opening in "([":
            return f"{opening}{','.join(_parts(pieces, depth, strict))}{closing}"
        return _set(dict.fromkeys(sorted(_parts(relation.spread(pieces), depth, strict), key=sort_key)))
    if opening == "[" or closing == "]":
        return None
    return _form(pieces[0], depth + 1, strict) if pieces[0].strip() else "\\emptyset"


def _listed(pieces: list[str], depth: int, strict: bool) -> str:
    names = [match[0].strip() if (match := _NAME.match(piece)) else "" for piece in pieces]
    if strict:
        return f"({','.join(_parts(pieces, depth, strict))})"
    if names[0] and set(names[1:]) <= {names[0], ""}:
        pieces = [piece[match.end() :] if (match := _NAME.match(piece)) else piece for piece in pieces]
    parts = _parts(relation.spread(pieces), depth, strict)
    if any("..." in part for part in parts):
        return ", ".join(parts)
    parts.sort(key=sort_key)
    # With a space behind the comma, so that "100, 100" cannot be read again as a hundred thousand.
    return _set(parts) if len(set(parts)) == len(parts) else ", ".join(parts)


def _parts(pieces: Sequence[str], depth: int, strict: bool) -> list[str]:
    return [_form(piece, depth + 1, strict) or notation.normal(piece) for piece in pieces]


def _set(members: Iterable[str]) -> str:
    inside = ",".join(members)
    return f"{{{inside}}}" if "," in inside else inside


def _matrix(kind: str, body: str, depth: int, strict: bool) -> str:
    rows = [row for row in body.split("\\\\") if row.strip()]
    cells = ["&".join(_parts(row.split("&"), depth, strict)) for row in rows]
    name = kind if kind in ("vmatrix", "Vmatrix") else "matrix"
    return f"\\begin{{{name}}}" + "\\\\".join(cells) + f"\\end{{{name}}}"
