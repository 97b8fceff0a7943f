import json
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
    "option", [("--route", "0.5B"), ("--target", "0.9"), ("--confidence", "share"), ("--stop", "none")]
)
def test_a_policy_decides_alone(cli: Cli, tmp_path: Path, option: tuple[str, str]) -> None:
    (tmp_path / "p.toml").write_text('name = "x"\nroute = "0.5B"\n', encoding="utf-8")
    said = cli("run", "--policy", "p.toml", "--engine", "replay:shipped", *option)
    assert said.code == 2
    assert f"leave out {option[0]}" in said.err


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
