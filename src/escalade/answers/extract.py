r"""The answer that a generated text gives, and the rule it was found by.

| rule | looks like | taken |
|---|---|---|
| `boxed` | `\boxed{5}`, `\fbox{5}`, `\boxed {5}`, `\boxed 5` | the last complete and not empty; the inner |
| `hash` | `#### 42` | the last such line that leads with a number, a formula or a choice letter |
| `phrase` | "the answer is 42", "Answer: 42" | the last one: its number, else a short sentence |
| `number` | the whole text is one number | the text |
| `last_number` | any number, when asked for | the last one |

Rules are tried in this order of authority. A box that is still open where the text ends, with no complete box
inside, is a generation cut off inside its answer: the text then gives no answer at all, by no rule. Texts are
hostile: every rule is linear in their length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from escalade.answers import rational
from escalade.answers.canonical import key

LONGEST_SENTENCE = 60
_TAIL = 300
_WHOLE_NUMBER = 100
_PEELS = 20  # layers of markup; a bound, because each layer costs a copy

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])(\s*\{)?|\\.|[{}]", re.DOTALL)
_BARE = re.compile(
    r"\s*([+-]?\\?\$?[0-9][0-9.,/]*(?:\\?%)?|\\frac ?[0-9]{2}"
    r"|\\(?!boxed|fbox|frac[^{])[a-zA-Z]+(?:\{[^{}]*\}){0,2}"
    r"|[A-Zxyzn](?![a-zA-Z]))"
)
_HASH = re.compile(r"#{4,}[ \t]*([^\n]*)")
_HASH_ANSWER = re.compile(r"(?![0-9]+[.):][ \t]+\S)(?:[-+]?[ ]?(?:\\?\$)?[.]?[0-9]|[$\\(\[{]|[A-Za-z]$|[-+][a-z]).*")
_PHRASE = re.compile(r"\banswer\b[*_\s]{0,4}(?:(?:is|was|equals)\b[*_\s]{0,4}[:=]?|[:=])[*_\s]{0,6}", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)(?<!\.\.)|[;\n?]|\*\*")
_NUMBER = (
    r"[-+−]?(?:\\?[$]|[£€])?[-+]?(?:\\[dt]?frac\{-?[0-9]+\}\{[0-9]+\}"
    r"|(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]+)?(?:/[0-9]+(?![0-9]))?|\.[0-9]+)(?:\\?%)?"
)
_LEADING_NUMBER = re.compile(rf"({_NUMBER})(?=[\s,;:!?)*]|\.(?:\s|$)|$)(?!\s*[-+*/=^<>\\×·÷(])")
_ANY_NUMBER = re.compile(rf"(?<![\w.]){_NUMBER}")
_MATH = re.compile(r"\$\$?(?![\s$])([^$\n]{1,200}?)(?<!\s)\$(?![0-9])|\\\(([^\n]{1,200}?)\\\)|\\\[([^\n]{1,200}?)\\\]")
_VALUE_WORD = re.compile(r"\s*(?:hundred|thousand|[mbtr]{1,2}illion|dozen|percent|[ap]\.?m\b\.?)", re.IGNORECASE)
_EXPLAINS = re.compile(r"\s*(?:because|since|as|so|which|that|but|when|if|for|by|after)\b", re.IGNORECASE)
_SUM = re.compile(r"[0-9\s.,$+*/×÷()-]+=\s*(?=[^=]*$)")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as written in the text, without markup, and the name of the rule that found it."""

    text: str
    rule: str


def extract(text: str, *, last_number: bool = False) -> Answer | None:
    r"""Find the answer that a generated text gives, by the most authoritative rule that finds one.

    `last_number` allows the last number of the text to stand for an answer when nothing better is found. None
    when there is no answer or the text is cut off inside it. Never raises.

    >>> extract(r"So $x = 3$, thus \(\boxed{x=\boxed{3}}\).")
    Answer(text='3', rule='boxed')
    >>> extract("5 + 2 = 7\n#### 7"), extract(r"thus \boxed{12")
    (Answer(text='7', rule='hash'), None)
    """
    found, cut_off = _boxed(text)
    if cut_off:
        return None
    if found:
        return Answer(found, "boxed")
    for rule, find in (("hash", _hash), ("phrase", _phrase), ("number", _whole)):
        if found := find(text):
            return Answer(found, rule)
    if last_number and (found := _last_number(text)):
        return Answer(found, "last_number")
    return None


def _boxed(text: str) -> tuple[str, bool]:
    """Return the last box that holds something, and whether the text ends inside a later one."""
    # For each open brace: where its box and the content start, or None when it belongs to no box.
    open_groups: list[tuple[int, int] | None] = []
    last_start, last = -1, ""
    # How far the text is read, and where something other than boxes and braces stood last.
    seen, content_at = 0, -1
    for match in _BOX.finditer(text):
        sign = match[0]
        boxes = sign.startswith(("\\boxed", "\\fbox"))
        if (sign[0] == "\\" and not boxes) or text[seen : match.start()].strip():
            content_at = match.start()
        seen = match.end()
        if match[1] is not None:
            open_groups.append((match.start(), match.end()))
        elif sign == "{":
            open_groups.append(None)
        elif sign == "}":
            box = open_groups.pop() if open_groups else None
            # Content is cut out only for a later start, so nested boxes are copied once, not once a level.
            if box is None or box[0] <= last_start or content_at < box[1]:
                continue
            if content := _clean(text[box[1] : match.start()]):
                last_start, last = box[0], content
        elif boxes and (bare := _BARE.match(text, match.end())) and (content := _clean(bare[1])):
            last_start, last = match.start(), content
    return last, any(box is not None and box[0] > last_start for box in open_groups)


def _hash(text: str) -> str:
    found = ""
    for match in _HASH.finditer(text):
        content = _clean(match[1])
        if content and _HASH_ANSWER.match(match[1].strip().strip("*_` ")):
            found = content
    return found


def _phrase(text: str) -> str:
    for start in reversed([match.end() for match in _PHRASE.finditer(text)]):
        tail = text[start : start + _TAIL].lstrip("*_`: \t\n")
        if tail:
            return _said(tail)
    return ""


def _said(tail: str) -> str:
    """Read what follows "the answer is": a formula, a number with its unit, or a short sentence."""
    if math := _MATH.match(tail):
        return _clean(math[1] or math[2] or math[3])
    end = _SENTENCE_END.search(tail)
    sentence = tail[: end.start()] if end else tail
    if number := _LEADING_NUMBER.match(tail):
        rest = sentence[number.end() :]
        if len(rest.split()) <= 3 and not _EXPLAINS.match(rest) and not re.search(r"[^\w\s/^.%°]", rest):
            return _clean(sentence)
        word = _VALUE_WORD.match(tail, number.end())
        return _clean(number[1] + (word[0] if word else ""))
    if total := _SUM.match(sentence):
        sentence = sentence[total.end() :]
    return _clean(sentence) if len(sentence) <= LONGEST_SENTENCE else ""


def _whole(text: str) -> str:
    stripped = text.strip()
    if len(stripped) > _WHOLE_NUMBER:
        return ""
    canonical = key(stripped)
    return _clean(stripped) if canonical is not None and rational.read(canonical) is not None else ""


def _last_number(text: str) -> str:
    found = ""
    for match in _ANY_NUMBER.finditer(text):
        found = match[0]
    return _clean(found)


def _clean(found: str) -> str:
    """Strip markup and closing punctuation around an answer; what stands inside stays as written."""
    for _ in range(_PEELS):
        before = found
        found = found.strip().strip("*`").rstrip(",;:")
        if found.endswith(".") and not found.endswith(".."):
            found = found[:-1]
        if found.startswith("$"):
            found = found[1:]
        if found.endswith("$") and not found.endswith("\\$"):
            found = found[:-1]
        if found[:2] in ("\\(", "\\["):
            found = found[2:]
        if found[-2:] in ("\\)", "\\]"):
            found = found[:-2]
        if found == before:
            break
    return found
