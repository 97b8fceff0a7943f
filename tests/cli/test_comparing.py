import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from escalade.cli.comparing import routes_of, targets_of
from escalade.comparison.policy_rows import PolicyRow
from escalade.errors import SettingError
from tests.cli.conftest import Cli

CASCADE = "mv_cascade_S_k5_t0.7_L_k1_t0.7"


def test_compare_a_recorded_pool(cli: Cli, recording: Path, pool_file: Path, tmp_path: Path):
    said = cli("compare", recording, "--pool", pool_file, "-r", CASCADE, "--target", "0.5,0.82,0.9", "-o", "c")
    assert said.code == 0 and "4 problems of recording" in said.err
    for part in ("S k5 > L t0.7 @0.82..0.90", "one L t0.7", "oracle", "What the same money buys", "zero router"):
        assert part in said.out, part
    assert "reference: one L t0.7, one sample of the dearest model" in said.out
    assert "None of 3 policies is shown to lose less than 1 point to one L t0.7" in said.out
    assert "escalade report c" in said.out
    table = pd.read_parquet(tmp_path / "c" / "comparison.parquet")
    assert sorted(table.loc[table["kind"] == "route", "target"]) == [0.5, 0.82, 0.9]
    facts = json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8"))
    assert facts["source"] == f"recording {recording}" and facts["pool"] == "mine" and facts["escalade"]
    assert set(facts["fingerprints"]) == {"samples", "problems", "pool"}


def test_tables_fit_into_100_columns_and_cut_nothing(cli: Cli):
    said = cli("compare", "--target", "0.5..0.99", "--steps", 3)
    tables = [line for line in said.out.splitlines() if "  " in line]
    assert said.code == 0 and tables and max(len(line.rstrip()) for line in tables) <= 100
    assert "\u2026" not in said.out
    folded = "".join(line.split("  ")[0].strip() for line in said.out.splitlines())
    assert "mv_cascade_135M_k5_t0.7_0.5B_k5_t0.7_1.5B_k1_t0.0" in folded
    assert "no routes given: taking mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7" in said.out


def test_json_has_everything_and_nothing_else_is_printed(cli: Cli, recording: Path, pool_file: Path):
    said = cli("compare", recording, "-p", pool_file, "-r", CASCADE, "--json")
    body = json.loads(said.out)
    names = {each["name"]: each for each in body["policies"]}
    assert said.err == "" and names["S k5 > L t0.7"]["cost_usd"] == pytest.approx(20.3e-6)
    assert {rival["sort"] for rival in body["rivals"]["S k5 > L t0.7"]} == {"vote", "mix", "pair"}
    assert body["frontier"]["aiq"] is not None and body["frontier"]["in_sample"] is True


def test_what_was_left_out_is_said(cli: Cli):
    said = cli("compare", "-s", "all")
    assert said.code == 0 and "always_1.5B" in said.out
    assert "left out: cascade, bayesian_robust" in said.out and "needs scores of 1.5B and 7B" in said.out


def test_a_column_of_another_unit_can_be_priced(cli: Cli, recording: Path, pool_file: Path, tmp_path: Path):
    table = pd.read_parquet(recording).drop(columns=["prompt_tokens", "completion_tokens"])
    table["n_chars"] = 10 * (1 + (table["model"] == "L"))
    table.to_parquet(tmp_path / "chars.parquet")
    unknown = cli("compare", "chars.parquet", "-p", pool_file, "-r", CASCADE)
    assert "costs of S, L are unknown (no counts of tokens)" in unknown.out and "--cost-column" in unknown.out
    assert "costs are unknown" in unknown.out and "USD" not in unknown.out
    body = json.loads(
        cli("compare", "chars.parquet", "-p", pool_file, "-r", "mv_L_k1_t0.7", "--cost-column", "n_chars", "--json").out
    )
    costs = {each["name"]: each["cost_usd"] for each in body["policies"]}
    assert body["unit"] == "n_chars" and costs["one L t0.7"] == pytest.approx(20e-6)
    assert costs["one S t0.7"] == pytest.approx(1e-6)
    wrong = cli("compare", "chars.parquet", "-p", pool_file, "--cost-column", "n_char")
    assert wrong.code == 2 and "did you mean 'n_chars'?" in wrong.err
    each = json.loads(
        cli("compare", "chars.parquet", "-p", pool_file, "-r", "mv_L_k1_t0.7", "--cost-column", "samples", "--json").out
    )
    assert {p["name"]: p["cost_usd"] for p in each["policies"]}["one L t0.7"] == pytest.approx(1e-6)


def test_a_store_is_a_source(cli: Cli, recording: Path, pool_file: Path, tmp_path: Path):
    problems = pd.read_parquet(recording).drop_duplicates("problem_id")[["problem_id", "problem", "gold_answer"]]
    problems.to_parquet(tmp_path / "problems.parquet")
    for route in ("mv_S_k5_t0.7", "mv_L_k3_t0.7"):
        settings = ("--pool", pool_file, "--store", "s.sqlite", "--stop", "none", "--out", "o")
        assert cli("run", "--engine", f"replay:{recording}", "-r", route, *settings).code == 0
    refused = cli("compare", "s.sqlite", "-p", pool_file, "-r", CASCADE)
    assert refused.code == 2 and "keeps samples, but no texts and gold answers" in refused.err
    asked = ("-p", pool_file, "-r", CASCADE, "--json")
    stored = json.loads(cli("compare", "s.sqlite", "--problems", "problems.parquet", *asked).out)
    recorded = json.loads(cli("compare", recording, *asked).out)
    assert stored["policies"] == recorded["policies"] and stored["verdict"] == recorded["verdict"]


def test_a_run_that_stopped_early_is_no_fair_draw_and_that_is_said(cli: Cli, recording: Path, pool_file: Path):
    assert cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--out", "o").code == 0
    said = cli("compare", "o", "-p", pool_file, "-r", "mv_S_k1_t0.7")
    assert said.code == 0 and "problems have from 1 to 5 samples" in said.out and "no fair draw" in said.out
    refused = cli("compare", "o", "-p", pool_file)
    assert refused.code == 2 and "draw whole ballots" in refused.err


def test_a_data_set_and_complete_problems(cli: Cli, recording: Path, pool_file: Path, tmp_path: Path):
    table = pd.read_parquet(recording)
    other = table.assign(dataset="two")[(table["problem_id"] != "p4") | (table["model"] == "S")]
    pd.concat([table.assign(dataset="one"), other]).to_parquet(tmp_path / "sets.parquet")
    said = cli("compare", "sets.parquet", "-p", pool_file, "-r", CASCADE, "--dataset", "two", "--complete")
    assert said.code == 0 and "3 problems of recording sets.parquet, data set two" in said.err
    assert "left out without samples of every model (--complete): 1 problem\n" in said.out
    refused = cli("compare", "sets.parquet", "-p", pool_file, "-r", CASCADE, "--dataset", "two")
    assert refused.code == 2 and "has 0 for problem 'two/p4'" in refused.err
    unknown = cli("compare", "sets.parquet", "--dataset", "tow")
    assert unknown.code == 2 and "it has one, two; did you mean 'two'?" in unknown.err


def test_near_duplicates_are_one_group(cli: Cli):
    pytest.importorskip("datasketch", reason="finding near-duplicates needs datasketch")
    said = cli("compare", "--grouped", "--json", "-r", "0.5B")
    assert said.code == 0 and json.loads(said.out)["grouped"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.parquet"], "source 'nowhere.parquet' is not there"),
        (["-r", "mv_0.5B_k9_t0.7"], "9 samples of 0.5B"),
        (["-r", "nix"], "unknown model 'nix'"),
        (["-s", "cascade"], "needs scores of 1.5B and 7B"),
        (["-s", "all,cascade"], "give all, or names"),
        (["--reference", "nix"], "reference 'nix' is no policy here"),
        (["--margin", "1"], "margin 1.0 is not between 0 and 1"),
        (["--level", "95"], "level 95.0 is not between 0 and 1"),
        (["--target", "0.9..0.5"], "is no range"),
        (["--target", "nine"], "'nine' is no number in [0, 1]"),
        (["-r", "@nowhere"], "nowhere cannot be read"),
        (["--confidence", "hope"], "confidence 'hope' is unknown"),
        (["--prior-strength", "-1"], "prior_strength is -1.0: give a number of votes"),
        (["--confidence", "prior", "--aggregate", "pooled"], "use aggregate 'last'"),
        (["--dataset", "x"], "it has no column dataset"),
    ],
)
def test_messages_name_the_thing_and_the_remedy(cli: Cli, arguments: list[str], message: str):
    said = cli("compare", *arguments)
    assert said.code == 2 and message in said.err and "Traceback" not in said.err


def test_routes_from_a_file_and_targets(tmp_path: Path):
    path = tmp_path / "routes.txt"
    path.write_text("# mine\n0.5B\nmv_0.5B_k5_t0.7  # five\n\n", encoding="utf-8")
    assert routes_of([f"@{path}", "1.5B,0.5B"]) == ["0.5B", "mv_0.5B_k5_t0.7", "1.5B"]
    path.write_text("# none\n", encoding="utf-8")
    with pytest.raises(SettingError, match="has no route"):
        routes_of([f"@{path}"])
    assert targets_of("0.5..0.99", 2) == [0.5, 0.99]


def test_of_one_problem_nothing_is_in_the_plural_or_endless(
    cli: Cli, recording: Path, pool_file: Path, tmp_path: Path
) -> None:
    table = pd.read_parquet(recording)
    table[table["problem_id"] == "p1"].to_parquet(tmp_path / "one.parquet")
    said = cli("compare", "one.parquet", "-p", pool_file, "-r", CASCADE)
    assert said.code == 0 and "1 problem of recording" in said.err and "with 1 problem it may" in said.out
    table[table["problem_id"] < "p4"].to_parquet(tmp_path / "three.parquet")
    few = cli("compare", "three.parquet", "-p", pool_file, "-r", CASCADE)
    assert few.code == 0 and " 0.0 " in few.out
    for wrong in ("1 problems", "inf", "+0.0", "-0.0"):
        assert wrong not in said.out + said.err + few.out + few.err


def test_the_page_shows_what_the_command_prints(cli: Cli):
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    command, _, shown = page.partition("```console\n$ escalade ")[2].partition("```")[0].partition("\n")
    said = cli(*shlex.split(command))
    assert said.code == 0 and said.out.split() == shown.split()


def test_the_page_explains_every_column():
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    assert not [name for name in PolicyRow.__annotations__ if f"`{name}`" not in page]


def test_priors_are_compared_at_their_strength(cli: Cli, recording: Path, pool_file: Path) -> None:
    pd.DataFrame({"id": ["p1", "p2", "p3", "p4"], "score_S": [0.9, 0.2, 0.9, 0.9]}).to_csv("s.csv", index=False)
    asked = ("compare", recording, "-p", pool_file, "-r", CASCADE, "--target", "0.8", "--scores", "s.csv", "--json")

    def spent(*options: object) -> tuple[object, float]:
        body = json.loads(cli(*asked, *options).out)
        return body["prior_strength"], next(p for p in body["policies"] if p["kind"] == "route")["samples"]

    assert spent() == (None, spent("--confidence", "prior", "--prior-strength", 0)[1])
    strength, samples = spent("--confidence", "prior", "--prior-strength", 5)
    # p1 stops at 4-0 of 5 by share, at 3-0 by prior; of p2, unanimous and wrong, nothing is drawn.
    assert strength == 5.0 and samples < spent()[1]


def test_calibrated_confidence_says_what_it_was_fitted_on(cli: Cli) -> None:
    assert cli("calibrate", "--k", "5", "--out", "c.json").code == 0
    route = ("-r", "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", "--target", "0.5")
    said = cli("compare", *route, "--confidence", "calibrated", "--calibration", "c.json", "--json")
    body = json.loads(said.out)
    assert any("fitted on 60 of these problems" in note for note in body["source_notes"])
    assert body["confidence"] == "calibrated"
