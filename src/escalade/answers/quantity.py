"""Money, percent, degrees and units: what stands around a number without being part of its value.

A unit is dropped, never converted: 5 cm, 5 m and 5 are one answer, since golds are bare numbers and the
problem names the unit. Words that change the value or the meaning ("5 thirds", "4 pm", "5 or 6") are no
units.
"""

from __future__ import annotations

import re

LONGEST = 120

_UNIT_WORDS = """
cm mm km nm dm kg mg ml cl dl mi ft in yd oz lb lbs hr hrs min mins sec secs ms mph kph rpm deg rad usd
eur gbp sq cu hz kb mb gb kw cents cent feet foot inch mile miles hours hour days day weeks week years
year yards yard meter meters metre metres units unit square cubic dollars dollar percent euros pounds
"""
_OTHER_WORDS = """
and or to is are am pm plus minus times over mod modulo base half halves third thirds quarter quarters
fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths
hundredth hundredths thousandth thousandths dozen dozens squared cubed factorial choose than less more
sin cos tan cot csc sec log ln exp sqrt pi root if for when bc ad bce ce infinity infty not greater
negative positive even odd remainder north south east west up down jan feb mar apr may jun jul aug sep
sept oct nov dec january february march april june july august september october november december
divided multiplied power th st nd rd
"""
_UNITS = frozenset(_UNIT_WORDS.split())
_NOT_UNITS = frozenset(_OTHER_WORDS.split())
WORDS = _UNITS | _NOT_UNITS  # lower case
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}

_SMALL_RATE = re.compile(r"(?:[mgl]|[ckm]m|mi|ft)/(?:s|sec|h|hr|min|l)\b")
_SIGNS = re.compile(r"(?<=[0-9}]) ?\\?%|\\?\$|[£€]")
_DEGREE = re.compile(r" ?(?:\^ ?(?:\{ ?\\(?:circ|degree) ?\}|\\(?:circ|degree)(?![a-zA-Z]))|\\degree(?![a-zA-Z]))")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_GROUPED = re.compile(r"(?<![0-9,.(\[{])(?<![(\[{][-+])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?!,?[0-9])")
_GROUPS_SET_APART = re.compile(r"(?<=[0-9])(?:\{,\}|, ?\\!) ?(?=[0-9]{3}(?![0-9]))")
_WRAPPED = re.compile(r"\\(?:text|textrm|textbf|textit|mathrm|mbox|hbox|rm)\s*\{([^{}]*)\}?")
_WRAPPED_TAIL = re.compile(
    r"(?:\\(?:text|textrm|textbf|textit|mathrm|mbox|hbox|rm)\s*\{[^{}]*\}?|\^\{?-?[0-9]\}?|[\s/])+"
)
_PLAIN = re.compile(r"(.*[0-9}])(\s*)([a-z][a-z.'/ -]*(?:\^ ?\{?[23]\}?)?)", re.DOTALL)
_CURRENCY_FIRST = re.compile(r"(?:usd|eur|gbp|rs\.?) ?(?=[0-9])")
_ORDINAL = re.compile(
    r"(?<=[0-9}]) ?(?:\^ ?)?(?:\{ ?)?(?:\\(?:text|textrm|mathrm|rm) ?\{? ?)?(?:st|nd|rd|ths?)(?![a-z])[} ]*"
)
_CLOCK = re.compile(r"(?<![a-z])([ap])\. ?m(?:\.|(?![a-z]))")
_WORD = re.compile(r"[a-z]+")


def without_signs(text: str, *, strict: bool = False) -> str:
    """Drop money, percent and degree signs, the endings of ordinals and the separators of thousands.

    Degree signs stay behind the name of a function (`\\sin 30^\\circ`). A comma separates thousands only before groups
    of exactly three digits, without a space and not right behind an opening bracket: `1,000` is a number, `(-1,000)`
    a pair, `1, 000` and `1,00` are lists. When strict, only separators go.

    >>> without_signs("$1,000"), without_signs(r"50\\%"), without_signs("(1,000)"), without_signs("$1,000", strict=True)
    ('1000', '50', '(1,000)', '$1000')
    """
    if not strict and ("$" in text or not text.isalnum()):
        text = _SIGNS.sub("", text)
        text = _CURRENCY_FIRST.sub("", text)
        if ("circ" in text or "degree" in text) and not _ANGLE.search(text):
            text = _DEGREE.sub("", text)
    if ".m" in text or ". m" in text:
        text = _CLOCK.sub(r"\1m", text)
    text = text.replace("\\$", "$") if strict else _ORDINAL.sub(" ", text)
    return _GROUPED.sub(lambda match: match[0].replace(",", ""), text) if "," in text else text


def join_groups(text: str) -> str:
    """Join the thousands that LaTeX sets apart by `{,}` or `,\\!`, while spacing commands are still there.

    >>> join_groups(r"11,\\! 111{,}000")
    '11111000'
    """
    return _GROUPS_SET_APART.sub("", text) if "," in text else text


def without_unit(text: str, *, strict: bool = False) -> str:
    """Drop the unit behind a number or formula; a scale word (hundred to trillion) becomes a power of ten.

    A bare single letter is a variable (`5k`, `4t`); in a text wrapper it is a unit. Lower case is expected.
    When strict, only scale words go.

    >>> without_unit("12 apples"), without_unit(r"5 \\text{m}"), without_unit("4 pm"), without_unit("5k")
    ('12', '5 ', '4 pm', '5k')
    """
    if len(text) > LONGEST:
        return text
    first = _WRAPPED.search(text)
    if first is not None and first.start() and _WRAPPED_TAIL.fullmatch(text, first.start()):
        words = _WORD.findall(" ".join(_WRAPPED.findall(text, first.start())))
        if any(sign in text[: first.start()] for sign in "0123456789\\"):
            return _without(text, text[: first.start()], words, strict)
        return text
    if not text[:1].isalpha() and (match := _PLAIN.fullmatch(text)):
        head, gap, tail = match.groups()
        words = _WORD.findall(tail)
        known = words[0] in _UNITS or words[0] in _SCALES or len(words[0]) >= (3 if gap else 5)
        if _SMALL_RATE.match(tail) or (known and all(len(word) > 1 for word in words[1:])):
            return _without(text, head, words, strict)
    return text


def _without(text: str, head: str, words: list[str], strict: bool) -> str:
    if not words or len(words) > 4 or not _NOT_UNITS.isdisjoint(w for w in words if w not in _UNITS):
        return text
    scale = _SCALES.get(words[0])
    if strict and (scale is None or len(words) > 1):
        return text
    return head if scale is None else f"{head.rstrip()}\\cdot10^{scale}"
