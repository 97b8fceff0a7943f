from typing import Any

import pytest

from escalade.errors import TableError
from escalade.samples.foreign import (
    clean,
    content_of,
    count_of,
    load_json,
    messages_of,
    number_of,
    one_text,
    part,
    seed_of,
)


@pytest.mark.parametrize("record", [None, 7, "text", [], {}, {"a": None}, {"a": [1]}, {"a": {"b": None}}])
def test_a_path_that_leads_nowhere_gives_the_default(record: Any) -> None:
    assert part(record, "a", "b", 0, default="none") == "none"


def test_a_path_may_pass_lists_and_end_in_falsehood() -> None:
    assert part({"a": [{"b": 0}]}, "a", 0, "b") == 0
    assert part([1], -1) is None  # no counting from the end


@pytest.mark.parametrize(
    ("value", "count", "number", "seed"),
    [
        (0, 0, 0.0, 0),
        (7.0, 7, 7.0, None),
        (0.5, None, 0.5, None),
        (-1, None, -1.0, None),
        (2**62, None, None, 2**62),
        (2**63, None, None, None),
        (10**400, None, None, None),
        (float("nan"), None, None, None),
        (float("inf"), None, None, None),
        (True, None, None, None),
        ("7", None, None, None),
    ],
)
def test_numbers_are_numbers_or_unknown(value: Any, count: Any, number: Any, seed: Any) -> None:
    assert (count_of(value), number_of(value), seed_of(value)) == (count, number, seed)


def test_messages_are_whole_or_unknown() -> None:
    assert messages_of([{"role": "user", "content": "a"}, {"role": "assistant"}]) == (("user", "a"), ("assistant", ""))
    for value in (None, [], "text", [7], [{"role": 7}], [{"role": "user", "content": [{"type": "image"}]}]):
        assert messages_of(value) is None


def test_parts_of_a_message_are_text_and_reasoning() -> None:
    assert content_of([{"type": "text", "text": "a"}, {"type": "reasoning"}, {"type": "text", "text": "b"}]) == "a\nb"
    assert content_of([{"type": "image", "image": "x"}]) is None
    assert content_of([{"type": "text", "text": 7}]) is None


def test_a_gold_answer_is_one_text() -> None:
    assert [one_text(value) for value in ("4", 4, 0.5, ["4"], ["4", "four"], "", None, True)] == [
        "4",
        "4",
        "0.5",
        "4",
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, b"\xff"])
def test_what_is_no_json_is_an_error_with_its_place(text: Any) -> None:
    with pytest.raises(TableError, match="here: not JSON"):
        load_json(text, "here")


def test_halves_of_signs_become_escapes() -> None:
    assert clean("a \ud83d \U0001f600") == "a \\ud83d \U0001f600"
