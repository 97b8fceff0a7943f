"""Levels of brackets: where a text splits at commas, and which slashes are fractions."""

from __future__ import annotations

import re

OPENING = ("(", "[", "{", "\\{")

_TURN = re.compile(r"\\.|[()\[\]{},;]", re.DOTALL)
_TERM_END = re.compile(r"[()\[\]{}+\-=<>,|]|\\(?:pm|mp|leq|geq|neq|cup|in)(?![a-zA-Z])")
_DIVISION = re.compile(r"([^/]+)/((?:[0-9.]+|[a-z]|\\[a-zA-Z]+)(?:\{[^{}]*\})?|\([^()]+\))")
_WORDY = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc|log|ln|lim|sum|int|prod|arc[a-z]+)(?![a-zA-Z])|(?<![\\a-zA-Z])[a-z]{3}"
)


def split(text: str, start: int) -> tuple[list[str], int]:
    """Split at the commas and semicolons of this level; also tell where the level ends.

    Behind an opening bracket (start > 0) the level ends with its closing one, beyond the text when there is none. The
    top level (start 0) is left whole when its brackets do not match.
    """
    pieces: list[str] = []
    begin, depth = start, 0
    for match in _TURN.finditer(text, start):
        sign = match[0]
        if sign in OPENING:
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


def fractions(spelled: str) -> str:
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
    return side[0] == "(" and split(side, 1)[1] == len(side)


def is_mathematical(piece: str) -> bool:
    """Say whether a piece between commas can be a member of a list: short, and a formula or a single word."""
    return len(piece.split()) <= 6 and (any(c.isdigit() or c in "\\." for c in piece) or len(piece.split()) == 1)
