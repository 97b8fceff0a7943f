import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from escalade.cli import display
from escalade.cli.progress import WINDOW, Rate, Tiers
from escalade.counters import Counters
from escalade.ledger import Seconds
from tests.cli.conftest import Cli
from tests.runs import POOL, files, job_of, run_scripted


def shown(table: Any) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_run_streams_its_files(cli: Cli, recording: Path, pool_file: Path) -> None:
    assert cli("run", "--engine", f"replay:{recording}", "--pool", pool_file).code == 0
    assert files(Path("escalade-out")) == ["answers.parquet", "samples.parquet", "summary.json"]
    body = json.loads(Path("escalade-out/summary.json").read_text(encoding="utf-8"))
    assert body["ended_by"] is None
    assert [tier["engine_seconds"] for tier in body["tiers"]] == [None, None]


def test_the_log_of_events(cli: Cli, recording: Path, pool_file: Path) -> None:
    command = ["run", "--engine", f"replay:{recording}", "--pool", pool_file, "--log-json", "events.jsonl", "--json"]
    assert cli(*command).code == cli(*command).code == 0
    said = [json.loads(line) for line in Path("events.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [line["event"] for line in said]
    assert names.count("run") == names.count("end") == 2
    assert names.count("outcome") == 8
    assert said[0]["engine"] == f"replay:{recording}" and said[0]["out"] == "escalade-out"


def test_a_log_that_cannot_be_written_is_refused_before_anything_runs(
    cli: Cli, recording: Path, pool_file: Path
) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--log-json", "no/where.jsonl")
    assert said.code == 2
    assert said.err.count("error:") == 1
    assert "cannot be written as a log" in said.err
    assert not Path("escalade-out/answers.parquet").exists()


@pytest.mark.parametrize(
    ("option", "value", "ended_by", "statuses"),
    [
        ("--max-tokens", "600", "the limit of 600 tokens for the run is reached", {"budget"}),
        ("--max-samples", "6", "the limit of 6 samples for the run is reached", {"accepted", "budget"}),
        ("--max-tokens-per-problem", "10", None, {"budget"}),
        ("--max-tokens-per-tier", "10", None, {"budget"}),
        ("--max-samples-per-problem", "4", None, {"budget"}),
        ("--max-samples-per-tier", "2", None, {"budget"}),
        ("--max-seconds-per-problem", "0", None, {"deadline"}),
        ("--max-seconds-per-problem", "600", None, {"accepted", "last_tier"}),
    ],
)
def test_limits_reach_the_run(
    cli: Cli, recording: Path, pool_file: Path, option: str, value: str, ended_by: str | None, statuses: set[str]
) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, option, value, "--json")
    assert said.code == 0, said.err
    body = json.loads(said.out)
    assert set(body["statuses"]) & statuses
    assert body["ended_by"] == ended_by
    assert len(pd.read_parquet("escalade-out/answers.parquet")) == 4


def test_what_ended_the_run_is_shown(cli: Cli, recording: Path, pool_file: Path) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--max-samples", "6")
    assert "the limit of 6 samples for the run is reached" in said.out
    assert "engine s" not in said.out  # the recording does not say


def test_engine_seconds_are_shown_where_they_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    summary = run_scripted(job_of(10))[0].summary()
    small, large = summary.tiers
    timed = replace(summary, tiers=(replace(small, engine_seconds=Seconds(12.345)), large))
    display.summary(timed, Path("out"), None)
    out = capsys.readouterr().out
    assert "engine s" in out and "12.3" in out


def test_progress_of_tiers_and_models() -> None:
    tiers = Tiers(POOL)
    results, _ = run_scripted(job_of(40), on_event=tiers.event)
    for item in results.answered:
        tiers.answered(item)
    counters = Counters(waiting={"S": 7, "L": 0}, running={"S": 3, "L": 1}, allowed={"S": 4})
    first, second = shown(tiers.table(counters, speed=True)).splitlines()
    small, large = results.summary().tiers
    assert first.split()[:9] == ["tier", "1", "S", "7", "waiting", "3", "of", "4", "under"]
    assert "tokens/s" in first and f"accepts {small.accepted / small.asked:.0%} of {small.asked}" in first
    assert "1 under way" in second and f"of {large.asked}" in second
    assert "tokens/s" not in shown(tiers.table(counters, speed=False))


def test_a_failing_engine_is_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    tiers = Tiers(POOL)
    place = {"problem": "p1", "tier": 0, "model": "S", "index": 0}
    assert "S: its engine fails" in (tiers.event("left_alone", {**place, "seconds": 1.0}) or "")
    assert tiers.event("left_alone", {**place, "seconds": 2.0}) is None
    assert "left alone" in (tiers.event("left_alone", {**place, "model": "L", "seconds": 1.0}) or "")
    assert "S: dead: its engine is given up" in (tiers.event("given_up", {**place, "message": "S: dead"}) or "")
    watch = display.Watch(job_of(1), None, quiet=False)
    for _ in range(2):
        watch.event("left_alone", {**place, "seconds": 1.0})
    assert capsys.readouterr().err.count("warning: S: its engine fails at every request") == 1
    display.Watch(job_of(1), None, quiet=True).event("left_alone", {**place, "seconds": 1.0})
    assert capsys.readouterr().err == ""


def test_the_speed_of_a_model_is_that_of_the_last_seconds() -> None:
    now = 0.0
    rate = Rate(lambda: now)
    assert rate.value == 0.0
    for second in range(200):
        now = float(second)
        rate.add(10 if second < 100 else 50)
    assert rate.value == 50.0
    now = 200.0 + WINDOW
    assert rate.value == 0.0
