import json
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli

ROUTE = "mv_cascade_S_k5_t0.7_L_k3_t0.7"


def test_run_prints_the_summary_and_writes_the_tables(cli: Cli, recording: Path, pool_file: Path) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--pool", pool_file)
    assert said.code == 0
    assert "accuracy  0.750  (3 of 4" in said.out
    assert "accepted 2, last_tier 2" in said.out
    table = pd.read_parquet("escalade-out/answers.parquet")
    assert table["majority_vote_extracted_answer"].tolist() == ["4", "9", "5", "6"]
    assert table["decided_by"].tolist() == ["S", "S", "L", "L"]
    assert (
        len(pd.read_parquet("escalade-out/samples.parquet"))
        == json.loads(Path("escalade-out/summary.json").read_text(encoding="utf-8"))["samples_drawn"]
    )


def test_json_is_one_object_with_the_promised_keys(cli: Cli, recording: Path, pool_file: Path) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--json")
    assert said.err == ""
    body = json.loads(said.out)
    promised = "problems accuracy accuracy_ci95 cost_usd samples_drawn samples_saved seconds statuses tiers"
    assert set(promised.split()) <= set(body)
    assert body["statuses"] == {"accepted": 2, "last_tier": 2}
    tiers = body["tiers"]
    assert [(t["model"], t["k"], t["asked"], t["accepted"], t["escalated"]) for t in tiers] == [
        ("S", 5, 4, 2, 2),
        ("L", 3, 2, 2, 0),
    ]
    assert sum(t["cost_usd"] for t in tiers) == pytest.approx(body["cost_usd"], abs=1e-15)
    assert body["samples_drawn"] + body["samples_saved"] == 4 * 5 + 2 * 3


def test_settled_early_stopping_is_free(cli: Cli, recording: Path, pool_file: Path) -> None:
    bodies = []
    for stop in ("verdict", "none"):
        cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--stop", stop, "--out", stop)
        table = pd.read_parquet(f"{stop}/answers.parquet")
        bodies.append(table[["majority_vote_extracted_answer", "status", "decided_by"]].to_dict("list"))
    assert bodies[0] == bodies[1]


def test_the_target_reaches_the_decisions(cli: Cli, recording: Path, pool_file: Path) -> None:
    escalated = []
    for target in ("0.3", "0.99"):
        said = cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--target", target, "--json")
        escalated.append(json.loads(said.out)["tiers"][0]["escalated"])
    assert escalated == [1, 2]


def test_without_prices_the_cost_is_unknown_not_zero(cli: Cli, recording: Path) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--route", ROUTE, "--json")
    assert json.loads(said.out)["cost_usd"] is None


def test_explain_tells_the_story_of_a_problem(cli: Cli, recording: Path, pool_file: Path) -> None:
    cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--stop", "none")
    said = cli("explain", "escalade-out/answers.parquet", "p3")
    assert said.code == 0
    for part in ("What is problem p3?", "1: 2, 2: 2, 3: 1", "a tie", "escalate", "below 0.9", "L", "owns the answer"):
        assert part in said.out
    unknown = cli("explain", "escalade-out/answers.parquet", "p9")
    assert unknown.code == 2
    assert "no problem 'p9'" in unknown.err


def test_route_touches_no_engine(cli: Cli, problems_file: Path, pool_file: Path) -> None:
    said = cli("route", problems_file, "--pool", pool_file)
    assert said.code == 0
    assert "cascade" in said.out
    assert "worst case" in said.out
    table = pd.read_parquet("escalade-out/routing.parquet")
    assert json.loads(table["cascade_tiers"][0]) == [["test/small", 5, 0.7], ["test/large", 3, 0.7]]


def test_check_prints_tiers_and_overrides_and_refuses(cli: Cli) -> None:
    said = cli("check", "mv_72B_k8_t0.7")
    assert said.code == 0
    assert "72B is greedy only in this pool: k=8 t=0.7 runs as k=1 t=0.0" in said.out
    refused = cli("check", "7B", "mv_cascade_1.5B_k4_t0.7_14B_k4_t0.7")
    assert refused.code == 2
    assert "Qwen2.5-Math-7B" in refused.out
    line, caret = refused.err.splitlines()[1:3]
    assert line[caret.index("^") :].startswith("14B")


def test_strategies_lists_the_catalogue(cli: Cli) -> None:
    said = cli("strategies")
    for name in ("random", "cascade", "adaptive_k_sampling_with_entropy_escalation", "expected_cost"):
        assert name in said.out
    assert "needs scores of: 1.5B, 7B" in cli("strategies", "72b_robust").out


def test_models_lists_what_is_on_disk(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESCALADE_CACHE", str(tmp_path / "cache"))
    said = cli("models", "--pool", "tiny")
    assert "135M" in said.out
    assert "no, 98 MB" in said.out


def test_a_users_strategy_from_a_file(cli: Cli, recording: Path, pool_file: Path, problems_file: Path) -> None:
    Path("mine.py").write_text(
        "import numpy as np\nfrom escalade import strategy\n\n\n"
        "@strategy('mine', needs=('S',))\ndef mine(inputs):\n"
        "    return np.where(inputs.scores['S'] < inputs.target, 'mv_L_k3_t0.7', 'mv_S_k5_t0.7')\n",
        encoding="utf-8",
    )
    said = cli(
        "run", problems_file, "--engine", f"replay:{recording}", "--pool", pool_file, "--strategy", "mine.py:mine"
    )
    assert said.code == 0, said.err
    assert pd.read_parquet("escalade-out/answers.parquet")["decided_by"].tolist() == ["L", "L"]


def test_an_output_folder_that_cannot_be_is_refused_before_anything_runs(cli: Cli, recording: Path) -> None:
    said = cli("run", "--engine", f"replay:{recording}", "--route", ROUTE, "--out", recording)
    assert said.code == 2
    assert "--out" in said.err
    assert "cannot be a folder" in said.err
    assert "→" not in said.err


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--route", "mv_S_k5_t0.7_"], ["position 12", "^"]),
        (["--route", "mv_cascade_S_k5_t0.7_M_k3_t0.7"], ["'M'", "S, L"]),
        (["--strategy", "cascad"], ["'cascad'", "'cascade'", "escalade strategies"]),
        (["--strategy", "cascade"], ["needs scores of 1.5B and 7B", "score_1.5B"]),
        (["--route", "S", "--strategy", "cascade"], ["both a route and a strategy"]),
        (["--pool", "embeded"], ["no pool 'embeded'", "'embedded'"]),
        (["--engine", "replay:nowhere.parquet"], ["nowhere.parquet", "not there"]),
        (["--engine", "repaly:x"], ["'repaly'", "'replay'"]),
        (["--confidence", "shares"], ["'shares'", "'share'"]),
        (["--target", "1.5"], ["target is 1.5", "[0, 1]"]),
        (["--prior-strength", "nan"], ["prior_strength is nan", "0 or more"]),
        (["--confidence", "prior", "--aggregate", "pooled"], ["aggregate is 'pooled'", "'last'"]),
        (["--stop", "beta"], ["'beta'", "beta:P"]),
        (["--limit", "0"], ["limit is 0"]),
        (["--max-cost", "cheap"], ["--max-cost", "'cheap'"]),
        (["--scores", "nowhere.csv"], ["nowhere.csv", "not there"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_settings_get_one_message(
    cli: Cli, recording: Path, pool_file: Path, arguments: list[str], parts: list[str]
) -> None:
    given = ["--engine", f"replay:{recording}", "--pool", str(pool_file)]
    kept = [x for pair in zip(given[::2], given[1::2], strict=True) if pair[0] not in arguments for x in pair]
    said = cli("run", *kept, *arguments)
    assert said.code == 2
    assert said.err.count("error:") == 1
    assert "Traceback" not in said.err
    for part in parts:
        assert part in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("empty.jsonl", "", ["empty.jsonl", "no rows"]),
        ("empty.csv", "", ["empty.csv", "empty"]),
        ("twice.jsonl", '{"id": 1, "problem": "a"}\n{"id": 1, "problem": "b"}\n', ["rows 0 and 1", "'1'", "unique"]),
        ("untold.jsonl", '{"id": 1, "text": "a"}\n', ["problem, question or prompt", "id, text"]),
        ("broken.jsonl", '{"id": 1, "problem": "a"}\n{"id": 2,\n', ["line 2", "not JSON"]),
        ("nan.csv", "id,problem,score_S\n1,a,0.5\n2,b,\n", ["2", "score_S"]),
        ("far.csv", "id,problem,score_S\n1,a,1.3\n", ["1", "score_S", "1.3"]),
        ("word.csv", "id,problem,score_S\n1,a,high\n", ["row 0", "score_S", "'high'"]),
        ("odd.xlsx", "", [".xlsx", ".jsonl, .csv or .parquet"]),
    ],
)
def test_wrong_problem_files_get_one_message(
    cli: Cli, recording: Path, pool_file: Path, name: str, text: str, parts: list[str]
) -> None:
    said = cli("run", write(name, text), "--engine", f"replay:{recording}", "--pool", pool_file)
    assert said.code == 2
    assert said.err.count("error:") == 1
    assert "Traceback" not in said.err
    for part in parts:
        assert part in said.err


def test_a_model_that_is_not_pulled(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESCALADE_CACHE", str(tmp_path / "cache"))
    said = cli("run", "--limit", "1")
    assert said.code == 2
    assert "escalade models pull" in said.err
    assert "Traceback" not in said.err


def test_an_unknown_key_in_the_pool_file(cli: Cli, pool_file: Path) -> None:
    pool_file.write_text(pool_file.read_text(encoding="utf-8").replace("price", "prise"), encoding="utf-8")
    said = cli("models", "--pool", pool_file)
    assert said.code == 2
    for part in ("escalade.toml", "'S'", "prise", "'price'"):
        assert part in said.err


@pytest.mark.model
def test_ctrl_c_keeps_what_was_paid_for_and_the_same_command_resumes(tmp_path: Path, smallest_model: Path) -> None:
    command = [sys.executable, "-m", "escalade", "run", "--pool", "tiny", "--route", "mv_135M_k3_t0.7", "--limit", "5"]
    command += ["--stop", "none"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    for line in child.stderr:
        if "→" in line:  # the first problem is answered
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert "stopped early" in out
    assert "the same command goes on" in out
    assert "Traceback" not in err
    again = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    body = json.loads(again.stdout)
    assert body["problems"] == 5
    assert 0 < body["samples_generated"] < body["samples_drawn"] == 15
    assert (tmp_path / "escalade.sqlite").exists()


def test_route_says_which_models_take_turns(cli: Cli) -> None:
    said = cli("route", "--pool", "qwen2.5-math", "--route", "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0")
    assert "one model at a time on gpu 0: 1.5B, then 7B, then 72B" in said.out
    # Engines that answer in the place of the pool's have devices of their own.
    assert "one model at a time" not in cli("route", "--pool", "qwen2.5-math", "--route", "7B").out
