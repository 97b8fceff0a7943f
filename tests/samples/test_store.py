import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import StoreError
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Store, Stored

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
    assert [(a.prompt_tokens, a.completion_tokens) for a in store.cancelled(KEY, [0])] == [(9, 4)] * 2


def test_attempts_are_kept_beside_the_samples() -> None:
    store = Store(None)
    error, cancelled = (
        Attempt(KEY, 0, "error", "down"),
        Attempt(KEY, 0, "cancelled", "no longer wanted", "job", 10, 4, 3),
    )
    store.write([], [error, cancelled])
    store.write([sample(0, "a success wins")], [Attempt(KEY, 1, "cancelled", "", "job", None, None, 0)])
    assert store.cancelled(KEY, [0, 7]) == [cancelled]
    assert [a.index for a in store.cancelled(KEY, [0, 1])] == [0, 1]
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
        lost = [a for p in range(15) for a in store.cancelled(key_of(p), range(8))]
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
    with pytest.raises(StoreError, match=r"other.sqlite is no store of this version \(0, expected 1\): name another"):
        Store(path)
    Store(path := tmp_path / "newer.sqlite").close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"no store of this version \(99, expected 1\)"):
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
