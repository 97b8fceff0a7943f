import threading
from pathlib import Path

import pytest

from escalade.errors import StoreError
from escalade.samples.store import Store
from escalade.samples.verdicts import Verdict, Verdicts


def test_verdicts_stand_in_the_file_of_the_store(tmp_path: Path):
    path = tmp_path / "s.sqlite"
    with Store(path):
        verdicts = Verdicts(path)
        verdicts.remember("math", "1", "one", False, "no verdict within 2 s")
        verdicts.close()
    with Store(path):
        verdicts = Verdicts(path)
        assert verdicts.recall("math", "1", "one") == (False, "no verdict within 2 s")
        verdicts.close()


def test_the_first_verdict_stays(tmp_path: Path):
    verdicts = Verdicts(tmp_path / "s.sqlite")
    verdicts.remember("math", "a", "b", True, None)
    verdicts.remember("math", "a", "b", False, None)
    assert verdicts.recall("math", "a", "b") == (True, None)
    verdicts.close()


def test_any_thread_may_ask(tmp_path: Path):
    verdicts = Verdicts(tmp_path / "s.sqlite")
    threads = [
        threading.Thread(target=lambda n=n: verdicts.remember("math", str(n), "x", True, None)) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(verdicts.recall("math", str(n), "x") == (True, None) for n in range(8))
    verdicts.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path):
    path = tmp_path / "s.sqlite"
    path.write_text("this is a text, and rather a long one, so that it is no database at all" * 20)
    with pytest.raises(StoreError, match=r"s\.sqlite"):
        Verdicts(path)


def test_what_sqlite_refuses_is_a_store_error(tmp_path: Path):
    verdicts = Verdicts(tmp_path / "s.sqlite")
    verdicts.close()
    with pytest.raises(StoreError, match="verdicts"):
        verdicts.recall("math", "a", "b")


def test_half_of_a_sign_is_not_remembered_and_does_no_harm(tmp_path: Path):
    verdicts = Verdicts(tmp_path / "s.sqlite")
    verdicts.remember("math", "\ud83d", "a", True, None)
    assert verdicts.recall("math", "\ud83d", "a") is None
    verdicts.remember("math", "b", "a", True, None)
    assert verdicts.recall("math", "b", "a") == (True, None)
    verdicts.close()


def test_many_at_once_the_first_of_each_pair_stays(tmp_path: Path):
    verdicts = Verdicts(tmp_path / "s.sqlite")
    first, second = Verdict("m", "a", "b", True, None), Verdict("m", "a", "c", False, "why")
    assert verdicts.keep([first]) == 1
    assert verdicts.keep([first._replace(equal=False), second]) == 1
    assert verdicts.every() == [first, second]
    verdicts.close()
