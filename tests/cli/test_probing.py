"""`escalade probe` as a person uses it: train, show, score, route and run by the scores, judge."""

import json
import random
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli, Said

EASY, HARD = (
    "Add {} and 7.",
    "A train takes {} hours, {} minutes and 5 stops more than {} buses; how many days are that?",
)


def sampled(path: Path, *, start: int = 0, count: int = 120, shuffle: bool = False) -> None:
    """Samples: S is right on short problems, L nearly always. Shuffled, the text says nothing."""
    rng = random.Random(start)
    rows = []
    for number in range(start, start + count):
        hard = number % 2
        text = (HARD if hard else EASY).format(*[f"{number}{a}" for a in range(3)])
        luck = rng.random() < 0.5 if shuffle else not hard
        for model, chance in (("small", 0.85 if luck else 0.1), ("large", 0.9)):
            for temperature, index in [(0.0, 0), *((0.7, n) for n in range(8))]:
                right = rng.random() < chance
                rows.append(
                    {
                        "problem_id": f"p{number}",
                        "problem": text,
                        "gold_answer": "1",
                        "model": f"test/{model}",
                        "temperature": temperature,
                        "sample_index": index,
                        "answer": "1" if right else rng.choice(["2", "3"]),
                        "prompt_tokens": 20,
                        "completion_tokens": 10,
                    }
                )
    pd.DataFrame(rows).to_parquet(path)


@pytest.fixture
def pool(tmp_path: Path, pool_file: Path) -> Path:
    pool_file.write_text('ladder = ["S", "L", "L"]\n' + pool_file.read_text(encoding="utf-8"), encoding="utf-8")
    sampled(tmp_path / "old.parquet")
    sampled(tmp_path / "new.parquet", start=1000, count=60)
    table = pd.read_parquet(tmp_path / "new.parquet").drop_duplicates("problem_id")
    asked = table[["problem_id", "problem", "gold_answer"]].rename(
        columns={"problem_id": "id", "gold_answer": "answer"}
    )
    asked.to_json(tmp_path / "new.jsonl", orient="records", lines=True)
    return pool_file


def train(cli: Cli, pool: Path, *more: object) -> Said:
    return cli("probe", "train", "--labels", "old.parquet", "--pool", pool, "--model", "S", "--name", "old", *more)


def test_from_labels_to_answers(cli: Cli, tmp_path: Path, pool: Path) -> None:
    said = train(cli, pool)
    assert said.code == 0, said.err
    for words in ("AUROC", "Spearman (ceiling", "Brier", "ECE", "near-duplicates together", "random folds", "votes"):
        assert words in said.out
    shown = cli("probe", "show", "probe.safetensors")
    assert shown.code == 0
    assert shown.out.splitlines()[0] == said.out.splitlines()[0]

    scored = cli("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool)
    assert scored.code == 0, scored.err
    assert "60 problems" in scored.out and "0 tokens read, 0 USD" in scored.out
    folder = tmp_path / "scores" / "old_probe" / "new"
    file = folder / "test-small_maxlen_1024_k_8_temp_0.7" / "scored.parquet"
    table = pd.read_parquet(file)
    assert {"idx", "problem", "score", "calibrated_score", "prompt_tokens", "scoring_cost_usd"} <= set(table)
    easy = table["problem"].str.startswith("Add")
    assert table.loc[easy, "calibrated_score"].min() > table.loc[~easy, "calibrated_score"].max()

    # What it says to type next works.
    hint = next(line for line in scored.out.splitlines() if line.startswith("use them: "))
    assert f"--pool {pool}" in hint.replace("\n", "") and "--strategy NAME" in hint
    replay = ("--pool", pool, "--engine", "replay:new.parquet", "--scores", folder)
    routed = cli("route", "new.jsonl", "--strategy", "adaptive_k_sampling", "--pool", pool, "--scores", folder)
    assert routed.code == 0, routed.err
    ran = cli("run", "new.jsonl", "--strategy", "adaptive_k_sampling", *replay, "--out", "o", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["scoring"]["scores"] == 60


def test_a_probe_of_chance_is_refused_and_a_cascade_answers(cli: Cli, tmp_path: Path, pool: Path) -> None:
    sampled(tmp_path / "old.parquet", shuffle=True)
    said = train(cli, pool)
    assert said.code == 1
    assert "refused for routing" in said.out and "touches 0.5" in said.out.replace("\n", " ")
    scored = cli("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool)
    assert scored.code == 0
    assert "refused for routing" in scored.out
    folder = "scores/old_probe/new"
    routed = cli("route", "new.jsonl", "--strategy", "cascade", "--pool", pool, "--scores", folder, "--json")
    strategies = cli(
        "route", "new.jsonl", "--strategy", "adaptive_k_sampling", "--pool", pool, "--scores", folder, "--json"
    )
    assert routed.code == 2 and "needs scores of L" in routed.err  # what is not there is not the same as refused
    assert strategies.code == 0, strategies.err
    assert "mv_cascade_S_k5_t0.7_L_k3_t0.7 instead of the strategy adaptive_k_sampling" in strategies.out


def test_judged_elsewhere_with_its_regret(cli: Cli, pool: Path) -> None:
    assert train(cli, pool).code == 0
    said = cli(
        "probe", "eval", "probe.safetensors", "--labels", "new.parquet", "--labels", "old.parquet", "--pool", pool
    )
    assert said.code == 0, said.err
    assert "its own held-out record" in said.out
    for words in ("always S", "always L", "to the oracle", "AUROC"):
        assert words in said.out
    body = json.loads(
        cli("probe", "eval", "probe.safetensors", "--labels", "new.parquet", "--pool", pool, "--json").out
    )
    assert body["transfer"][0]["quality"]["auroc"]["value"] > 0.9
    always = {line["alias"]: line for line in body["regret"]}
    assert always["L"]["loss"]["value"] < 0.2
    assert always["L"]["routed_usd"] <= always["L"]["usd"] + 1e-12


def test_held_out_scores_are_kept_for_strategies(cli: Cli, pool: Path) -> None:
    assert train(cli, pool, "--held-out", "held.parquet").code == 0
    table = pd.read_parquet(Path("held.parquet"))
    assert sorted(table) == ["fold", "idx", "score_S"]
    replay = ("--engine", "replay:old.parquet", "--pool", pool, "--scores", "held.parquet", "--out", "o")
    assert cli("run", "--strategy", "adaptive_k_sampling", *replay).code == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "--labels", "old.parquet", "--model", "7B"), "--model"),
        (("train", "--labels", "old.parquet", "--model", "S", "--label", "mean"), "--label is 'mean': give rate or"),
        (("train", "--labels", "old.parquet", "--model", "S", "--features", "txt"), "--features is 'txt'"),
        (("train", "--labels", "old.parquet", "--model", "S", "--folds", "99999"), "cannot fill 99999 folds"),
        (("train", "--labels", "old.parquet", "--model", "S", "--out", "new.jsonl/p"), "new.jsonl"),
        (("train", "--labels", "gone.parquet", "--model", "S"), "gone.parquet"),
        (("score", "gone.safetensors"), "gone.safetensors cannot be read"),
        (("score", "old.parquet"), "old.parquet is no probe"),
        (("show", "old.parquet"), "old.parquet is no probe"),
        (("eval", "old.parquet", "--labels", "new.parquet"), "old.parquet is no probe"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(cli: Cli, pool: Path, command: tuple[object, ...], said: str) -> None:
    options = () if command[0] == "show" else ("--pool", pool)
    found = cli("probe", *command, *options)
    assert found.code == 2
    assert found.err.startswith("error: ") and said in found.err.replace("\n", " ")
    assert "Traceback" not in found.err


def test_samples_without_their_pool_name_no_aliases(cli: Cli, pool: Path) -> None:
    said = cli("probe", "train", "--labels", "old.parquet", "--model", "S")
    assert said.code == 2
    assert "give the pool that the samples were drawn with (--pool)" in said.err.replace("\n", " ")


def test_scores_go_where_they_are_told(cli: Cli, tmp_path: Path, pool: Path) -> None:
    assert train(cli, pool).code == 0
    names = ("--out", "kept", "--dataset", "a/b", "--probing", "mine")
    said = cli("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool, *names)
    assert said.code == 0, said.err
    assert (tmp_path / "kept" / "mine_probe" / "a_b").is_dir()
    assert "--scores kept/mine_probe/a_b" in said.out


def test_a_probe_for_another_pool_is_refused(cli: Cli, tmp_path: Path, pool: Path) -> None:
    assert train(cli, pool).code == 0
    pool.write_text("max_tokens = 99\n" + pool.read_text(encoding="utf-8"), encoding="utf-8")
    said = cli("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool)
    assert said.code == 2
    assert "token limit" in said.err


def test_scores_of_another_probe_are_not_overwritten(cli: Cli, pool: Path) -> None:
    assert train(cli, pool).code == 0
    score = ("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool)
    assert cli(*score).code == 0
    assert cli(*score).code == 0  # the same again
    assert train(cli, pool, "--seed", 1).code == 0
    said = cli(*score)
    assert said.code == 2 and "another probe" in said.err
    assert cli(*score, "--replace").code == 0


@pytest.mark.model
def test_states_of_a_real_model(cli: Cli, tmp_path: Path, smallest_model: Path) -> None:
    pool = tmp_path / "real.toml"
    pool.write_text(
        f'[[models]]\nalias = "135M"\nname = "HuggingFaceTB/SmolLM2-135M-Instruct"\nfile = "{smallest_model}"\n'
        'engine = "llamacpp"\nprice = { input = 1, output = 1 }\n[models.prompt]\nuser = "{problem}"\n'
        "[models.options]\ncontext = 256\nslots = 1\n",
        encoding="utf-8",
    )
    texts = [(HARD if n % 2 else EASY).format(*[f"{n}{a}" for a in range(3)]) for n in range(60)]
    rows = [
        {"id": f"p{n}", "problem": text, "successes": 1 + 3 * (1 - n % 2), "trials": 5} for n, text in enumerate(texts)
    ]
    pd.DataFrame(rows).to_json(tmp_path / "seen.jsonl", orient="records", lines=True)
    new = [{"id": f"n{n}", "problem": (HARD if n % 2 else EASY).format(n, 8, 9)} for n in range(6)]
    pd.DataFrame(new).to_json(tmp_path / "new.jsonl", orient="records", lines=True)
    labels = ("--problems", "seen.jsonl", "--labels", "seen.jsonl", "--pool", pool)
    said = cli("probe", "train", "--features", "hidden", "--model", "135M", *labels, "--group", "id")
    assert said.code == 0, said.err
    assert "layer 30, position -" in said.out
    scored = cli("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool)
    assert scored.code == 0, scored.err
    (file,) = tmp_path.glob("scores/seen_probe/new/*/scored.parquet")
    table = pd.read_parquet(file)
    assert table["calibrated_score"][::2].min() > table["calibrated_score"][1::2].max()
    assert table["prompt_tokens"].min() > 10
    assert table["scoring_cost_usd"].tolist() == pytest.approx((table["prompt_tokens"] / 1e6).tolist())
    pool.write_text(pool.read_text(encoding="utf-8").replace('"{problem}"', '"Answer: {problem}"'), encoding="utf-8")
    refused = cli("probe", "score", "probe.safetensors", "--problems", "new.jsonl", "--pool", pool)
    assert refused.code == 2 and "prompt" in refused.err
