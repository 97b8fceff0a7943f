import random

import pytest

from escalade.errors import SettingError
from escalade.evaluation.groups import near_duplicates

pytest.importorskip("datasketch", reason="needs datasketch: pip install 'escalade[evaluation]'")

WORDS = [f"w{i}" for i in range(400)]


def premise(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=30))


def test_questions_of_one_premise_are_one_group_and_a_shared_form_makes_none() -> None:
    form = " how many of them are there in the end, as a whole number"
    texts = [f"{premise(p)}. {q} {form}" for p in range(40) for q in ("first,", "and then,", "if doubled,")]
    groups = near_duplicates(texts)
    assert groups == [3 * (place // 3) for place in range(120)]


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    words = premise(1).split() + premise(2).split()
    texts = [" ".join(words[i : i + 40]) for i in (0, 6, 12, 18)]
    assert near_duplicates(texts) == [0, 0, 0, 0]


def test_equal_texts_are_one_group_however_many_they_are() -> None:
    assert near_duplicates(["Same text here, word for word."] * 50) == [0] * 50


def test_short_and_empty_texts_stand_alone() -> None:
    assert near_duplicates(["1+1", "1+2", "", "one"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(SettingError, match="threshold of near-duplicates"):
        near_duplicates(["a"], threshold)
