import sqlite3
from pathlib import Path

import pytest

from escalade.errors import StoreError
from escalade.samples.audit import findings, survey
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Key, Store, Stored
from escalade.samples.verdicts import Verdicts


def filled(path: Path) -> Path:
    def sample(problem: str, index: int, text: str, temperature: float, job: str = "job") -> Stored:
        key = Key(problem, "m", f'{{"temperature": {temperature}}}')
        made = Generation(text, prompt_tokens=10, completion_tokens=None if text == "mute" else 5)
        return Stored(key, index, 100 + index, problem, "M", temperature, job, made)

    with Store(path) as store:
        store.write(
            [
                *(sample("p", i, text, 0.7) for i, text in enumerate(["a", "a", "b", "a"])),
                *(sample("q", i, text, 0.7, "late") for i, text in enumerate(["a", "mute"])),
                *(sample("q", i, "same", 0.0) for i in range(2)),
            ],
            [
                Attempt(Key("p", "m", "x"), 0, "error", "down"),
                Attempt(Key("p", "m", "x"), 0, "cancelled", "", "job", 10, 0, 3),
            ],
        )
    verdicts = Verdicts(path)
    verdicts.remember("math", "a", "b", True, None)
    verdicts.close()
    return path


def broken(path: Path, *statements: str) -> list[str]:
    filled(path)
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    return findings(path)


def test_v8_texts_that_come_again_under_another_seed_are_counted(tmp_path: Path) -> None:
    found = survey(filled(tmp_path / "s.sqlite"))
    assert (found.samples, found.problems, found.verdicts) == (8, 2, 1)
    assert [tuple(group) for group in found.groups] == [
        ("M", 0.0, "job", 2, 1, 20, 10, 0),
        ("M", 0.7, "job", 4, 1, 40, 20, 0),
        ("M", 0.7, "late", 2, 1, 20, 5, 1),
    ]
    assert [tuple(row) for row in found.tries] == [("cancelled", 1, 10, 3), ("error", 1, 0, 0)]
    # Two "a" of p; the "a" of q is another problem's, and greedy samples are alike anyway.
    assert [tuple(row) for row in found.repeats] == [("M", 0.7, 6, 2)]
    assert found.bytes >= 4096
    assert found.to_dict()["groups"][0]["model"] == "M"


def test_a_sound_store_has_no_findings(tmp_path: Path) -> None:
    assert findings(filled(tmp_path / "s.sqlite")) == []


def test_what_is_not_there_is_not_created(tmp_path: Path) -> None:
    for look in (survey, findings):
        with pytest.raises(StoreError, match="is not there: check the path"):
            look(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM keys WHERE problem = 'p'", "there is no such key"),
        ("UPDATE samples SET temperature = 0.5 WHERE idx = 3", "its temperature is 0.5, that of its key 0.7"),
        ("UPDATE samples SET idx = -1 WHERE idx = 3", "index and seed must be whole numbers"),
        ("UPDATE samples SET prompt_tokens = 'many' WHERE idx = 3", "token counts must be whole numbers"),
        ("UPDATE samples SET completion_tokens = -4 WHERE idx = 3", "token counts must be whole numbers"),
        ("UPDATE samples SET text = 7 WHERE idx = 3", "text and answer must be texts"),
        ("UPDATE samples SET text = x'ff' WHERE idx = 3", "cannot be read"),
        ("UPDATE samples SET mean_logprob = 'low' WHERE idx = 3", "must be numbers, or unknown"),
        ("UPDATE attempts SET kind = 'success'", "which is neither error nor cancelled"),
        ("UPDATE attempts SET message = 'another process wrote the sample first'", "and there is no such sample"),
        ("UPDATE attempts SET message = 'gave way to the sample that is there: x'", "and there is no such sample"),
        ("UPDATE attempts SET prompt_tokens = -1", "token counts must be whole numbers"),
    ],
)
def test_each_kind_of_damage_is_named(tmp_path: Path, statement: str, said: str) -> None:
    found = broken(tmp_path / "s.sqlite", statement)
    assert any(said in finding for finding in found), found


@pytest.mark.parametrize("column", ["idx", "seed"])
def test_v8_two_samples_in_one_place_are_found_where_the_table_allowed_them(tmp_path: Path, column: str) -> None:
    found = broken(
        tmp_path / "s.sqlite",
        "CREATE TABLE loose AS SELECT * FROM samples",
        "DROP TABLE samples",
        "ALTER TABLE loose RENAME TO samples",
        f"UPDATE samples SET {column} = 1 WHERE {column} = 2 OR {column} = 102",
        f"UPDATE samples SET {column} = 1 WHERE {column} = 101",
    )
    name = {"idx": "index", "seed": "seed"}[column]
    assert any(f"have the {name} 1" in finding for finding in found), found


def test_a_file_that_is_damaged_or_no_store_is_a_finding(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    body = bytearray(path.read_bytes())
    body[4096 * 3 : 4096 * 6] = b"\x77" * (4096 * 3)
    path.write_bytes(body)
    assert findings(path)
    path.write_text("Dear diary, " * 1000)
    assert "not a database" in findings(path)[0]
