r"""The canonical key of an answer: two answers are equal when their keys are one string.

Equality by key is an equivalence relation by construction. A key is its own key. What counts as equal:

| written | key | rule |
|---|---|---|
| `7`, `7.0`, `+7`, `7.`, `$7$`, `(7)`, `{7}` | `7` | an integer |
| `0.5`, `.50`, `1/2`, `\frac12`, `\dfrac{1}{2}` | `0.5` | a terminating decimal |
| `1/3`, `2/6`, `0.\overline{3}` | `1/3` | any other rational, reduced; never rounded: 0.33 is not 1/3 |
| `1 1/2`, `1\frac12` | `1.5` | a mixed number; `2\frac{5}{3}` (improper) stays text |
| `1,000`, `1{,}000`, `1\,000`, `1 000`, `1e3`, `1\times10^3` | `1000` | groups of three; exponent to 30 |
| `\$5`, `5 \text{cm}`, `12 apples`, `90^\circ` | the number | dropped, not converted: 5 cents is 5 |
| `50%`, `50\%`, `50 percent` | `50` | percent is a unit; 50% is not 0.5 |
| `5 million` | `5000000` | scale words multiply |
| `4th`, `4^{\text{th}}`, `4th grade` | `4` | an ordinal is its number |
| `5k`, `4t`, `4 pm`, `2 thirds` | text | a bare letter is a variable; these words change the value |
| `x = 5`, `f(x) = 5`, `x \in [1,2]` | of the right side | the left side is a name; x^2+y^2=13 stays whole |
| `(1, 2)` | `(1,2)` | a tuple or open interval: ordered |
| `[1,2)` | `[1,2)` | brackets count |
| `\{2, 1\}`, `{1,2,2}` | `{1,2}` | a set: sorted, without repeats; `\{2\}` is 2 |
| `2, 1`, `1 and 2`, `x=1 \text{ or } x=2` | `{1,2}` | a bare list without repeats is the set of its members |
| `1, 1, 2` | `1, 1, 2` | a bare list with repeats: sorted, its own kind |
| `1,2,...,n` | `1, 2, ..., n` | a list with an ellipsis keeps its order |
| `x=1, y=2` | `{x=1,y=2}` | different names on the left stay |
| `\begin{pmatrix}1/2\\2\end{pmatrix}` | `\begin{matrix}0.5\\2\end{matrix}` | p, b, B alike; not `vmatrix` |
| `(2,3)\cup(0,1)` | `(0,1)\cup(2,3)` | a union is sorted |
| `5/1/2021` | `05/01/2021` | a date, padded, never reordered |
| `3\pi/4`, `\frac{3\pi}{4}` | `\frac{3\pi}{4}` | a slash is a fraction where both sides are plain |
| `"Sunday"`, `\text{Sunday}.`, `SUNDAY` | `sunday` | case, quotes, wrappers and a last period do not count |
| `none`, `null`, `nan`, `n/a`, `no answer`, `[invalid]`, empty | None | placeholders are never an answer |
| `undefined`, `no solution`, `\emptyset`, `1/0` | text | these are answers |

Nothing is evaluated: powers, roots and factorials stay as written, so `2^{-99}` and `2^{-98}` differ and
nothing can run long. Symbolic equality, (x+1)^2 and x^2+2x+1, is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from escalade.answers import notation, quantity, rational

LONGEST = 1000  # characters; beyond it an answer is compared as plain text
_CACHED = 200
_ROUNDS = 12
_DEEPEST = 12
_PEELS = 20  # layers of markup; a bound, because each layer costs a copy

_INTEGER = re.compile(r"-?[1-9][0-9]{0,17}|0")
_COMMAND_OR_TEXT = re.compile(r"(\\[a-zA-Z]+)|[^\\]+|\\")
_LAYOUT = re.compile(r"(\\\\)|\\(?:left|right|[bB]igg?[lrm]?|displaystyle|quad|qquad)(?![a-zA-Z])|\\[,!;:> ]|~")
_PLACEHOLDER = re.compile(r"none|null|nan|n/a|no answer|invalid|[?-]|\.\.\.|\[(?:\.\.\.|[a-z][a-z _-]+)?\]|\(\)|\{\}")
_NAME = re.compile(
    r"\s*(?:[a-z]{1,12}|\\[a-zA-Z]+|\\(?:text|mathrm)\s*\{[^{}]*\})(?:_(?:\w|\{\w+\}))?(?:\([a-z](?:,\s?[a-z])*\))?"
    r"\s*(?:=|\\in(?![a-z]))|\s*\([a-z](?:,\s?[a-z])*\)\s*="
)
_AND = re.compile(r"\s*(?:\\(?:text|mathrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![a-z\\])(?:and|or)(?![a-z]))\s*")
_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_MATRIX = re.compile(r"\\begin\{([bpvBV]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_OPENING = ("(", "[", "{", "\\{")
_TURN = re.compile(r"\\.|[()\[\]{},;]", re.DOTALL)
_CUP = re.compile(r"\\cup(?![a-zA-Z])")
_TERM_END = re.compile(r"[()\[\]{}+\-=<>,|]|\\(?:pm|mp|leq|geq|neq|cup|in)(?![a-zA-Z])")
_DIVISION = re.compile(r"([^/]+)/((?:[0-9.]+|[a-z]|\\[a-zA-Z]+)(?:\{[^{}]*\})?|\([^()]+\))")
_WORDY = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc|log|ln|lim|sum|int|prod|arc[a-z]+)(?![a-zA-Z])|(?<![\\a-zA-Z])[a-z]{3}"
)


def key(answer: str) -> str | None:
    r"""Return the canonical key of an answer, or None when it says nothing.

    The rule is the table at the top of this module; key(key(a)) == key(a). Never raises, evaluates nothing.

    >>> [key(a) for a in (r"\frac12", "0.50", "$1,000", "x = 5 cm", r"\{2, 1\}", "[invalid]")]
    ['0.5', '0.5', '1000', '5', '{1,2}', None]
    """
    if _INTEGER.fullmatch(answer):
        return answer
    return _remembered(answer) if len(answer) <= _CACHED else _settled(answer)


def sort_key(key: str) -> tuple[int, Fraction, str]:
    """Return the place of a canonical key in a total order: numbers by value first, then text.

    >>> sorted(["b", "10", "1/3", "2"], key=sort_key)
    ['1/3', '2', '10', 'b']
    """
    value = rational.read(key)
    return (1, Fraction(0), key) if value is None else (0, Fraction(*value), key)


def _settled(answer: str) -> str | None:
    """Rewrite until nothing changes. Returning only fixed points is what makes `key` idempotent."""
    current = answer
    for _ in range(_ROUNDS):
        if (number := _number(current)) is not None:
            return number
        following = _form(current, 0)
        if following is None or following == current:
            return following
        current = following
    return None


_remembered = lru_cache(maxsize=1 << 15)(_settled)


def _form(answer: str, depth: int) -> str | None:
    text = _prepared(answer)
    if not text or _PLACEHOLDER.fullmatch(text):
        return None
    if len(text) > LONGEST or depth > _DEEPEST:
        return text
    text = quantity.without_signs(text).strip()
    if not text:
        return None
    if (number := _number(text)) is not None:
        return number
    if date := _DATE.fullmatch(text):
        return f"{int(date[1]):02}/{int(date[2]):02}/{date[3]}"
    if text.startswith("\\begin") and (matrix := _MATRIX.fullmatch(text)):
        return _matrix(matrix[1], matrix[2], depth)
    if (collection := _collection(text, depth)) is not None:
        return collection
    if (bare := quantity.without_unit(text)) != text:
        return _form(bare, depth + 1)
    if (name := _NAME.match(text)) and not set("=<>") & set(text[name.end() :]) and text[name.end() :].strip():
        return _form(text[name.end() :], depth + 1) if depth == 0 else _plain(text)
    return _plain(text)


def _prepared(text: str) -> str:
    text = notation.ascii_signs(text)
    text = " ".join(text.split())
    if "\\" in text:
        text = _COMMAND_OR_TEXT.sub(lambda match: match[0] if match[1] else match[0].casefold(), text)
        text = text.replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
        text = quantity.join_groups(text)
        text = _LAYOUT.sub(lambda match: match[1] or " ", text)
    else:
        text = text.casefold()
    for _ in range(_PEELS):
        before = text
        text = text.strip().rstrip(",;")
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        if text.endswith("\\"):
            text = text.rstrip("\\")
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`$*":
            text = text[1:-1]
        elif text[:2] in ("\\(", "\\[") and text[-2:] in ("\\)", "\\]"):
            text = text[2:-2]
        if text == before:
            break
    return text


def _number(text: str) -> str | None:
    value = rational.read(text)
    return None if value is None else rational.write(value)


def _plain(text: str) -> str | None:
    spelled = notation.normal(text)
    if (number := _number(spelled)) is not None:
        return number
    return (_fractions(spelled) if "/" in spelled else spelled) or None


def _collection(text: str, depth: int) -> str | None:
    """Read a tuple, interval, set, union or bare list; None when the text is none of them."""
    opening = "\\{" if text.startswith("\\{") else text[0]
    if opening in _OPENING:
        pieces, end = _split(text, len(opening))
        if end == len(text):
            return _bracketed(opening, pieces, text[-1], depth)
    if "\\cup" in text and len(pieces := _CUP.split(text)) > 1:
        return "\\cup".join(_ordered(_parts(pieces, depth)))
    pieces = [piece for part in _split(text, 0)[0] for piece in _AND.split(part) if piece.strip()]
    if len(pieces) < 2 or not all(_mathematical(piece) for piece in pieces):
        return None
    return _listed(pieces, depth)


def _bracketed(opening: str, pieces: list[str], closing: str, depth: int) -> str | None:
    if len(pieces) > 1:
        parts = _parts(pieces, depth)
        if opening in "([":
            return f"{opening}{','.join(parts)}{closing}"
        return _set(dict.fromkeys(_ordered(parts)))
    if opening == "[" or closing == "]":
        return None
    return _form(pieces[0], depth + 1) if pieces[0].strip() else "\\emptyset"


def _listed(pieces: list[str], depth: int) -> str:
    names = [match[0].strip() if (match := _NAME.match(piece)) else "" for piece in pieces]
    if names[0] and set(names[1:]) <= {names[0], ""}:
        pieces = [piece[match.end() :] if (match := _NAME.match(piece)) else piece for piece in pieces]
    parts = _parts(pieces, depth)
    if any("..." in part for part in parts):
        return ", ".join(parts)
    parts = _ordered(parts)
    # With a space behind the comma, so that "100, 100" cannot be read again as a hundred thousand.
    return _set(parts) if len(set(parts)) == len(parts) else ", ".join(parts)


def _split(text: str, start: int) -> tuple[list[str], int]:
    """Split at the commas and semicolons of this level; also tell where the level ends.

    Behind an opening bracket (start > 0) the level ends with its closing one, beyond the text when there is none. The
    top level (start 0) is left whole when its brackets do not match.
    """
    pieces: list[str] = []
    begin, depth = start, 0
    for match in _TURN.finditer(text, start):
        sign = match[0]
        if sign in _OPENING:
            depth += 1
        elif sign in (")", "]", "}", "\\}"):
            if depth == 0:
                return ([*pieces, text[begin : match.start()]], match.end()) if start else ([text], len(text))
            depth -= 1
        elif sign in ",;" and depth == 0:
            pieces.append(text[begin : match.start()])
            begin = match.end()
    if depth and not start:
        return [text], len(text)
    return [*pieces, text[begin:]], len(text) + 1 if start else len(text)


def _mathematical(piece: str) -> bool:
    return len(piece.split()) <= 6 and (any(c.isdigit() or c in "\\." for c in piece) or len(piece.split()) == 1)


def _parts(pieces: Sequence[str], depth: int) -> list[str]:
    return [_form(piece, depth + 1) or notation.normal(piece) for piece in pieces]


def _ordered(parts: list[str]) -> list[str]:
    return sorted(parts, key=sort_key)


def _set(members: Iterable[str]) -> str:
    inside = ",".join(members)
    return f"{{{inside}}}" if "," in inside else inside


def _matrix(kind: str, body: str, depth: int) -> str:
    rows = [row for row in body.split("\\\\") if row.strip()]
    cells = ["&".join(_parts(row.split("&"), depth)) for row in rows]
    name = kind if kind in ("vmatrix", "Vmatrix") else "matrix"
    return f"\\begin{{{name}}}" + "\\\\".join(cells) + f"\\end{{{name}}}"


def _fractions(spelled: str) -> str:
    """Write a/b as a fraction in each term where a is a plain product and b one factor."""
    terms: list[str] = []
    begin, depth = 0, 0
    for match in _TERM_END.finditer(spelled):
        sign = match[0]
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif depth == 0:
            terms += [_fraction(spelled[begin : match.start()]), sign]
            begin = match.end()
    return "".join([*terms, _fraction(spelled[begin:])])


def _fraction(term: str) -> str:
    match = _DIVISION.fullmatch(term) if "/" in term else None
    if match is None or _WORDY.search(match[1]):
        return term
    top, bottom = (side[1:-1] if _enclosed(side) else side for side in match.groups())
    return f"\\frac{{{top}}}{{{bottom}}}"


def _enclosed(side: str) -> bool:
    return side[0] == "(" and _split(side, 1)[1] == len(side)
