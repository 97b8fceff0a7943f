"""The smallest real model through a vote and a cascade, by the command line a person types."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli, cli  # noqa: F401 - a fixture is used by its name

pytestmark = pytest.mark.model


def test_a_vote_then_the_same_again_from_the_store(cli: Cli, smallest_model: Path) -> None:  # noqa: F811
    command = ["run", "--pool", "tiny", "--route", "mv_135M_k3_t0.7", "--limit", "2", "--json"]
    first, second = json.loads(cli(*command).out), json.loads(cli(*command).out)
    assert first["statuses"].get("error") is None
    assert first["samples_generated"] > 0
    assert first["cost_usd"] > 0
    assert second["samples_generated"] == 0
    assert second["spent_usd"] == 0
    same = ("accuracy", "cost_usd", "statuses", "samples_drawn", "samples_saved", "completion_tokens", "tiers")
    assert [first[key] for key in same] == [second[key] for key in same]


def test_a_cascade_of_two_tiers_of_a_real_model(cli: Cli, smallest_model: Path) -> None:  # noqa: F811
    # Both tiers are the 135M: what is tested is the climb, and one load of the weights is enough for it.
    route = "mv_cascade_135M_k2_t0.7_135M_k1_t0.0"
    said = cli("run", "--pool", "tiny", "--route", route, "--limit", "2", "--target", "1.0")
    assert said.code == 0, said.err
    table = pd.read_parquet("escalade-out/answers.parquet")
    assert len(table) == 2
    assert set(table["status"]) <= {"accepted", "last_tier", "fallback", "no_answer"}
    for trace, total in zip(table["trace"], table["total_cost_usd"], strict=True):
        tiers = json.loads(trace)
        assert sum(float(tier["cost_usd"]) for tier in tiers) == pytest.approx(total, rel=1e-12)
        for tier in tiers:
            assert all(tokens > 0 for tokens in tier["completion_tokens"])
    story = cli("explain", "escalade-out/answers.parquet", str(table["idx"][0]))
    assert "tier 1" in story.out


def test_a_recording_is_made_and_replayed(cli: Cli, smallest_model: Path) -> None:  # noqa: F811
    Path("one.toml").write_text(
        'prompt = "concise"\nmax_tokens = 60\n\n[[models]]\nalias = "135M"\nname = "SmolLM2-135M-Instruct"\n'
        f'file = "{smallest_model}"\nsha256 = "{smallest_model.stem}"\nprice = {{ input = 1, output = 1 }}\n',
        encoding="utf-8",
    )
    recorded = cli("record", "--pool", "one.toml", "--samples", "2", "--greedy", "--limit", "1", "--out", "r.parquet")
    assert recorded.code == 0, recorded.err
    assert "3 samples in r.parquet" in recorded.out
    replayed = json.loads(cli("run", "--engine", "replay:r.parquet", "--route", "mv_135M_k2_t0.7", "--json").out)
    assert replayed["problems"] == 1
    assert replayed["cost_usd"] > 0  # the recording carries its pool, and with it the prices
