"""Gates in tuning: what is planted is found at its price, what is not there is not gained, and they come to an end."""

import os
import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank
from escalade.evaluation.sources import open_bank
from escalade.pool import Pool, PoolModel, Price
from escalade.problems import Scoring
from escalade.routes import Route, parse_route
from escalade.tuning.candidate import Candidate, deciding_scores, scoring_of, try_one
from escalade.tuning.candidates import Sort, Trials, try_all
from escalade.tuning.certificate import certify, realised
from escalade.tuning.coins import CAUTION, ahead_of_coins, coin
from escalade.tuning.gating import MOST, halves, pairings
from escalade.tuning.tuning import Goal, Tuned, tune
from tests.evaluation import pools
from tests.tuning.planted import LARGE, SCORING, SMALL, planted

ONE_SMALL, ONE_LARGE = "mv_S_k1_t0.7", "mv_L_k1_t0.7"


def place(trials: Trials, way: str) -> int:
    return next(i for i, each in enumerate(trials.candidates) if each.way == way)


def test_what_is_planted_is_found_at_its_exact_price() -> None:
    tuned = tune(try_all(planted()), Goal(accuracy=1.0), repeats=2)
    assert tuned.chosen.way == f"{ONE_SMALL} where score of L >= 0.7, else {ONE_LARGE}"
    assert tuned.chosen.sort is Sort.GATE
    by_hand = (20 * float(SMALL) + 40 * float(LARGE)) / 60 + SCORING
    for found in (tuned.in_sample, tuned.held_out):  # every training part has the same scores: they choose alike
        assert found.accuracy.value == 1.0
        assert found.cost.value == pytest.approx(by_hand, rel=1e-12)


def test_a_single_sample_that_its_own_score_lets_through_is_such_a_gate_and_simpler() -> None:
    # The score settles the tier before its sample is drawn, so that nothing is paid where it hands on.
    trials = try_all(planted(alias="S"))
    gate = place(trials, f"{ONE_SMALL} where score of S >= 0.7, else {ONE_LARGE}")
    cascade = place(trials, "mv_cascade_S_k1_t0.7_c0.7_L_k1_t0.7")
    np.testing.assert_array_equal(trials.correct[gate], trials.correct[cascade])
    np.testing.assert_allclose(trials.cost[gate], trials.cost[cascade], rtol=1e-12)
    assert tune(trials, Goal(accuracy=1.0), repeats=1).chosen is trials.candidates[cascade]
    late = try_all(planted(alias="S"), [Policy(stop="none")])  # here it is drawn all the same
    saved = late.cost[place(late, trials.candidates[cascade].way)] - late.cost[place(late, trials.candidates[gate].way)]
    np.testing.assert_allclose(saved, [0] * 20 + [float(SMALL)] * 40, rtol=1e-9, atol=1e-18)


def test_the_score_of_another_problem_gains_nothing_over_a_mix() -> None:
    # A score that knows nothing can still mix two models at random, which is worth what lies between them; no more.
    def tuned(bank: Bank) -> Tuned:
        return tune(try_all(bank, [Policy()]), Goal(budget=0.8 * float(LARGE)), repeats=2)

    shuffled = [tuned(planted(shuffle=seed)) for seed in range(12)]
    assert sum(found.chosen.gate is not None for found in shuffled) <= 2
    for found in shuffled:
        assert found.over_coin is None or found.over_coin.interval.low <= 0
        assert found.over_coin is not None or found.chosen.gate is None
        assert ("a coin" in found.verdict) == (found.over_coin is not None)
    small, large = float(SMALL), float(LARGE)
    ahead = [
        f.held_out.accuracy.value - 1 / 3 - (f.held_out.cost.value - small) / (large - small) * 2 / 3 for f in shuffled
    ]
    assert np.mean(ahead) < 0.02
    true = tuned(planted())
    assert true.over_coin is not None and true.over_coin.interval.low > 0.1
    assert "The score is worth more than a coin in its place for the same money: +" in true.verdict


def test_numbers_of_gates_are_those_of_their_routes_problem_by_problem() -> None:
    bank = pools.bank(random.Random(3), {"S": 5, "M": 3, "L": 3}, problems=14, scores=True)
    costs = [{"S": Scoring(usd=i * Decimal("0.001")), "L": Scoring(usd=Decimal("0.01"))} for i in range(14)]
    problems = tuple(replace(p, scoring=cost) for p, cost in zip(bank.problems, costs, strict=True))
    bank = replace(bank, problems=problems, _worked_out={})
    trials = try_all(bank, [Policy()])
    gates = [i for i, each in enumerate(trials.candidates) if each.gate is not None]
    assert {trials.candidates[i].gate.score for i in gates} == {"S", "M", "L"}  # type: ignore[union-attr]
    for i in random.Random(1).sample(gates, 40):
        candidate = trials.candidates[i]
        below, above = (try_one(bank, Candidate(route, candidate.policy)) for route in candidate.routes)
        assert candidate.gate is not None
        paid = {"S": np.arange(14) * 0.001, "M": np.zeros(14), "L": np.full(14, 0.01)}[candidate.gate.score]
        takes = bank.scores(candidate.gate.score) >= candidate.gate.at_least
        np.testing.assert_array_equal(trials.correct[i], np.where(takes, above.correct, below.correct))
        np.testing.assert_allclose(trials.cost[i], np.where(takes, above.cost, below.cost) + paid, rtol=1e-12)
        np.testing.assert_allclose(try_one(bank, candidate).cost, trials.cost[i], rtol=1e-12)
        assert 0 < takes.sum() < 14


def test_the_cheaper_route_takes_what_reaches_the_score() -> None:
    bank = pools.bank(random.Random(3), {"S": 5, "L": 3}, problems=14, scores=True)
    trials = try_all(bank, [Policy()])
    mean = {each.way: trials.cost[i].mean() for i, each in enumerate(trials.candidates)}
    for each in trials.candidates:
        if each.gate is not None:
            assert mean[str(each.gate.route)] < mean[str(each.route)]


def test_thresholds_are_short_quantiles_of_the_scores_and_part_the_problems() -> None:
    bank = pools.bank(random.Random(3), {"S": 1, "L": 1}, problems=50, scores=True)
    rng = random.Random(0)
    problems = tuple(replace(p, scores={"S": rng.random()}) for p in bank.problems)
    bank = replace(bank, problems=problems, _worked_out={})
    cuts = [each.gate.at_least for each in try_all(bank).candidates if each.gate is not None]
    expected = np.quantile(bank.scores("S"), np.arange(1, 13) / 13)
    assert sorted(set(cuts)) == pytest.approx((np.floor(expected * 1000) / 1000).tolist(), abs=1e-12)


def test_scores_that_are_all_alike_are_no_gate() -> None:
    bank = planted()
    problems = tuple(replace(p, scores={"L": 0.4}) for p in bank.problems)
    trials = try_all(replace(bank, problems=problems, _worked_out={}))
    assert not (trials.sorts == Sort.GATE).any()


def test_without_scores_of_every_problem_there_are_no_gates() -> None:
    bank = planted()
    problems = (replace(bank.problems[0], scores={}), *bank.problems[1:])
    trials = try_all(replace(bank, problems=problems, _worked_out={}))
    assert not (trials.sorts == Sort.GATE).any()


def test_which_gates_are_tried_does_not_depend_on_what_is_right() -> None:
    bank = planted()
    other = replace(bank, problems=tuple(replace(p, gold="9") for p in bank.problems), _worked_out={})
    ways = [[each.way for each in try_all(one).candidates] for one in (bank, other)]
    assert ways[0] == ways[1]


def test_a_route_that_was_asked_for_is_no_gate() -> None:
    trials = try_all(planted(), also=[parse_route(ONE_LARGE, pools.pool())])
    assert trials.candidates[trials.place(parse_route(ONE_LARGE, pools.pool()))].gate is None


def test_who_decides_by_a_score_pays_for_it_on_every_problem_once() -> None:
    bank = planted(alias="S")

    def of(text: str, **settings: str) -> Candidate:
        return Candidate(parse_route(text, bank.pool), Policy(**settings))  # type: ignore[arg-type]

    for text, paid in (
        ("mv_cascade_S_k1_t0.7_c0.7_L_k1_t0.7", SCORING),  # a single sample is as sure as its score
        ("mv_cascade_S_k3_t0.7_c0.7_L_k1_t0.7", 0.0),
        ("mv_S_k1_t0.7", 0.0),  # nothing is decided
        ("mv_cascade_L_k1_t0.7_c0.7_S_k1_t0.7", 0.0),  # there are no scores of L
    ):
        np.testing.assert_array_equal(scoring_of(bank, of(text)), np.full(60, paid))
    assert scoring_of(bank, of("mv_cascade_S_k3_t0.7_c0.7_L_k1_t0.7", confidence="score"))[0] == SCORING
    gated = next(each for each in try_all(bank).candidates if each.gate is not None)
    both = replace(gated, route=of("mv_cascade_S_k1_t0.7_c0.7_L_k1_t0.7").route)
    assert deciding_scores(bank, both) == {"S"}
    np.testing.assert_array_equal(scoring_of(bank, both), np.full(60, SCORING))


def test_what_scoring_costs_and_is_not_known_is_said() -> None:
    said = "what scores of L cost to make is not counted: there is no column scoring_cost_usd_L (in USD)"
    assert try_all(planted(scoring=None)).notes == (said,)
    assert try_all(planted()).notes == ()
    assert try_all(pools.bank(random.Random(3), {"S": 2, "L": 2}, problems=5)).notes == ()


def test_draws_of_a_gate_go_its_way_and_pay_for_the_score() -> None:
    bank = planted()
    trials = try_all(bank)
    gate = trials.candidates[place(trials, f"{ONE_SMALL} where score of L >= 0.7, else {ONE_LARGE}")]
    found = realised(bank, np.array([0, 59, 1]), [gate], seed=0)
    assert found.right.tolist() == [[1.0, 1.0, 1.0]]
    np.testing.assert_allclose(found.usd[0], np.array([SMALL, LARGE, SMALL], dtype=float) + SCORING, rtol=1e-12)


def test_a_gate_is_certified_as_any_other_rule() -> None:
    bank = planted(easy=60, hard=60)
    trials = try_all(bank, [Policy()])
    found = certify(bank, trials, parse_route(ONE_LARGE, bank.pool), 0.05)
    assert found.chosen is not None and found.chosen.way == f"{ONE_SMALL} where score of L >= 0.7, else {ONE_LARGE}"
    assert found.numbers is not None and found.numbers.accuracy.value == 1.0
    assert found.cost.budget >= float(LARGE) + SCORING


def test_a_coin_is_worth_what_the_money_of_the_gate_buys_without_its_score() -> None:
    trials = try_all(planted())
    gate = place(trials, f"{ONE_SMALL} where score of L >= 0.7, else {ONE_LARGE}")
    weights = np.full(60, 1 / 60)
    # The gate sends 40 of 60 to L; what its score costs would buy the coin a little more of L.
    share = 40 / 60 + SCORING / (float(LARGE) - float(SMALL))
    np.testing.assert_allclose(coin(trials, gate, weights), [1.0] * 20 + [share] * 40, rtol=1e-9)
    single = place(trials, ONE_SMALL)
    np.testing.assert_array_equal(coin(trials, single, weights), trials.correct[single])
    # Where scoring costs more than is saved, the coin is the dearer route alone.
    dear = try_all(planted(scoring=1.0))
    np.testing.assert_array_equal(coin(dear, gate, weights), np.ones(60))


@pytest.mark.parametrize("seed", range(4))
def test_a_cascade_whose_score_knows_nothing_is_no_better_than_a_coin_either(seed: int) -> None:
    trials = try_all(planted(alias="S", shuffle=seed), [Policy()])
    found = tune(trials, Goal(budget=0.8 * float(LARGE)), repeats=1)
    assert found.over_coin is None or found.over_coin.interval.low <= 0
    cascade = place(trials, "mv_cascade_S_k1_t0.7_c0.7_L_k1_t0.7")
    assert trials.sides[cascade].tolist() == [place(trials, ONE_LARGE), place(trials, ONE_SMALL)]
    true = tune(try_all(planted(alias="S"), [Policy()]), Goal(budget=0.8 * float(LARGE)), repeats=1)
    assert true.chosen.gate is None and true.over_coin is not None and true.over_coin.interval.low > 0.1


def test_gates_ahead_of_their_coins_are_those_of_brute_force() -> None:
    bank = pools.bank(random.Random(4), {"S": 5, "L": 3}, problems=30, scores=True)
    trials = try_all(bank, [Policy()])
    counts = np.bincount(np.random.default_rng(0).integers(30, size=25), minlength=30)
    where = np.random.default_rng(1).random(len(trials.candidates)) < 0.8
    found = ahead_of_coins(trials, where, counts / 25, 25, 0.0)
    rows = np.repeat(np.arange(30), counts)
    for i, each in enumerate(trials.candidates):
        if not where[i] or each.gate is None:
            assert found[i] == where[i]
            continue
        ahead = (trials.correct[i] - coin(trials, i, counts / 25))[rows]
        assert found[i] == (ahead.mean() > CAUTION * ahead.std(ddof=1) / 5 + 1e-12)
    assert 0 < found[trials.sorts == Sort.GATE].sum() < where[trials.sorts == Sort.GATE].sum()


def routes(*texts: str) -> list[Route]:
    return [parse_route(text, pools.pool()) for text in texts]


def test_parts_of_a_gate_are_few_and_simple() -> None:
    found = routes(
        "mv_S_k1_t0.7",
        "mv_S_k1_t0.0",
        "mv_S_k2_t0.7",
        "mv_S_k3_t0.7",
        "mv_L_k1_t0.7",
        *(f"mv_cascade_S_k5_t0.7_c{c}_L_k1_t0.7" for c in (0.2, 0.4, 0.6, 0.8, 1.0)),
        "mv_cascade_S_k3_t0.7_c1.0_L_k2_t0.7",
        "mv_cascade_S_k3_t0.7_c1.0_M_k3_t0.7_c1.0_L_k1_t0.7",
        "mv_entropy_cascade_S_k3_t0.7_L_k1_t0.7",
    )
    # The greedy sample of two, the vote of 3, and of five thresholds three, without the lowest.
    assert halves(found) == [1, 4, 3, 6, 8, 9]


def test_there_is_an_end_to_gates() -> None:
    texts = [f"mv_{m}_k{k}_t0.{t}" for m in "SML" for k in (1, 3, 5, 8) for t in (3, 7)]
    texts += [f"mv_cascade_S_k5_t0.{t}_c{c}_L_k1_t0.7" for t in (3, 7) for c in (0.4, 0.8, 1.0)]
    parts = routes(*texts)
    cost = np.arange(len(parts), dtype=float)
    whole, notes = pairings(parts, cost, {"S": [0.5]})
    assert len(whole) == 30 * 29 // 2 and notes == []
    cuts = {"S": np.linspace(0.01, 0.99, 28).tolist()}
    fewer, notes = pairings(parts, cost, cuts)
    assert len(fewer) == (435 - 15) * 28 <= MOST < 435 * 28
    assert notes == [f"gates are fewer: there are {435 * 28:,} in all, and 12,000 are the most"]
    simple, _ = pairings(parts, cost, {"S": np.linspace(0.01, 0.99, 100).tolist()})
    assert len(simple) == 15 * 100  # six single samples
    none, notes = pairings(parts, cost, {"S": np.linspace(0.01, 0.99, 900).tolist()})
    assert none == [] and "between single samples" in notes[0]


def test_gates_of_equal_cost_are_none() -> None:
    assert pairings(routes(ONE_SMALL, ONE_LARGE), np.array([1.0, 1.0]), {"S": [0.5]}) == ([], [])


RECORDED = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pools"


def test_on_recorded_samples_the_labels_of_others_tell_more_than_a_coin_and_shuffled_ones_do_not(
    tmp_path: Path,
) -> None:
    path = RECORDED / "embedded_gsm8k_samples.parquet"
    if not path.exists():
        pytest.skip(f"recorded data absent: {path} (set ESCALADE_DATA to its folder)")
    table = pd.read_parquet(path)
    later = (table["temperature"] > 0) & (table["sample_index"] >= 4)
    table[~later].to_parquet(tmp_path / "kept.parquet")
    small = later & (table["model"] == "Qwen2.5-Coder-0.5B-Instruct")
    share = table[small].groupby("problem_id")["correct"].mean()
    models = {"S": ("Qwen2.5-Coder-0.5B-Instruct", "0.1"), "L": ("Qwen2.5-Coder-1.5B-Instruct", "0.3")}
    pool = Pool(
        name="priced",
        models=tuple(
            PoolModel(alias=alias, name=name, engine="replay", price=Price(input=usd, cached=usd, output=usd))
            for alias, (name, usd) in models.items()
        ),
    )

    def ahead(scores: pd.Series) -> float:
        given = pd.DataFrame({"id": share.index, "score_S": scores.to_numpy()})
        trials = try_all(open_bank(tmp_path / "kept.parquet", pool=pool, scores=given).bank, [Policy()])
        gate = place(trials, "mv_S_k1_t0.0 where score of S >= 0.5, else mv_L_k1_t0.0")
        weights = np.full(len(share), 1 / len(share))
        return float(trials.correct[gate].mean() - coin(trials, gate, weights).mean())

    assert ahead(share) > 0.01
    assert np.mean([ahead(share.sample(frac=1, random_state=seed)) for seed in range(6)]) == pytest.approx(0, abs=0.02)
