"""What kind of answer a problem has: how it is found in a text, and when two of them are one.

| spec | answers are | equal when |
|---|---|---|
| `math` | found by the rules of `extract` | their canonical keys are one, or a symbolic check says so |
| `number` | the same, and where no rule finds one, the last number of the text | the same |
| `math-strict` | as for `math` | the same with strict keys: units, order and case count |
| `choice`, `choice:ABCD` | letters of a multiple choice, A to J or those given | they are the same letters |
| `yesno` | yes or no, true or false | they mean the same |
| `label:good,bad` | one of the given labels | they are the same label |
| `text` | a short text | they are the same but for case, articles, quotes and final punctuation |
| `free` | a whole text: an essay, a summary, a program | they are the same text; there is no vote, see `has_votes` |
| `path/to/file.py:NAME` | of your own: a class or object of that file | it says so |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from escalade.answers import canonical
from escalade.answers.choice import Choice
from escalade.answers.extract import Answer, extract
from escalade.answers.words import FreeText, Labels, WholeText, YesNo
from escalade.errors import AnswerKindError, nearest

SHIPPED = ("math", "number", "math-strict", "choice", "yesno", "label", "text", "free")
"""The names of the kinds that come with the package."""
DEFAULT = "math"
_WHY = {"timeout": "no verdict within {:g} s", "failed": "the check ran out of memory or failed"}


class Kind(Protocol):
    """What a kind of answer can do. Every method may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The spec it is found by."""

    @property
    def version(self) -> str:
        """What `equal` depends on, with versions and settings; empty where that is not known."""

    def extract(self, text: str) -> Answer | None:
        """Return the answer that a generated text gives; None where it gives none or is cut off inside it."""

    def key(self, answer: str) -> str | None:
        """Return the canonical key of an answer; equal keys are one answer, None is none at all."""

    def equal(self, a: str, b: str) -> bool:
        """Whether two different keys are one answer all the same. May be slow.

        Raises:
            Undecided: it could not be told.
        """

    def surely_different(self, a: str, b: str) -> bool:
        """Whether it is certain without asking `equal` that two different keys are two answers. Fast."""

    def accepted(self, gold: str) -> tuple[str, ...]:
        """Return the keys that answer a gold answer, the primary first; none where it says nothing."""


class Undecided(Exception):  # noqa: N818 - no error: what it says is that nothing is known
    """Whether two keys are one answer could not be told, as a message says why."""


@dataclass(frozen=True, slots=True)
class Math:
    r"""Mathematics: keys by notation and exact algebra, the rest by value in a worker process.

    Example:
        >>> math = Math("math")
        >>> [math.key(a) for a in (r"\frac12", "0.50", "x = 5")]
        ['0.5', '0.5', '5']
    """

    name: str
    last_number: bool = False
    """The last number of a text may stand for an answer."""
    strict: bool = False

    @property
    def version(self) -> str:
        """Names and versions of what decides."""
        return _version(self.name)

    def extract(self, text: str) -> Answer | None:
        """See `escalade.answers.extract`."""
        return extract(text, last_number=self.last_number)

    def key(self, answer: str) -> str | None:
        """See `escalade.answers.canonical`."""
        return canonical.key(answer, strict=self.strict)

    def equal(self, a: str, b: str) -> bool:
        """Ask a worker process; TIMEOUT and FAILED are `Undecided`."""
        from escalade.answers.symbolic import Verdict, workers

        verdict = workers().check(a, b)
        if verdict in (Verdict.TIMEOUT, Verdict.FAILED):
            raise Undecided(_WHY[verdict.value].format(workers().seconds))
        return verdict is Verdict.EQUAL

    def surely_different(self, a: str, b: str) -> bool:
        """Whether both keys are exact."""
        return canonical.exact(a) and canonical.exact(b)

    def accepted(self, gold: str) -> tuple[str, ...]:
        """See `escalade.answers.canonical.accepted`."""
        return canonical.accepted(gold, strict=self.strict)


@lru_cache(maxsize=8)
def _version(name: str) -> str:
    from escalade.answers import symbolic

    parts = (f"{part} {version}" for part, version in symbolic.version().items())
    limits = f"{symbolic.workers().seconds:g} s and {symbolic.workers().memory >> 20} MiB a pair"
    return ", ".join([name, *parts, limits])


def kind_of(spec: str) -> Kind:
    """Return the kind of answer that a spec names: a shipped one, or `path/to/file.py:NAME`.

    A file is run once, under a private module name, and again when it has changed. A relative path starts at the
    working directory.

    Raises:
        AnswerKindError: no such kind, wrong parameters, no such file or name, the file raises, a method is lacking.

    Example:
        >>> kind_of("choice:ABCD").extract("The answer is (C), as the others are too small.")
        Answer(text='C', rule='phrase')
        >>> kind_of("number").key("1,000 apples")
        '1000'
    """
    if not isinstance(spec, str) or not spec.strip():
        raise AnswerKindError(f"answer kind {spec!r}: give one of {', '.join(SHIPPED)}, or path/to/file.py:NAME")
    if is_file(spec):
        from escalade.answers.custom import load_kind

        return load_kind(spec)
    return _shipped(spec)


def has_votes(kind: Kind) -> bool:
    """Whether samples of a kind can agree at all: two whole texts never do, so that one of them says what four would.

    >>> has_votes(kind_of("math")), has_votes(kind_of("free"))
    (True, False)
    """
    return not isinstance(kind, WholeText)


def is_file(spec: str) -> bool:
    """Whether a spec is a kind of one's own, `path/to/file.py:NAME`; a name may still be missing.

    >>> is_file("kinds/colour.py:Colour"), is_file("label:good,bad")
    (True, False)
    """
    return spec.partition(":")[0] not in SHIPPED and (".py:" in spec or spec.endswith(".py"))


@lru_cache(maxsize=1024)
def _shipped(spec: str) -> Kind:
    name, colon, parameters = spec.partition(":")
    if name not in SHIPPED:
        near = "; did you mean 'math', which reads boxed answers?" if name == "boxed" else nearest(name, SHIPPED)
        raise AnswerKindError(f"no answer kind {spec!r}: there are {', '.join(SHIPPED)} and path/to/file.py:NAME{near}")
    if name == "choice":
        return Choice(spec, parameters) if colon else Choice(spec)
    if name == "label":
        return Labels(spec, tuple(label.strip() for label in parameters.split(",")))
    if colon:
        raise AnswerKindError(f"answer kind {spec!r}: {name} takes no parameters; write {name!r}")
    if name == "yesno":
        return YesNo(spec)
    if name == "text":
        return FreeText(spec)
    if name == "free":
        return WholeText(spec)
    return Math(spec, last_number=name == "number", strict=name == "math-strict")
