import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import SettingError
from escalade.statistics.guarantees import (
    conformal_risk,
    cost_quantile,
    fixed_sequence,
    labels_needed,
    learn_then_test,
    within_budget,
)
from escalade.statistics.risk import betting_p, binomial_p, binomial_upper


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.5))
def test_the_walk_ends_before_the_first_p_value_above_delta(p_values: list[float], delta: float) -> None:
    chosen = fixed_sequence(p_values, delta)
    last = -1 if chosen is None else chosen
    assert all(p <= delta for p in p_values[: last + 1])
    assert last + 1 == len(p_values) or p_values[last + 1] > delta


def test_p_values_are_probabilities() -> None:
    with pytest.raises(SettingError, match=r"p-value at 1 is nan"):
        fixed_sequence([0.0, math.nan], 0.1)
    with pytest.raises(SettingError, match=r"shape \[0\]"):
        fixed_sequence([], 0.1)
    with pytest.raises(SettingError, match="delta is 1"):
        fixed_sequence([0.1], 1)


def walk(u: np.ndarray) -> np.ndarray:
    """Regrets [rule, problem] of five nested rules with risks 1, 3, 4.9, 5.1 and 9 %."""
    return (u < np.array([0.01, 0.03, 0.049, 0.051, 0.09])[:, np.newaxis]).astype(float)


def test_a_certified_risk_is_kept_and_a_naive_threshold_is_not() -> None:
    rng = np.random.default_rng(0)
    broken = naive = 0
    for _ in range(1500):
        losses = walk(rng.random(400))
        chosen = learn_then_test(losses, 0.05, 0.1).chosen
        broken += chosen is not None and chosen >= 3
        naive += (losses.mean(axis=1) <= 0.05)[3:].any()
    assert broken / 1500 <= 0.1 + 3 * math.sqrt(0.09 / 1500)
    assert naive / 1500 > 0.4


def test_a_certificate_says_what_it_rests_on() -> None:
    losses = walk(np.random.default_rng(1).random(1000))
    certified = learn_then_test(losses, 0.05, 0.1)
    assert certified.chosen == 1
    assert certified.problems == 1000
    assert certified.p_values.tolist() == binomial_p(losses, 0.05).tolist()
    assert certified.risks.tolist() == losses.mean(axis=1).tolist()
    assert certified.bound == float(binomial_upper(losses[1], 0.1)) <= 0.05
    none = learn_then_test(losses[:, :20], 0.05, 0.1)
    assert none.chosen is None
    assert math.isnan(none.bound)


@pytest.mark.parametrize("test", ["binomial", "betting", "hoeffding-bentkus"])
def test_the_bound_of_a_certified_rule_is_within_eps(test: str) -> None:
    certified = learn_then_test(walk(np.random.default_rng(2).random(2000)), 0.05, 0.1, test=test)  # type: ignore[arg-type]
    assert certified.chosen is not None
    assert 0.02 < certified.bound <= 0.05


def test_net_losses_are_certified_by_betting() -> None:
    rng = np.random.default_rng(3)
    net = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.91, 0.04], size=(1, 600))
    certified = learn_then_test(net, 0.03, 0.1, test="betting", low=-1.0)
    assert certified.chosen == 0
    assert certified.p_values[0] == float(betting_p(net[0], 0.03, low=-1.0))
    with pytest.raises(SettingError, match="losses below 0 need the test 'betting'"):
        learn_then_test(net, 0.03, 0.1, low=-1.0)
    with pytest.raises(SettingError, match="test 'magic' is unknown"):
        learn_then_test(net, 0.03, 0.1, test="magic")  # type: ignore[arg-type]


def test_losses_are_a_walk_by_problems() -> None:
    for losses in ([0, 1], [[]], 0.5):
        with pytest.raises(SettingError, match=r"give \[rules in walk order, problems\]"):
            learn_then_test(losses, 0.05, 0.1)


def test_conformal_risk_holds_on_average_over_draws() -> None:
    risks = [0.01, 0.03, 0.049, 0.051, 0.09, 0.0]  # the last: nothing chosen
    rng = np.random.default_rng(4)
    chosen = [conformal_risk(walk(rng.random(150)), 0.05) for _ in range(3000)]
    mean = float(np.mean([risks[-1 if c is None else c] for c in chosen]))
    assert 0.03 < mean <= 0.05


def test_conformal_risk_is_exact_at_its_edge() -> None:
    losses = np.zeros((1, 99))
    losses[0, :4] = 1.0
    assert conformal_risk(losses, 0.05) == 0  # (4 + 1) / 100
    losses[0, 4] = 1.0
    assert conformal_risk(losses, 0.05) is None


def test_conformal_risk_needs_losses_that_grow() -> None:
    with pytest.raises(SettingError, match="problem 1 loses less under rule 2 than under the safer rule 1"):
        conformal_risk([[0, 0], [0, 1], [1, 0]], 0.5)
    with pytest.raises(SettingError, match=r"numbers in \[0, 1\]"):
        conformal_risk([[0, math.nan]], 0.5)


@pytest.mark.parametrize(("eps", "labels"), [(0.01, 230), (0.02, 114), (0.05, 45)])
def test_labels_needed_without_a_loss(eps: float, labels: int) -> None:
    assert labels_needed(eps, 0.1) == labels == math.ceil(math.log(0.1) / math.log(1 - eps))


@pytest.mark.parametrize(("eps", "rate"), [(0.05, 0.25), (0.05, 0.5), (0.1, 0.75)])
def test_labels_needed_is_the_least_number_that_passes(eps: float, rate: float) -> None:
    def passes(n: int) -> bool:
        lost = math.ceil(rate * eps * n - 1e-9)
        return sum(math.comb(n, i) * eps**i * (1 - eps) ** (n - i) for i in range(lost + 1)) <= 0.1

    assert labels_needed(eps, 0.1, rate) == next(n for n in range(1, 2000) if passes(n))


def test_labels_needed_refuses_what_no_number_can_show() -> None:
    with pytest.raises(SettingError, match=r"rate is 1\.0"):
        labels_needed(0.05, 0.1, 1.0)
    with pytest.raises(SettingError, match="more than 10,000,000 labels"):
        labels_needed(1e-9, 0.1)


def test_a_budget_is_kept_by_the_next_problem() -> None:
    # Every place of the next among 40 exchangeable costs is as likely as the others: counted, not drawn.
    costs = np.random.default_rng(5).permutation(40).astype(float)
    for alpha in (0.05, 0.1, 0.3):
        exceeded = [costs[i] > cost_quantile(np.delete(costs, i), alpha) for i in range(40)]
        assert alpha - 1 / 40 <= float(np.mean(exceeded)) <= alpha


def test_too_few_costs_promise_no_finite_budget() -> None:
    assert cost_quantile([1.0] * 18, 0.05) == math.inf
    assert cost_quantile([1.0] * 19, 0.05) == 1.0


@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.sampled_from([0.05, 0.1, 0.25]))
def test_a_route_fits_a_budget_where_its_cost_quantile_does(seed: int, n: int, alpha: float) -> None:
    costs = np.cumsum(np.random.default_rng(seed).random((4, n)), axis=0)
    chosen = within_budget(costs, 1.5, alpha)
    fits = [cost_quantile(row, alpha) <= 1.5 for row in costs]
    assert chosen == (fits.index(False) - 1 if fits[0] and not all(fits) else 3 if all(fits) else None)


def test_a_budget_chosen_for_is_exceeded_no_more_than_promised() -> None:
    rng = np.random.default_rng(6)
    exceeds = []
    for _ in range(2000):
        seen = rng.exponential(1.0, 60) * np.array([0.4, 0.42, 0.44, 0.46])[:, np.newaxis]
        chosen = within_budget(seen, 1.0, 0.1)
        exceeds.append(0.0 if chosen is None else math.exp(-1.0 / [0.4, 0.42, 0.44, 0.46][chosen]))
    assert float(np.mean(exceeds)) <= 0.1


def test_costs_are_refused_by_place() -> None:
    with pytest.raises(SettingError, match=r"cost at \[1\] is nan"):
        cost_quantile([1.0, math.nan], 0.1)
    with pytest.raises(SettingError, match=r"cost at \[0, 0\] is -1.0"):
        within_budget([[-1.0]], 1.0, 0.1)
    with pytest.raises(SettingError, match="budget is nan"):
        within_budget([[1.0]], math.nan, 0.1)
    with pytest.raises(SettingError, match=r"costs has the shape \[1, 1\]: give \[problems\]"):
        cost_quantile([[1.0]], 0.1)
    with pytest.raises(SettingError, match="problem 0 loses less"):
        within_budget([[3.0], [1.0]], 2.0, 0.1)
