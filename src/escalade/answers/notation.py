"""The normal notation of a formula or phrase: one spelling for the many ways to typeset the same thing.

Works on tokens, knows the shape of LaTeX and nothing of values: no arithmetic, no algebra, no evaluation.
Spaces stay only where two numbers or two words would run together. Input is hostile: reading is linear in its
length, and nesting deeper than `DEEPEST` is copied as it stands.
"""

from __future__ import annotations

import re

DEEPEST = 40

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[^\W\d_]+|\s+|.", re.DOTALL)
_ENDS_IN_COMMAND = re.compile(r"\\[a-zA-Z]+\Z")
_SINGLE = re.compile(r"[0-9.]+|\w|\\[a-zA-Z]+")

_SIZES = [f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")]
_SPACING_COMMANDS = r"""
\, \! \; \: \> \quad \qquad \left \right \displaystyle \textstyle \limits \nolimits \rm \bf \it
"""
_SPACES = frozenset(["~", "\\ ", *_SIZES, *_SPACING_COMMANDS.split()])
_WRAPPER_COMMANDS = r"""
\text \textbf \textit \textrm \textsf \texttt \textnormal \mathrm \mathbf \mathit \mathsf \mathtt
\mathnormal \mbox \hbox \emph \operatorname \boxed \fbox
"""
WRAPPERS = frozenset(_WRAPPER_COMMANDS.split())
_FRACTIONS = frozenset(["\\frac", "\\binom"])
_SAME = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom",
    "\\tbinom": "\\binom", "\\le": "\\leq", "\\leqslant": "\\leq", "\\ge": "\\geq",
    "\\geqslant": "\\geq", "\\ne": "\\neq", "\\times": "\\cdot", "*": "\\cdot", "\\ast": "\\cdot",
    "\\div": "/", "\\lt": "<", "\\gt": ">", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\lvert": "|",
    "\\rvert": "|", "\\vert": "|", "\\colon": ":", "\\varnothing": "\\emptyset", "\\dots": "...",
    "\\ldots": "...", "\\cdots": "...", "\\to": "\\rightarrow", "sqrt": "\\sqrt", "pi": "\\pi",
    "infinity": "\\infty",
}  # fmt: skip
_UNICODE = str.maketrans({
    "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "∗": "*", "÷": "/", "⁄": "/",
    "∕": "/", "π": "\\pi ", "θ": "\\theta ", "∞": "\\infty ", "√": "\\sqrt ", "±": "\\pm ", "≤": "\\leq ",
    "≥": "\\geq ", "≠": "\\neq ", "∪": "\\cup ", "∈": "\\in ", "∅": "\\emptyset ", "…": "...",
    "°": "^\\circ ", "º": "^\\circ ", "²": "^2", "³": "^3",
    "½": "\\frac12 ", "¼": "\\frac14 ", "¾": "\\frac34 ", "⅓": "\\frac13 ",
    "⅔": "\\frac23 ",
    "“": '"', "”": '"', "‘": "'", "’": "'", "％": "%", "＄": "$", "，": ",",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "",
})  # fmt: skip


def ascii_signs(text: str) -> str:
    """Write the common mathematical characters beyond ASCII as LaTeX or ASCII; anything else is kept.

    >>> ascii_signs("−½")
    '-\\\\frac12 '
    """
    return text if text.isascii() else text.translate(_UNICODE)


def normal(text: str) -> str:
    """Spell a formula or phrase in normal notation; never raises.

    Sizes and spaces go, `\\dfrac` is `\\frac`, missing braces are put in, needless ones go, text wrappers are
    unwrapped, degree signs are `\\degree`.

    >>> normal(r"\\left( \\dfrac12 , \\text{ two words} \\right)")
    '(\\\\frac{1}{2},two words)'
    """
    return _sequence(_TOKEN.findall(text), 0, 0)[0]


def _sequence(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    """Read to the closing brace of this group, or to the end when it has none."""
    if depth > DEEPEST:
        return "".join(tokens[at:]), len(tokens)
    out: list[str] = []
    gap = False
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token == "}":
            if depth:
                break
            continue
        if token in _SPACES or token.isspace():
            gap = True
            continue
        piece, at = _piece(_SAME.get(token, token), tokens, at, depth, not out)
        if piece:
            word = token in WRAPPERS
            _append(out, piece, gap or word)
            gap = word
    return "".join(out), at


def _piece(token: str, tokens: list[str], at: int, depth: int, leads: bool) -> tuple[str, int]:
    if token == "{":
        return _sequence(tokens, at, depth + 1)
    if token in WRAPPERS:
        return _argument(tokens, at, depth, whole_numbers=True)
    if token in _FRACTIONS:
        top, at = _argument(tokens, at, depth)
        bottom, at = _argument(tokens, at, depth)
        # Only a leading fraction may give up its sign: 2\frac{-x}{3} is not 2-\frac{x}{3}.
        minus = leads and token == "\\frac" and top.startswith("-") and not set("+-=,<>") & set(top[1:])
        return f"{'-' if minus else ''}{token}{{{top[1:] if minus else top}}}{{{bottom}}}", at
    if token == "\\sqrt":
        index = ""
        if at < len(tokens) and tokens[at] == "[" and "]" in tokens[at : at + 8]:
            end = tokens.index("]", at)
            index, at = "".join(tokens[at : end + 1]), end + 1
        radicand, at = _argument(tokens, at, depth, whole_numbers=True)
        return f"\\sqrt{index}{{{radicand}}}", at
    if token in "^_":
        script, at = _argument(tokens, at, depth, whole_numbers=True)
        if token == "^" and script in ("\\circ", "\\degree"):
            return "\\degree", at
        if not script:
            return "", at
        return (token + script if _SINGLE.fullmatch(script) else f"{token}{{{script}}}"), at
    if token[0] == "\\" and token[-1].isalpha():
        while at < len(tokens) and tokens[at] == "{":
            argument, at = _sequence(tokens, at + 1, depth + 1)
            token += f"{{{argument}}}"
    return token, at


def _argument(tokens: list[str], at: int, depth: int, *, whole_numbers: bool = False) -> tuple[str, int]:
    """Read one argument: a group, or the next token (of \\frac12 the next digit, of \\sqrt12 the number)."""
    while at < len(tokens) and (tokens[at].isspace() or tokens[at] in _SPACES):
        at += 1
    if at == len(tokens) or tokens[at] == "}":
        return "", at
    token = tokens[at]
    if token == "{":
        return _sequence(tokens, at + 1, depth + 1)
    if depth > DEEPEST:
        return token, at + 1
    if whole_numbers and token == "(" and (end := _closing(tokens, at)) is not None:
        return _sequence(tokens[at + 1 : end], 0, 0 if depth == 0 else depth)[0], end + 1
    if whole_numbers and token in "+-":
        rest, at = _argument(tokens, at + 1, depth + 1, whole_numbers=True)
        return token + rest, at
    if token[0] == "\\":
        return _piece(_SAME.get(token, token), tokens, at + 1, depth + 1, True)
    if len(token) > 1 and not (whole_numbers and not token.isalpha()):
        tokens[at] = token[1:]  # the rest of 12 in \frac12 is the next argument's
        return token[0], at
    return token, at + 1


def _closing(tokens: list[str], at: int) -> int | None:
    depth = 0
    for i in range(at, len(tokens)):
        depth += (tokens[i] == "(") - (tokens[i] == ")")
        if depth == 0:
            return i
    return None


def _append(out: list[str], piece: str, gap: bool) -> None:
    if out:
        last, first = out[-1][-1], piece[0]
        if last.isdigit() and first.isdigit():
            out.append(" ")
        elif last.isalpha() and first.isalpha():
            words = gap and (len(piece) > 1 or (len(out[-1]) > 1 and out[-1][-2].isalpha()))
            if words or _ENDS_IN_COMMAND.search(out[-1]):
                out.append(" ")
    out.append(piece)
