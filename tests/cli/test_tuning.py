import json
import os
import random
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli

FAST = ("--repeats", 1)


@pytest.fixture
def source(tmp_path: Path, pool_file: Path) -> tuple[object, ...]:
    """Forty problems, four samples each by S, mostly wrong, and by L, mostly right; and their pool."""
    rng = random.Random(0)
    rows = [
        {
            "problem_id": f"p{number}",
            "problem": f"What is problem {number}?",
            "gold_answer": "1",
            "model": f"test/{name}",
            "temperature": 0.7,
            "sample_index": index,
            "answer": "1" if rng.random() < chance else rng.choice(["2", "3"]),
            "prompt_tokens": 10,
            "completion_tokens": rng.randrange(10, 30),
        }
        for number in range(40)
        for name, chance in (("small", 0.1 + 0.8 * (number % 3 == 0)), ("large", 0.9))
        for index in range(4)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "made.parquet")
    return "made.parquet", "--pool", pool_file


def test_tune_writes_a_policy_that_run_follows(cli: Cli, tmp_path: Path, source: tuple[object, ...]) -> None:
    said = cli("tune", *source, "--budget", "4e-5", "--out", "p.toml", *FAST)
    assert said.code == 0, said.err
    for words in ("in-sample, flattered", "held out", "best single model at equal cost", "optimism", "not shown"):
        assert words in said.out
    assert 'format = "escalade policy 1"' in (tmp_path / "p.toml").read_text(encoding="utf-8")
    replay = ("--engine", "replay:made.parquet", *source[1:], "--limit", 4, "--out", "o")
    ran = cli("run", "--policy", "p.toml", *replay, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["policy_file"]["name"] == "p"
    assert cli("route", "--policy", "p.toml", *replay).code == 0


@pytest.mark.parametrize(
    "option",
    [
        *[("--route", "0.5B"), ("--target", "0.9"), ("--confidence", "share"), ("--stop", "none")],
        ("--prior-strength", "4"),
    ],
)
def test_a_policy_decides_alone(cli: Cli, tmp_path: Path, option: tuple[str, str]) -> None:
    (tmp_path / "p.toml").write_text('name = "x"\nroute = "0.5B"\n', encoding="utf-8")
    said = cli("run", "--policy", "p.toml", "--engine", "replay:shipped", *option)
    assert said.code == 2
    assert f"leave out {option[0]}" in said.err


COMMANDS = (("tune", "nowhere", "--budget", 1), ("calibrate", "nowhere"), ("report", "nowhere"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    cli: Cli, tmp_path: Path, command: tuple[object, ...]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    for out, why in (
        ("folder", "is a folder: name a file"),
        ("taken/p", "cannot be a folder"),
        ("p" * 300, "too long"),
    ):
        said = cli(*command, "--out", out)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"error: --out: {out.partition('/')[0]}") and why in said.err
    said = cli(*command, "--out", "new/p")
    assert "nowhere" in said.err and "--out" not in said.err  # what the source is comes only then
    assert not list((tmp_path / "new").iterdir())
    assert "nowhere" in cli(*command, "--out", "taken").err
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_file_that_may_not_be_written_is_refused(cli: Cli, tmp_path: Path, command: tuple[object, ...]) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    (tmp_path / "taken").chmod(0o400)
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "taken may not be written" in cli(*command, "--out", "taken").err
    assert "closed may not be written" in cli(*command, "--out", "closed/p").err


def test_few_problems_are_counted_and_promise_nothing(cli: Cli, tmp_path: Path, source: tuple[object, ...]) -> None:
    table = pd.read_parquet(tmp_path / "made.parquet")
    for count in (1, 3):
        table[table["problem_id"].isin([f"p{n}" for n in range(count)])].to_parquet(tmp_path / f"{count}.parquet")
    one = cli("tune", "1.parquet", *source[1:], "--budget", "1e-4")
    assert "1 problem of recording" in one.err and "1 problem in 1 group of" in one.err
    assert "a choice on 1 problem cannot be judged" in one.err
    few = cli("tune", "3.parquet", *source[1:], "--budget", "1e-4", "--folds", 3)
    assert few.code == 0, few.err
    assert "(too few problems to say how sure that is)" in few.out and "inf" not in few.out
    assert "optimism 0.0 points" in few.out
    assert "1 label;" in cli("tune", "3.parquet", *source[1:], "--max-loss", 0.3).out


def test_a_prior_is_tuned_written_and_run(cli: Cli, tmp_path: Path, source: tuple[object, ...]) -> None:
    ask = ("tune", *source, "--min-accuracy", 0.8, "--confidences", "prior", *FAST)
    refused = cli(*ask)
    assert refused.code == 2
    assert "'prior' needs a score of S for every problem, and 'p0' has none" in refused.err
    scores = [{"id": f"p{number}", "score_S": 0.15 + 0.7 * (number % 3 == 0)} for number in range(40)]
    pd.DataFrame(scores).to_csv(tmp_path / "s.csv", index=False)
    said = cli(*ask, "--scores", "s.csv", "--prior-strength", 6, "--out", "p.toml")
    assert said.code == 0, said.err
    written = (tmp_path / "p.toml").read_text(encoding="utf-8")
    assert 'confidence = "prior"' in written and "prior_strength = 6.0" in written
    replay = ("--engine", "replay:made.parquet", *source[1:], "--scores", "s.csv", "--out", "o", "--json")
    ran = cli("run", "--policy", "p.toml", *replay)
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["confidence"], json.loads(ran.out)["prior_strength"]) == ("prior", 6.0)


def test_one_goal_is_given(cli: Cli) -> None:
    for options in ((), ("--budget", 1, "--max-loss", 0.1)):
        said = cli("tune", *options)
        assert said.code == 2
        assert "give one goal" in said.err
    assert "give --budget" in cli("tune", "--frontier", "--out", "p.toml").err


def test_json_is_one_object(cli: Cli, source: tuple[object, ...]) -> None:
    body = json.loads(cli("tune", *source, "--min-accuracy", "L", "--json", *FAST).out)
    assert body["reference"] == "mv_L_k1_t0.7"
    assert body["optimism"] == pytest.approx(body["in_sample"]["accuracy"] - body["held_out"]["accuracy"])
    assert len(json.loads(cli("tune", *source, "--frontier", "--json", *FAST).out)["frontier"]) > 2


def test_certify_says_what_became_of_a_certificate(cli: Cli, tmp_path: Path, source: tuple[object, ...]) -> None:
    made = cli("tune", *source, "--max-loss", 0.3, "--confidence", 0.8, "--confidences", "share", "--out", "p.toml")
    assert made.code == 0, made.err
    assert "Certified: at most 0.3 lost" in made.out and "80 % confidence" in made.out
    holds = cli("certify", "p.toml", *source)
    assert (holds.code, "The certificate holds." in holds.out) == (0, True)
    text = (tmp_path / "p.toml").read_text(encoding="utf-8")
    (tmp_path / "q.toml").write_text(text.replace("labels = 16", "labels = 1600"), encoding="utf-8")
    forged = cli("certify", "q.toml", *source)
    assert forged.code == 2
    assert "certificate.labels: the file says 1600, the data 16" in forged.out


def test_certify_leaves_out_problems_that_made_the_policy(cli: Cli, tmp_path: Path, source: tuple[object, ...]) -> None:
    made = cli("tune", *source, "--max-loss", 0.3, "--confidence", 0.8, "--confidences", "share", "--out", "p.toml")
    assert made.code == 0, made.err
    table = pd.read_parquet(tmp_path / "made.parquet")
    number = table["problem_id"].str[1:].astype(int)
    late = table[number >= 12].copy()
    late["problem_id"] = "q" + late["problem_id"]
    late["problem"] = late["problem"].where(number >= 16, "Which is " + late["problem"])
    late.to_parquet(tmp_path / "late.parquet")
    few = cli("certify", "p.toml", "late.parquet", *source[1:])
    assert few.code == 2 and "24 of these 28 problems had a part" in few.err
    late["problem"] = table["problem"].where(number >= 27, "Which is " + table["problem"])[number >= 12]
    late.to_parquet(tmp_path / "late.parquet")
    said = cli("certify", "p.toml", "late.parquet", *source[1:])
    assert "Left out, as they had a part in making the policy: 13 of these problems." in said.out
    assert "These are other data than the certificate's" in said.out and "15 labels" in said.out
    body = json.loads(cli("certify", "p.toml", "late.parquet", *source[1:], "--json").out)
    assert (body["shared"], body["alike"], body["verdict"]["labels"]) == (13, 0, 15)
    assert said.code == (0 if body["holds"] else 1)


def test_what_cannot_be_certified_says_what_it_would_take(cli: Cli, tmp_path: Path, source: tuple[object, ...]) -> None:
    said = cli("tune", *source, "--max-loss", 0.02, "--out", "p.toml")
    assert said.code == 1
    assert "Nothing cheaper is certified" in said.out
    assert "label" in said.out
    assert not (tmp_path / "p.toml").exists()


def test_calibrate_then_run(cli: Cli) -> None:
    said = cli("calibrate", "--k", "3,5", "--out", "c.json")
    assert said.code == 0, said.err
    assert "platt" in said.out and "Brier" in said.out
    assert "not calibrated: 1.5B at t=0" in said.err
    route = "mv_cascade_0.5B_k5_t0.7_c0.5_1.5B_k3_t0.7"
    options = ("--confidence", "calibrated", "--calibration", "c.json", "--engine", "replay:shipped", "--out", "o")
    ran = cli("run", "--route", route, *options, "--json")
    assert ran.code == 0, ran.err
    body = json.loads(ran.out)
    assert body["confidence"] == "calibrated" and len(body["calibration"]) == 64
    assert "no calibration of" in cli("run", "--route", "mv_cascade_0.5B_k5_t0.0_1.5B_k3_t0.7", *options).err
    assert "--k is 'x'" in cli("calibrate", "--k", "x").err


@pytest.fixture
def gated(tmp_path: Path, pool_file: Path) -> tuple[object, ...]:
    """Forty problems that L always gets right, and S where the score of L is at least 0.6: every fourth."""
    easy = [number % 4 == 0 for number in range(40)]
    rows = [
        {
            "problem_id": f"p{number}",
            "problem": f"What is problem {number}?",
            "gold_answer": "1",
            "model": f"test/{name}",
            "temperature": 0.7,
            "sample_index": index,
            "answer": "1" if name == "large" or easy[number] else "9",
            "prompt_tokens": 10,
            "completion_tokens": 20,
        }
        for number in range(40)
        for name in ("small", "large")
        for index in range(3)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "made.parquet")
    scores = [0.6 + number / 400 if easy[number] else number / 100 for number in range(40)]
    pd.DataFrame({"id": [f"p{n}" for n in range(40)], "score_L": scores}).to_csv(tmp_path / "scores.csv", index=False)
    return "made.parquet", "--pool", pool_file, "--scores", "scores.csv"


def test_a_gate_is_tuned_written_and_followed(cli: Cli, tmp_path: Path, gated: tuple[object, ...]) -> None:
    said = cli("tune", *gated, "--min-accuracy", "L", "--out", "p.toml", *FAST)
    assert said.code == 0, said.err
    assert "with a gate)" in said.err
    assert "note: what scores of L cost to make is not counted: there is no column scoring_cost_usd_L" in said.err
    assert said.out.startswith("mv_S_k1_t0.7 where score of L >= 0.")
    body = json.loads(cli("tune", *gated, "--min-accuracy", "L", "--json", *FAST).out)
    assert body["route"] == "mv_L_k1_t0.7"
    assert body["gate"] == body["policy"]["gate"]
    assert body["gate"] | {"at_least": 0} == {"score": "L", "at_least": 0, "route": "mv_S_k1_t0.7"}
    assert 0.39 < body["gate"]["at_least"] <= 0.6
    replay = ("--engine", "replay:made.parquet", *gated[1:], "--out", "o")
    ran = json.loads(cli("run", "--policy", "p.toml", *replay, "--json").out)
    assert ran["accuracy"] == body["in_sample"]["accuracy"] == 1.0
    assert ran["cost_per_problem_usd"] == pytest.approx(body["in_sample"]["cost_usd"], rel=1e-12)
    assert ran["gate"] == {**body["gate"], "problems": 10}
    table = pd.read_parquet(tmp_path / "o" / "answers.parquet")
    assert (table["route"] == "mv_S_k1_t0.7").tolist() == [number % 4 == 0 for number in range(40)]
    assert f"gate: score of L 0.6 >= {body['gate']['at_least']}" in cli("explain", "o/answers.parquet", "p0").out
    assert f"gate: score of L 0.01 < {body['gate']['at_least']}" in cli("explain", "o/answers.parquet", "p1").out
    planned = cli("route", "--policy", "p.toml", *replay)
    assert f"gate: 10 of 40 problems have a score of L >= {body['gate']['at_least']}" in planned.out
    assert json.loads(cli("route", "--policy", "p.toml", *replay, "--json").out)["gate"]["problems"] == 10


def test_what_scoring_costs_is_paid_on_every_problem(cli: Cli, gated: tuple[object, ...]) -> None:
    free = json.loads(cli("tune", *gated, "--min-accuracy", "L", "--json", *FAST).out)
    table = pd.read_csv("scores.csv")
    table.assign(scoring_cost_usd_L=1e-6).to_csv("scores.csv", index=False)
    paid = json.loads(cli("tune", *gated, "--min-accuracy", "L", "--json", *FAST).out)
    assert paid["gate"] == free["gate"]
    for numbers in ("in_sample", "held_out"):
        assert paid[numbers]["cost_usd"] == pytest.approx(free[numbers]["cost_usd"] + 1e-6, rel=1e-12)
    table.assign(scoring_cost_usd_L=1.0).to_csv("scores.csv", index=False)
    assert json.loads(cli("tune", *gated, "--min-accuracy", "L", "--json", *FAST).out)["gate"] is None
    table.assign(scoring_cost_usd_L=[-1.0, *[1e-6] * 39]).to_csv("scores.csv", index=False)
    said = cli("tune", *gated, "--min-accuracy", "L", *FAST)
    assert said.code == 2
    assert "row 0: column 'scoring_cost_usd_L' is -1.0: give USD, at least 0" in said.err


def test_a_certified_gate_is_worked_out_again_from_its_scores(cli: Cli, gated: tuple[object, ...]) -> None:
    goal = ("--max-loss", 0.3, "--confidence", 0.8, "--confidences", "share")
    made = cli("tune", *gated, *goal, "--out", "p.toml")
    assert made.code == 0, made.err
    assert "where score of L >= " in made.out
    holds = cli("certify", "p.toml", *gated)
    assert (holds.code, "The certificate holds." in holds.out) == (0, True), holds.out
    table = pd.read_csv("scores.csv")
    table.assign(score_L=table["score_L"].where(table.index > 0, 0.1)).to_csv("scores.csv", index=False)
    other = cli("certify", "p.toml", *gated)
    assert other.code == 2
    assert "scores_sha256: the file says" in other.out
    without = cli("certify", "p.toml", *gated[:3])
    assert without.code == 2
    assert "the data None" in without.out
