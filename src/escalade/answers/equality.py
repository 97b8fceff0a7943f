"""Equality of answers, the classes that votes are cast by, and grading against a gold answer.

An answer is equal to another exactly when both fall into one class, whatever the order they come in. All
three functions ask `_class_ids`, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from escalade.answers.canonical import key


def equal(a: str, b: str) -> bool:
    r"""Say whether two answers are one; an empty answer or placeholder equals nothing, not even itself.

    Symmetric and transitive. Never raises.

    >>> equal(r"\frac{1}{2}", "0.5"), equal("(1,2)", "{1,2}"), equal("", "")
    (True, False, False)
    """
    first, second = classes((a, b))
    return first is not None and first == second


def classes(answers: Sequence[str | None]) -> list[int | None]:
    r"""Return the class of each answer, numbered by first appearance; None where an answer abstains.

    >>> classes([r"\frac12", "2", None, "0.5", "[invalid]"])
    [0, 1, None, 0, None]
    """
    keys = [None if answer is None else key(answer) for answer in answers]
    ids = _class_ids(k for k in keys if k is not None)
    return [None if k is None else ids[k] for k in keys]


def grade(answer: str | None, gold: str | None) -> bool:
    """Say whether an answer is correct: equal to a gold answer that exists.

    False when either says nothing: an answer of None is not a gold answer "None". Never raises.

    >>> grade("7.0", "7"), grade(None, "None"), grade("", "")
    (True, False, False)
    """
    return answer is not None and gold is not None and equal(answer, gold)


def _class_ids(keys: Iterable[str]) -> dict[str, int]:
    """Number the classes: one representative a key, one class a representative.

    The one place where distinct keys become, or could be found to be, one class.
    """
    return {representative: number for number, representative in enumerate(dict.fromkeys(keys))}
