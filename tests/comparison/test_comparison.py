"""Comparisons: numbers worked out by hand, against live replays, and what may and may not be said of them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import escalade
from escalade.cascade.policy import Policy
from escalade.comparison.comparison import Comparison, compare
from escalade.comparison.points import Panel
from escalade.comparison.policy_rows import Judge, PolicyRow
from escalade.errors import SettingError, StrategyError, TableError
from escalade.evaluation.bank import Bank
from escalade.pool import Pool, PoolModel, Price
from escalade.problems import Problem
from escalade.report.comparisons import read_comparison
from escalade.samples.recorded import Rows
from escalade.samples.sample import Generation
from escalade.strategies import Inputs, Strategy, strategies

CASCADE = "mv_cascade_S_k5_t0.7_L_k1_t0.7"
ONE_L = "mv_L_k1_t0.7"
CONTRACT = [
    "name",
    "kind",
    "route",
    "target",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "cost_usd",
    "cost_low",
    "cost_high",
    "tokens",
    "samples",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "cost_ratio",
    "cost_ratio_low",
    "cost_ratio_high",
    "non_inferior",
    "exact",
    "on_frontier",
    "escalated",
    "tiers",
    "in_sample",
]


def model(alias: str, price: str | None) -> PoolModel:
    priced = None if price is None else Price(input=price, cached="0", output=price)
    return PoolModel(alias=alias, name=f"test/{alias}", engine="replay", price=priced)


def drawn(answers: list[str | None]) -> Rows:
    made = [Generation(f"{a}", answer=a, prompt_tokens=20, completion_tokens=10, mean_logprob=-0.5) for a in answers]
    return Rows((0.7,) * len(made), tuple(made))


def bank_of(votes: dict[str, tuple[str, list[str | None], list[str | None]]], prices: tuple[str | None, ...]) -> Bank:
    """S and L by problem: gold answer, answers of S, answers of L. A score says whether S is mostly right."""
    problems = tuple(
        Problem(ident, f"What is {ident}?", gold, {"S": small.count(gold) / len(small), "L": 0.9})
        for ident, (gold, small, _) in votes.items()
    )
    rows = {
        (ident, alias): drawn(answers)
        for ident, (_, *both) in votes.items()
        for alias, answers in zip("SL", both, strict=True)
    }
    pool = Pool(name="two", models=(model("S", prices[0]), model("L", prices[1])))
    return Bank(pool, problems, rows, "made by hand")


FOUR: dict[str, tuple[str, list[str | None], list[str | None]]] = {
    "sure": ("4", ["4"] * 5, ["4"] * 3),
    "wrong": ("7", ["9"] * 5, ["7"] * 3),
    "torn": ("5", ["1", "2", "1", "2", "3"], ["5"] * 3),
    "mute": ("6", [None] * 5, ["6", "6", "8"]),
}


@pytest.fixture(scope="module")
def four() -> Bank:
    return bank_of(FOUR, ("0.1", "1"))


@pytest.fixture(scope="module")
def shipped() -> Bank:
    return Bank.of_recording("shipped")


def row(found: Comparison, name: str) -> PolicyRow:
    return next(each for each in found.rows if each.name == name)


def test_a_cascade_worked_out_by_hand(four: Bank) -> None:
    found = compare(four, [CASCADE])
    cascade, small, large = (row(found, name) for name in ("S k5 > L t0.7", "one S t0.7", "one L t0.7"))
    assert found.reference == "one L t0.7" and "dearest" in found.reference_why
    assert small.accuracy == pytest.approx(1 / 4) and large.accuracy == pytest.approx((3 + 2 / 3) / 4)
    assert cascade.accuracy == pytest.approx((1 + 0 + 1 + 2 / 3) / 4)
    # USD: the first sample of S 3e-6 with its prompt, each further 1e-6; L 30e-6. All five agree on two problems; of
    # `torn` a second sample is equal with probability 2/10 and then a third is drawn; `mute` is settled by the first.
    by_hand = (7 + 7 + (3 + 1.2 + 30) + (3 + 30)) * 1e-6 / 4
    assert cascade.cost_usd == pytest.approx(by_hand) and large.cost_usd == pytest.approx(30e-6)
    assert cascade.cost_ratio == pytest.approx(by_hand / 30e-6)
    assert cascade.difference == pytest.approx(-0.25) and cascade.escalated == pytest.approx(0.5)
    assert [(t.model, t.k, t.reached, t.decided) for t in cascade.tiers] == [("S", 5, 1, 0.5), ("L", 1, 0.5, 0.5)]
    assert sum(tier.samples for tier in cascade.tiers) == pytest.approx(cascade.samples)
    assert sum(tier.cost_usd for tier in cascade.tiers) == pytest.approx(cascade.cost_usd)
    assert cascade.exact and cascade.target == 0.9


def test_tiers_sum_to_the_policy(shipped: Bank) -> None:
    found = compare(shipped, targets=[0.5, 0.9])
    cascades = [each for each in found.rows if len(each.tiers) > 1 and each.kind == "route"]
    assert cascades
    for each in cascades:
        assert sum(tier.cost_usd for tier in each.tiers) == pytest.approx(each.cost_usd, rel=1e-9)
        assert sum(tier.samples for tier in each.tiers) == pytest.approx(each.samples)


def test_references_worked_out_by_hand(four: Bank) -> None:
    found = compare(four, [CASCADE])
    oracle = row(found, "oracle")  # `sure` by S, the others by L
    assert oracle.accuracy == pytest.approx((3 + 2 / 3) / 4) and oracle.cost_usd == pytest.approx((3 + 90) * 1e-6 / 4)
    assert oracle.in_sample and not oracle.on_frontier and math.isnan(oracle.accuracy_low)
    mix = next(rival for rival in found.rivals["S k5 > L t0.7"] if rival.sort == "mix")
    share = (row(found, "S k5 > L t0.7").cost_usd - 3e-6) / 27e-6
    assert mix.accuracy == pytest.approx((1 - share) * 0.25 + share * (3 + 2 / 3) / 4)
    vote = next(rival for rival in found.rivals["S k5 > L t0.7"] if rival.sort == "vote")
    assert (vote.name, vote.difference) == ("one S t0.7", pytest.approx(2 / 3 - 1 / 4))


@pytest.mark.parametrize("route", ["mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", "mv_1.5B_k5_t0.7"])
def test_numbers_are_the_mean_of_live_replays(shipped: Bank, route: str) -> None:
    found = next(
        each for each in compare(shipped.subset(range(20)), [route], targets=[0.8]).rows if each.kind == "route"
    )
    right, money = [], []
    for seed in range(25):
        live = escalade.run(route=route, engine="replay:shipped", policy=Policy(target=0.8), seed=seed, limit=20)
        summary = live.summary()
        right.append(summary.correct / 20)
        money.append(float(live.to_pandas()["total_cost_usd"].mean()))
    for mine, theirs in ((found.accuracy, right), (found.cost_usd, money)):
        assert mine == pytest.approx(np.mean(theirs), abs=4 * np.std(theirs, ddof=1) / 5)


def test_v10_no_point_below_the_cheapest_is_no_loss(four: Bank) -> None:
    """A policy dearer than all single models takes nothing from the area, and adds nothing to it."""
    found = compare(four, ["mv_L_k3_t0.7"])
    assert found.frontier["aiq"] == pytest.approx(found.frontier["aiq_zero"])
    assert found.frontier["gain"] == pytest.approx(0)


def test_v11_what_is_chosen_on_the_data_is_marked_and_proves_nothing() -> None:
    # S is sure and right, or torn: the pair that asks for unanimity is as good as L, and cheaper.
    votes: dict[str, tuple[str, list[str | None], list[str | None]]] = {
        f"p{i}": ("1", ["1"] * 8 if i % 2 else ["1", "2", "3", "4"] * 2, ["1"] * 3) for i in range(400)
    }
    found = compare(bank_of(votes, ("0.1", "1")), [ONE_L])
    pairs = [each for each in found.rows if each.kind == "reference" and each.route and "cascade" in each.route]
    assert pairs and all(each.in_sample for each in pairs)
    assert any(each.non_inferior and each.cost_ratio < 1 for each in pairs)
    assert found.verdict.startswith("The policy is not shown") and "in-sample, and so no finding" in found.verdict
    # Named beforehand the same cascade is a finding.
    named = compare(bank_of(votes, ("0.1", "1")), ["mv_cascade_S_k3_t0.7_c1.0_L_k1_t0.7"])
    assert not row(named, "S k3 c1 > L t0.7").in_sample and "Cheapest" in named.verdict
    assert row(named, "S k3 c1 > L t0.7").money.startswith("saves")


def test_p18_pass_at_k_is_not_the_mean(four: Bank) -> None:
    vote = row(compare(four, ["mv_L_k2_t0.7"]), "vote L k2")
    assert vote.pass_at_k == 1.0  # of 6, 6, 8 every two hold a right one
    assert vote.majority_at_k == pytest.approx(vote.accuracy)
    with pytest.raises(TableError, match="4 samples of L"):
        compare(four, ["mv_L_k4_t0.7"])


def test_a_loss_is_told_as_a_loss_and_a_saving_only_where_it_is_shown(four: Bank) -> None:
    found = compare(four, ["mv_L_k3_t0.7", CASCADE])
    dear, cheap = row(found, "vote L k3"), row(found, "S k5 > L t0.7")
    assert dear.cost_ratio > 1 and dear.money.startswith("costs 1.") and "times as much" in dear.money
    assert cheap.cost_ratio < 1 and cheap.non_inferior is False and cheap.money == "not shown"
    assert "None of" in found.verdict


def test_outcomes_of_0_and_1_are_tested_by_mcnemar(shipped: Bank) -> None:
    found = compare(shipped, ["0.5B", "mv_0.5B_k3_t0.7"])
    greedy, vote = row(found, "0.5B"), row(found, "vote 0.5B k3")
    assert (greedy.test, vote.test) == ("mcnemar", "paired")
    live = [escalade.run(route=route, engine="replay:shipped").to_pandas() for route in ("0.5B", "1.5B")]
    small, large = (table["majority_vote_is_correct"].astype(bool) for table in live)
    only = sorted([int((small & ~large).sum()), int((large & ~small).sum())])
    n, fewer = sum(only), only[0]
    assert greedy.p_value == pytest.approx(min(1, 2 * sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n))


def half(inputs: Inputs) -> list[str]:
    return ["mv_S_k1_t0.7" if p >= inputs.target else ONE_L for p in inputs.scores["S"]]


def test_a_strategy_takes_each_route_on_its_own_problems(four: Bank) -> None:
    found = compare(four, strategies=[Strategy("half", half, needs=("S",))], targets=[0.5, 1.0])
    mine = row(found, "half @1")  # `sure` by S, the others by L
    assert mine.accuracy == pytest.approx((3 + 2 / 3) / 4) and mine.cost_usd == pytest.approx((3 + 90) * 1e-6 / 4)
    assert mine.route is None and {(t.model, t.reached) for t in mine.tiers} == {("S", 0.25), ("L", 0.75)}
    assert mine.kind == "strategy" and row(found, "half @0.5").accuracy == mine.accuracy


def test_of_all_strategies_it_is_said_which_are_left_out_and_why(four: Bank, shipped: Bank) -> None:
    with pytest.raises(StrategyError, match=r"needs scores of 1\.5B and 7B"):
        compare(shipped, strategies=["cascade"])
    found = compare(shipped, strategies="all")
    there = {each.name for each in found.rows if each.kind == "strategy"}
    left = {left.name: left.reason for left in found.left_out}
    assert there >= {"always_1.5B"} and not there & set(left)
    assert len(there) + len(left) == len(strategies())
    assert "needs scores of 1.5B and 7B" in left["cascade"] and "72B" in left["always_72B"]
    with pytest.raises(SettingError, match="no strategy can be evaluated here"):
        compare(four, strategies="all")


def test_targets_that_play_no_part_make_no_policies(four: Bank) -> None:
    found = compare(four, [CASCADE, "mv_L_k2_t0.7", "mv_cascade_S_k5_t0.7_c0.6_L_k1_t0.7"], targets=[0.5, 0.9])
    named = {each.name: each.target for each in found.rows if each.kind == "route"}
    assert named == {
        "S k5 > L t0.7 @0.5": 0.5,
        "S k5 > L t0.7 @0.9": 0.9,
        "vote L k2": None,
        "S k5 c0.6 > L t0.7": None,
    }


def test_any_policy_may_be_the_reference(four: Bank) -> None:
    assert compare(four, [CASCADE], reference="S").reference == "one S t0.7"
    assert compare(four, [CASCADE], reference=CASCADE).reference == "S k5 > L t0.7"
    other = compare(four, [CASCADE], reference="mv_L_k3_t0.7")
    assert other.reference == "vote L k3" and row(other, "vote L k3").non_inferior is None
    with pytest.raises(SettingError, match="reference 'M' is no policy here"):
        compare(four, [CASCADE], reference="M")


def test_without_prices_nothing_is_said_of_money() -> None:
    found = compare(bank_of(FOUR, (None, None)), [CASCADE])
    assert all(math.isnan(each.cost_usd) and math.isnan(each.cost_ratio) for each in found.rows)
    assert not found.rivals and found.frontier["aiq"] is None and not any(each.on_frontier for each in found.rows)
    assert "costs are unknown" in found.reference_why and any("costs are unknown" in note for note in found.notes)


def test_a_price_of_nothing_is_a_price() -> None:
    found = compare(bank_of(FOUR, ("0", "1")), [CASCADE, "mv_S_k3_t0.7"])
    free = row(found, "vote S k3")
    assert (free.cost_usd, free.cost_low, free.cost_ratio) == (0, 0, 0) and free.money == "not shown"
    both = compare(bank_of(FOUR, ("0", "0")), [CASCADE])
    assert row(both, "S k5 > L t0.7").cost_usd == 0 and math.isnan(row(both, "S k5 > L t0.7").cost_ratio)


def test_groups_make_no_interval_narrower(four: Bank) -> None:
    votes = {f"{name}{i}": problem for i in range(20) for name, problem in FOUR.items()}
    bank = bank_of(votes, ("0.1", "1"))
    alone, together = (compare(bank, [CASCADE], groups=g) for g in (None, [i // 8 for i in range(80)]))
    narrow, wide = (row(found, "S k5 > L t0.7") for found in (alone, together))
    assert wide.difference_high - wide.difference_low >= narrow.difference_high - narrow.difference_low
    assert wide.accuracy == narrow.accuracy and wide.test == "paired"


def test_simulated_routes_are_marked_with_their_error(four: Bank) -> None:
    found = compare(four, [CASCADE], policy=Policy(stop="beta:0.95"), draws=50)
    again = compare(four, [CASCADE], policy=Policy(stop="beta:0.95"), draws=50)
    simulated = row(found, "S k5 > L t0.7")
    assert (
        not simulated.exact
        and simulated.accuracy_error > 0
        and simulated.to_dict() == row(again, "S k5 > L t0.7").to_dict()
    )
    assert found.settings["simulated"] >= 1


def test_what_is_written_is_what_a_report_reads(four: Bank, tmp_path: Path) -> None:
    found = compare(four, [CASCADE, "mv_L_k3_t0.7"], targets=[0.5, 0.9], facts={"source": "four"})
    folder = found.write(tmp_path / "out")
    table = pd.read_parquet(folder / "comparison.parquet")
    assert list(table.columns)[: len(CONTRACT)] == CONTRACT and len(table) == len(found.rows)
    assert table["cost_usd"].is_monotonic_increasing
    facts = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert facts["problems"] == 4 and facts["source"] == "four" and facts["reference"] == "one L t0.7"
    assert {"margin", "level", "stop", "confidence", "target", "frontier", "verdict"} <= set(facts)
    json.dumps(found.to_dict(), allow_nan=False)
    read = read_comparison(folder)
    assert read.verdict == found.verdict and [point.name for point in read.points] == [each.name for each in found.rows]


def test_the_frontier_is_what_none_beats(shipped: Bank) -> None:
    found = compare(shipped)
    front = [each for each in found.rows if each.on_frontier]
    assert [each.name for each in front] == found.frontier["points"]
    for each in found.rows:
        beaten = any(
            other.cost_usd <= each.cost_usd
            and other.accuracy >= each.accuracy
            and (other.cost_usd, -other.accuracy) != (each.cost_usd, -each.accuracy)
            for other in front
        )
        assert not (each.on_frontier and beaten)
        assert each.on_frontier or beaten or each.name == "oracle" or each.name.startswith("mix")


def test_problems_without_gold_answers_and_targets_out_of_range_are_refused(four: Bank) -> None:
    blind = Bank(four.pool, (Problem("sure", "What?"),), four.rows, "made by hand")
    with pytest.raises(SettingError, match="'sure' has no gold answer"):
        compare(blind, [CASCADE])
    with pytest.raises(SettingError, match="target is 90"):
        compare(four, [CASCADE], targets=[90])
    with pytest.raises(SettingError, match="targets is empty"):
        compare(four, [CASCADE], targets=[])


def test_rivals_cost_no_more_and_the_best_is_taken(shipped: Bank) -> None:
    found = compare(shipped, ["mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", "mv_1.5B_k3_t0.7"], targets=[0.5, 0.9])
    costs = {each.name: each for each in found.rows}
    for name, rivals in found.rivals.items():
        mine = costs[name]
        for rival in rivals:
            assert rival.cost_usd <= mine.cost_usd * (1 + 1e-9)
            assert rival.difference == pytest.approx(mine.accuracy - rival.accuracy)
            assert rival.interval.low <= rival.difference <= rival.interval.high
        by_sort = {rival.sort: rival for rival in rivals}
        if "vote" in by_sort:  # a coin may always fall on the best of one model that is within the money
            assert by_sort["mix"].accuracy >= by_sort["vote"].accuracy - 1e-12
        assert rivals and name not in {rival.name for rival in rivals}


def test_the_oracle_is_above_every_mix_of_single_samples(shipped: Bank) -> None:
    curves = compare(shipped).frontier
    zero = np.array([[cost, accuracy] for cost, accuracy, _ in curves["zero"]])
    for cost, accuracy in curves["oracle"]:
        assert accuracy >= np.interp(cost, zero[:, 0], zero[:, 1]) - 1e-12


def test_equal_policies_are_all_on_the_frontier_and_the_reference_keeps_its_name(shipped: Bank) -> None:
    found = compare(shipped, strategies=["always_1.5B"])
    assert found.reference == "1.5B" and row(found, "always_1.5B").on_frontier and row(found, "1.5B").on_frontier
    names = [each.name for each in found.rows]
    assert len(set(names)) == len(names)


def test_names_are_unique_where_short_names_are_not(four: Bank) -> None:
    found = compare(four, ["mv_cascade_S_k5_t0.7_L_k1_t0.7", "mv_S_k5_t0.7", "mv_S_k1_t0.7"], reference="S")
    names = [each.name for each in found.rows]
    assert len(set(names)) == len(names) and found.reference == "one S t0.7"
    assert row(found, "one S t0.7").kind == "route"


def test_policies_of_unknown_cost_are_one_only_if_they_draw_as_much() -> None:
    panel = Panel(Bank.of_recording("shipped"), Policy())
    greedy = panel.of_route("1.5B")
    unknown = replace(greedy, cost=np.full_like(greedy.cost, np.nan))
    assert unknown.same(replace(unknown, name="other"))
    assert not unknown.same(replace(unknown, samples=unknown.samples + 2))


def test_what_rounding_leaves_of_an_equal_cost_is_no_loss() -> None:
    reference = Panel(Bank.of_recording("shipped"), Policy()).of_route("1.5B")
    judge = Judge(reference, margin=0.01, level=0.95, groups=None, seed=0)
    for factor, ratio in ((1 + 1e-12, 1.0), (1.001, pytest.approx(1.001))):
        row = judge.row(replace(reference, name="as dear", cost=reference.cost * factor), on_frontier=False)
        assert row.cost_ratio == ratio
