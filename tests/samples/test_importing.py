from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from escalade.asking import params_of
from escalade.engines.replay import open_recording
from escalade.errors import TableError
from escalade.pool import Pool, PoolModel, Prompt, load_pool
from escalade.problems import Problem
from escalade.samples.archive import write_archive
from escalade.samples.filing import Office
from escalade.samples.importing import Imported, import_file
from escalade.samples.logs import write_logs
from escalade.samples.merging import Contents
from escalade.samples.recorded import shipped_recording, write_recording
from escalade.samples.store import Question, Store, Stored
from escalade.samples.verdicts import Verdicts
from tests.samples.foreign_logs import (
    ASKED,
    SYSTEM,
    harness_line,
    inspect_log,
    inspect_sample,
    write_eval,
    write_harness,
    write_json,
)

POOL = Pool(
    name="mine",
    max_tokens=512,
    models=(
        PoolModel(
            alias="S",
            name="mockllm/model",
            engine="llamacpp",
            prompt=Prompt(system=SYSTEM, user=ASKED.format("{problem}")),
            top_p=0.9,
        ),
    ),
)
OFFICE = Office(lambda model: f"print of {model.name}", params_of, lambda text: Problem("", text).fingerprint, POOL)
LOG = inspect_log([inspect_sample(i, e, f"{i}+1?", f"{i}, {e}") for i in range(2) for e in (1, 2, 3)])


def imported(store: Path, path: Path, office: Office = OFFICE) -> Imported:
    with Store(store) as opened:
        verdicts = Verdicts(store)
        done = import_file(opened, verdicts, path, office)
        verdicts.close()
    return done


def samples(store: Path) -> list[Stored]:
    with Store(store) as opened:
        return list(opened.samples())


def test_a_log_entered_twice_in_two_forms_is_there_once(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    done = imported(store, write_eval(tmp_path / "log.eval", LOG, zstd=True))
    assert (done.merged.added, done.usable, done.apart, done.kind) == (6, 6, Counter(), "log of inspect_ai")
    done = imported(store, write_json(tmp_path / "log.json", LOG))
    assert (done.merged.added, done.merged.equal, done.merged.conflicts) == (0, 6, [])
    assert [s.index for s in samples(store)] == [0, 1, 2] * 2


def test_all_or_nothing_of_a_file(tmp_path: Path) -> None:
    broken = [*LOG["samples"], inspect_sample("x", 1, "?", "!", events=[{"event": "model"}] * 2)]
    with pytest.raises(TableError, match=r"log.json: sample 6 \(id 'x', epoch 1\)"):
        imported(tmp_path / "s.sqlite", write_json(tmp_path / "log.json", inspect_log(broken)))
    assert samples(tmp_path / "s.sqlite") == []


def test_samples_that_failed_are_said(tmp_path: Path) -> None:
    failed = inspect_sample("x", 1, "?", "!", error={"message": "quota \ud83d"})
    done = imported(tmp_path / "s.sqlite", write_json(tmp_path / "log.json", inspect_log([*LOG["samples"], failed])))
    assert done.merged.added == 6
    assert [str(s) for s in done.skipped] == [f"{tmp_path}/log.json: sample 6 (id 'x', epoch 1): failed: quota \\ud83d"]
    with pytest.raises(TableError, match=r"has no generation in it: .*quota"):
        imported(tmp_path / "s.sqlite", write_json(tmp_path / "none.json", inspect_log([failed])))


def test_lm_eval_does_not_say_why_generations_ended(tmp_path: Path) -> None:
    path = write_harness(tmp_path, [harness_line(i, f"{i}+1?", ["2", "3"]) for i in range(2)])
    done = imported(tmp_path / "s.sqlite", path)
    assert (done.kind, done.merged.added, done.usable) == ("samples of lm-eval", 4, 0)
    assert "why generations ended" in next(iter(done.apart))
    done = imported(tmp_path / "vouched.sqlite", path, replace(OFFICE, vouched=True))
    assert done.usable == 4
    assert {s.key.model for s in samples(tmp_path / "vouched.sqlite")} == {"print of mockllm/model"}


def test_hostile_texts_do_no_harm(tmp_path: Path) -> None:
    sample = inspect_sample("\ud83d", 1, "\ud83d?", "cut \ud83d", target="\ud83d")
    path = write_json(tmp_path / "log.json", inspect_log([sample]))
    imported(tmp_path / "s.sqlite", path, replace(OFFICE, names={"mockllm/model": "S"}))
    (there,) = samples(tmp_path / "s.sqlite")
    assert (there.problem_id, there.generation.text) == ("\\ud83d", "cut \ud83d")


def test_a_recording_says_by_its_pool_how_it_was_drawn(tmp_path: Path) -> None:
    pool = open_recording("shipped").pool
    assert pool is not None
    office = replace(OFFICE, pool=pool)
    done = imported(tmp_path / "s.sqlite", shipped_recording(), office)
    count = len(open_recording("shipped").table)
    assert (done.kind, done.merged.added, done.usable, done.apart) == ("recording", count, count, Counter())
    first = samples(tmp_path / "s.sqlite")[0]
    model = pool[first.model_name]
    assert first.key.model == f"print of {model.name}"
    assert first.key.params == params_of(pool, model, first.temperature, 0)
    assert {s.index for s in samples(tmp_path / "s.sqlite") if s.temperature == 0.0} <= {0}
    done = imported(tmp_path / "s.sqlite", shipped_recording(), office)
    assert (done.merged.added, done.merged.equal) == (0, count)
    other = pool.model_copy(
        update={
            "max_tokens": 7,
            "models": tuple(model.model_copy(update={"max_tokens": None}) for model in pool.models),
        }
    )
    done = imported(tmp_path / "apart.sqlite", shipped_recording(), replace(office, pool=other))
    assert set(done.apart) == {"the recording's pool has another prompt, limit of tokens, top_p or top_k"}


def test_a_recording_without_a_pool_is_filed_apart(tmp_path: Path) -> None:
    row = {"problem_id": "p", "model": "mockllm/model", "temperature": 0.7, "text": "2", "problem": "1+1?"}
    path = tmp_path / "r.parquet"
    pd.DataFrame([row, {**row, "text": "3"}]).to_parquet(path)
    done = imported(tmp_path / "s.sqlite", path)
    assert set(done.apart) == {"the file does not say the messages that were sent"}
    assert imported(tmp_path / "vouched.sqlite", path, replace(OFFICE, vouched=True)).usable == 2


def test_an_archive_comes_back_as_it_was(tmp_path: Path) -> None:
    imported(tmp_path / "s.sqlite", write_json(tmp_path / "log.json", LOG))
    write_archive(Contents(samples(tmp_path / "s.sqlite")), tmp_path / "all.parquet")
    done = imported(tmp_path / "t.sqlite", tmp_path / "all.parquet", replace(OFFICE, pool=None))
    assert (done.kind, done.merged.added, done.apart) == ("archive of a store", 6, Counter())
    assert samples(tmp_path / "t.sqlite") == samples(tmp_path / "s.sqlite")


@pytest.mark.parametrize("form", ["inspect", "lm-eval"])
def test_logs_we_write_come_back_under_the_same_keys(tmp_path: Path, form: str) -> None:
    imported(tmp_path / "s.sqlite", write_json(tmp_path / "log.json", LOG))
    there = samples(tmp_path / "s.sqlite")
    texts = {s.key.problem: Question(s.key.problem, f"{s.problem_id}+1?", "2") for s in there}
    (path,) = write_logs(there, texts, tmp_path / "logs", form, "2026-11-21T21:55:22+00:00", POOL)
    done = imported(tmp_path / "t.sqlite", path, replace(OFFICE, vouched=form == "lm-eval"))
    assert (done.merged.added, done.usable, done.merged.questions) == (6, 6, 2)
    back = samples(tmp_path / "t.sqlite")
    assert [(s.key, s.index, s.seed, s.generation.text) for s in back] == [
        (s.key, s.index, s.seed, s.generation.text) for s in there
    ]
    if form == "inspect":
        assert [s.generation for s in back] == [s.generation for s in there]
        assert imported(tmp_path / "s.sqlite", path).merged.equal == 6


def test_files_of_no_known_kind(tmp_path: Path) -> None:
    for name, said in (("notes.txt", "is nothing that can be imported"), ("a.json", "nothing"), ("b.parquet", "table")):
        (tmp_path / name).write_text("Dear diary")
        with pytest.raises(TableError, match=said):
            imported(tmp_path / "s.sqlite", tmp_path / name)
    with pytest.raises(TableError, match="is not there"):
        imported(tmp_path / "s.sqlite", tmp_path / "none.json")


def test_recordings_of_the_tiny_pool_keep_their_order(tmp_path: Path) -> None:
    pool = load_pool("tiny")
    rows = [
        {"problem_id": "p", "problem": "1+1?", "model": "135M", "temperature": t, "sample_index": i, "text": f"{t} {i}"}
        for i in range(3)
        for t in (0.0, 0.7)
    ]
    write_recording(pd.DataFrame(rows), pool, tmp_path / "r.parquet")
    imported(tmp_path / "s.sqlite", tmp_path / "r.parquet", replace(OFFICE, pool=pool))
    assert {(s.temperature, s.index): s.generation.text for s in samples(tmp_path / "s.sqlite")} == {
        (t, i): f"{t} {i}" for t in (0.0, 0.7) for i in range(3)
    }
