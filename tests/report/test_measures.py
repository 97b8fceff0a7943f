"""What is counted in a run, against what the run itself counted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import escalade
from escalade.pool import load_pool
from escalade.report import measures
from escalade.report.highlights import headline, notable
from escalade.report.runs import Run, read_run


@pytest.fixture(scope="module")
def run(cascade: Path) -> Run:
    return read_run(cascade)


@pytest.fixture(scope="module")
def tiers(cascade: Path) -> list[dict]:
    return json.loads((cascade / "summary.json").read_text(encoding="utf-8"))["tiers"]


def test_the_flow_is_that_of_the_summary(run: Run, tiers: list[dict]) -> None:
    for row, tier in zip(measures.flow(run).records(), tiers, strict=True):
        assert row["asked"] == tier["asked"]
        assert row["right"] + row["wrong"] + row["ungraded"] == tier["accepted"]
        assert row["escalated"] == tier["escalated"]
        assert row["asked"] == sum(row[fate] for fate in measures.FATES)


@pytest.mark.parametrize("aggregate", ["pooled", "weighted"])
def test_an_answer_owned_by_a_tier_below_is_answered_where_it_was_taken(tmp_path: Path, aggregate: str) -> None:
    route = "mv_cascade_0.5B_k3_t0.7_1.5B_k3_t0.7"
    accuracy = {"0.5B": 0.4, "1.5B": 0.65}
    pool = load_pool("ladder")
    models = [model.model_copy(update={"accuracy": accuracy.get(model.alias)}) for model in pool.models]
    results = escalade.run(
        engine="replay:shipped", route=route, pool=pool.model_copy(update={"models": models}), aggregate=aggregate
    )
    run = read_run(results.write(tmp_path))
    assert any(story.tiers[0].decided and len(story.tiers) == 2 for story in run.stories)
    for row, tier in zip(measures.flow(run).records(), results.summary().tiers, strict=True):
        assert row["right"] + row["wrong"] == tier.accepted
        assert row["escalated"] == tier.escalated
    assert [row["decided"] for row in measures.decided(run).records()] == [t.decided for t in results.summary().tiers]


def test_who_decided_is_that_of_the_summary(run: Run, tiers: list[dict]) -> None:
    rows = measures.decided(run).records()
    assert [(row["decided"], row["accuracy"]) for row in rows] == [(t["decided"], t["accuracy"]) for t in tiers]
    assert all(row["low"] < row["accuracy"] < row["high"] for row in rows)


def test_costs_are_those_of_the_summary(run: Run, tiers: list[dict]) -> None:
    rows = measures.costs(run).records()
    assert [(row["cost_usd"], row["samples"]) for row in rows] == [(t["cost_usd"], t["samples_drawn"]) for t in tiers]
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_savings_are_those_of_the_summary(run: Run, tiers: list[dict]) -> None:
    rows = measures.savings(run).records()
    told = [(t["samples_drawn"], t["samples_saved"], t["samples_cancelled"]) for t in tiers]
    assert [(row["drawn"], row["saved"], row["cancelled"]) for row in rows] == told
    assert all(row["seats"] == row["drawn"] + row["saved"] + row["cancelled"] for row in rows)


def test_statuses_are_those_of_the_summary(run: Run, cascade: Path) -> None:
    told = json.loads((cascade / "summary.json").read_text(encoding="utf-8"))["statuses"]
    rows = measures.statuses(run).records()
    assert {row["status"]: row["problems"] for row in rows} == told
    assert sum(row["right"] for row in rows) == run.correct


@pytest.mark.parametrize("measure", [measures.shares, measures.entropies])
def test_a_histogram_counts_each_ballot_once(run: Run, tiers: list[dict], measure) -> None:
    rows = measure(run).records()
    for label, tier in zip(dict.fromkeys(row["tier"] for row in rows), tiers, strict=True):
        assert sum(row["ballots"] for row in rows if row["tier"] == label) == tier["asked"]


def test_reliability_counts_each_graded_ballot_with_a_leader_once(run: Run) -> None:
    found = sum(tier.leader_right is not None for story in run.stories for tier in story.tiers)
    assert sum(row["graded"] for row in measures.reliability(run).records()) == found


def test_a_unanimous_ballot_has_entropy_0_and_share_1(vote: Path) -> None:
    run = read_run(vote)
    unanimous = sum(tier.looks[-1].share == 1 for story in run.stories for tier in story.tiers)
    (share,) = [row["ballots"] for row in measures.shares(run).records() if row["low"] == 0.9]
    (entropy,) = [row["ballots"] for row in measures.entropies(run).records() if row["low"] == 0]
    assert share == entropy == unanimous > 0


def test_a_single_sample_is_no_vote(tmp_path: Path) -> None:
    run = read_run(escalade.run(engine="replay:shipped", route="0.5B", limit=5).write(tmp_path))
    assert not measures.reliability(run).rows
    assert not measures.shares(run).rows


def test_notable_problems_are_wrong_where_they_are_said_to_be(run: Run) -> None:
    kinds = {kind.title: kind.stories for kind in notable(run, each=5)}
    assert list(kinds) == ["Surest mistakes", "Hardest", "Dearest"]
    assert all(story.right is False for title in ("Surest mistakes", "Hardest") for story in kinds[title])
    told = [story.id for stories in kinds.values() for story in stories]
    assert len(told) == len(set(told)) == 15
    surest = max((s.confidence or 0, s.right) for s in run.stories if s.right is False)[0]
    assert kinds["Surest mistakes"][0].confidence == surest


@pytest.mark.parametrize(
    ("more", "said"), [({"ended_by": "--max-cost 1"}, "--max-cost 1"), ({"interrupted": True}, "it was interrupted")]
)
def test_a_run_that_ended_early_says_so(run: Run, more: dict, said: str) -> None:
    stopped = replace(run, summary={**run.summary, **more})
    assert headline(stopped).endswith(f"USD a problem. The run ended early: {said}.")


def test_the_headline_has_the_numbers_of_the_summary(run: Run) -> None:
    assert headline(run) == (
        "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7 answered 38 of 60 problems right, 63.3 % (50.7 to 74.4), "
        "at 0.00008322 USD a problem."
    )
