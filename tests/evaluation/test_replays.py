"""Monte Carlo through the machine: sample by sample what a live run on `replay` does, and near the exact numbers."""

import random

import numpy as np
import pytest

import escalade
from escalade.cascade.policy import Policy
from escalade.engines.replay import open_recording
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.evaluation.replays import Player, replay
from escalade.routes import executed, parse_route
from escalade.samples.sample import sample_seed
from tests.evaluation.pools import bank, brute_force, single

ROUTES = [
    ("mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", Policy(target=0.8)),
    ("mv_entropy_cascade_135M_k3_t0.7_0.5B_k4_t0.7_1.5B_k5_t0.7", Policy()),
    ("mv_cascade_0.5B_k3_t0.7_0.5B_k6_t0.7_1.5B_k2_t0.7", Policy(target=1.0, stop="none")),
    ("mv_cascade_0.5B_k6_t0.7_1.5B_k6_t0.7", Policy(stop="beta:0.9")),
    ("mv_cascade_0.5B_k6_t0.7_1.5B_k6_t0.7", Policy(stop="esc:3")),
    ("mv_cascade_0.5B_k4_t0.7_1.5B_k4_t0.7", Policy(aggregate="pooled", stop="exact")),
    ("mv_cascade_0.5B_k4_t0.7_1.5B_k4_t0.7", Policy(confidence="logprob", stop="none")),
]


@pytest.mark.parametrize(("route", "policy"), ROUTES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_is_the_live_run_with_its_seed(route: str, policy: Policy, seed: int) -> None:
    of, recorded = Bank.of_recording("shipped"), open_recording("shipped").models
    live = escalade.run(route=route, engine="replay:shipped", policy=policy, seed=seed, limit=30)
    ran = executed(parse_route(route, of.pool), of.pool).route
    for row, item in enumerate(live.answered):
        player = Player(of, row, ran, policy)
        orders = {}
        for (alias, temperature), shelf in player.shelves.items():
            order = list(range(len(shelf.samples)))
            name = alias if alias in recorded else of.pool[alias].name
            random.Random(sample_seed(seed, item.problem.id, name, temperature, 0)).shuffle(order)
            orders[alias, temperature] = order
        run = player.play(orders)
        assert run.machine.outcome is not None and item.grade is not None
        assert run.machine.outcome.verdict == item.outcome.verdict
        assert run.right == item.grade.outcome
        assert run.samples[: len(item.tiers)] == [len(use.samples) for use in item.tiers]
        usages = [usage for use in item.tiers for usage in use.usages]
        assert run.completion == sum(usage.completion or 0 for usage in usages)
        assert run.prompt == sum(usage.prompt or 0 for usage in usages)
        assert item.cost.usd is None or run.usd == pytest.approx(float(item.cost.usd), rel=1e-12)


@pytest.mark.parametrize("stop", ["verdict", "beta:0.7"])
def test_its_mean_is_that_of_all_ordered_draws(stop: str) -> None:
    of = bank(random.Random(2), {"S": 5, "L": 3}, problems=2, silence=0.3)
    policy = Policy(target=0.67, stop=stop)
    found = replay(of, "mv_cascade_S_k4_t0.7_L_k2_t0.7", policy, draws=800)
    assert found.correct_error is not None and found.cost_error is not None
    for row in range(len(of)):
        wanted = brute_force(of, row, "mv_cascade_S_k4_t0.7_L_k2_t0.7", policy)
        assert abs(found.correct[row] - wanted.correct) <= 5 * found.correct_error[row]
        assert abs(found.cost[row] - wanted.cost) <= 5 * found.cost_error[row]
        assert found.samples[row] == pytest.approx(wanted.samples, abs=0.35)
        assert found.reached[row] == pytest.approx(wanted.reached, abs=0.1)


def test_its_standard_error_is_that_of_its_means() -> None:
    of = bank(random.Random(4), {"S": 8}, silence=0.1)
    exact = float(evaluate(of, "mv_S_k3_t0.7").correct[0])
    found = [replay(of, "mv_S_k3_t0.7", draws=100, seed=seed) for seed in range(40)]
    means = np.array([float(each.correct[0]) for each in found])
    said = float(np.mean([each.correct_error for each in found]))
    assert said == pytest.approx((exact * (1 - exact) / 100) ** 0.5, rel=0.05)
    assert means.std(ddof=1) == pytest.approx(said, rel=0.4)


def test_one_seed_gives_one_result_and_a_subset_the_same() -> None:
    of = bank(random.Random(7), {"S": 8, "L": 2}, problems=3)
    route = "mv_entropy_cascade_S_k3_t0.7_L_k1_t0.0"
    first, again, other = (replay(of, route, draws=30, seed=seed) for seed in (1, 1, 2))
    assert first.correct.tolist() == again.correct.tolist() and first.cost.tolist() == again.cost.tolist()
    assert first.cost.tolist() != other.cost.tolist()
    assert replay(of.subset([2]), route, draws=30, seed=1).cost[0] == first.cost[2]


def test_all_routes_meet_the_same_draws() -> None:
    of = bank(random.Random(9), {"S": 8, "L": 2}, problems=4, silence=0.0)
    vote = replay(of, "mv_S_k4_t0.7", Policy(stop="none"), draws=20)
    cascade = replay(of, "mv_cascade_S_k4_t0.7_c0.1_L_k1_t0.0", Policy(stop="none"), draws=20)
    assert vote.correct.tolist() == cascade.correct.tolist() and vote.cost.tolist() == cascade.cost.tolist()


def test_tiers_of_one_model_and_temperature_share_samples_and_their_prompt() -> None:
    of = single({"S": ["1", "2", "3"]}, gold="1")
    found = replay(of, "mv_cascade_S_k2_t0.7_S_k3_t0.7", Policy(target=1.0, stop="none"), draws=25)
    assert found.samples[0].tolist() == [2.0, 1.0]
    # S costs 0.3 in, 0.7 out: one prompt of 10 tokens, three samples of 20.
    assert found.cost[0] == pytest.approx((10 * 0.3 + 60 * 0.7) / 1e6, rel=1e-12)


def test_a_single_draw_has_no_standard_error() -> None:
    found = replay(single({"S": ["1", "2"]}, gold="1"), "mv_S_k1_t0.7", draws=1)
    assert found.correct_error is not None and np.isnan(found.correct_error[0])
