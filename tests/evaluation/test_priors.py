"""Exact evaluation of the confidence `prior`, by the score of each problem: against all ordered draws and live runs."""

import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import escalade
from escalade.cascade import decide
from escalade.cascade.ballot import Ballot
from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.evaluation.replays import replay
from escalade.evaluation.sheets import priors
from tests.evaluation.pools import bank, single
from tests.evaluation.test_exact import agree

TWO = "mv_cascade_S_k4_t0.7_L_k1_t0.0"


def scored(of: Bank, *scores: Mapping[str, float]) -> Bank:
    problems = tuple(replace(p, scores=dict(s)) for p, s in zip(of.problems, scores, strict=True))
    return replace(of, problems=problems, _worked_out={})


@pytest.mark.parametrize("stop", ["none", "verdict", "exact"])
@pytest.mark.parametrize("strength", [0.0, 1.0, 4.0, 25.0])
@pytest.mark.parametrize("logprobs", [False, True])
def test_two_tiers_equal_all_ordered_draws(strength: float, stop: str, logprobs: bool) -> None:
    rng = random.Random(f"{strength} {stop} {logprobs}")
    for k, later in rng.sample([(3, 2), (4, 1), (2, 3), (1, 2)], 2):
        of = bank(
            rng,
            {"S": k + 1, "M": later + 1},
            problems=3,
            billing=rng.choice(["once", "cached", "each"]),
            silence=rng.choice([0.0, 0.2, 0.5]),
            logprobs=logprobs,
            scores=True,
        )
        policy = Policy(
            target=rng.choice([0.3, 0.5, 0.67, 0.9]), confidence="prior", prior_strength=strength, stop=stop
        )
        agree(of, f"mv_cascade_S_k{k}_t0.7_M_k{later}_t0.7", policy)


@pytest.mark.parametrize("stop", ["verdict", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_falling_back_over_three_tiers_equals_all_ordered_draws(stop: str, seed: int) -> None:
    of = bank(random.Random(seed), {"S": 3, "M": 4, "L": 2}, problems=2, silence=0.6, scores=True)
    policy = Policy(confidence="prior", prior_strength=2.0, stop=stop, thresholds={"M": 0.6})
    agree(of, "mv_cascade_S_k2_t0.7_M_k2_t0.7_L_k1_t0.0", policy)


def test_a_problem_without_a_score_hands_on_undrawn_and_others_do_not() -> None:
    of = bank(random.Random(8), {"S": 5, "L": 2}, problems=3, silence=0.4)
    of = scored(of, {"S": 0.9, "L": 0.5}, {"L": 0.5}, {"S": 0.6})
    found = agree(of, TWO, Policy(target=0.6, confidence="prior"))
    assert found.reached[:, 1].tolist()[1] == 1.0 and found.samples[0, 0] > 0
    agree(of, TWO, Policy(target=0.0, confidence="prior", stop="exact"))
    agree(bank(random.Random(8), {"S": 5, "L": 2}, silence=0.4), TWO, Policy(target=0.1, confidence="prior"))


@pytest.mark.parametrize("scores", [False, True])
def test_the_entropy_rule_falls_back_by_priors(scores: bool) -> None:
    for seed in range(3):
        of = bank(random.Random(seed), {"S": 3, "M": 3, "L": 2}, silence=0.5, scores=scores)
        policy = Policy(confidence="prior", prior_strength=3.0, max_k=2)
        agree(of, "mv_entropy_cascade_S_k2_t0.7_M_k2_t0.7_L_k1_t0.0", policy)


def test_scores_tell_two_problems_with_the_same_samples_apart() -> None:
    of = single({"S": ["1", "1", "1", "2"], "L": ["1"]}, gold="1")
    problems = tuple(replace(of.problems[0], id=ident, scores={"S": p}) for ident, p in (("a", 0.9), ("b", 0.2)))
    rows = {(problem.id, alias): row for (_, alias), row in of.rows.items() for problem in problems}
    of = replace(of, problems=problems, rows=rows, _worked_out={})
    found = agree(of, TWO, Policy(target=0.7, confidence="prior", prior_strength=4.0))
    assert found.reached[:, 1].tolist() == [0.0, 1.0]
    assert found.samples.tolist() == [[3.75, 0.0], [0.0, 1.0]]  # the first stops at 3-0; 2-1 waits for the fourth


def test_thresholds_and_strengths_that_decide_alike_are_not_confused_with_those_that_do_not() -> None:
    """Rungs are shared between thresholds and with shares: each of a fine grid must give what a fresh bank gives."""
    of = bank(random.Random(5), {"S": 6, "L": 2}, problems=6, silence=0.2, scores=True)
    route = "mv_cascade_S_k5_t0.7_L_k1_t0.0"
    for strength in (0.0, 1.0, 6.0):
        for step in range(0, 101, 5):
            policy = Policy(target=step / 100, confidence="prior", prior_strength=strength)
            shared, fresh = evaluate(of, route, policy), evaluate(replace(of, _worked_out={}), route, policy)
            assert shared.correct.tolist() == fresh.correct.tolist()
            assert shared.cost.tolist() == fresh.cost.tolist()
            if strength == 0.0:
                share = evaluate(of, route, replace(policy, confidence="share"))
                assert shared.correct.tolist() == share.correct.tolist()
                assert shared.samples.tolist() == share.samples.tolist()


def test_a_subset_has_the_numbers_of_its_problems() -> None:
    of = bank(random.Random(6), {"S": 5, "M": 4, "L": 2}, problems=7, silence=0.4, scores=True)
    chosen, route = [5, 0, 0, 3], "mv_cascade_S_k3_t0.7_M_k2_t0.7_L_k1_t0.0"
    whole, part = (evaluate(some, route, Policy(target=0.6, confidence="prior")) for some in (of, of.subset(chosen)))
    for name in ("correct", "cost", "samples", "reached", "decided", "no_answer"):
        assert np.array_equal(getattr(whole, name)[chosen], getattr(part, name)), name


def test_the_matrix_of_priors_is_what_decisions_say_to_the_last_digit() -> None:
    rng = random.Random(0)
    for k, strength in ((2, 0.1), (5, 4.0), (7, 33.3)):
        scores = np.array([rng.random() for _ in range(20)])
        found = priors(scores, k, strength)
        policy = Policy(confidence="prior", prior_strength=strength)
        for row, score in enumerate(scores.tolist()):
            for won in range(1, k + 1):
                ballot = Ballot(k, k, (("1", won),), (1.0,) * (k - won), tie=False, logprob=None)
                assert decide.confidence(policy, ballot, single=False, score=score).value == found[row, won]
    assert np.isnan(priors(np.array([np.nan]), 3, 1.0)).all()


def test_live_runs_and_replays_average_to_it() -> None:
    of = Bank.of_recording("shipped")
    rng = random.Random(4)
    of = scored(of, *({alias: round(rng.random(), 2) for alias in of.pool.aliases} for _ in of.problems))
    route, seeds = "mv_cascade_135M_k5_t0.7_0.5B_k5_t0.7_1.5B_k5_t0.7", 8
    policy = Policy(target=0.6, confidence="prior", prior_strength=6.0)
    found = evaluate(of, route, policy)
    assert found.exact and found.samples[:, 0].min() == 0.0 and found.samples[:, 0].max() > 3.0
    right, drawn = np.zeros((seeds, len(of))), np.zeros((seeds, len(of)))
    for seed in range(seeds):
        run = escalade.run(of.problems, route=route, pool=of.pool, engine="replay:shipped", policy=policy, seed=seed)
        right[seed] = [item.grade is not None and item.grade.outcome for item in run.answered]
        drawn[seed] = [sum(trace.drawn for trace in item.outcome.tiers) for item in run.answered]
    simulated = replay(of, route, policy, draws=60)
    for live, exact in ((right, found.correct), (drawn, found.samples.sum(axis=1))):
        error = np.sqrt(live.var(axis=0, ddof=1).sum() / seeds)
        assert abs(live.mean(axis=0).sum() - exact.sum()) <= 5 * error + 1e-9
    assert simulated.correct_error is not None
    assert abs(simulated.correct - found.correct).sum() <= 5 * simulated.correct_error.sum()
    assert simulated.samples[found.samples == 0].max(initial=0.0) == 0.0
