"""Identity: problems are known again by their texts, under whatever ids."""

import hashlib
from dataclasses import replace

import pytest

from escalade.errors import SettingError
from escalade.evaluation.identity import DIGITS, among, digests, fingerprint
from escalade.problems import Problem

ASKED = [Problem(f"p{number}", f"What is {number} + 1?", "1") for number in range(4)]
MUTE = [replace(problem, text="") for problem in ASKED]


def test_a_digest_is_of_the_text_and_of_the_id_where_there_is_none() -> None:
    assert digests(ASKED[:1]) == (hashlib.sha256(b"What is 0 + 1?").hexdigest()[:DIGITS],)
    assert digests(MUTE[:1]) == ("id:" + hashlib.sha256(b"id:p0").hexdigest()[:DIGITS],)


def test_a_fingerprint_knows_neither_order_nor_ids() -> None:
    found = digests([*ASKED, ASKED[0]])
    assert found == digests(replace(problem, id=f"q{problem.id}") for problem in reversed(ASKED))
    assert fingerprint(reversed(found)) == fingerprint(found) != fingerprint(found[:1])


def test_the_same_problems_are_known_under_other_ids_and_others_under_the_same_are_not() -> None:
    kept = digests(ASKED[:2])
    assert among([replace(problem, id="0") for problem in ASKED], kept, "x") == [True, True, False, False]
    others = [replace(problem, text=f"{problem.text} Or 2?") for problem in ASKED]
    assert among(others, kept, "x") == [False] * 4


def test_of_problems_without_a_text_ids_are_known() -> None:
    assert among(MUTE, digests(MUTE[:2]), "x") == [True, True, False, False]
    assert among(ASKED, digests(MUTE[:2]), "x") == [True, True, False, False]  # texts were given only now
    assert among(MUTE[:1], digests([MUTE[0], ASKED[1]]), "x") == [True]


def test_a_problem_that_may_be_one_of_those_with_texts_is_refused() -> None:
    with pytest.raises(SettingError, match=r"problem 'p0' has no text, and 3 problems of the lot .* --problems FILE"):
        among(MUTE, digests([*ASKED[:3], MUTE[3]]), "the lot")
