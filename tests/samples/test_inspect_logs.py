from pathlib import Path
from typing import Any

import pytest

from escalade.errors import TableError
from escalade.samples.foreign import Foreign, Settings, Skipped
from escalade.samples.inspect_logs import read_inspect
from escalade.samples.sample import Generation
from tests.samples.foreign_logs import ASKED, SYSTEM, inspect_log, inspect_sample, write_eval, write_json


def one(tmp_path: Path, **changed: Any) -> Foreign | Skipped:
    sample = inspect_sample("a", 2, "1+1?", r"\boxed{2}", **changed)
    (found,) = read_inspect(write_json(tmp_path / "log.json", inspect_log([sample])))
    return found


@pytest.mark.parametrize("form", ["json", "deflate", "zstd"])
def test_every_form_of_a_log_gives_the_same_samples(tmp_path: Path, form: str) -> None:
    log = inspect_log([inspect_sample(i, epoch, f"{i}+1?", f"so {i + 1}") for i in range(3) for epoch in (1, 2)])
    if form == "json":
        path = write_json(tmp_path / "log.json", log)
    else:
        path = write_eval(tmp_path / "log.eval", log, zstd=form == "zstd")
    found = list(read_inspect(path))
    assert len(found) == 6
    first = found[1]
    assert isinstance(first, Foreign)
    assert (first.problem_id, first.index, first.model, first.question, first.gold) == (
        "0",
        1,
        "mockllm/model",
        "0+1?",
        "2",
    )
    assert first.messages == (("system", SYSTEM), ("user", ASKED.format("0+1?")))
    assert first.settings == Settings(0.7, 512, 0.9)
    # 26 tokens of the prompt besides the 4 from the cache: the total has them all.
    assert first.generation == Generation("so 1", "stop", 30, 4, 11, 2, None, 0.25)


def test_v7_what_was_cut_off_says_so(tmp_path: Path) -> None:
    for reason, ours in (("max_tokens", "length"), ("model_length", "length"), ("content_filter", "content_filter")):
        output = {"choices": [{"message": {"role": "assistant", "content": "x"}, "stop_reason": reason}]}
        found = one(tmp_path, output=output)
        assert isinstance(found, Foreign)
        assert found.generation.finish_reason == ours and found.complete
        assert found.generation.prompt_tokens is None  # unknown, and not 0


def test_the_settings_of_the_request_itself_win(tmp_path: Path) -> None:
    found = one(tmp_path, events=[{"event": "model", "config": {"temperature": 0.2, "stop_seqs": ["\n"]}}])
    assert isinstance(found, Foreign)
    assert found.settings == Settings(0.2, stop=("\n",))
    found = one(tmp_path, events=[])
    assert isinstance(found, Foreign) and found.settings == Settings(0.7, 512, 0.9)


def test_content_in_parts_reasoning_and_logprobs(tmp_path: Path) -> None:
    content = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "so"}, {"type": "text", "text": "2"}]
    logprobs = {"content": [{"token": "s", "logprob": -0.5}, {"token": "o", "logprob": -1.5}]}
    message = {"role": "assistant", "content": content}
    output = {"choices": [{"message": message, "stop_reason": "stop", "logprobs": logprobs}]}
    found = one(tmp_path, output=output, input=[{"role": "user", "content": "1+1?"}], target=["2", "two"])
    assert isinstance(found, Foreign)
    assert (found.generation.text, found.generation.mean_logprob) == ("so\n2", -1.0)
    assert (found.question, found.gold) == ("1+1?", None)


def test_a_sample_that_failed_is_skipped_and_says_why(tmp_path: Path) -> None:
    assert str(one(tmp_path, error={"message": "rate limit"})).endswith("(id 'a', epoch 2): failed: rate limit")
    assert str(one(tmp_path, output={"choices": []})).endswith("has no output")


@pytest.mark.parametrize(
    "changed",
    [
        {"events": [{"event": "model", "config": {}}] * 2},
        {"output": {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}},
        {"output": {"choices": [{"message": {"content": "a", "tool_calls": [{"function": "f"}]}}]}},
    ],
)
def test_what_is_more_than_one_request_for_one_answer_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(TableError, match=r"log.json: sample 0 \(id 'a', epoch 2\): .*only one request for one answer"):
        one(tmp_path, **changed)


@pytest.mark.parametrize("value", [10**400, -1, 1.5, "many", True, [], {}, None])
def test_hostile_numbers_are_unknown(tmp_path: Path, value: Any) -> None:
    usage = {"input_tokens": value, "output_tokens": value, "total_tokens": value}
    choice = {"message": {"role": "assistant", "content": "x"}, "stop_reason": "stop"}
    found = one(tmp_path, output={"choices": [choice], "usage": usage, "time": value if value != 1.5 else None})
    assert isinstance(found, Foreign)
    made = found.generation
    assert (made.prompt_tokens, made.completion_tokens) == (None, None)


@pytest.mark.parametrize(
    "body", ["", "[" * 100_000, "{}", '{"version": 2, "eval": {}}', '{"eval": {"model": "m"}, "samples": 3}']
)
def test_files_that_are_no_logs(tmp_path: Path, body: str) -> None:
    path = tmp_path / "log.json"
    path.write_text(body)
    with pytest.raises(TableError, match=r"log\.json"):
        list(read_inspect(path))
    path = tmp_path / "log.eval"
    path.write_text(body)
    with pytest.raises(TableError, match=r"log\.eval is no log"):
        list(read_inspect(path))


def test_a_packed_log_that_is_damaged_or_too_large(tmp_path: Path) -> None:
    log = inspect_log([inspect_sample("a", 1, "1+1?", "2")])
    path = write_eval(tmp_path / "log.eval", log, zstd=True)
    body = bytearray(path.read_bytes())
    at = body.index(b"samples/a_epoch_1.json") + 40
    body[at : at + 60] = bytes(60)
    path.write_bytes(body)
    with pytest.raises(TableError, match=r"log.eval: samples/a_epoch_1.json"):
        list(read_inspect(path))
    body = bytearray(write_eval(path, log, zstd=True).read_bytes())
    central = body.rindex(b"samples/a_epoch_1.json") - 46
    body[central + 24 : central + 28] = b"\xff\xff\xff\x7f"
    path.write_bytes(body)
    with pytest.raises(TableError, match="at most"):
        list(read_inspect(path))
