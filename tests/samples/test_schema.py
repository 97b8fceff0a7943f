import sqlite3
import threading
from pathlib import Path

import pytest

from escalade.errors import StoreError
from escalade.samples.audit import findings
from escalade.samples.sample import Generation
from escalade.samples.schema import VERSION, connect
from escalade.samples.store import Attempt, Key, Store, Stored
from escalade.samples.verdicts import Verdict, Verdicts

# As version 1 created it.
FIRST = """
CREATE TABLE samples (
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL, idx INTEGER NOT NULL,
    seed INTEGER NOT NULL, problem_id TEXT NOT NULL, model_name TEXT NOT NULL, temperature REAL NOT NULL,
    job TEXT NOT NULL,
    text, finish_reason, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, mean_logprob, seconds,
    answer,
    PRIMARY KEY (problem, model, params, idx),
    UNIQUE (problem, model, params, seed)
) WITHOUT ROWID;
CREATE TABLE attempts (
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL, idx INTEGER NOT NULL,
    kind TEXT NOT NULL, message TEXT NOT NULL, job TEXT NOT NULL,
    prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER
);
CREATE INDEX attempts_by_key ON attempts (problem, model, params, idx);
PRAGMA user_version = 1;
"""


def first_version(path: Path) -> tuple[list[Stored], list[Attempt]]:
    samples = [
        Stored(Key(p, "m", t), i, i + 7, "id", "name", 0.7, "job", Generation(f"{p}{t}{i}", mean_logprob=-0.1 * i))
        for p in "ab"
        for t in "xy"
        for i in range(3)
    ]
    attempts = [
        Attempt(Key("a", "m", "z"), 0, "error", "first"),
        Attempt(Key("a", "m", "x"), 1, "cancelled", "", "j", 1),
    ]
    db = sqlite3.connect(path)
    db.executescript(FIRST)
    for s in samples:
        g = s.generation
        row = (*s.key, s.index, s.seed, s.problem_id, s.model_name, s.temperature, s.job, g.text, "stop", *[None] * 4)
        db.execute(f"INSERT INTO samples VALUES ({','.join('?' * 18)})", (*row, g.mean_logprob, None, None))
    for a in attempts:
        used = (a.prompt_tokens, a.cached_tokens, a.completion_tokens)
        db.execute(
            "INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?)", (*a.key, a.index, a.kind, a.message, a.job, *used)
        )
    db.commit()
    db.close()
    return samples, attempts


def test_a_store_of_the_first_version_is_renewed_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    samples, attempts = first_version(path)
    for _ in range(2):
        with Store(path) as store:
            assert list(store.samples()) == samples
            assert set(store.attempts()) == set(attempts) and len(list(store.attempts())) == 2
            assert store.read(Key("b", "m", "y"), [1]) == [samples[-2]]
    assert findings(path) == []


def test_processes_that_renew_at_once_do_it_once(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    samples, _ = first_version(path)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            connect(path).close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with Store(path) as store:
        assert list(store.samples()) == samples


def test_a_file_that_has_only_verdicts_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE verdicts (judge TEXT NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL, equal INTEGER NOT NULL, "
        "undecided TEXT, PRIMARY KEY (judge, a, b)) WITHOUT ROWID"
    )
    db.execute("INSERT INTO verdicts VALUES ('math', '1', 'one', 1, NULL)")
    db.commit()
    db.close()
    with Store(path) as store:
        assert len(store) == 0
    verdicts = Verdicts(path)
    assert verdicts.every() == [Verdict("math", "1", "one", True, None)]
    verdicts.close()


def test_verdicts_may_come_first(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    Verdicts(path).close()
    with Store(path) as store:
        assert len(store) == 0


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    db = connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match=f"no store of this version .{VERSION + 1}, expected {VERSION}"):
        connect(path)


def test_durable_and_written_ahead(tmp_path: Path) -> None:
    db = connect(tmp_path / "s.sqlite")
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()
