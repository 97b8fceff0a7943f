"""Identity: which problems were there, kept as digests of their texts, so that they are known again.

A digest is 8 hexadecimal digits of a hash of the text: the same problem under another id has the same, another problem
under the same id has not. Of a problem without a text it is one of the id, and begins with "id:".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from escalade.errors import SettingError

if TYPE_CHECKING:  # problems are read with pandas, which a run with a calibration does without
    from escalade.problems import Problem

DIGITS = 8
"""Of a digest: of 5,000 problems beside 5,000 others one in 170 times a pair is taken for one problem."""
_OF_AN_ID = "id:"


def digests(problems: Iterable[Problem]) -> tuple[str, ...]:
    """Return the digest of each distinct problem, sorted.

    Example:
        >>> from escalade.problems import Problem
        >>> digests([Problem("p2", "1 + 1?"), Problem("p1", "1 + 1?"), Problem("p1", "")])
        ('c97c3a9c', 'id:5334138a')
    """
    return tuple(sorted({_digest(problem) for problem in problems}))


def fingerprint(digested: Iterable[str]) -> str:
    """Return the sha256 over sorted digests of problems, one a line: the same problems in any order have the same.

    Example:
        >>> fingerprint(["c97c3a9c", "id:5334138a"]) == fingerprint(["id:5334138a", "c97c3a9c"])
        True
    """
    return hashlib.sha256("\n".join(sorted(digested)).encode()).hexdigest()


def among(problems: Sequence[Problem], digested: Iterable[str], whose: str) -> list[bool]:
    """[N] Whether each problem is one of those that were digested.

    Of those that had no text only ids are known: a problem with such an id counts as one of them.

    Args:
        problems: that are to be known again.
        digested: what `digests` gave.
        whose: problems these are, for the message.

    Raises:
        SettingError: a problem has no text, and others are known by theirs.

    Example:
        >>> from escalade.problems import Problem
        >>> kept = digests([Problem("p1", "1 + 1?"), Problem("p2", "")])
        >>> among([Problem("p1", "2 + 2?"), Problem("p7", "1 + 1?"), Problem("p2", "3?")], kept, "a calibration")
        [False, True, True]
    """
    known = set(digested)
    texts = sum(not digest.startswith(_OF_AN_ID) for digest in known)
    found = [_digest(problem) in known or _digest(replace(problem, text="")) in known for problem in problems]
    for problem, there in zip(problems, found, strict=True):
        if texts and not there and not problem.text:
            raise SettingError(
                f"problem {problem.id!r} has no text, and {texts} problems of {whose} are known by theirs: whether it "
                "is one of them cannot be told; give texts with --problems FILE"
            )
    return found


def _digest(problem: Problem) -> str:
    return ("" if problem.text else _OF_AN_ID) + problem.fingerprint[:DIGITS]
