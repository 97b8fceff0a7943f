import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli
from tests.samples.foreign_logs import (
    ASKED,
    SYSTEM,
    harness_line,
    inspect_log,
    inspect_sample,
    write_eval,
    write_harness,
    write_json,
)

LOG = inspect_log([inspect_sample(f"e{i}", e, f"{i}+1?", rf"\boxed{{{i + 1}}}") for i in range(2) for e in (1, 2, 3)])
POOL = f"""
name = "mine"
route = "mv_S_k3_t0.7"
max_tokens = 512
[[models]]
alias = "S"
name = "test/small"
engine = "openai"
options = {{ base_url = "http://127.0.0.1:9/v1" }}
prompt = {{ system = "{SYSTEM}", user = {json.dumps(ASKED.format("{problem}"))} }}
top_p = 0.9
price = {{ input = 1, output = 2 }}
"""


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.toml"
    path.write_text(POOL, encoding="utf-8")
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_eval(tmp_path / "log.eval", LOG, zstd=True)


def test_a_run_finds_what_was_imported_and_asks_no_server(cli: Cli, pool: Path, log: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    done = cli("store", "import", "s.sqlite", log, "--pool", pool, "--model", "S=mockllm/model")
    assert done.code == 0
    assert "6 samples added" in done.out and "6 are what runs with pool mine and seed 0 look for" in done.out
    rows = [{"id": f"other {i}", "problem": f"{i}+1?", "answer": str(i + 1)} for i in range(2)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    # Nothing listens there: a request would end in an error.
    done = cli("run", "p.jsonl", "--pool", pool, "--store", "s.sqlite", "--stop", "none", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["accuracy"] == 1.0 and set(summary["statuses"]) == {"last_tier"}
    answers = pd.read_parquet("escalade-out/answers.parquet")
    assert list(answers["idx"]) == ["other 0", "other 1"]


def test_show_says_what_is_there_and_what_it_cost(cli: Cli, pool: Path, log: Path) -> None:
    cli("store", "import", "s.sqlite", log, "--pool", pool, "--model", "S=mockllm/model")
    for command in (("store", "s.sqlite"), ("store", "show", "s.sqlite")):
        done = cli(*command, "--pool", pool)
        assert done.code == 0
        assert "s.sqlite: 6 samples of 2 problems, 0 verdicts, 2 problem texts" in done.out
        assert "test/small  0.7  imported  6        2         180     66" in done.out
        # Two prompts of 30 tokens, six answers of 11.
        assert "test/small: 0.000192 USD" in done.out and "total: 0.000192 USD" in done.out
        assert "test/small at t0.7: 4 of 6 samples have the text of an earlier one" in done.out
    found = json.loads(cli("store", "s.sqlite", "--pool", pool, "--json").out)
    assert found["cost_usd"]["total"] == "0.000192" and found["repeats"][0]["repeated"] == 4


def test_p17_a_model_without_a_price_has_unknown_cost(cli: Cli, pool: Path, log: Path) -> None:
    cli("store", "import", "s.sqlite", log)
    assert "mockllm/model: unknown (6 requests without price" in cli("store", "s.sqlite", "--pool", pool).out


def test_p16_the_total_is_the_sum_of_the_models(cli: Cli, pool_file: Path, recording: Path) -> None:
    done = cli("store", "import", "s.sqlite", recording, "--pool", pool_file, "--same-settings")
    assert done.code == 2 and "weights" in done.err  # whose fingerprint is theirs, and they are not there
    assert cli("store", "import", "s.sqlite", recording).code == 0
    costs = json.loads(cli("store", "s.sqlite", "--pool", pool_file, "--json").out)["cost_usd"]
    # Four problems: each prompt of 20 tokens once, answers of 10; five of S at 0.1, three of L at 1.
    assert costs == {"S": "0.000028", "L": "0.0002", "total": "0.000228"}


def test_verify_ends_with_1_and_names_each_finding(cli: Cli, log: Path) -> None:
    cli("store", "import", "s.sqlite", log)
    done = cli("store", "verify", "s.sqlite")
    assert (done.code, done.out) == (0, "s.sqlite: sound: every row can be read and is where it belongs\n")
    with sqlite3.connect("s.sqlite") as db:
        db.execute("UPDATE samples SET completion_tokens = -1 WHERE idx = 1")
    done = cli("store", "verify", "s.sqlite")
    assert done.code == 1
    assert done.out.count("token counts must be whole numbers") == 2 and "s.sqlite: 2 findings" in done.out
    assert json.loads(cli("store", "verify", "s.sqlite", "--json").out)["sound"] is False


def test_merge_names_conflicts_and_keeps_their_tokens(cli: Cli, pool: Path, tmp_path: Path) -> None:
    other = inspect_log([inspect_sample("e0", 1, "0+1?", "7"), inspect_sample("e9", 1, "9+1?", "10")])
    for name, body in (("one", LOG), ("other", other)):
        path = write_json(tmp_path / f"{name}.json", body)
        cli("store", "import", f"{name}.sqlite", path, "--pool", pool, "--model", "S=mockllm/model")
    done = cli("store", "merge", "one.sqlite", "other.sqlite")
    assert done.code == 0
    assert "other.sqlite: 1 samples added, 0 there already, 1 in conflict; 0 attempts, 0 verdicts, 1 texts" in done.out
    assert "test/small t0.7, problem 'e0', sample 0: another generation is there" in done.out
    again = cli("store", "merge", "one.sqlite", "other.sqlite", "other.sqlite")
    assert again.out.count("0 samples added, 1 there already, 1 in conflict; 0 attempts") == 2
    assert "1 attempts of the kind cancelled: 30 prompt, 11 completion tokens" in cli("store", "one.sqlite").out
    assert cli("store", "verify", "one.sqlite").code == 0


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_export_and_import_give_the_same_store(cli: Cli, log: Path, ending: str) -> None:
    cli("store", "import", "s.sqlite", log)
    with sqlite3.connect("s.sqlite") as db:
        db.execute("INSERT INTO attempts VALUES (1, 9, 'error', 'down', 'job', 1, NULL, 0)")
        db.execute("INSERT INTO verdicts VALUES ('math', '1', 'one', 1, NULL)")
    assert "6 samples in" in cli("store", "export", "s.sqlite", f"all.{ending}").out
    assert cli("store", "import", "t.sqlite", f"all.{ending}").code == 0
    tables = {
        "samples": "SELECT k.problem, model, params, s.* FROM samples AS s JOIN keys AS k USING (key_id) ORDER BY seed",
        "attempts": "SELECT k.problem, model, params, a.* FROM attempts AS a JOIN keys AS k USING (key_id)",
        "verdicts": "SELECT * FROM verdicts",
        "problems": "SELECT * FROM problems",
    }
    for table, query in tables.items():
        one, other = (pd.read_sql(query, sqlite3.connect(name)) for name in ("s.sqlite", "t.sqlite"))
        assert len(one)
        pd.testing.assert_frame_equal(
            one.drop(columns="key_id", errors="ignore"), other.drop(columns="key_id", errors="ignore"), obj=table
        )


def test_what_is_skipped_is_said_once_for_each_reason(cli: Cli, tmp_path: Path) -> None:
    lines = [harness_line(i, f"{i}+1?", ["2"], filter=name) for name in ("strict", "flexible") for i in range(3)]
    done = cli("store", "import", "s.sqlite", write_harness(tmp_path, lines))
    assert done.code == 0 and "3 samples added" in done.out
    assert "3 skipped: a further filter (flexible) of generations that are there already; first" in done.out
    assert "line 4 (doc_id 0)" in done.out


def test_samples_filed_apart_are_replayed_after_export(cli: Cli, log: Path) -> None:
    done = cli("store", "import", "s.sqlite", log)
    assert "6 filed apart, no run looks for them (export and replay them): no pool is given" in done.out
    cli("store", "export", "s.sqlite", "all.parquet")
    done = cli("run", "--engine", "replay:all.parquet", "--route", "mv_mockllm-model_k3_t0.7", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["problems"] == 2


@pytest.mark.parametrize("form", ["inspect", "lm-eval"])
def test_logs_for_other_tools(cli: Cli, pool: Path, recording: Path, form: str) -> None:
    cli("store", "import", "s.sqlite", recording)
    done = cli("store", "export", "s.sqlite", "logs", "--format", form)
    assert done.code == 0, done.err
    files = done.out.split()
    assert len(files) == 2 and all(Path(file).exists() for file in files)  # one for each model


def test_texts_that_a_store_lacks_come_from_a_file(cli: Cli, pool: Path, log: Path, tmp_path: Path) -> None:
    cli("store", "import", "s.sqlite", log, "--pool", pool, "--model", "S=mockllm/model")
    with sqlite3.connect("s.sqlite") as db:
        db.execute("DELETE FROM problems")
    done = cli("store", "export", "s.sqlite", "logs", "--format", "inspect")
    assert done.code == 2 and "--problems FILE" in done.err
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps({"id": i, "problem": f"{i}+1?"}) for i in range(2)))
    assert cli("store", "export", "s.sqlite", "logs", "--format", "inspect", "--problems", "p.jsonl").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.sqlite",), "store none.sqlite is not there: check the path"),
        (("verify", "none.sqlite"), "store none.sqlite is not there"),
        (("merge", "new.sqlite", "none.sqlite"), "store none.sqlite is not there"),
        (("export", "none.sqlite", "out.parquet"), "store none.sqlite is not there"),
        (("import", "new.sqlite", "none.json"), "none.json is not there"),
        (("import", "new.sqlite", "none.json", "--model", "A=B"), "--model A=B: an alias is of a pool"),
        (
            ("import", "new.sqlite", "none.json", "--pool", "tiny", "--model", "9B=x"),
            "--model 9B=x: unknown model '9B'",
        ),
    ],
)
def test_what_cannot_be_done_is_said(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = cli("store", *arguments)
    assert done.code == 2 and said in done.err


def test_a_store_is_not_merged_into_itself(cli: Cli, log: Path) -> None:
    cli("store", "import", "s.sqlite", log)
    assert "cannot be merged into itself" in cli("store", "merge", "s.sqlite", "./s.sqlite").err


def test_unknown_formats_and_endings(cli: Cli, log: Path) -> None:
    cli("store", "import", "s.sqlite", log)
    assert "to .parquet or .jsonl" in cli("store", "export", "s.sqlite", "out.xlsx").err
    assert (
        "--format is 'csv': give inspect or lm-eval" in cli("store", "export", "s.sqlite", "o", "--format", "csv").err
    )


def test_without_arguments_the_commands_are_listed(cli: Cli) -> None:
    done = cli("store")
    assert all(word in done.out + done.err for word in ("show", "verify", "merge", "export", "import"))
