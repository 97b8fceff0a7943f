"""Answers in words: yes or no, one of given labels, a short text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from escalade.answers.extract import Answer, clean, places
from escalade.answers.keyed import Keyed
from escalade.errors import AnswerKindError

LONGEST_TEXT = 100
"""Characters that an answer of kind `text` may have."""
_LINE = 300
_TAIL = 20_000  # characters from the end in which a label is looked for that nothing announces
_PEELS = 20

_MARKUP = re.compile(r"\\(?:text[a-z]{0,4}|math[a-z]{0,4}|mbox|boldsymbol)(?![a-zA-Z])|</?[a-z]{1,10}>|[*_`$\"“”{}\\]")
_YES = re.compile(r"(?:(?:yes|true)|(no|false))(?![\w'’-])", re.IGNORECASE)
_NEGATED = re.compile(r"(?:\bnot|n['’]t|\bnever|\bneither)\s{1,3}$", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[a-z0-9)]{2})[.!?](?=\s|$)|[;\n]|\*\*|</answer>|,? because\b")
_ARTICLE = re.compile(r"(?<!\w)(?:a|an|the)\s+", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"none|null|nan|n/a|no answer|invalid|unknown|\[[a-z _-]*\]|[?.-]*")
_QUOTES = "\"'`“”‘’«»*_$ \t\n"


@dataclass(frozen=True, slots=True)
class YesNo(Keyed):
    """Yes or no; true and false are the same two answers.

    Example:
        >>> yesno = YesNo("yesno")
        >>> [yesno.key(a) for a in ("Yes, because it is.", "FALSE", "**true**", "nobody")]
        ['yes', 'no', 'yes', None]
    """

    def extract(self, text: str) -> Answer | None:
        """Return what a text states, else its last line where that is the word alone, else its first word."""
        stated = places(text)
        if stated is None:
            return None
        for place in stated:
            if found := self.key(place.text):
                return Answer(found, place.rule)
        whole = _MARKUP.sub(" ", text[:_LINE] + "\n" + text[-_LINE:]).strip() if len(text) > _LINE else _plain(text)
        last = whole.rpartition("\n")[2].strip(" .!'\t")
        for candidate in (last if _YES.fullmatch(last) else "", whole):
            if match := _YES.match(candidate):
                return Answer("no" if match[1] else "yes", "word")
        return None

    def key(self, answer: str) -> str | None:
        """Return yes or no: the first word, else the only one of them that is said and not negated."""
        plain = _plain(answer[:_LINE])
        if match := _YES.match(plain):
            return "no" if match[1] else "yes"
        said: set[str] = set()
        for match in _YES.finditer(plain):
            before = plain[max(0, match.start() - 12) : match.start()]
            if before[-1:].isalnum() or _NEGATED.search(before):
                return None
            said.add("no" if match[1] else "yes")
        return said.pop() if len(said) == 1 else None


@dataclass(frozen=True, slots=True)
class Labels(Keyed):
    """One of the given labels; the key is the label as it was given.

    Example:
        >>> labels = Labels("label:positive,very positive", ("positive", "very positive"))
        >>> labels.extract("It sounds positive at first. The answer is: Very Positive!")
        Answer(text='very positive', rule='phrase')
    """

    labels: tuple[str, ...] = ()
    _any: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _names: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {" ".join(label.casefold().split()): label for label in self.labels}
        if "" in names or len(names) < 2 or len(names) < len(self.labels):
            raise AnswerKindError(
                f"answer kind {self.name!r}: give at least two different labels, with commas between them, as in "
                "'label:positive,negative,neutral'"
            )
        longest = sorted(names, key=len, reverse=True)
        words = "|".join(r"\s{1,5}".join(map(re.escape, label.split())) for label in longest)
        object.__setattr__(self, "_any", re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE))
        object.__setattr__(self, "_names", names)

    def extract(self, text: str) -> Answer | None:
        """Return the label that a text states, else the last one it names."""
        stated = places(text)
        if stated is None:
            return None
        for place in stated:
            if found := self.key(place.text):
                return Answer(found, place.rule)
        found = self._last(_plain(text[-_TAIL:]))
        return Answer(found, "named") if found else None

    def key(self, answer: str) -> str | None:
        """Return the label that an answer is or begins with, else the last one in it; the longest where several fit."""
        plain = _plain(answer[:_LINE])
        whole = " ".join(plain.casefold().strip("().[]!?:;,'").split())
        if whole in self._names:
            return self._names[whole]
        match = self._any.match(plain)
        return self._named(match[0]) if match else self._last(plain) or None

    def _last(self, plain: str) -> str:
        last = ""
        for match in self._any.finditer(plain):
            if not _NEGATED.search(plain[max(0, match.start() - 12) : match.start()]):
                last = self._named(match[0])
        return last

    def _named(self, written: str) -> str:
        return self._names.get(" ".join(written.casefold().split()), "")


@dataclass(frozen=True, slots=True)
class FreeText(Keyed):
    """A short text; case, articles, quotes and final punctuation do not count.

    Example:
        >>> text = FreeText("text")
        >>> text.key("The Eiffel Tower."), text.key("eiffel  tower"), text.key("[invalid]")
        ('eiffel tower', 'eiffel tower', None)
    """

    def extract(self, text: str) -> Answer | None:
        """Return what a text states, else the whole of it where it is short."""
        stated = places(text)
        if stated is None:
            return None
        for place in stated:
            end = None if place.rule == "boxed" else _SENTENCE.search(place.text)
            found = clean(place.text[: end.start()] if end else place.text)
            if found and len(found) <= LONGEST_TEXT:
                return Answer(found, place.rule)
        whole = text.strip()
        if len(whole) <= LONGEST_TEXT and "\n" not in whole and (found := clean(whole)):
            return Answer(found, "whole")
        return None

    def key(self, answer: str) -> str | None:
        """Return the text with all that does not count left out."""
        text = " ".join(unicodedata.normalize("NFKC", answer).casefold().replace("’", "'").split())
        text = " ".join(_MARKUP.sub(" ", text).split())
        for _ in range(_PEELS):
            before = text
            text = text.strip(_QUOTES).rstrip(".,;:!?").strip()
            if text == before:
                break
        if _PLACEHOLDER.fullmatch(text):
            return None
        return " ".join(_ARTICLE.sub("", text).split()) or text


@dataclass(frozen=True, slots=True)
class WholeText(Keyed):
    """A whole text, whatever is in it.

    Example:
        >>> WholeText("free").extract("  Once upon a time. ")
        Answer(text='Once upon a time.', rule='whole')
    """

    def extract(self, text: str) -> Answer | None:
        """Return the text; None where there is nothing in it."""
        whole = text.strip()
        return Answer(whole, "whole") if whole else None

    def key(self, answer: str) -> str | None:
        """Return the text, its white space made alike."""
        return " ".join(answer.split()) or None


def _plain(text: str) -> str:
    return _MARKUP.sub(" ", text).strip().strip("(['").lstrip()
