import random

import pytest

import escalade
from escalade.limits import Limits
from escalade.tally import Tally, summarise
from tests.runs import job_of, run_scripted

ROUTE = "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"


def test_the_order_of_problems_changes_nothing() -> None:
    results, _ = run_scripted(job_of(60))
    items = list(results.answered)
    random.Random(0).shuffle(items)
    assert summarise(results.job, items, 1.0, results.grading) == results.summary()


def test_a_tally_can_be_read_at_any_time() -> None:
    results, _ = run_scripted(job_of(20))
    tally = Tally()
    for n, item in enumerate(results.answered, start=1):
        tally.add(item)
        assert tally.summary(results.job, 1.0, {}).problems == n == sum(tally.statuses.values())
    assert summarise(results.job, [], 0.0, {}).accuracy is None


def test_engine_seconds_are_of_each_tier_and_unknown_is_not_zero() -> None:
    results, _ = run_scripted(job_of(30))
    small, large = results.summary().tiers
    known = [s.generation.seconds for item in results.answered for use in item.tiers[:1] for s in use.samples]
    assert small.engine_seconds.known == sum(value for value in known if value is not None)
    assert small.engine_seconds.unknown == known.count(None) > 0
    assert small.engine_seconds.whole is None
    assert large.engine_seconds.unknown == large.samples
    assert [tier["engine_seconds"] for tier in results.summary().to_dict()["tiers"]] == [None, None]


def test_pass_at_k_is_over_the_first_samples_that_every_problem_has() -> None:
    results = escalade.run(route=ROUTE, engine="replay:shipped", stop="none")
    found = results.summary().pass_k
    assert found is not None and found.k == 3
    right = 0
    for item in results.answered:
        position = item.outcome.decided_by
        if position is not None and item.grade is not None:
            right += any(item.grade.samples[position][:3])
    assert found.value == pytest.approx(right / 60)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(run_samples=10), "the limit of 10 samples for the run is reached"),
        (Limits(run_tokens=3000), "the limit of 3000 tokens for the run is reached"),
        (Limits(run_seconds=0.3), "the limit of 0.3 s for the run is reached"),
        (Limits(problem_samples=1), None),
        (Limits(problem_seconds=0.01), None),
        (Limits(), None),
    ],
    ids=str,
)
def test_the_limit_that_ended_a_run_is_said(limits: Limits, said: str | None) -> None:
    results, _ = run_scripted(job_of(40, limits=limits))
    assert results.summary().ended_by == said
    assert results.summary().to_dict()["ended_by"] == said
