"""Markup around an answer: characters beyond ASCII, letter case, layout commands, quotes, dollars, a last period."""

from __future__ import annotations

import re

from escalade.answers import notation, quantity

_PEELS = 20  # layers of markup; a bound, because each layer costs a copy

_COMMAND_OR_TEXT = re.compile(r"(\\[a-zA-Z]+)|[^\\]+|\\")
_LAYOUT = re.compile(r"(\\\\)|\\(?:left|right|[bB]igg?[lrm]?|displaystyle|quad|qquad)(?![a-zA-Z])|\\[,!;:> ]|~")


def without_markup(text: str, *, strict: bool) -> str:
    r"""Return the text of an answer without its markup; in lower case, commands excepted, unless strict.

    >>> without_markup(r"\( \text{Paris} \,\).", strict=False), without_markup("**No**", strict=True)
    ('\\text{paris}', 'No')
    """
    text = notation.ascii_signs(text)
    text = " ".join(text.split())
    if "\\" in text:
        if not strict:
            text = _COMMAND_OR_TEXT.sub(lambda match: match[0] if match[1] else match[0].casefold(), text)
        text = text.replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
        text = quantity.join_groups(text)
        text = _LAYOUT.sub(lambda match: match[1] or " ", text)
    elif not strict:
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
