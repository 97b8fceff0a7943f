r"""The door to answers by hand: what a text answers, its key, which answers are equal, which is right.

Each function takes the kind of answer by name (`escalade.answers.kinds`), mathematics if none is given, and answers as
plain strings or as `Answer`. Equality is reflexive, symmetric and transitive; an answer that says nothing equals
nothing, not even itself. None of them raises for an odd text, takes longer for a pair than its kind's limit, or
executes anything. What was decided is remembered while the process lives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from escalade.answers.extract import Answer
from escalade.answers.grader import Grader
from escalade.answers.kinds import Kind, kind_of

_grader = Grader()


def extract(text: str, *, kind: str | Kind = "math") -> Answer | None:
    r"""Return the answer that a generated text gives and the rule it was found by; None where it gives none.

    >>> extract(r"So $x = 3$, thus \(\boxed{x=\boxed{3}}\).")
    Answer(text='3', rule='boxed')
    >>> extract("I think it is (B).", kind="choice").text
    'B'
    """
    return _kind(kind).extract(text)


def key(answer: str | Answer, *, kind: str | Kind = "math") -> str | None:
    r"""Return the canonical key of an answer, None where it says nothing. Equal keys are one answer.

    >>> key(r"\frac12"), key("0.50"), key("[invalid]")
    ('0.5', '0.5', None)
    """
    return _kind(kind).key(_text(answer))


def equal(a: str | Answer, b: str | Answer, *, kind: str | Kind = "math") -> bool:
    r"""Say whether two answers are one; an empty answer or placeholder equals nothing, not even itself.

    >>> equal(r"\frac{1}{2}", "0.5"), equal("(1,2)", "{1,2}"), equal(r"e^{i\pi}", "-1"), equal("", "")
    (True, False, True, False)
    """
    first, second = classes((a, b), kind=kind)
    return first is not None and first == second


def classes(answers: Sequence[str | Answer | None], *, kind: str | Kind = "math") -> list[int | None]:
    r"""Return the class of each answer, numbered by first appearance; None where an answer abstains.

    >>> classes([r"\frac12", "2", None, "0.5", "[invalid]"])
    [0, 1, None, 0, None]
    """
    chosen = _kind(kind)
    keys = [None if answer is None else chosen.key(_text(answer)) for answer in answers]
    tally = Counter(k for k in keys if k is not None)
    names = (_grader.names(chosen, tally) if len(tally) > 1 else None) or {}
    numbers: dict[str, int] = {}
    return [None if k is None else numbers.setdefault(names.get(k, k), len(numbers)) for k in keys]


def grade(answer: str | Answer | None, gold: str | None, *, kind: str | Kind = "math") -> bool:
    """Say whether an answer is correct: equal to a gold answer that exists, in one of the forms that the gold accepts.

    False when either says nothing: an answer of None is not a gold answer "None".

    >>> grade("7.0", "7"), grade(None, "None"), grade("", "")
    (True, False, False)
    """
    chosen = _kind(kind)
    return _grader.right(chosen, None if answer is None else chosen.key(_text(answer)), gold)


def _kind(kind: str | Kind) -> Kind:
    return kind_of(kind) if isinstance(kind, str) else kind


def _text(answer: str | Answer) -> str:
    return answer if isinstance(answer, str) else answer.text
