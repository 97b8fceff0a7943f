"""Multiple choice: the letters that an answer chooses.

The article "A" and the pronoun "I" are no choices: bare, they count only where a choice can stand, at the end or before
punctuation or a word such as "because".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from escalade.answers.extract import Answer, places
from escalade.answers.keyed import Keyed
from escalade.errors import AnswerKindError

LETTERS = "ABCDEFGHIJ"
_CAPITALS = re.compile(r"[A-Z]+")
_LINE = 300
_LONGEST = 1000
_TAIL = 20_000  # characters from the end in which a choice is looked for that nothing announces

_MARKUP = re.compile(
    r"\\(?:text[a-z]{0,4}|math[a-z]{0,4}|mbox|boldsymbol|left|right|quad|bf|rm)(?![a-zA-Z])|</?[a-z]{1,10}>"
    r"|\\?[$()\[\],;!%& ](?<=\\.)|[*_`$\"“”{}\\]"
)
_LEAD = re.compile(
    r"\s*(?:(?:so|therefore|thus|hence|it|that|this|i|the|correct|right|best|final|my|would|must|should|be|is|are"
    r"|answers?|options?|choices?|letters?|choose|chose|pick|select)\b[\s:=]*|[:=-]\s*){0,10}",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\s*(?:[(\[<']\s?([A-Za-z])\s?[)\]>']|([A-Z])(?![\w'’+#%^=<>*]|-\w)|([a-z])(?=\)(?:\s|$)))")
_ENDS = re.compile(
    r"\s*$|\s?[.):;!?\]|—–]|\s-\s|,(?!\s[a-z])|\s*(?:\(|(?:because|since|as|is|which|but|so|for)\b)", re.IGNORECASE
)
_PRONOUN_ENDS = re.compile(r"\s*$|\s?[.):\]|—–]|\s-\s|\s(?:because|is)\b", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,\s*and\b|,|and\b|&|/)", re.IGNORECASE)
_OR = re.compile(r"\s*,?\s*or\b", re.IGNORECASE)
_ALONE = re.compile(r"\s*([A-Za-z])\s*[.):]?\s*")
_GLUED = re.compile(r"\s*([A-Z]{2,26})[\s.]*")
_NOT = re.compile(r"\s*(?:it\s+)?(?:is\s+)?(?:not|neither)\b", re.IGNORECASE)
_MENTION = re.compile(
    r"(?<!not )(?<!neither )(?:\b(?i:options?|choices?|answers?|letters?)\b[\s:]{0,3}(?:(?i:is|are)\b[\s:]{0,3})?"
    r"(?=[A-Z(\['])|\b(?i:choose|chose|pick|select|go with|must be|should be)[\s:]{1,3}(?=[A-Z]\b)|(?=\([A-Z]\))"
    r"|\b(?=[A-Z] (?:is|must be) (?:the )?(?:correct|right|best)\b))"
)
_REFUSED = re.compile(
    r"[\s)\].,'’]{0,4}(?:(?:is|are|was|were|would|can|could|does|do|must|seems?|be)\s?){0,2}"
    r"(?:not\b|cannot\b|n['’]t\b|in(?:correct|valid)\b|wrong\b|false\b|ruled\b|eliminated\b|excluded\b|too\b|unlikely\b)",
    re.IGNORECASE,
)
_LED = re.compile(r"\s*(?:[(\[]([A-Z])[)\]]|([A-Z])\s?(?:[.):](?=\s|$)|$))")


@dataclass(frozen=True, slots=True)
class Choice(Keyed):
    r"""Letters of a multiple choice; the key is the upper-case letter, of several the sorted list.

    Example:
        >>> choice = Choice("choice:ABCD", "ABCD")
        >>> [choice.key(a) for a in (r"\text{(B)}", "b", "B) 5 apples", "D and B", "A dog", "E")]
        ['B', 'B', 'B', 'B,D', None, None]
        >>> choice.extract("Option A is wrong, so I take option D.")
        Answer(text='D', rule='option')
    """

    letters: str = LETTERS

    def __post_init__(self) -> None:
        letters = self.letters
        if len(letters) < 2 or len(set(letters)) < len(letters) or not _CAPITALS.fullmatch(letters):
            raise AnswerKindError(
                f"answer kind {self.name!r}: {letters!r} is no range of choices; write upper-case letters, each once, "
                "as in 'choice:ABCD'"
            )

    def extract(self, text: str) -> Answer | None:
        """Return the choice a text states, else the one its first or last line begins with, else names."""
        stated = places(text)
        if stated is None:
            return None
        for place in stated:
            if found := self._read(place.text):
                return Answer(found, place.rule)
        whole = text.strip()
        ends = {self._led(whole[:_LINE].partition("\n")[0]), self._led(whole[-_LINE:].rpartition("\n")[2])} - {""}
        if len(ends) == 1:
            return Answer(ends.pop(), "letter")
        named = self._named(_MARKUP.sub(" ", whole[-_TAIL:]))
        return Answer(named, "option") if named else None

    def key(self, answer: str) -> str | None:
        """Return the letters of an answer; None where it chooses none of them."""
        return self._read(answer[:_LONGEST]) or None

    def _read(self, content: str) -> str:
        """Return the letters that a stated answer chooses, or nothing."""
        plain = _MARKUP.sub(" ", content)
        if alone := _ALONE.fullmatch(plain):
            return self._joined([alone[1]])
        if (glued := _GLUED.fullmatch(plain)) and list(glued[1]) == sorted(set(glued[1])):
            return self._joined(list(glued[1]))
        if _NOT.match(plain):
            return ""
        lead = _LEAD.match(plain)
        for start in (0, lead.end() if lead else 0):
            found = self._letters(plain, start)
            if found is not None:
                return found
        return self._named(plain)

    def _letters(self, plain: str, at: int) -> str | None:
        """Read letters joined by commas or "and"; None where none stands here, nothing where "or" leaves it open."""
        found: list[str] = []
        while len(found) <= len(self.letters) and (token := _TOKEN.match(plain, at)) and self._chosen(token):
            bare = token[2]
            joined = _AND.match(plain, token.end())
            follower = _TOKEN.match(plain, joined.end()) if joined else None
            goes_on = follower is not None and bool(self._chosen(follower))
            hedged = (other := _OR.match(plain, token.end())) and _TOKEN.match(plain, other.end())
            if bare in ("A", "I") and not goes_on and not hedged:
                ends = _ENDS if bare == "A" else _PRONOUN_ENDS
                if not ends.match(plain, token.end()):
                    break
            found.append(self._chosen(token))
            if hedged:
                return ""
            if not goes_on or joined is None:
                break
            at = joined.end()
        return self._joined(found) if found else None

    def _named(self, plain: str) -> str:
        """Return the last choice that is named ("option D") and not refused ("option D is wrong")."""
        last = ""
        for match in _MENTION.finditer(plain):
            token = _TOKEN.match(plain, match.end())
            if token is None or _REFUSED.match(plain, token.end()):
                continue
            last = self._letters(plain, match.end()) or last
        return last

    def _chosen(self, token: re.Match[str]) -> str:
        letter = token[token.lastindex or 0].upper()
        return letter if letter in self.letters else ""

    def _led(self, line: str) -> str:
        plain = _MARKUP.sub(" ", line)
        led = _LED.match(plain)
        return self._joined([led[1] or led[2]]) if led else ""

    def _joined(self, letters: list[str]) -> str:
        chosen = sorted({letter.upper() for letter in letters})
        return ",".join(chosen) if all(letter in self.letters for letter in chosen) else ""
