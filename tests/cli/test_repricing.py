import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli, Said

DATED = """
[[models.prices]]
from = 2026-01-01
input = 0.1
output = 0.1
[[models.prices]]
from = 2026-06-01
input = 0.2
output = 0.2
"""


@pytest.fixture
def ran(cli: Cli, recording: Path, pool_file: Path) -> Said:
    return cli("run", "--engine", f"replay:{recording}", "--pool", pool_file, "--out", "o")


@pytest.fixture
def dated_file(tmp_path: Path) -> Path:
    path = tmp_path / "dated.toml"
    large = 'price = { input = 1, output = 1 }\n[[models]]\nalias = "S"\nname = "test/small"\n'
    path.write_text('[[models]]\nalias = "L"\nname = "test/large"\n' + large + DATED, encoding="utf-8")
    return path


def test_reprice_by_the_same_prices_says_the_same(cli: Cli, ran: Said, pool_file: Path, tmp_path: Path):
    assert ran.code == 0
    said = cli("reprice", "o", "--pool", pool_file)
    assert said.code == 0 and "the same" in said.out and "nothing is written" in said.out
    row = next(line.split() for line in said.out.splitlines() if line.startswith("all"))
    assert row[2] == row[3]


def test_reprice_by_the_day(cli: Cli, ran: Said, dated_file: Path):
    def costs(day: str) -> tuple[list[tuple[str, str, str]], dict[str, object]]:
        body = json.loads(cli("reprice", "o", "--pool", dated_file, "--as-of", day, "--json").out)
        return [(t["model"], t["before_usd"], t["after_usd"]) for t in body["tiers"]], body

    (small, large), body = costs("2026-05-31")
    assert small[1] == small[2] and large[1] == large[2]
    assert body["prices"]["S"]["from"] == "2026-01-01" and body["prices_as_of"] == "2026-05-31"  # type: ignore[index]
    (small, large), body = costs("2026-06-01")
    assert float(small[2]) == pytest.approx(2 * float(small[1])) and large[1] == large[2]
    said = cli("reprice", "o", "--pool", dated_file, "--as-of", "2026-06-01")
    assert "of 2026-06-01" in said.out and "without dates: L" in said.out


def test_reprice_writes_where_told(cli: Cli, ran: Said, pool_file: Path, tmp_path: Path):
    before = {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()}
    said = cli("reprice", "o", "--pool", pool_file, "--billing", "each", "--out", "again")
    assert said.code == 0 and "written to again" in said.out and "billed each" in said.out
    assert {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()} == before
    summary = json.loads((tmp_path / "again" / "summary.json").read_text())
    table = pd.read_parquet(tmp_path / "again" / "answers.parquet")
    assert summary["billing"] == "each" and summary["cost_usd"] == pytest.approx(table["total_cost_usd"].sum())
    assert summary["cost_usd"] > json.loads(before["summary.json"])["cost_usd"]


def test_reprice_says_what_is_unknown(cli: Cli, ran: Said, pool_file: Path):
    pool_file.write_text(pool_file.read_text().replace("price = { input = 1, output = 1 }", ""))
    said = cli("reprice", "o", "--pool", pool_file)
    assert said.code == 0 and "unknown" in said.out and "note: model 'L' has no price in pool 'mine'" in said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as-of", "spring"), "--as-of: 'spring' is no date: write YYYY-MM-DD"),
        (("--as-of", "2026-01-01"), "--as-of chooses among prices with dates, and pool 'mine' has none"),
        (("--billing", "twice"), "billing is 'twice': it is one of once, cached, each"),
    ],
)
def test_reprice_refuses_what_it_cannot_use(
    arguments: tuple[str, ...], said: str, cli: Cli, ran: Said, pool_file: Path
):
    refused = cli("reprice", "o", "--pool", pool_file, *arguments)
    assert refused.code == 2 and said in refused.err


def test_reprice_of_a_day_without_a_price_names_model_and_day(cli: Cli, ran: Said, dated_file: Path):
    refused = cli("reprice", "o", "--pool", dated_file, "--as-of", "2025-01-01")
    assert refused.code == 2 and "model 'S' has no price in force on 2025-01-01" in refused.err
