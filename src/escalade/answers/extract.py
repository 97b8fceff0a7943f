r"""The answer that a generated text gives, and the rule it was found by.

| rule | looks like | taken |
|---|---|---|
| `boxed` | `\boxed{5}`, `\fbox{5}`, `\boxed {5}`, `\boxed 5` | the last complete and not empty; the inner |
| `hash` | `#### 42` | the last such line that leads with a number, a formula or a choice letter |
| `phrase` | "the answer is 42", "Answer: 42", a line `A: 42` | the last one: its number, else a short sentence |
| `number` | the whole text is one number | the text |
| `last_number` | any number, when asked for | the last one |

Rules are tried in this order of authority. A phrase is also "Answer - 42", `<answer>42` or a line `ans = 42`. A text
that ends inside its answer, in a box still open with no complete one inside, in `\boxed` itself or in an open formula,
is cut off: it gives no answer at all, by no rule. Texts are hostile: every rule is linear in their length.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from escalade.answers import rational
from escalade.answers.canonical import key

LONGEST_SENTENCE = 60
_TAIL = 300
_WHOLE_NUMBER = 100
_PHRASES = 20
_WORDS = 4
_MARKUP = "*_`: \t\n"
_FORMULA = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_PEELS = 20  # layers of markup; a bound, because each layer costs a copy

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])(\s*\{)?|\\.|[{}]", re.DOTALL)
_BARE = re.compile(
    r"\s*([+-]?\\?\$?[0-9][0-9.,/]*(?:\\?%)?|\\frac ?[0-9]{2}"
    r"|\\(?!boxed|fbox|frac[^{])[a-zA-Z]+(?:\{[^{}]*\}){0,2}"
    r"|[A-Zxyzn](?![a-zA-Z]))"
)
_HASH = re.compile(r"#{4,}[ \t]*([^\n]*)")
_HASH_ANSWER = re.compile(r"(?![0-9]+[.):][ \t]+\S)(?:[-+]?[ ]?(?:\\?\$)?[.]?[0-9]|[$\\(\[{]|[A-Za-z]$|[-+][a-z]).*")
_PHRASE = re.compile(
    r"\banswer\b[*_\s]{0,4}(?:(?:is|was|equals)\b[*_\s]{0,4}(?:(?:simply|just)\b[*_\s]{0,4})?[:=]?|[:=])[*_\s]{0,6}|<answer>"
    r"|^[ \t>*_#]{0,8}(?:(?:final )?answer[*_ \t]{0,4}(?:[-\u2013\u2014](?=[*_ \t])|\n\s{0,4})"
    r"|(?P<line>(?-i:A|Ans|ANS):)(?=[*_ \t]{0,6}[^*_\s])|(?P<code>ans[ \t]?=(?!=)))[*_ \t]{0,6}",
    re.IGNORECASE | re.MULTILINE,
)
_OPTION_B = re.compile(r"^[ \t>*_]{0,6}B[*_ \t]{0,4}:", re.MULTILINE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)(?<!\.\.)|[;\n?]|\*\*|</answer>")
_NUMBER = (
    r"[-+−]?(?:\\?[$]|[£€])?[-+]?(?:\\[dt]?frac\{-?[0-9]+\}\{[0-9]+\}"
    r"|(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]+)?(?:/[0-9]+(?![0-9]))?|\.[0-9]+)(?:\\?%)?"
)
_LEADING_NUMBER = re.compile(rf"({_NUMBER})(?=[\s,;:!?)*]|\.(?:\s|$)|$)(?!\s*[-+*/=^<>\\×·÷(])")
_ANY_NUMBER = re.compile(rf"(?<![\w.]){_NUMBER}")
_MATH = re.compile(
    r"\$(?![\s$])([^$\n]{1,200}?)(?<!\s)\$(?![0-9])|\$\$([^$]{1,200}?)\$\$"
    r"|\\\(([^\n]{1,200}?)\\\)|\\\[([\s\S]{1,200}?)\\\]"
)
_VALUE_WORD = re.compile(r"\s*(?:hundred|thousand|[mbtr]{1,2}illion|dozen|percent|[ap]\.?m\b\.?)", re.IGNORECASE)
_EXPLAINS = re.compile(r"\s*(?:because|since|as|so|which|that|but|when|if|for|by|after)\b", re.IGNORECASE)
_SUM = re.compile(r"[0-9\s.,$+*/×÷()-]+=\s*(?=[^=]*$)")
_LITERAL = re.compile(rf"[ \t]*(?:{_NUMBER}|'[^'\n]{{1,60}}'|\"[^\"\n]{{1,60}}\")[\s;`]*\Z")
_BOX_BEGUN = ("\\b", "\\bo", "\\box", "\\boxe", "\\boxed", "\\f", "\\fb", "\\fbo", "\\fbox")


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
    if found and not cut_off:
        return Answer(found, "boxed")
    if cut_off or text[-200:].rstrip().endswith(_BOX_BEGUN):
        return None
    for rule, find in (("hash", _hash), ("phrase", _phrase), ("number", _whole)):
        if found := find(text):
            return None if _open(found) else Answer(found, rule)
    if last_number and (found := _last_number(text)):
        return Answer(found, "last_number")
    return None


def places(text: str) -> tuple[Answer, ...] | None:
    r"""Return what stands where a text states its answer, for kinds that read it themselves; most authoritative first.

    The last box, a last line `#### ...`, and up to 20 answer phrases, the last first, each to the end of its line (300
    characters at most). None where the text is cut off inside a box.

    >>> [place.text for place in places("Answer: (A)?\nNo. The answer is (B), because ...")]
    ['(B), because ...', '(A)?']
    """
    boxed, cut_off = _boxed(text)
    if cut_off or (not boxed and text[-200:].rstrip().endswith(_BOX_BEGUN)):
        return None
    found = [Answer(boxed, "boxed")] if boxed else []
    lines = deque(_HASH.finditer(text), maxlen=1)
    if lines and lines[0][1].strip() and not text[lines[0].end() :].strip():  # else it is a heading
        found.append(Answer(lines[0][1].strip()[:_TAIL], "hash"))
    for match in _phrases(text):
        tail = text[match.end() : match.end() + _TAIL].lstrip(_MARKUP)
        if line := tail.partition("\n")[0].strip():
            found.append(Answer(line, "phrase"))
    return tuple(found)


def _boxed(text: str) -> tuple[str, bool]:
    """Return the last box that holds something, and whether the text ends inside a later one."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return "", False
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
            if content := clean(text[box[1] : match.start()]):
                last_start, last = box[0], content
        elif boxes and (bare := _BARE.match(text, match.end())) and (content := clean(bare[1])):
            last_start, last = match.start(), content
    return last, any(box is not None and box[0] > last_start for box in open_groups)


def _hash(text: str) -> str:
    found = ""
    for match in _HASH.finditer(text):
        content = clean(match[1])
        if content and _HASH_ANSWER.match(match[1].strip().strip("*_` ")):
            found = content
    return found


def _phrases(text: str) -> list[re.Match[str]]:
    """Return the last phrases that announce an answer, the last of them first."""
    found = list(deque(_PHRASE.finditer(text), maxlen=_PHRASES))
    options = [match.start() for match in found if match["line"] and match["line"] == "A:"]
    if options and (other := _OPTION_B.search(text, options[0])):
        # A: and B: are the choices of a question, not an answer.
        found = [match for match in found if match["line"] != "A:" or match.start() > other.start()]
    return found[::-1]


def _phrase(text: str) -> str:
    for match in _phrases(text):
        tail = text[match.end() : match.end() + _TAIL].lstrip(_MARKUP)
        if match["code"]:
            # A program's answer is what it would compute, unless its last line is the answer itself.
            return _said(tail) if _LITERAL.match(text, match.end()) else ""
        if match["line"]:
            said = _said(tail.partition("\n")[0])
            if said and len(said.split()) <= _WORDS:
                return said
        elif tail:
            return _said(tail)
    return ""


def _said(tail: str) -> str:
    """Read what follows "the answer is": a formula, a number with its unit, or a short sentence."""
    if math := _MATH.match(tail):
        return clean(math[math.lastindex or 0])
    if tail[:2] in _FORMULA and _open(tail):
        return tail
    end = _SENTENCE_END.search(tail)
    sentence = tail[: end.start()] if end else tail
    if number := _LEADING_NUMBER.match(tail):
        rest = sentence[number.end() :]
        if len(rest.split()) <= 3 and not _EXPLAINS.match(rest) and not re.search(r"[^\w\s/^.%°]", rest):
            return clean(sentence)
        word = _VALUE_WORD.match(tail, number.end())
        return clean(number[1] + (word[0] if word else ""))
    if total := _SUM.match(sentence):
        sentence = sentence[total.end() :]
    return clean(sentence) if len(sentence) <= LONGEST_SENTENCE else ""


def _whole(text: str) -> str:
    stripped = text.strip()
    if len(stripped) > _WHOLE_NUMBER:
        return ""
    canonical = key(stripped)
    return clean(stripped) if canonical is not None and rational.read(canonical) is not None else ""


def _last_number(text: str) -> str:
    found = ""
    for match in _ANY_NUMBER.finditer(text):
        found = match[0]
    return clean(found)


def _open(found: str) -> bool:
    """Whether a formula begins here and does not end, or a brace is not closed."""
    closing = _FORMULA.get(found[:2])
    return found.count("{") > found.count("}") or (closing is not None and closing not in found[2:])


def clean(found: str) -> str:
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
