import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import StoreError
from escalade.samples.audit import findings
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Question, Store, Stored

KEY = Key("problem", "model", "params")

WRITER = """
import sys
from pathlib import Path
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Store, Stored
who, count, step = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
store = Store(Path(sys.argv[1]))
for i in range(who, count, step):
    key = Key(f"problem {i // 8}", "model", "params")
    made = Generation(f"text {who} {i}", completion_tokens=i)
    store.write([Stored(key, i % 8, 1000 + i, "p", "m", 0.7, "job", made)])
    print(i, flush=True)
"""


def sample(index: int, text: str = "", *, key: Key = KEY, seed: int | None = None) -> Stored:
    return Stored(key, index, index if seed is None else seed, "p", "m", 0.7, "job", Generation(text))


def writing(path: Path, who: int, count: int, step: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(who), str(count), str(step)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


generations = st.builds(
    Generation,
    text=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    finish_reason=st.sampled_from(["stop", "length"]),
    prompt_tokens=st.none() | st.integers(0, 2**40),
    mean_logprob=st.none() | st.floats(max_value=0, allow_nan=False),
    seconds=st.none() | st.floats(0, 1e9),
    answer=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
)


@given(st.lists(generations, max_size=9), st.integers(0, 2**63 - 10), st.floats(0, 5))
def test_what_was_written_is_read_to_the_last_digit(rows: list[Generation], seed: int, temperature: float) -> None:
    with Store(None) as store:
        given_rows = [Stored(KEY, i, seed + i, "p", "m", temperature, "job", g) for i, g in enumerate(rows)]
        assert store.write(given_rows) == given_rows
        assert store.read(KEY, range(20)) == given_rows
        assert len(store) == len(rows)


def test_only_the_samples_asked_for_and_those_that_are_there() -> None:
    store = Store(None)
    store.write([sample(i) for i in (5, 1, 3)])
    assert [s.index for s in store.read(KEY, [3, 4, 5])] == [3, 5]
    assert store.read(KEY, []) == []
    assert store.read(Key("problem", "model", "other"), [1]) == []
    assert [s.index for s in store.read(KEY, range(100_000))] == [1, 3, 5]  # more than SQLite takes parameters


def test_v8_equal_seeds_for_two_samples_of_a_tier_are_refused() -> None:
    store = Store(None)
    with pytest.raises(StoreError, match="have one seed"):
        store.write([sample(0, seed=7), sample(1, seed=7)])
    assert len(store) == 0  # all or nothing
    store.write([sample(0, seed=7)])
    with pytest.raises(StoreError, match="have one seed"):
        store.write([sample(1, seed=7)])
    store.write([sample(1, seed=7, key=Key("problem", "model", "another temperature"))])
    store.write([sample(1, seed=8)])  # and the store goes on working
    assert len(store) == 3


def test_a_sample_is_written_once_and_the_second_pays_as_a_cancelled_request() -> None:
    store = Store(None)
    first = sample(0, "first")
    assert store.write([first]) == [first]
    for seed in (0, 99):
        second = Stored(KEY, 0, seed, "p", "m", 0.7, "job", Generation("second", prompt_tokens=9, completion_tokens=4))
        assert store.write([sample(5 + seed), second]) == [sample(5 + seed), first]
    assert store.read(KEY, [0]) == [first]
    assert [(a.prompt_tokens, a.completion_tokens) for a in store.paid_attempts(KEY, [0])] == [(9, 4)] * 2


def test_attempts_are_kept_beside_the_samples() -> None:
    store = Store(None)
    error, cancelled = (
        Attempt(KEY, 0, "error", "down"),
        Attempt(KEY, 0, "cancelled", "no longer wanted", "job", 10, 4, 3),
    )
    broken_off = Attempt(KEY, 7, "error", "broke off", "job", None, None, 3)
    store.write([], [error, cancelled, broken_off, Attempt(KEY, 7, "error", "busy", "job", None, None, 0)])
    store.write([sample(0, "a success wins")], [Attempt(KEY, 1, "cancelled", "", "job", None, None, 0)])
    assert store.paid_attempts(KEY, [0, 7]) == [cancelled, broken_off]
    assert [a.index for a in store.paid_attempts(KEY, [0, 1])] == [0, 1]
    assert len(store) == 1


def test_a_writer_killed_at_any_moment_loses_nothing_it_had_written(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    said: list[int] = []
    for enough in (1, 20, 45):  # one after the other, on one file
        with writing(path, len(said), 10**6, 1) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                said.append(int(line))
                if len(said) >= enough:
                    break
            os.kill(writer.pid, signal.SIGKILL)
            said += [int(line) for line in writer.stdout]
        with Store(path) as store:
            for i in said:
                (found,) = store.read(Key(f"problem {i // 8}", "model", "params"), [i % 8])
                assert found.generation.completion_tokens == i
            assert len(said) <= len(store) <= len(said) + 1  # one may have been written and not yet said
            said = list(range(len(store)))


BATCHES = """
import sys
from pathlib import Path
from escalade.samples.sample import Generation
from escalade.samples.store import Key, Store, Stored
start = int(sys.argv[2])
store = Store(Path(sys.argv[1]))
for batch in range(start, 10**6):
    made = [
        Stored(Key(f"problem {i // 8}", "m", "p"), i % 8, i, "p", "m", 0.7, "job", Generation("x" * 300, seconds=i))
        for i in range(batch * 16, batch * 16 + 16)
    ]
    store.write(made)
    print(batch, flush=True)
"""


def test_p14_killed_twenty_times_at_any_moment_every_written_sample_is_there(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    said: set[int] = set()
    moments = random.Random(14)
    start = 0
    for _ in range(20):
        command = [sys.executable, "-c", BATCHES, str(path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said.add(int(writer.stdout.readline()))  # it is under way
            time.sleep(moments.uniform(0, 0.03))
            os.kill(writer.pid, signal.SIGKILL)
            said |= {int(line) for line in writer.stdout if line.endswith("\n")}
        assert findings(path) == []
        with Store(path) as store:
            there = {int(s.generation.seconds or 0) for s in store.samples()}
        assert {batch * 16 + i for batch in said for i in range(16)} <= there
        assert len(there) % 16 == 0  # a batch is there as a whole or not at all
        start = max(there) // 16 + 1
        assert start <= max(said) + 2  # at most what was in flight is more than was said


def test_two_processes_of_one_key_each_get_the_row_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    race = """
import sys
from pathlib import Path
from escalade.samples.sample import Generation
from escalade.samples.store import Key, Store, Stored
who = sys.argv[2]
store = Store(Path(sys.argv[1]))
for batch in range(12):
    mine = [
        Stored(Key("p", "m", "t"), i, i, "p", "m", 0.7, "job " + who, Generation(who, completion_tokens=1))
        for i in range(batch * 40, batch * 40 + 40)
    ]
    for given, kept in zip(mine, store.write(mine)):
        print(given.index, kept.generation.text, int(kept is given))
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", race, str(path), who], stdout=subprocess.PIPE, text=True)
        for who in ("one", "other")
    ]
    told: dict[int, list[tuple[str, str]]] = {}
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        for line in out.splitlines():
            index, whose, won = line.split()
            told.setdefault(int(index), []).append((whose, won))
    with Store(path) as store:
        there = {s.index: s.generation.text for s in store.samples()}
        lost = [a.index for a in store.attempts()]
    assert sorted(there) == sorted(told) == sorted(lost) == list(range(480))
    for index, both in told.items():
        assert {whose for whose, _ in both} == {there[index]}  # both go on with the same sample
        assert sorted(won for _, won in both) == ["0", "1"]
    assert findings(path) == []


def test_half_of_a_sign_is_kept_as_it_came(tmp_path: Path) -> None:
    whole, half = sample(0, "whole \U0001f600"), sample(1, "cut \ud83d")
    half = replace(half, generation=replace(half.generation, answer="\ud83d", finish_reason="length"))
    with Store(tmp_path / "s.sqlite") as store:
        assert store.write([whole, half], [Attempt(KEY, 2, "error", "said \ud83d")]) == [whole, half]
        assert store.read(KEY, [0, 1]) == [whole, half]
        assert store.write([whole, half]) == [whole, half]  # whoever comes second gets it whole, too
        assert next(a for a in store.attempts() if a.kind == "error").message == "said \\ud83d"
    assert findings(tmp_path / "s.sqlite") == []


def test_a_number_that_is_none_is_refused_and_nothing_is_written() -> None:
    store = Store(None)
    with pytest.raises(StoreError, match="cannot be written"):
        store.write([sample(0), replace(sample(1), generation=Generation("", prompt_tokens=10**30))])
    assert len(store) == 0
    store.write([sample(0)])
    assert len(store) == 1


def test_a_key_of_a_batch_that_failed_is_not_remembered() -> None:
    store = Store(None)
    other = Key("other", "m", "t")
    with pytest.raises(StoreError):
        store.write([sample(0, key=other, seed=1), sample(1, key=other, seed=1)])
    assert store.read(other, [0, 1]) == []
    store.write([sample(3)])  # gets the number that the other would have had
    assert store.read(other, [3]) == []
    store.write([sample(0, key=other)])
    assert [s.key for s in store.samples()] == [other, KEY]


def test_part_of_a_batch_may_be_there_already() -> None:
    store = Store(None)
    first = [sample(i, "first") for i in (1, 3)]
    store.write(first)
    second = [sample(i, "second") for i in range(5)]
    assert [s.generation.text for s in store.write(second)] == ["second", "first", "second", "first", "second"]
    assert [a.index for a in store.attempts(KEY)] == [1, 3]
    assert [s.index for s in store.read(KEY, [4, 2, 0])] == [0, 2, 4]
    assert [s.index for s in store.read(KEY, [1, 1, 2])] == [1, 2]


def test_the_texts_of_problems_stay_as_they_were_first() -> None:
    store = Store(None)
    store.keep_questions([Question("p", "1+1?", "2")])
    store.keep_questions([Question("p", "another", None), Question("q", "2+2?")])
    assert store.questions() == {"p": Question("p", "1+1?", "2"), "q": Question("q", "2+2?", None)}


def test_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    # All create the file at once; 0 and 1 write the same samples, 2 and 3 share the others.
    writers = [writing(path, 0, 120, 2), writing(path, 0, 120, 2), writing(path, 1, 120, 4), writing(path, 3, 120, 4)]
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        assert len(out.split()) in (60, 30)
    with Store(path) as store:
        assert len(store) == 120
        numbers = [s.generation.completion_tokens for p in range(15) for s in store.read(key_of(p), range(8))]
        assert numbers == list(range(120))
        lost = [a for p in range(15) for a in store.paid_attempts(key_of(p), range(8))]
        assert sorted(a.completion_tokens or 0 for a in lost) == list(range(0, 120, 2))


def key_of(problem: int) -> Key:
    return Key(f"problem {problem}", "model", "params")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 100)
    with pytest.raises(StoreError, match=r"notes.txt cannot be opened: file is not a database; name another file"):
        Store(path)
    assert path.read_text() == "Dear diary, " * 100


def test_another_database_and_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE cookies (x)")
    db.close()
    with pytest.raises(StoreError, match=r"other.sqlite is no store of this version \(0, expected 2\): name another"):
        Store(path)
    Store(path := tmp_path / "newer.sqlite").close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"no store of this version \(99, expected 2\)"):
        Store(path)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "store.sqlite"):
        with pytest.raises(StoreError, match=r"cannot be opened: .*; name another file with --store"):
            Store(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="cannot be opened"):
            Store(tmp_path / "store.sqlite")
    finally:
        tmp_path.chmod(0o700)


def test_a_store_that_breaks_later_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "folder" / "store.sqlite") as store:
        store.write([sample(0)])
        store._db.execute("DROP TABLE samples")
        with pytest.raises(StoreError, match=r"store.sqlite cannot be read: no such table"):
            store.read(KEY, [0])
        with pytest.raises(StoreError, match=r"store.sqlite cannot be written: no such table"):
            store.write([sample(0)])
        store.write([], [Attempt(KEY, 0, "error", "")])  # nothing is left open


def test_a_store_read_while_another_process_writes_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as one, Store(path) as other:
        one.write([sample(0), sample(1)])
        assert len(other.read(KEY, [0, 1])) == 2
