import json
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade.errors import SettingError
from escalade.eventlog import EventLog, end_of, start_of
from escalade.limits import Limits
from tests.runs import job_of, run_scripted


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_events_of_a_run_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    job = job_of(40)
    with EventLog(path, now=lambda: datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC)) as log:
        log("run", start_of(job, out=tmp_path, store=None))
        results, _ = run_scripted(job, on_event=log)
        log("end", end_of(results.summary()))
    said = lines(path)
    assert [said[0]["event"], said[-1]["event"]] == ["run", "end"]
    assert all(list(line)[:2] == ["time", "event"] for line in said)
    assert {line["time"] for line in said} == {"2026-05-04T03:02:01.000Z"}
    count = {name: sum(line["event"] == name for line in said) for name in ("outcome", "sample", "failed", "begun")}
    assert count["outcome"] == len(results) == 40
    assert count["sample"] == results.summary().samples_generated
    assert count["failed"] > 0
    assert said[0]["problems"] == 40 and said[0]["route"] == str(job.tasks[0].route) and said[0]["target"] == 0.9
    assert said[-1]["reason"] == "done" and said[-1]["statuses"] == results.summary().statuses
    assert not any("What 1?" in json.dumps(line) for line in said)


def test_limits_and_how_a_run_ended(tmp_path: Path) -> None:
    job = job_of(40, limits=Limits(run_usd=None, run_samples=10, problem_usd=Decimal("0.10"), run_seconds=9.5))
    assert start_of(job, out=tmp_path, store=Path("s.sqlite"))["limits"] == {
        "problem_usd": Decimal("0.10"),
        "run_samples": 10,
        "run_seconds": 9.5,
    }
    results, _ = run_scripted(job_of(40, limits=Limits(run_samples=10)))
    assert end_of(results.summary())["reason"] == "the limit of 10 samples for the run is reached"


def test_a_log_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "run"}\n{"event": "out', encoding="utf-8")  # a run that was killed
    for _ in range(2):
        with EventLog(path) as log:
            log("run", {})
    assert path.read_text(encoding="utf-8").splitlines()[1] == '{"event": "out'
    assert [json.loads(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()[2:]] == ["run", "run"]


def test_a_line_is_in_the_file_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log("begun", {"problem": "p1"})
        end = time.monotonic() + 10
        while not path.stat().st_size and time.monotonic() < end:
            time.sleep(0.02)
        assert lines(path)[0]["problem"] == "p1"
    assert not any(thread.name == "escalade-log" for thread in threading.enumerate())


def test_whatever_the_facts_each_line_is_json(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    facts = {"a": float("nan"), "b": [float("inf"), ("\ud800\u2028\n", None)], "c": Decimal("1E-7"), "d": {"e": True}}
    with EventLog(path) as log:
        log("odd", facts)
    (line,) = lines(path)
    assert [line[name] for name in "abcd"] == [None, [None, ["\ud800\u2028\n", None]], "1E-7", {"e": True}]


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "events.jsonl"):
        with pytest.raises(SettingError, match=r"cannot be written as a log: .*; name another"):
            EventLog(path)


def test_a_log_on_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with EventLog(full) as log:
        for _ in range(10_000):
            log("begun", {"problem": "p1"})
    assert log.failure is not None and "/dev/full cannot be written any more: No space" in log.failure


def test_an_error_that_ends_the_run_is_said(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    def fail() -> None:
        with EventLog(path):
            raise ValueError("broken")

    with pytest.raises(ValueError):
        fail()
    assert lines(path)[0]["reason"] == "failed: ValueError: broken"
