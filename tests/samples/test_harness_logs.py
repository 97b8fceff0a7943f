import json
from pathlib import Path
from typing import Any

import pytest

from escalade.errors import TableError
from escalade.samples.foreign import Foreign, Settings, Skipped
from escalade.samples.harness_logs import is_harness_log, read_harness
from escalade.samples.sample import Generation
from tests.samples.foreign_logs import ASKED, SYSTEM, harness_line, write_harness


def read(folder: Path, *lines: dict[str, Any], model: str | None = "mockllm/model") -> list[Foreign | Skipped]:
    return list(read_harness(write_harness(folder, list(lines), model)))


def test_each_repeat_is_a_sample(tmp_path: Path) -> None:
    found = read(tmp_path, harness_line(4, "1+1?", ["so 2", "3"]), harness_line(5, "2+2?", ["4", "4"]))
    assert [(f.problem_id, f.index, f.generation.text) for f in found if isinstance(f, Foreign)] == [
        ("4", 0, "so 2"),
        ("4", 1, "3"),
        ("5", 0, "4"),
        ("5", 1, "4"),
    ]
    first = found[0]
    assert isinstance(first, Foreign)
    assert (first.model, first.question, first.gold) == ("mockllm/model", "1+1?", "1 + 1 = 2\n#### 2")
    assert first.messages == (("system", SYSTEM), ("user", ASKED.format("1+1?")))
    assert first.settings == Settings(0.7, 512, 0.9)
    assert first.generation == Generation("so 2", "unknown") and not first.complete
    assert len({f.identity for f in found if isinstance(f, Foreign)}) == 4


def test_further_filters_of_the_same_generations_are_no_further_samples(tmp_path: Path) -> None:
    line = harness_line(0, "1+1?", ["2"])
    found = read(tmp_path, line, {**line, "filter": "flexible-extract", "filtered_resps": ["2."]})
    assert isinstance(found[0], Foreign) and len(found) == 2
    assert isinstance(found[1], Skipped) and str(found[1]).endswith(
        "line 2 (doc_id 0): a further filter (flexible-extract) of generations that are there already"
    )
    with pytest.raises(TableError, match="doc_id 0 stands twice, with different generations"):
        read(tmp_path, line, harness_line(0, "1+1?", ["3"]))


@pytest.mark.parametrize(
    ("given", "temperature"),
    [
        ({"do_sample": False, "temperature": 0.7}, 0.0),
        ({"do_sample": "false"}, 0.0),
        ({"temperature": 0}, 0.0),
        ({"do_sample": True, "temperature": 1.0}, 1.0),
        ({"do_sample": True}, None),
        ({}, None),
    ],
)
def test_the_temperature_is_what_was_asked_for(tmp_path: Path, given: Any, temperature: float | None) -> None:
    arguments = {"gen_args_0": {"arg_0": "Q", "arg_1": {"until": ["\n\n"], "max_new_tokens": 9, **given}}}
    (found,) = read(tmp_path, harness_line(0, "1+1?", ["2"], arguments=arguments))
    assert isinstance(found, Foreign)
    assert found.settings == Settings(temperature, 9, stop=("\n\n",))
    assert found.messages is None  # a text of which nobody knows what template made it


def test_arguments_as_python_has_them_and_a_prompt_for_a_question(tmp_path: Path) -> None:
    (found,) = read(tmp_path, harness_line(0, "", ["2"], doc={}, arguments=[["Say 2", {"temperature": 0.0}]]))
    assert isinstance(found, Foreign)
    assert (found.question, found.settings.temperature) == ("Say 2", 0.0)


def test_without_results_the_model_is_not_known(tmp_path: Path) -> None:
    (found,) = read(tmp_path, harness_line(0, "1+1?", ["2"]), model=None)
    assert isinstance(found, Foreign) and found.model is None


@pytest.mark.parametrize(
    "changed",
    [
        {"arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": " A"}}, "resps": [[["-1.5", "False"]]]},
        {"resps": [["a"], ["b"]]},
        {"resps": []},
        {"resps": [[["-1.5", "False"]]]},
    ],
)
def test_likelihoods_are_no_generations(tmp_path: Path, changed: Any) -> None:
    with pytest.raises(TableError, match=r"line 1 \(doc_id 0\): .*leave this file out"):
        read(tmp_path, harness_line(0, "1+1?", ["2"], **changed))


def test_lines_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "samples_x_y.jsonl"
    for body in ("{", "[" * 100_000, "7", "{}"):
        path.write_text(json.dumps(harness_line(0, "1+1?", ["2"])) + "\n" + body)
        assert is_harness_log(path)
        with pytest.raises(TableError, match=r"samples_x_y.jsonl: line 2: "):
            list(read_harness(path))
    path.write_text("{")
    assert not is_harness_log(path)
