import json
from dataclasses import replace
from pathlib import Path

import pytest

from escalade.errors import SettingError, TableError
from escalade.samples.logs import write_logs
from escalade.samples.sample import Generation
from escalade.samples.store import Key, Question, Stored

PARAMS = '{"temperature": 0.7, "max_tokens": 9}'
THERE = [
    Stored(Key(f"print {p}", "m", PARAMS), i, i, str(p), "a/b c", 0.7, "job", Generation(f"{p}, {i + 1}"))
    for p in range(2)
    for i in range(3)
]


def test_several_models_and_settings_are_several_logs(tmp_path: Path) -> None:
    others = [replace(s, key=s.key._replace(params='{"temperature": 0.1}'), temperature=0.1) for s in THERE]
    texts = {s.key.problem: Question(s.key.problem, "?") for s in THERE}
    for form in ("inspect", "lm-eval"):
        paths = write_logs([*THERE, *others], texts, tmp_path / form, form, "2026-11-21T21:55:22+00:00")
        assert len(set(paths)) == 2 and all(path.exists() for path in paths)
    first = json.loads(paths[0].read_text().splitlines()[0])
    assert first["arguments"]["gen_args_0"]["arg_0"] == "?"  # the messages are not known without the pool
    assert first["resps"] == [["0, 1", "0, 2", "0, 3"]]


def test_a_log_needs_the_texts_of_problems(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"the text of problem '[01]' is not in the store, .*--problems FILE"):
        write_logs(THERE, {}, tmp_path, "inspect", "now")
    with pytest.raises(SettingError, match="--format is 'csv': give inspect or lm-eval"):
        write_logs(THERE, {}, tmp_path, "csv", "now")
    assert not list(tmp_path.iterdir())


def test_names_of_models_are_names_of_files(tmp_path: Path) -> None:
    texts = {s.key.problem: Question(s.key.problem, "?", "4") for s in THERE}
    (path,) = write_logs(THERE, texts, tmp_path, "lm-eval", "2026-11-21T21:55:22+00:00")
    assert path.parent.name == "a__b__c" and ":" not in path.name
    (results,) = path.parent.glob("results_*.json")
    assert json.loads(results.read_text())["model_name"] == "a/b c"
    (path,) = write_logs(THERE, texts, tmp_path, "inspect", "2026-11-21T21:55:22+00:00")
    log = json.loads(path.read_text())
    assert log["eval"]["model_generate_config"] == {"temperature": 0.7, "max_tokens": 9}
    assert log["eval"]["config"] == {"epochs": 3} and log["samples"][0]["target"] == "4"
    assert log["samples"][0]["messages"] == []  # what was sent is not known


def test_two_texts_of_one_id_stay_two_problems(tmp_path: Path) -> None:
    both = [replace(s, problem_id="same") for s in THERE]
    texts = {s.key.problem: Question(s.key.problem, s.key.problem) for s in THERE}
    (path,) = write_logs(both, texts, tmp_path, "lm-eval", "now")
    assert [json.loads(line)["doc_id"] for line in path.read_text().splitlines()] == ["same", "same-print 1"]
