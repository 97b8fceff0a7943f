"""Exact evaluation against all ordered draws through the machine, and against live runs on recorded samples."""

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import escalade
from escalade.cascade.policy import Policy
from escalade.engines.replay import open_recording, recorded_pool
from escalade.errors import RouteError, TableError
from escalade.evaluation.bank import Bank
from escalade.evaluation.evaluation import Evaluation
from escalade.evaluation.exact import evaluate, is_closed, thresholds_of
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import Route, parse_route
from escalade.samples.recorded import Rows
from tests.evaluation.pools import bank, brute_force, made, single

FOLDER = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pools"
CLOSED = ("share", "margin", "posterior", "entropy", "score")


def agree(of: Bank, route: str, policy: Policy | None = None, *, tolerance: float = 1e-12) -> Evaluation:
    """Evaluate, and assert that every number is the mean over all ordered draws."""
    policy = policy or Policy()
    found = evaluate(of, route, policy)
    assert found.exact
    for row in range(len(of)):
        wanted = brute_force(of, row, route, policy)
        assert found.correct[row] == pytest.approx(wanted.correct, abs=tolerance)
        assert found.cost[row] == pytest.approx(wanted.cost, rel=tolerance)
        assert found.tokens[row] == pytest.approx(wanted.tokens, rel=tolerance)
        assert found.completion[row] == pytest.approx(wanted.completion, rel=tolerance)
        assert found.samples[row] == pytest.approx(wanted.samples, abs=10 * tolerance)
        assert found.reached[row] == pytest.approx(wanted.reached, abs=tolerance)
        assert found.decided[row] == pytest.approx(wanted.decided, abs=tolerance)
        assert found.no_answer[row] == pytest.approx(wanted.no_answer, abs=tolerance)
    return found


# -- all ordered draws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["none", "verdict", "exact"])
@pytest.mark.parametrize("confidence", CLOSED)
@pytest.mark.parametrize("logprobs", [False, True])
def test_two_tiers_equal_all_ordered_draws(confidence: str, stop: str, logprobs: bool) -> None:
    for seed in range(2):
        rng = random.Random(f"{seed} {confidence} {stop} {logprobs}")
        k, later = rng.choice([(3, 2), (4, 1), (2, 3), (1, 2)])
        of = bank(
            rng,
            {"S": k + 1 + (k == 3), "M": later + 1},
            billing=rng.choice(["once", "cached", "each"]),
            silence=rng.choice([0.0, 0.2, 0.5]),
            logprobs=logprobs,
            scores=confidence == "score" or rng.random() < 0.3,
        )
        target = rng.choice([0.3, 0.5, 0.67, 0.75, 0.9, 1.0])
        agree(of, f"mv_cascade_S_k{k}_t0.7_M_k{later}_t0.7", Policy(target=target, confidence=confidence, stop=stop))


@pytest.mark.parametrize("stop", ["none", "verdict", "exact"])
@pytest.mark.parametrize("seed", range(4))
def test_three_tiers_with_thresholds_of_their_own_equal_all_ordered_draws(stop: str, seed: int) -> None:
    rng = random.Random(f"{seed} {stop}")
    of = bank(rng, {"S": 4, "M": 4, "L": 2}, billing="cached", silence=0.5, logprobs=seed % 2 == 0)
    own = rng.choice([0.5, 0.75, 1.0])
    policy = Policy(target=0.9, stop=stop, thresholds={"M": 0.4}, confidence=rng.choice(["share", "entropy"]))
    agree(of, f"mv_cascade_S_k2_t0.7_c{own}_M_k2_t0.7_L_k1_t0.0", policy)


@pytest.mark.parametrize(("logprobs", "silence"), [(False, 0.1), (True, 0.0)])
def test_votes_of_five_among_eight_equal_all_ordered_draws(logprobs: bool, silence: float) -> None:
    agree(bank(random.Random(f"{logprobs} {silence}"), {"S": 8}, silence=silence, logprobs=logprobs), "mv_S_k5_t0.7")


@pytest.mark.parametrize("bits", [0.0, 0.6, 1.0])
def test_an_entropy_rule_that_cannot_explore_equals_all_ordered_draws(bits: float) -> None:
    for seed in range(3):
        of = bank(random.Random(f"{seed} {bits}"), {"S": 5, "M": 2}, silence=0.3)
        agree(of, "mv_entropy_cascade_S_k4_t0.7_M_k1_t0.0", Policy(entropy_bits=bits, max_k=4))


def test_an_entropy_rule_falls_back_by_scores_where_these_are_the_confidence() -> None:
    for seed in range(3):
        of = bank(random.Random(seed), {"S": 3, "M": 3, "L": 2}, silence=0.5, scores=True)
        agree(of, "mv_entropy_cascade_S_k2_t0.7_M_k2_t0.7_L_k1_t0.0", Policy(confidence="score", max_k=2))


@pytest.mark.parametrize("logprobs", [False, True])
def test_single_samples_rest_on_scores_or_logprobs(logprobs: bool) -> None:
    for seed in range(4):
        for scores in (False, True):
            of = bank(random.Random(seed), {"S": 4, "M": 4, "L": 3}, silence=0.4, logprobs=logprobs, scores=scores)
            agree(of, "mv_cascade_S_k1_t0.7_c0.6_M_k1_t0.7_c0.8_L_k2_t0.7")


def test_a_tier_that_its_score_rules_out_draws_nothing_but_for_a_fall_back() -> None:
    of = bank(random.Random(3), {"S": 3, "L": 2}, silence=0.5, scores=True)
    of = replace(of, problems=tuple(replace(p, scores={"S": 0.1, "L": 0.5}) for p in of.problems))
    rows = {("p0", "L"): Rows((None,) * 2, (made(None), made("1")))}
    of = replace(of, rows={**of.rows, **rows})
    found = agree(of, "mv_cascade_S_k1_t0.7_L_k1_t0.0")
    assert found.samples[0].tolist() == [0.5, 1.0]


def test_a_fall_back_prefers_the_cheaper_of_two_equally_sure_tiers() -> None:
    of = single({"S": ["1", "2"], "M": ["3", "2"], "L": [None]}, gold="2")
    route = "mv_cascade_S_k2_t0.7_M_k2_t0.7_L_k1_t0.0"
    assert agree(of, route).decided[0].tolist() == [1.0, 0.0, 0.0]
    dearer = tuple(m.model_copy(update={"cost": 5.0}) if m.alias == "S" else m for m in of.pool.models)
    of = replace(of, pool=of.pool.model_copy(update={"models": dearer}), _worked_out={})
    assert agree(of, route).decided[0].tolist() == [0.0, 1.0, 0.0]


def test_nobody_has_an_answer() -> None:
    of = single({"S": [None, "1", None], "L": [None, None]}, gold="1")
    found = agree(of, "mv_cascade_S_k2_t0.7_c1.0_L_k2_t0.7")
    assert found.no_answer[0] == pytest.approx(1 / 3)
    assert found.correct[0] + found.no_answer[0] == pytest.approx(1.0)


def test_ties_of_equal_mean_logprob_go_to_the_smallest_answer() -> None:
    of = single({"S": [("2", -0.5), ("1", -0.25), ("1", -0.75), ("3", -0.5)]}, gold="1")
    agree(of, "mv_S_k2_t0.7")
    assert evaluate(of, "mv_S_k2_t0.7").correct[0] == pytest.approx((1 + 1 + 1 + 0 + 0 + 0) / 6)


@pytest.mark.parametrize("billing", ["once", "cached", "each"])
@pytest.mark.parametrize("stop", ["none", "verdict"])
def test_the_prompt_is_billed_as_the_ledger_bills_it(billing: str, stop: str) -> None:
    of = bank(random.Random(f"{billing} {stop}"), {"S": 5, "L": 3}, billing=billing, silence=0.4)
    agree(of, "mv_cascade_S_k3_t0.7_L_k2_t0.7", Policy(target=0.67, stop=stop))


def test_answers_equal_by_more_than_their_keys_are_one_class() -> None:
    of = single({"S": [r"x^2+2x+1", r"(x+1)^2", "7", "7"]}, gold=r"(1+x)^2")
    assert evaluate(of, "mv_S_k3_t0.7").correct[0] == pytest.approx(0.5)


# -- what is unknown, refused or not closed --------------------------------------------------------------------


def test_an_unknown_cost_is_nan_only_where_it_may_be_spent() -> None:
    of = single({"S": ["1", "1", "2"], "L": ["1", "2"]}, gold="1")
    unpriced = tuple(m.model_copy(update={"price": None}) if m.alias == "L" else m for m in of.pool.models)
    of = replace(of, pool=of.pool.model_copy(update={"models": unpriced}), _worked_out={})
    climbs = evaluate(of, "mv_cascade_S_k3_t0.7_c1.0_L_k1_t0.0")
    assert np.isnan(climbs.cost[0]) and climbs.tokens[0] > 0
    assert evaluate(of, "mv_cascade_S_k3_t0.7_c0.6_L_k1_t0.0").cost[0] > 0


def test_without_a_gold_answer_nothing_is_known_to_be_right() -> None:
    of = single({"S": ["1", "2"]}, gold=None)
    found = evaluate(of, "mv_S_k1_t0.7")
    assert np.isnan(found.correct[0]) and found.samples[0].tolist() == [1.0]


def test_too_few_samples_are_refused_by_name() -> None:
    of = single({"S": ["1", "2"], "L": ["1"]}, gold="1")
    with pytest.raises(TableError, match=r"3 samples of S at t=0\.7, .* has 2 for problem 'p0'.*lower k"):
        evaluate(of, "mv_S_k3_t0.7")
    with pytest.raises(TableError, match="8 samples of S"):  # it may explore up to max_k
        evaluate(of, "mv_entropy_cascade_S_k2_t0.7_L_k1_t0.0")
    with pytest.raises(RouteError):
        evaluate(of, "mv_S_k3")


def test_greedy_only_models_draw_one_sample_at_temperature_zero() -> None:
    of = single({"S": ["1", "2"]}, gold="1")
    greedy = tuple(m.model_copy(update={"greedy_only": True}) for m in of.pool.models)
    of = replace(of, pool=of.pool.model_copy(update={"models": greedy}))
    found = evaluate(of, "mv_S_k2_t0.7")
    assert str(found.route) == "mv_S_k1_t0.0" and found.samples[0].tolist() == [1.0]


@pytest.mark.parametrize(
    ("route", "policy"),
    [
        ("mv_cascade_S_k4_t0.7_L_k1_t0.0", Policy(stop="beta:0.9")),
        ("mv_cascade_S_k4_t0.7_L_k1_t0.0", Policy(stop="esc:2")),
        ("mv_cascade_S_k4_t0.7_L_k1_t0.0", Policy(aggregate="pooled")),
        ("mv_cascade_S_k4_t0.7_L_k1_t0.0", Policy(confidence="logprob")),
        ("mv_cascade_S_k2_t0.7_S_k4_t0.7", Policy()),
        ("mv_entropy_cascade_S_k4_t0.7_L_k1_t0.0", Policy()),
    ],
)
def test_what_is_not_closed_is_simulated_and_says_so(route: str, policy: Policy) -> None:
    of = bank(random.Random(1), {"S": 8, "L": 2}, logprobs=True)
    assert not is_closed(parse_route(route, of.pool), policy)
    found = evaluate(of, route, policy, draws=20)
    assert not found.exact and found.draws == 20 and found.correct_error is not None


def test_thresholds_come_from_tier_then_policy_then_pool_then_target() -> None:
    of = single({"S": ["1"], "M": ["1"], "L": ["1"]}, gold="1")
    models = tuple(m.model_copy(update={"threshold": 0.33}) for m in of.pool.models)
    pool = of.pool.model_copy(update={"models": models})
    route = parse_route("mv_cascade_S_k1_t0.0_c0.5_M_k1_t0.0_L_k1_t0.0", pool)
    assert thresholds_of(route, Policy(thresholds={"S": 0.7, "M": 0.6}), pool) == [0.5, 0.6, 0.33]
    assert thresholds_of(route, Policy(target=0.8), of.pool) == [0.5, 0.8, 0.8]


# -- many routes -----------------------------------------------------------------------------------------------


def test_thresholds_that_decide_alike_are_not_confused_with_those_that_do_not() -> None:
    """Rungs are shared between thresholds: each of a fine grid must give what a fresh bank gives."""
    of = bank(random.Random(5), {"S": 6, "L": 2}, problems=4, silence=0.2)
    for confidence in ("share", "margin", "posterior", "entropy"):
        for step in range(0, 101, 4):
            policy = Policy(target=step / 100, confidence=confidence)
            shared = evaluate(of, "mv_cascade_S_k5_t0.7_L_k1_t0.0", policy)
            fresh = evaluate(replace(of, _worked_out={}), "mv_cascade_S_k5_t0.7_L_k1_t0.0", policy)
            assert shared.correct.tolist() == fresh.correct.tolist()
            assert shared.cost.tolist() == fresh.cost.tolist()


def test_two_temperatures_of_a_model_are_not_confused() -> None:
    """One has two classes, the other five: the tables of the first must not serve the second."""
    rng = random.Random(11)
    cold = [made(rng.choice(["1", "2"])) for _ in range(6)]
    warm = [made(rng.choice(["1", "2", "3", "4", "5"])) for _ in range(6)]
    of = single({"S": [], "L": ["1", "2"]}, gold="1")
    rows = {**of.rows, ("p0", "S"): Rows((0.2,) * 6 + (0.9,) * 6, (*cold, *warm))}
    of = replace(of, rows=rows, _worked_out={})
    apart = {
        t: replace(of, rows={**rows, ("p0", "S"): Rows((t,) * 6, drawn)}, _worked_out={})
        for t, drawn in ((0.2, tuple(cold)), (0.9, tuple(warm)))
    }
    for step in range(0, 101, 10):
        for temperature in (0.2, 0.9):
            policy = Policy(target=step / 100, confidence="posterior")
            route = f"mv_cascade_S_k5_t{temperature}_L_k1_t0.0"
            together, alone = evaluate(of, route, policy), evaluate(apart[temperature], route, policy)
            assert together.correct.tolist() == alone.correct.tolist()
            assert together.samples.tolist() == alone.samples.tolist()


def test_a_subset_has_the_numbers_of_its_problems() -> None:
    of = bank(random.Random(6), {"S": 5, "M": 4, "L": 2}, problems=7, silence=0.4, scores=True)
    chosen = [5, 0, 0, 3]
    for route in ("mv_cascade_S_k3_t0.7_M_k2_t0.7_L_k1_t0.0", "mv_cascade_S_k1_t0.7_L_k1_t0.0"):
        whole, part = evaluate(of, route), evaluate(of.subset(chosen), route)
        for name in ("correct", "cost", "tokens", "samples", "reached", "decided", "no_answer"):
            assert np.array_equal(getattr(whole, name)[chosen], getattr(part, name)), name


# -- live runs on recorded samples -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "route", "policy"),
    [
        ("shipped", "mv_cascade_135M_k5_t0.7_0.5B_k5_t0.7_1.5B_k5_t0.7", Policy(target=0.6)),
        (
            "embedded_gsm8k_samples",
            "mv_cascade_Qwen2.5-Coder-0.5B-Instruct_k5_t0.7_c0.6_Qwen2.5-Coder-1.5B-Instruct_k4_t0.7",
            Policy(confidence="entropy"),
        ),
        (
            "math100_ladder_samples",
            "mv_cascade_llama-3.1-8b-instruct_k5_t0.0_deepseek-r1-distill-llama-8b_k6_t0.8",
            Policy(target=0.8, confidence="margin"),
        ),
        ("mot_gsm8k_date_samples", "mv_cascade_llama-2-13b_k8_t0.7_gpt-4_k3_t0.7", Policy(target=0.7)),
        ("qwen25math_rm_example_samples", "mv_{0}_k5_t0.7", Policy()),
    ],
)
def test_live_runs_average_to_it_on_recorded_pools(recording: str, route: str, policy: Policy) -> None:
    place = recording if recording == "shipped" else str(FOLDER / f"{recording}.parquet")
    if place != "shipped" and not Path(place).exists():
        pytest.skip(f"recorded data absent: {place} (set ESCALADE_DATA to its folder)")
    recording_pool = recorded_pool(open_recording(place))
    parsed = parse_route(route.format(recording_pool.aliases[0]), recording_pool)
    some = few_problems(place, parsed, recording_pool)
    found, seeds = evaluate(some, parsed, policy), 8
    assert found.exact
    right, drawn = np.zeros((seeds, len(some))), np.zeros((seeds, len(some)))
    for seed in range(seeds):
        run = escalade.run(
            some.problems, route=parsed, pool=some.pool, engine=f"replay:{place}", policy=policy, seed=seed
        )
        right[seed] = [item.grade is not None and item.grade.outcome for item in run.answered]
        # What the machine was told of: while answers are compared, an engine may already give one more.
        drawn[seed] = [sum(trace.drawn for trace in item.outcome.tiers) for item in run.answered]
    for live, exact in ((right, found.correct), (drawn, found.samples.sum(axis=1))):
        error = np.sqrt(live.var(axis=0, ddof=1).sum() / seeds)
        assert abs(live.mean(axis=0).sum() - exact.sum()) <= 5 * error + 1e-9


def few_problems(place: str, route: Route, pool: Pool) -> Bank:
    """The bank of about 50 problems that have enough samples for a route."""
    recording = open_recording(place)
    ids = list(recording.problems["id"])
    bare = Bank(pool, tuple(Problem(ident, "") for ident in ids), recording.rows, place)
    enough = np.logical_and.reduce([bare.counts(tier.model, tier.temperature) >= tier.k for tier in route.tiers])
    chosen = {ids[i] for i in np.flatnonzero(enough)[:: max(1, int(enough.sum()) // 50)]}
    listed = recording.problems[recording.problems["id"].isin(chosen)]
    asked = [Problem(str(row.id), "", str(row.gold_answer)) for row in listed.itertuples()]
    return Bank.of_recording(recording, asked, pool=pool)
