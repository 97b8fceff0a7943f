import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from escalade.engines.replay import open_recording, recorded_pool
from escalade.errors import TableError
from escalade.pool import load_pool
from escalade.samples.archive import is_archive, read_archive, write_archive
from escalade.samples.merging import Contents, merge
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Question, Store, Stored
from escalade.samples.verdicts import Verdict, Verdicts
from tests.samples.test_merging import rows

KEY = Key("p", "m", '{"temperature": 0.7}')
SAMPLES = [
    Stored(KEY, 0, 2**63 - 1, "p1", "135M", 0.7, "job", Generation("cut \ud83d", "length", 1, 0, 2, None, -0.25, 0.1)),
    Stored(KEY, 1, 5, "p1", "135M", 0.7, "job", Generation(None, answer="1/2")),
    Stored(Key("q", "m", "x"), 0, 5, "ähm\u2028", "M", 0.0, "", Generation("", "stop", seconds=1e-9)),
]
ATTEMPTS = [Attempt(KEY, 0, "error", "down\n"), Attempt(KEY, 4, "cancelled", "", "job", 9, None, 3)]
VERDICTS = [Verdict("math", "1", "one", True, None), Verdict("math", "2", "two", False, "no verdict")]
QUESTIONS = [Question("p", "1/2?\r\n", "0.5"), Question("z", "of no sample")]


def store_of(path: Path, contents: Contents) -> Path:
    with Store(path) as store:
        verdicts = Verdicts(path)
        merge(store, verdicts, contents)
        verdicts.close()
    return path


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_an_archive_entered_into_an_empty_store_is_the_same_store(tmp_path: Path, ending: str) -> None:
    one = store_of(tmp_path / "one.sqlite", Contents(SAMPLES, ATTEMPTS, VERDICTS, QUESTIONS))
    path = tmp_path / "new" / f"all.{ending}"
    samples, attempts, known, questions = rows(one)
    assert (samples, attempts, known, questions) == (SAMPLES, ATTEMPTS, VERDICTS, QUESTIONS)
    assert write_archive(Contents(samples, attempts, known, questions), path) == 3
    assert is_archive(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing half-written is left
    other = store_of(tmp_path / "other.sqlite", read_archive(path))
    assert rows(other) == rows(one)


texts = st.none() | st.text(max_size=9) | st.text(st.characters(categories=["Cs", "Ll"]), max_size=3)
counts = st.none() | st.integers(0, 2**53)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
made = st.builds(
    Generation, texts, st.sampled_from(["stop", "length"]), counts, counts, counts, counts, numbers, numbers, texts
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(made, max_size=5), st.integers(0, 2**63 - 9), st.floats(0, 9))
def test_every_generation_comes_back_to_the_last_digit(
    tmp_path: Path, generations: list[Generation], seed: int, temperature: float
) -> None:
    given_samples = [Stored(KEY, i, seed + i, "p", "m", temperature, "j", g) for i, g in enumerate(generations)]
    for ending in ("parquet", "jsonl"):
        path = tmp_path / f"all.{ending}"
        write_archive(Contents(given_samples), path)
        assert list(read_archive(path).samples) == given_samples


def test_a_parquet_archive_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    pool = load_pool("tiny")
    write_archive(Contents(SAMPLES[:2], ATTEMPTS, [], QUESTIONS), path, pool)
    recording = open_recording(str(path))
    assert recorded_pool(recording) == pool
    assert recording.problems.to_dict("records") == [{"id": "p1", "problem": "1/2?\r\n", "gold_answer": "0.5"}]
    found = recording.rows["p1", "135M"]
    assert found.temperatures == (0.7, 0.7)
    assert [(g.text, g.answer, g.finish_reason) for g in found.generations] == [
        ("cut ?", None, "length"),
        (None, "1/2", "stop"),
    ]


def test_other_endings_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"to .parquet or .jsonl"):
        write_archive(Contents(SAMPLES), tmp_path / "all.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: "),
        ("7", "line 2: it is no object"),
        ("[" * 100_000, "line 2: "),
        ('{"record": "cookie"}', "line 2: record is 'cookie', not store, sample"),
        ('{"record": "sample"}', "line 2: 'problem_key' is missing"),
        ('{"record": "attempt", "key": ["p", "m", "t"], "colour": 1}', "line 2: .*colour"),
    ],
)
def test_a_damaged_archive_names_the_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text(json.dumps({"record": "store", "version": 1}) + "\n" + line)
    with pytest.raises(TableError, match=said):
        read_archive(path)


def test_a_damaged_parquet_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    write_archive(Contents(SAMPLES * 50), path)
    body = bytearray(path.read_bytes())
    body[20:120] = bytes(100)
    path.write_bytes(body)
    with pytest.raises(TableError, match=r"all.parquet: row 0: "):
        read_archive(path)


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for name, body in (("a.parquet", "x"), ("b.jsonl", '{"problem_id": 1}'), ("c.csv", '{"record": "store"}')):
        (tmp_path / name).write_text(body)
        assert not is_archive(tmp_path / name)
