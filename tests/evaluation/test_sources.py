"""Sources on the recorded pools that people have, and what is said of them."""

import os
from pathlib import Path

import pandas as pd
import pytest

from escalade.comparison.comparison import compare
from escalade.errors import TableError
from escalade.evaluation.groups import near_duplicates
from escalade.evaluation.inventory import inventory
from escalade.evaluation.sources import open_bank
from escalade.pool import Pool, PoolModel, Price

FOLDER = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pools"


def recorded(name: str) -> Path:
    path = FOLDER / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"recorded data absent: {path} (set ESCALADE_DATA to its folder)")
    return path


def priced(**models: tuple[str, str]) -> Pool:
    return Pool(
        name="priced",
        models=tuple(
            PoolModel(alias=alias, name=name, engine="replay", price=Price(input=price, cached=price, output=price))
            for alias, (name, price) in models.items()
        ),
    )


MATH = {
    "S": ("llama-3.1-8b-instruct", "0.2"),
    "M": ("deepseek-r1-distill-llama-8b", "0.2"),
    "L": ("r1-distill-llama-8b+qwq-32b", "0.9"),
}


def test_characters_stand_in_for_tokens() -> None:
    path = recorded("math100_ladder_samples")
    without = open_bank(path, pool=priced(**MATH))
    assert any("no counts of tokens" in note and "--cost-column" in note for note in without.notes)
    opened = open_bank(path, pool=priced(**MATH), cost_column="n_chars")
    shelves = {shelf.alias: shelf for shelf in inventory(opened.bank)}
    assert [(shelf.temperature, shelf.least) for shelf in shelves.values()] == [(0.0, 18), (0.8, 80), (0.8, 32)]
    assert shelves["L"].cost == pytest.approx(0.9e-6 * 6738, rel=0.01) and opened.unit == "n_chars"
    found = compare(opened.bank, ["mv_cascade_S_k5_t0.0_L_k1_t0.8"], targets=[1.0])
    cascade = next(row for row in found.rows if row.kind == "route")
    assert found.reference == "one L t0.8" and cascade.non_inferior and cascade.cost_ratio < 1
    assert "perhaps" in cascade.money and "That it is cheaper is not shown" in found.verdict


def test_a_saving_that_is_shown_is_not_when_problems_share_premises(tmp_path: Path) -> None:
    """BBH date: 369 questions about some forty premises."""
    pytest.importorskip("datasketch", reason="finding near-duplicates needs datasketch")
    texts = pd.read_parquet(recorded("mot_problems")).query("dataset == 'date'").set_index("problem_id")["problem"]
    table = pd.read_parquet(recorded("mot_gsm8k_date_samples"), filters=[("dataset", "==", "date")])
    table = table[table["variant"].isin(["cot1_t0.4", "cot2_t0.4", "cot1_greedy", "cot2_greedy"])]
    table.assign(problem=table["problem_id"].map(texts)).to_parquet(tmp_path / "date.parquet")
    pool = priced(S=("gpt-3.5-turbo", "1"), L=("gpt-4", "30"))
    bank = open_bank(tmp_path / "date.parquet", pool=pool, cost_column="samples").bank
    premises = near_duplicates([problem.text for problem in bank.problems])
    assert len(bank) == 369 and 30 < len(set(premises)) < 60
    route = ["mv_cascade_S_k5_t0.4_L_k1_t0.0"]
    alone, grouped = (compare(bank, route, targets=[1.0], margin=0.03, groups=g) for g in (None, premises))
    free, bound = (next(row for row in found.rows if row.kind == "route") for found in (alone, grouped))
    assert free.money.startswith("saves") and free.accuracy == bound.accuracy
    assert bound.money == "not shown" and grouped.verdict.startswith("None of")


def test_greedy_samples_are_known_from_others() -> None:
    opened = open_bank(recorded("embedded_gsm8k_samples"))
    assert {(s.alias[:9], s.temperature, s.least, s.greedy) for s in inventory(opened.bank)} == {
        (name, t, least, t == 0) for name in ("SmolLM2-1", "Qwen2.5-C") for t, least in ((0.0, 1), (0.7, 8))
    }
    assert len(set(opened.fingerprints.values())) == 3


def test_the_same_problems_have_one_fingerprint_under_any_ids(tmp_path: Path) -> None:
    def problems_of(**changes: object) -> str:
        rows = {"problem_id": ["a", "b"], "problem": ["1 + 0?", "1 + 1?"], "gold_answer": ["1", "2"], "model": "S"}
        table = pd.DataFrame({**rows, "temperature": 0.7, "sample_index": 0, "answer": "1", **changes})
        table.to_parquet(tmp_path / "made.parquet")
        pool = Pool(name="mine", models=(PoolModel(alias="S", name="S", engine="replay"),))
        return open_bank(tmp_path / "made.parquet", pool=pool).fingerprints["problems"]

    assert problems_of() == problems_of(problem_id=["b", "c"]) != problems_of(problem=["1 + 0?", "2 + 0?"])


def test_a_column_that_cannot_be_priced_is_refused() -> None:
    with pytest.raises(TableError, match="column 'gold_answer' holds no numbers"):
        open_bank("shipped", cost_column="gold_answer")
    with pytest.raises(TableError, match="mean_logprob is"):
        open_bank("shipped", cost_column="mean_logprob")
