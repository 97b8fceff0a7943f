"""Bodies: what a request may say, and how what it may not say is refused."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import RequestError
from escalade.gateway.bodies import Asked, ChatBody, CompletionBody, Extra, asked_in, read_chat, read_completion

USER = {"role": "user", "content": "What is 1 + 1?"}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "S", "messages": [USER], **fields}).encode()


def raw(**fields: str) -> bytes:
    """A chat body with these fields as they stand, be they JSON or not."""
    more = "".join(f', "{name}": {text}' for name, text in fields.items())
    return (json.dumps({"model": "S", "messages": [USER]})[:-1] + more + "}").encode()


def completion(**fields: Any) -> bytes:
    return json.dumps({"model": "S", "prompt": "What is 1 + 1?", **fields}).encode()


def asked(*messages: Any, **fields: Any) -> Asked:
    return asked_in(read_chat(chat(messages=list(messages), **fields)))


def refused(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        asked_in(read_chat(body))
    assert (caught.value.status, caught.value.retry_after) == (400, None)
    return caught.value


# -- what is accepted -----------------------------------------------------------------------------------------


def test_the_last_message_is_the_problem_and_what_was_said_before_it_the_conversation() -> None:
    said = asked(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3 more?"},
    )
    before = (("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4"))
    assert said == Asked("And 3 more?", before, None)


def test_a_message_may_be_a_list_of_parts_of_text() -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "1 + 1?"}]
    assert asked({"role": "user", "content": parts}).problem == "What is\n1 + 1?"


def test_a_developer_is_a_system() -> None:
    assert asked({"role": "developer", "content": "Be brief."}, USER).conversation == (("system", "Be brief."),)


@pytest.mark.parametrize("fields", [{"max_tokens": 7}, {"max_completion_tokens": 7}])
def test_max_tokens_has_two_names(fields: dict[str, int]) -> None:
    assert asked(USER, **fields).max_tokens == 7


def test_max_tokens_may_be_given_by_both_names_where_they_agree() -> None:
    assert asked(USER, max_tokens=7, max_completion_tokens=7).max_tokens == 7


@pytest.mark.parametrize(
    ("stop", "stops"),
    [(None, ()), ("\n", ("\n",)), (["a"], ("a",)), (["a", "b", "c", "d"], ("a", "b", "c", "d")), ([], ())],
)
def test_stop_is_a_text_a_list_or_nothing(stop: Any, stops: tuple[str, ...]) -> None:
    assert read_chat(chat(stop=stop)).stops == stops
    assert read_completion(completion(stop=stop)).stops == stops


# Those that OpenAI's own description of its API says may be null.
@pytest.mark.parametrize(
    "name",
    [
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
    ],
)
def test_what_clients_leave_open_may_be_said_as_null(name: str) -> None:
    assert read_chat(chat(**{name: None})).model == "S"


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": False},
        {"logprobs": False},
        {"store": False},
        {"tools": []},
        {"logit_bias": {}},
        {"frequency_penalty": 0, "presence_penalty": 0},
        {"frequency_penalty": 0.0, "presence_penalty": -0.0},
        {"response_format": {"type": "text"}},
        {"metadata": {"run": "7"}, "user": "alice"},
        {"stream": True, "stream_options": {"include_usage": True, "include_progress": True}},
        {"n": 1},
        {"n": 64},
        {"temperature": 0},
        {"temperature": 2},
        {"temperature": 0.7},
        {"top_p": 1},
        {"seed": -(2**63)},
        {"seed": 2**63 - 1},
        {"max_tokens": 1_000_000},
        {"escalade": {}},
        {"escalade": {"target": 0.5, "scores": {"S": 0.25}, "deadline": 2, "budget_usd": "0.001"}},
        {"escalade": {"budget_usd": 0.1, "latency_target": 1.5, "answer_kind": "free"}},
        {"escalade": dict.fromkeys(["answer_kind", "budget_usd", "deadline", "latency_target", "scores", "target"])},
    ],
)
def test_what_changes_nothing_or_can_be_kept_is_accepted(fields: dict[str, Any]) -> None:
    body = read_chat(chat(**fields))
    assert asked_in(body).problem == USER["content"]


def test_money_is_exact() -> None:
    for written in ("0.1", '"0.1"'):
        body = read_chat(raw(escalade=f'{{"budget_usd": {written}}}'))
        assert str(body.extra.budget_usd) == "0.1"


def test_a_reply_may_be_said_again_as_the_client_got_it() -> None:
    # What `messages.append(response.choices[0].message)` sends, which is how conversations are kept.
    reply = {"role": "assistant", "content": "2", "refusal": None}
    assert asked(USER, reply, {"role": "user", "content": "And 3 more?"}).conversation == (
        ("user", "What is 1 + 1?"),
        ("assistant", "2"),
    )


def test_a_prompt_is_one_text() -> None:
    for prompt in ("What is 1 + 1?", ["What is 1 + 1?"]):
        body = read_completion(completion(prompt=prompt, max_tokens=5, echo=False, best_of=1, suffix=None))
        assert asked_in(body) == Asked("What is 1 + 1?", (), 5)


def test_sizes_are_bytes() -> None:
    assert asked({"role": "system", "content": "ß"}, {"role": "user", "content": "Größe?"}).size == 2 + 8


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"temprature": 0.7}, "temprature", ["temprature", "0.7", "did you mean 'temperature'?"]),
        ({"max_token": 7}, "max_token", ["max_token", "7", "did you mean 'max_tokens'?"]),
        ({"escalade": {"budget": 1}}, "escalade.budget", ["escalade.budget", "1", "did you mean 'budget_usd'?"]),
        ({"escalade": {"dead_line": 1}}, "escalade.dead_line", ["dead_line", "did you mean 'deadline'?"]),
        ({"stream_options": {"usage": True}}, "stream_options.usage", ["did you mean 'include_usage'?"]),
        ({"tools": [{"type": "function"}]}, "tools", ["tools", "leave it out"]),
        ({"logprobs": True}, "logprobs", ["logprobs", "True", "leave it out"]),
        ({"store": True}, "store", ["store", "True", "leave it out"]),
        ({"frequency_penalty": 0.5}, "frequency_penalty", ["0.5", "leave it out"]),
        ({"presence_penalty": -1}, "presence_penalty", ["-1", "leave it out"]),
        ({"logit_bias": {"50256": -100}}, "logit_bias", ["logit_bias", "leave it out"]),
        ({"response_format": {"type": "json_object"}}, "response_format", ["json_object", "leave it out"]),
        ({"n": 0}, "n", ["n:", "greater than or equal to 1", "it is 0"]),
        ({"n": 65}, "n", ["n:", "less than or equal to 64", "it is 65"]),
        ({"n": 1.5}, "n", ["n:", "integer", "1.5"]),
        ({"n": "2"}, "n", ["n:", "integer", "'2'"]),
        ({"temperature": 3}, "temperature", ["temperature", "less than or equal to 2", "it is 3"]),
        ({"temperature": -0.1}, "temperature", ["temperature", "greater than or equal to 0", "-0.1"]),
        ({"temperature": "a"}, "temperature", ["temperature", "number", "'a'"]),
        ({"top_p": 0}, "top_p", ["top_p", "greater than 0", "it is 0"]),
        ({"max_tokens": 0}, "max_tokens", ["max_tokens", "it is 0"]),
        ({"max_tokens": 10**7}, "max_tokens", ["max_tokens", "less than or equal to 1000000", "10000000"]),
        ({"seed": 2**63}, "seed", ["seed", str(2**63)]),
        ({"stop": [""]}, "stop", ["stop", "an empty text would end every sample"]),
        ({"stop": ""}, "stop", ["stop", "an empty text would end every sample"]),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", ["stop", "at most 4"]),
        ({"stop": 7}, "stop", ["stop", "it is 7"]),
        ({"stream": "yes"}, "stream", ["stream", "'yes'"]),
        ({"model": ""}, "model", ["model", "at least 1"]),
        ({"model": None}, "model", ["model", "string"]),
        ({"messages": []}, "messages", ["messages", "at least 1"]),
        ({"messages": "hello"}, "messages", ["messages", "list", "'hello'"]),
        ({"escalade": {"target": 1.1}}, "escalade.target", ["target", "less than or equal to 1", "1.1"]),
        ({"escalade": {"scores": {"S": 2}}}, "escalade.scores.S", ["scores.S", "it is 2"]),
        ({"escalade": {"deadline": 0}}, "escalade.deadline", ["deadline", "greater than 0"]),
        ({"escalade": {"budget_usd": -1}}, "escalade.budget_usd", ["budget_usd", "greater than or equal to 0", "-1"]),
        ({"escalade": {"budget_usd": "NaN"}}, "escalade.budget_usd", ["budget_usd", "'NaN'"]),
        ({"escalade": {"budget_usd": "sNaN"}}, "escalade.budget_usd", ["budget_usd", "'sNaN'"]),
        ({"escalade": {"budget_usd": "1e999999999"}}, "escalade.budget_usd", ["budget_usd", "1e999999999"]),
        ({"escalade": {"budget_usd": "five"}}, "escalade.budget_usd", ["budget_usd", "'five'"]),
    ],
)
def test_a_refusal_names_the_field_the_value_and_the_remedy(
    fields: dict[str, Any], param: str, words: list[str]
) -> None:
    error = refused(chat(**fields))
    assert error.param is not None
    assert error.param.startswith(param)
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["temperature", "top_p"])
def test_numbers_are_finite(field: str, name: str) -> None:
    error = refused(raw(**{field: name}))
    assert error.param == field
    assert field in str(error)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["target", "deadline", "latency_target", "budget_usd"])
def test_numbers_of_the_extra_object_are_finite(field: str, name: str) -> None:
    assert refused(raw(escalade=f'{{"{field}": {name}}}')).param == f"escalade.{field}"


@pytest.mark.parametrize(
    "field",
    ["n", "seed", "max_tokens", "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "stop"],
)
@pytest.mark.parametrize("value", [True, False])
def test_truth_is_no_number(field: str, value: bool) -> None:
    error = refused(chat(**{field: value}))
    assert error.param == field
    assert str(value) in str(error)


@pytest.mark.parametrize("field", ["target", "deadline", "latency_target", "budget_usd"])
def test_truth_is_no_number_of_the_extra_object_either(field: str) -> None:
    assert refused(chat(escalade={field: True})).param == f"escalade.{field}"


@pytest.mark.parametrize("field", ["stream"])
@pytest.mark.parametrize("value", [0, 1, "true"])
def test_a_number_is_no_truth(field: str, value: object) -> None:
    assert refused(chat(**{field: value})).param == field


@pytest.mark.parametrize(
    "field",
    ["n", "seed", "max_tokens", "temperature", "top_p", "frequency_penalty", "stop", "stream", "model", "user"],
)
@pytest.mark.parametrize("digits", [20, 400, 4000])
def test_huge_integers_are_refused(field: str, digits: int) -> None:
    assert refused(raw(**{field: "9" * digits})).param == field


@pytest.mark.parametrize("field", ["target", "deadline", "budget_usd", "scores", "answer_kind"])
def test_huge_integers_of_the_extra_object_are_refused(field: str) -> None:
    assert refused(raw(escalade=f'{{"{field}": {"9" * 4000}}}')).param == f"escalade.{field}"


def test_an_integer_that_python_does_not_read_is_refused() -> None:
    assert "no JSON" in str(refused(raw(n="9" * 5000)))


@pytest.mark.parametrize("body", [b"\xff{}", b'{"model": "\xff"}', b'{"model": "\xc3"}', b'{"a": "\xed\xa0\x80"}'])
def test_bytes_that_are_no_utf_8_are_named(body: bytes) -> None:
    wrong = next(place for place, byte in enumerate(body) if byte >= 0x80)
    assert str(refused(body)) == f"the body is not UTF-8: byte {wrong} is {body[wrong]:#04x}"


@pytest.mark.parametrize("body", [b"", b"{", b"not JSON", b"{'model': 1}", b'{"a": 1,}', b"\x00", b"{}{}"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert str(refused(body)).startswith("the body is no JSON: ")


@pytest.mark.parametrize(("body", "said"), [(b"[1]", "[1]"), (b"null", "None"), (b'"hello"', "hello"), (b"7", "7")])
def test_what_is_no_object_is_refused(body: bytes, said: str) -> None:
    error = str(refused(body))
    assert error.startswith("the body is no JSON object")
    assert said in error


@pytest.mark.parametrize("depth", [100, 700, 900, 930, 960, 970, 980, 990, 1000, 2000, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    refused(b"[" * depth)
    refused(deep.encode())
    refused(raw(tools=deep))
    refused(raw(messages_=deep))
    refused(raw(escalade=deep))
    refused(b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize("half", [b"\\ud800", b"\\udc00"])
def test_half_a_surrogate_pair_is_refused_in_whatever_is_passed_on(half: bytes) -> None:
    said = b'{"role": "user", "content": "1 + %s?"}' % half
    last = b'{"role": "user", "content": "1 + 1?"}'
    places = {
        b'{"model": "S", "messages": [%s]}' % said: "messages.0.content",
        b'{"model": "S", "messages": [%s, %s]}' % (said, last): "messages.0.content",
        b'{"model": "%s", "messages": [%s]}' % (half, last): "model",
        b'{"model": "S", "messages": [%s], "stop": ["%s"]}' % (last, half): "stop",
        b'{"model": "S", "messages": [%s], "stop": "%s"}' % (last, half): "stop",
    }
    for body, place in places.items():
        assert (refused(body).param or "").startswith(place)


def test_half_a_surrogate_pair_as_a_name_of_a_field_is_refused() -> None:
    refused(b'{"model": "S", "messages": [{"role": "user", "content": "1 + 1?"}], "\\ud800": 1}')


def test_a_whole_surrogate_pair_is_a_sign() -> None:
    body = b'{"model": "S", "messages": [{"role": "user", "content": "\\ud83d\\ude00?"}]}'
    assert asked_in(read_chat(body)).problem == "\U0001f600?"


@pytest.mark.parametrize("content", ["", "  \n", [], [{"type": "text", "text": " "}]])
def test_an_empty_problem_is_refused(content: Any) -> None:
    error = refused(chat(messages=[USER, {"role": "user", "content": content}]))
    assert "is empty: give the problem as a text" in str(error)
    assert error.param == "messages.1.content"


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_the_last_message_is_a_users(role: str) -> None:
    error = refused(chat(messages=[USER, {"role": role, "content": "2"}]))
    assert error.param == "messages.1.role"
    for word in (repr(role), "'user'"):
        assert word in str(error)


def test_names_of_speakers_are_refused() -> None:
    error = refused(chat(messages=[{**USER, "name": "alice"}, USER]))
    assert error.param == "messages.0.name"
    assert "leave name out" in str(error)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image_url", "image_url": {"url": "http://a/b.png"}}, ["'image_url'", "'text'"]),
        ({"type": "input_audio", "input_audio": {}}, ["'input_audio'", "'text'"]),
        ({"type": "text"}, ["text: missing"]),
        ({"text": "1 + 1?"}, ["type: missing"]),
        ("1 + 1?", ["messages.0.content.0"]),
    ],
)
def test_parts_that_are_no_text_are_refused(part: Any, words: list[str]) -> None:
    error = refused(chat(messages=[{"role": "user", "content": [part]}]))
    assert (error.param or "").startswith("messages.0.content.0")
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "1"}, "messages.0.role"),
        ({"role": "user"}, "messages.0.content"),
        ({"role": "user", "content": None}, "messages.0.content"),
        ({"role": "user", "content": 7}, "messages.0.content"),
        ({"content": "1 + 1?"}, "messages.0.role"),
        ({**USER, "tool_calls": []}, "messages.0.tool_calls"),
    ],
)
def test_messages_have_a_role_and_a_content(message: dict[str, Any], param: str) -> None:
    error = refused(chat(messages=[message]))
    assert error.param == param
    assert param in str(error)


def test_two_numbers_for_max_tokens_are_refused() -> None:
    error = refused(chat(max_tokens=5, max_completion_tokens=6))
    assert error.param == "max_completion_tokens"
    for word in ("max_tokens is 5", "max_completion_tokens 6", "give one"):
        assert word in str(error)


def test_several_faults_are_named_together() -> None:
    error = refused(chat(n=0, temperature=9, tools=[1]))
    for word in ("n:", "temperature:", "tools:"):
        assert word in str(error)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["1 + 1?", "2 + 2?"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 2}, "logprobs"),
        ({"suffix": "!"}, "suffix"),
        ({"messages": [USER]}, "messages"),
    ],
)
def test_completions_have_refusals_of_their_own(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        asked_in(read_completion(completion(**fields)))
    assert (caught.value.param or "").startswith(param)
    assert param in str(caught.value) or param == "prompt"


# -- whatever is sent -----------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({*ChatBody.model_fields, *CompletionBody.model_fields})
EXTRA = sorted(Extra.model_fields)


def answered_or_refused(body: bytes) -> None:
    for read in (read_chat, read_completion):
        try:
            found = read(body)
            said = asked_in(found)
        except RequestError as error:
            assert error.status == 400
            assert str(error)
        else:
            assert said.problem.strip()
            assert said.size > 0
            assert all(math.isfinite(x) for x in (found.temperature, found.top_p) if x is not None)


@given(st.binary())
def test_any_bytes_are_a_body_or_a_refusal(body: bytes) -> None:
    answered_or_refused(body)


@given(ANYTHING)
def test_any_json_is_a_body_or_a_refusal(value: Any) -> None:
    answered_or_refused(json.dumps(value).encode())


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), ANYTHING, max_size=4))
def test_any_fields_are_a_body_or_a_refusal(fields: dict[str, Any]) -> None:
    answered_or_refused(chat(**fields))
    answered_or_refused(completion(**fields))


@given(st.dictionaries(st.sampled_from(EXTRA), ANYTHING, max_size=4))
def test_any_extra_object_is_a_body_or_a_refusal(extra: dict[str, Any]) -> None:
    answered_or_refused(chat(escalade=extra))


@given(
    st.lists(st.fixed_dictionaries({"role": ANYTHING | st.just("user"), "content": ANYTHING | st.text()}), max_size=3)
)
def test_any_messages_are_a_body_or_a_refusal(messages: list[Any]) -> None:
    answered_or_refused(chat(messages=messages))
