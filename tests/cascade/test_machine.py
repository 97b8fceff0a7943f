import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from escalade.cascade.confidence import ESTIMATORS
from escalade.cascade.machine import Action, Cancel, Draw, Machine
from escalade.cascade.outcome import Status
from escalade.cascade.policy import Policy
from escalade.errors import SettingError, StoreError
from escalade.routes import Kind, Route, Tier
from escalade.samples.sample import Generation, Sample, sample_seed
from escalade.samples.store import Key, Store, Stored
from escalade.testing import votes
from tests.cascade.drive import Run, backwards, drive, launch, machine_of, run, shuffled

TWO = "mv_cascade_S_k4_t0.7_L_k1_t0.0"
ENTROPY_TWO = "mv_entropy_cascade_S_k4_t0.7_L_k1_t0.0"
NONE = Policy(stop="none")


# -- free and in no order: the two promises -------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A route, its evidence and more samples than it can ask for."""

    route: Route
    tiers: tuple[tuple[Sample, ...], ...]
    settings: dict[str, Any]
    evidence: dict[str, dict[str, float]]

    def run(self, stop: str, seed: int | None = None) -> Run:
        machine = machine_of(self.route, Policy(stop=stop, **self.settings), **self.evidence)
        return drive(machine, self.tiers, launch if seed is None else shuffled(seed))


def case(seed: int, aggregates: Sequence[str] = ("last",)) -> Case:
    """A case by its seed: many of them quickly, and each can be looked at again."""
    rng = random.Random(seed)
    aliases = ["S", "M", "L"]

    def chance() -> float:
        return rng.choice([0.3, 0.49, 0.5, 0.6, 0.75, 0.8, 0.9, 1.0])

    def some() -> dict[str, float]:
        return {alias: chance() for alias in aliases if rng.random() < 0.5}

    def answers(likely: str, means: list[float | None]) -> tuple[Sample, ...]:
        said = [None if a == "-" else a for a in rng.choices(likely, k=9)]
        return tuple(votes(*said, logprobs=rng.choices(means, k=9)))

    tiers, rows = [], []
    for _ in range(rng.randint(1, 3)):
        temperature, own = rng.choice([0.0, 0.7, 0.7]), rng.choice([None, None, chance()])
        tiers.append(Tier(rng.choice(aliases), rng.randint(1, 6), temperature, own))
        likely = rng.choice(["ab", "aaaaaab", "aaab-", "abc-", "abcd", "--a", "-"])
        rows.append(answers(likely, rng.choice([[None], [-0.05, -0.3, -2.0], [None, -0.05, -0.3]])))
    if rng.random() < 0.4:
        tiers[-1], rows[-1] = Tier(tiers[-1].model, 2, 0.7), tuple(votes(*[None] * 9))  # on to a fall-back
    aggregate = rng.choice(aggregates)
    return Case(
        Route(rng.choice([Kind.CASCADE, Kind.ENTROPY_CASCADE]), tuple(tiers)),
        tuple(rows),
        {
            "target": chance(),
            "confidence": rng.choice(sorted(set(ESTIMATORS) - ({"prior"} if aggregate != "last" else set()))),
            "prior_strength": rng.choice([0.0, 1.0, 4.0, 20.0]),
            "aggregate": aggregate,
            "entropy_bits": rng.choice([0.0, 0.6, 0.9, 1.5]),
            "explore_floor": rng.choice([0.0, 0.5, 0.7, 1.0]),
            "max_k": rng.choice([1, 4, 5, 8]),
        },
        {
            "scores": some(),
            "thresholds": some(),
            "costs": rng.choice([{}, {"S": 1.0, "M": 2.0, "L": 9.0}, {"S": 9.0, "M": 1.0, "L": 1.0}]),
            "accuracies": {"S": 0.55, "M": rng.choice([0.55, 0.7]), "L": 0.9},
        },
    )


@pytest.mark.parametrize("stop", ["verdict", "exact"])
def test_settled_early_is_free(stop: str) -> None:
    saved = fallen = 0
    for seed in range(1500):
        some = case(seed)
        full, early = some.run("none"), some.run(stop, seed)
        assert early.outcome.verdict == full.outcome.verdict, seed
        assert [t.asked for t in early.outcome.tiers] == [t.asked for t in full.outcome.tiers], seed
        assert all(a <= b for a, b in zip(early.drawn, full.drawn, strict=True)), seed
        assert [t.drawn + t.saved for t in early.outcome.tiers] == full.drawn, seed
        if full.outcome.status is Status.FALLBACK:
            assert early.drawn[:-1] == full.drawn[:-1], seed
            assert early.outcome.confidence == full.outcome.confidence, seed
            fallen += 1
        saved += sum(full.drawn) - sum(early.drawn)
    assert saved > 250 and fallen > 250


@pytest.mark.parametrize("stop", ["verdict", "exact"])
def test_settled_early_is_free_where_ballots_are_aggregated(stop: str) -> None:
    saved = 0
    for seed in range(600):
        some = case(seed, ("pooled", "weighted"))
        full, early = some.run("none"), some.run(stop, seed)
        assert early.outcome.verdict == full.outcome.verdict, seed
        assert early.drawn[:-1] == full.drawn[:-1], seed  # whole ballots below the last
        saved += sum(full.drawn) - sum(early.drawn)
    assert saved > 100


@pytest.mark.parametrize("stop", ["verdict", "exact", "none", "beta:0.8", "beta:0.95", "esc:2", "esc:4"])
def test_the_order_of_arrival_changes_nothing(stop: str) -> None:
    for seed in range(300):
        some = case(seed, ("last", "pooled", "weighted"))
        ordered, mixed, again = some.run(stop), some.run(stop, seed), some.run(stop, seed)
        assert ordered.outcome.verdict == mixed.outcome.verdict, seed
        assert again.outcome == mixed.outcome and again.actions == mixed.actions, seed
        if stop == "none":
            assert ordered.outcome == mixed.outcome, seed


@pytest.mark.parametrize("stop", ["verdict", "exact", "none", "beta:0.8"])
@pytest.mark.parametrize("often", [1.0, 0.3])
def test_hedging_changes_no_verdict(stop: str, often: float) -> None:
    begun = wasted = 0
    for seed in range(600):
        some, dice = case(seed, ("last", "pooled", "weighted")), random.Random(seed)
        plain = some.run(stop, seed)
        machine = machine_of(some.route, Policy(stop=stop, **some.settings), **some.evidence)

        def sometimes(machine: Machine, dice: random.Random = dice) -> list[Action]:
            return machine.hedge() if dice.random() < often else []

        hedged = drive(machine, some.tiers, shuffled(seed), sometimes)
        assert hedged.outcome.verdict == plain.outcome.verdict, seed
        assert hedged.outcome.equal == plain.outcome.equal, seed
        ahead = [tier for tier in hedged.outcome.tiers if not tier.looks]
        assert len(ahead) <= 1 and ahead == list(hedged.outcome.tiers[len(plain.outcome.tiers) :]), seed
        begun += any("was begun before" in note for note in hedged.outcome.notes)
        wasted += len(ahead)
    assert begun > 100 and wasted > 20


def test_what_was_begun_ahead_is_cancelled_where_it_is_not_needed() -> None:
    machine = machine_of("mv_cascade_S_k4_t0.7_L_k2_t0.7", Policy(target=0.75))
    machine.start()
    assert machine.hedge() == [Draw(1, (0, 1))]
    assert machine.hedge() == []  # one tier ahead, once
    (late, _), (*sure, _) = votes("7", "7"), votes("3", "3", "3", "3")
    assert machine.feed(1, late) == []
    assert [machine.feed(0, sample) for sample in sure] == [[], [], [Cancel(0, (3,)), Cancel(1, (1,))]]
    assert machine.outcome is not None and machine.outcome.answer == "3"
    assert [(tier.asked, tier.drawn) for tier in machine.outcome.tiers] == [(4, 3), (2, 1)]


def test_what_was_begun_ahead_is_there_when_its_turn_comes() -> None:
    machine = machine_of("mv_cascade_S_k4_t0.7_L_k1_t0.0")
    machine.start()
    machine.hedge()
    (large,), (one, two) = votes("7"), votes("1", "2")
    machine.feed(1, large)
    machine.feed(0, one)
    machine.feed(0, two)
    assert machine.outcome is not None
    assert (machine.outcome.answer, machine.outcome.decided_by) == ("7", 1)


def test_out_of_time_the_tier_ahead_may_have_the_best_answer() -> None:
    machine = machine_of("mv_cascade_S_k4_t0.7_L_k2_t0.7")
    machine.start()
    machine.hedge()
    for sample in votes("7", "7"):
        machine.feed(1, sample)
    machine.feed(0, votes("1")[0])
    machine.end(Status.DEADLINE, "out of time")
    assert machine.outcome is not None
    assert (machine.outcome.answer, machine.outcome.decided_by) == ("7", 1)


@pytest.mark.parametrize(
    ("cast", "likely"),
    [([], 0.5), (["1"], 0.6), (["1", "1"], 0.4), (["1", "1", "1"], 0.2), ([None], 1.0)],
)
def test_how_likely_escalation_is(cast: list[str | None], likely: float) -> None:
    machine = machine_of("mv_cascade_S_k4_t0.7_L_k1_t0.0", Policy(stop="none"))
    machine.start()
    for sample in votes(*cast):
        machine.feed(0, sample)
    assert machine.escalation() == pytest.approx(likely)


def test_the_last_tier_and_what_is_over_cannot_escalate() -> None:
    machine = machine_of("mv_S_k2_t0.7")
    machine.start()
    assert machine.escalation() is None and machine.hedge() == []
    machine = machine_of(TWO)
    machine.start()
    machine.fail("an engine failed")
    assert machine.escalation() is None and machine.hedge() == []


@pytest.mark.parametrize("stop", ["verdict", "none", "beta:0.8"])
def test_the_owner_owns_the_answer(stop: str) -> None:
    for seed in range(300):
        some = case(seed)
        found = some.run(stop, seed)
        outcome = found.outcome
        assert (outcome.answer is None) == (outcome.decided_by is None) == (outcome.status is Status.NO_ANSWER)
        if outcome.decided_by is not None:
            arrived = {i for tier, i in found.arrived if tier == outcome.decided_by}
            assert outcome.answer in {some.tiers[outcome.decided_by][i].key for i in arrived}
        if outcome.status in (Status.ACCEPTED, Status.LAST_TIER):
            assert outcome.decided_by == len(outcome.tiers) - 1
        wishes = sum(len(a.indexes) for a in found.actions if isinstance(a, Draw))
        dropped = sum(len(a.indexes) for a in found.actions if isinstance(a, Cancel))
        assert wishes - dropped == sum(found.drawn)  # what was wanted was drawn or let go


def test_every_order_of_two_tiers_gives_one_verdict() -> None:
    rows = [votes("a", "b", "a"), votes(None, None), votes("c", "a")]
    route = "mv_cascade_S_k3_t0.7_M_k2_t0.7_L_k2_t0.7"
    verdicts = {drive(machine_of(route), rows, shuffled(seed)).outcome.verdict for seed in range(200)}
    assert len(verdicts) == 1


def test_settling_saves() -> None:
    full, early = run(TWO, "abcd", "a", policy=NONE), run(TWO, "abcd", "a")
    assert full.drawn == [4, 1] and early.drawn == [2, 1] and early.outcome.tiers[0].saved == 2
    assert Cancel(0, (2, 3)) in early.actions
    assert run("mv_S_k8_t0.7", "aaaaaaaa").drawn == [5]


def test_exact_waits_for_the_leader() -> None:
    exact = run(TWO, "abab", "a", policy=Policy(stop="exact"))
    assert exact.drawn == [4, 1]
    assert run("mv_cascade_S_k5_t0.7_L_k1_t0.0", "abbbb", "a", policy=Policy(stop="exact")).drawn == [4, 1]


# -- one ballot a tier, one owner -----------------------------------------------------------------------------


def test_P10_the_last_tier_answers_and_owns_the_answer() -> None:
    tiers = ("9998", "9779", "7")
    for stop, order in itertools.product(("verdict", "none"), (launch, backwards)):
        found = run("mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0", *tiers, policy=Policy(stop=stop), order=order)
        assert (found.outcome.status, found.outcome.answer, found.outcome.decided_by) == (Status.LAST_TIER, "7", 2)


def test_P11_weaker_votes_do_not_dilute_a_stronger_ballot() -> None:
    found = run("mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0", "1234", "7777", "8").outcome
    assert (found.status, found.answer, found.decided_by, found.confidence) == (Status.ACCEPTED, "7", 1, 1.0)


def test_P5_the_entropy_rule_differs_from_the_plain_one() -> None:
    plain = run(TWO, "abcaaaaa", "z", policy=NONE)
    entropy = run(ENTROPY_TWO, "abcaaaaa", "z", policy=NONE)
    assert plain.decisions == [["escalate"], ["answer"]]
    assert entropy.decisions == [["explore", "explore", "escalate"], ["answer"]]


def test_P12_a_single_sample_is_weighed_by_its_score() -> None:
    route = "mv_cascade_S_k1_t0.0_L_k1_t0.0"
    low = run(route, "a", "b", scores={"S": 0.8})
    assert low.drawn == [0, 1] and low.outcome.tiers[0].saved == 1 and low.actions[0] == Draw(1, (0,))
    assert low.outcome.tiers[0].looks[0].source == "score"
    high = run(route, "a", "b", scores={"S": 0.95}).outcome
    assert (high.status, high.answer, high.confidence) == (Status.ACCEPTED, "a", 0.95)
    unknown = run(route, "a", "b")
    assert unknown.drawn == [1, 1] and "unknown" in unknown.outcome.tiers[0].looks[0].reason
    sure = run(route, votes("a", logprobs=[-0.05]), "b").outcome
    assert (sure.status, sure.confidence) == (Status.ACCEPTED, math.exp(-0.05))
    assert run(route, votes("a", logprobs=[-0.5]), "b").outcome.answer == "b"


def test_P12_a_vote_of_one_and_a_last_tier_need_no_evidence() -> None:
    for route in ("mv_S_k1_t0.0", "S", "mv_cascade_S_k1_t0.0"):
        found = run(route, "a", scores={"S": 0.01}).outcome
        assert (found.status, found.answer, found.decided_by) == (Status.LAST_TIER, "a", 0)


def test_P15_the_target_decides_how_often_is_climbed() -> None:
    assert run(TWO, "aaab", "z", policy=Policy(target=0.5)).outcome.status is Status.ACCEPTED
    assert run(TWO, "aaab", "z", policy=Policy(target=0.99)).outcome.status is Status.LAST_TIER


def test_thresholds_come_from_the_tier_then_policy_then_pool_then_target() -> None:
    own = "mv_cascade_S_k4_t0.7_c0.75_L_k1_t0.0"
    by_pool, by_policy = {"S": 0.75}, Policy(thresholds={"S": 0.75})

    def threshold(route: str, policy: Policy | None = None, **evidence: dict[str, float]) -> float | None:
        return run(route, "aaab", "z", policy=policy, **evidence).outcome.tiers[0].looks[0].threshold

    assert threshold(TWO) == 0.9
    assert threshold(TWO, thresholds=by_pool) == 0.75
    assert threshold(TWO, by_policy, thresholds={"S": 0.5}) == 0.75
    assert threshold(own, Policy(thresholds={"S": 1.0}), thresholds={"S": 1.0}) == 0.75
    assert run(own, "aaab", "z").outcome.status is Status.ACCEPTED
    assert run(TWO, "aaab", "z", thresholds={"L": 0.1}).outcome.status is Status.LAST_TIER


def test_P19_abstentions_never_win() -> None:
    found = run("mv_S_k5_t0.7", [None, None, None, "5", "5"], policy=NONE).outcome
    assert (found.answer, found.confidence) == ("5", 0.4)
    assert run("mv_S_k3_t0.7", [None, "", "[invalid]"]).outcome.status is Status.NO_ANSWER


def test_P20_a_tie_is_noted_and_order_does_not_matter() -> None:
    for answers, order in itertools.product(("34", "43"), (launch, backwards)):
        found = run("mv_S_k2_t0.7", answers, order=order).outcome
        assert found.answer == "3" and found.notes == ("tie between 3 and 4",)


def test_P21_equal_answers_vote_together() -> None:
    found = run("mv_S_k5_t0.7", [r"\frac12", "0.5", "1/2", "2", "2"], policy=NONE).outcome
    assert (found.answer, found.confidence) == ("0.5", 0.6)


def test_V7_cut_off_samples_are_no_unanimity() -> None:
    cut_off = [Sample(i, Generation(r"\boxed{1}", finish_reason="length")) for i in range(4)]
    assert run(TWO, cut_off, "z").outcome.answer == "z"


def test_V8_equal_seeds_of_two_samples_are_refused() -> None:
    seeds = {sample_seed(0, "p", m, t, i) for m in ("S", "L") for t in (0.0, 0.7) for i in range(100)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)
    with Store(None) as store:
        key = Key("p", "S", "t0.7")
        with pytest.raises(StoreError, match="have one seed"):
            store.write([Stored(key, i, 7, "p", "S", 0.7, "job", Generation("4")) for i in (0, 1)])
        assert len(store) == 0


# -- the entropy rule -----------------------------------------------------------------------------------------


def test_exploring_draws_the_difference_and_looks_again() -> None:
    found = run(ENTROPY_TWO, "aaabaaaa", "z")
    assert found.decisions == [["explore", "explore", "accept"]] and found.drawn == [8]
    assert [a for a in found.actions if isinstance(a, Draw)] == [
        Draw(0, (0, 1, 2, 3)),
        Draw(0, (4, 5)),
        Draw(0, (6, 7)),
    ]
    assert found.outcome.tiers[0].asked == 8 and found.outcome.tiers[0].tier.k == 4
    assert run(ENTROPY_TWO, "aaaabbbb", "z").decisions == [["accept"]]
    assert run("mv_entropy_cascade_S_k5_t0.7_L_k1_t0.0", "aaaabaa", "z").decisions == [["explore", "accept"]]


def test_exploring_stops_at_max_k_and_is_settled_early_too() -> None:
    found = run(ENTROPY_TWO, "aaabbaaa", "z")
    assert found.decisions[0] == ["explore", "explore", "escalate"]
    assert found.drawn == [6, 1] and found.outcome.tiers[0].saved == 2  # 4-2: no end of 8 is clean
    assert run(ENTROPY_TWO, "aaabbaaa", "z", policy=NONE).drawn == [8, 1]
    assert run(ENTROPY_TWO, "aaabbaaa", "z", policy=Policy(max_k=4)).decisions[0] == ["escalate"]


def test_the_last_tier_never_explores() -> None:
    assert run("mv_entropy_cascade_S_k4_t0.7", "abca").decisions == [["answer"]]


def test_greedy_samples_are_not_explored() -> None:
    found = run("mv_entropy_cascade_S_k1_t0.0_L_k1_t0.0", "a", "z", scores={"S": 0.7})
    assert found.decisions == [["escalate"], ["answer"]] and found.drawn == [0, 1]


def test_a_single_sample_explores_into_a_ballot() -> None:
    route = "mv_entropy_cascade_S_k1_t0.7_L_k1_t0.0"
    found = run(route, "aaa", "z", scores={"S": 0.7})
    assert found.decisions == [["explore", "accept"]] and found.drawn == [3]
    assert run(route, ["a", "a", "b"], "z", scores={"S": 0.4}).drawn == [0, 1]
    assert run(route, [None, "a", "a", "a", "a", "a", "a", "a"], "z", scores={"S": 0.7}).outcome.answer == "a"


def test_the_threshold_in_bits_is_a_setting() -> None:
    assert run(ENTROPY_TWO, "aaab", "z", policy=Policy(entropy_bits=0.82)).outcome.answer == "a"
    assert run(ENTROPY_TWO, "aaab", "z", policy=Policy(explore_floor=0.8)).decisions[0] == ["escalate"]


# -- probabilistic stop rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["beta:0.9", "esc:2"])
def test_V12_samples_count_in_launch_order(stop: str) -> None:
    answers = "baaaaaaa"
    policy = Policy(stop=stop, target=0.6)
    runs = [run("mv_cascade_S_k8_t0.7_L_k1_t0.0", answers, "z", policy=policy, order=o) for o in (launch, backwards)]
    assert runs[0].outcome.verdict == runs[1].outcome.verdict
    seats = {found.outcome.tiers[0].looks[-1].ballot.k for found in runs}
    assert seats == {6 if stop.startswith("beta") else 4}
    assert runs[0].drawn[0] < runs[1].drawn[0] == 8  # the first launched is waited for


def test_a_cut_ballot_is_not_explored() -> None:
    found = run(ENTROPY_TWO, "abaaaaaa", "z", policy=Policy(stop="beta:0.6"))
    assert found.decisions == [["escalate"], ["answer"]]


# -- fall-back ------------------------------------------------------------------------------------------------


def test_a_fall_back_takes_the_surest_tier_below() -> None:
    found = run("mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0", "aaab", "ccdd", [None]).outcome
    assert (found.status, found.answer, found.decided_by, found.confidence) == (Status.FALLBACK, "a", 0, 0.75)
    assert found.notes == ("the last tier abstained",)


def test_a_fall_back_draws_what_early_escalation_left_out() -> None:
    found = run("mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0", "abbb", "ccde", [None])
    assert found.drawn == [4, 4, 1]
    first = found.actions.index(Draw(0, (2, 3)))
    assert Cancel(0, (2, 3)) in found.actions[:first] and Draw(1, (3,)) in found.actions[first:]
    assert (found.outcome.answer, found.outcome.confidence) == ("b", 0.75)
    assert found.outcome.tiers[0].looks[-1].ballot.drawn == 4
    assert [t.saved for t in found.outcome.tiers] == [0, 0, 0]


def test_a_fall_back_draws_what_a_score_left_out() -> None:
    found = run("mv_cascade_S_k1_t0.0_L_k1_t0.0", "a", [None], scores={"S": 0.5})
    assert found.drawn == [1, 1] and found.outcome.answer == "a" and found.outcome.confidence == 0.5


def test_of_two_equally_sure_tiers_the_cheaper_is_fallen_back_on() -> None:
    route, tiers = "mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0", ("aaab", "cccd", [None])
    assert run(route, *tiers, costs={"S": 1, "M": 2}).outcome.answer == "a"
    assert run(route, *tiers, costs={"S": 3, "M": 2}).outcome.answer == "c"
    assert run(route, *tiers).outcome.answer == "a"


def test_an_unknown_confidence_is_the_least() -> None:
    found = run("mv_cascade_S_k1_t0.0_M_k8_t0.7_L_k1_t0.0", "a", "bcdefgh" + "i", [None]).outcome
    assert (found.answer, found.decided_by) == ("b", 1)
    assert run("mv_cascade_S_k1_t0.0_L_k1_t0.0", "a", [None]).outcome.confidence is None


def test_nobody_answers() -> None:
    found = run(TWO, [None] * 4, [None]).outcome
    assert (found.status, found.answer, found.decided_by) == (Status.NO_ANSWER, None, None)
    assert run("S", [None]).outcome.status is Status.NO_ANSWER


# -- aggregated ballots ---------------------------------------------------------------------------------------


def test_pooled_ballots_hold_the_samples_of_all_tiers() -> None:
    route, tiers = "mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0", ("9998", "9779", "7")
    found = run(route, *tiers, policy=Policy(aggregate="pooled", stop="none")).outcome
    assert (found.answer, found.confidence, found.decided_by) == ("9", 5 / 9, 0)
    assert [look.ballot.k for tier in found.tiers for look in tier.looks] == [4, 8, 9]
    accepted = run(route, "1234", "7777", "8", policy=Policy(aggregate="pooled", target=0.5)).outcome
    assert (accepted.status, accepted.confidence, accepted.decided_by) == (Status.ACCEPTED, 0.5, 1)


def test_a_pooled_answer_that_is_fixed_needs_no_last_tier() -> None:
    route = "mv_cascade_S_k5_t0.7_L_k3_t0.7"
    policy = {"aggregate": "pooled", "target": 0.9}
    early = run(route, "aaaab", "aaa", policy=Policy(**policy))  # type: ignore[arg-type]
    full = run(route, "aaaab", "aaa", policy=Policy(**policy, stop="none"))  # type: ignore[arg-type]
    assert early.drawn == [5, 1] and full.drawn == [5, 3]
    assert early.outcome.verdict == full.outcome.verdict and full.outcome.decided_by == 0


def test_weighted_votes_count_by_log_odds() -> None:
    accuracies = {"S": 0.55, "L": 0.95}
    found = run(TWO, "aaaa", "b", policy=Policy(aggregate="weighted", target=1.0), accuracies=accuracies, thresholds={})
    assert found.outcome.answer == "a"  # whole and accepted before L has a say
    found = run(TWO, "aaac", "b", policy=Policy(aggregate="weighted"), accuracies=accuracies)
    assert (found.outcome.answer, found.outcome.decided_by) == ("b", 1)
    found = run(TWO, "aaac", "b", policy=Policy(aggregate="pooled"))
    assert (found.outcome.answer, found.outcome.decided_by) == ("a", 0)
    with pytest.raises(SettingError, match="accuracy of S"):
        machine_of(TWO, Policy(aggregate="weighted"))


# -- limits and failures --------------------------------------------------------------------------------------


def fed(route: str, *places: tuple[int, int, str], **evidence: Any) -> Any:
    machine = machine_of(route, evidence.pop("policy", NONE), **evidence)
    machine.start()
    for tier, index, answer in places:
        machine.feed(tier, Sample(index, Generation(None), key=None if answer == "-" else answer))
    return machine


def test_a_tier_out_of_time_escalates() -> None:
    machine = fed(TWO, (0, 0, "a"), (0, 2, "a"))
    assert machine.expire() == [Cancel(0, (1, 3)), Draw(1, (0,))]
    assert machine.feed(0, Sample(1, Generation(None), key="a")) == []  # too late
    machine.feed(1, Sample(0, Generation(None), key="z"))
    outcome = machine.outcome
    assert (outcome.status, outcome.answer) == (Status.LAST_TIER, "z")
    assert (outcome.tiers[0].drawn, outcome.tiers[0].saved) == (2, 0)
    assert "out of time with 2 drawn" in outcome.tiers[0].looks[-1].reason


def test_a_tier_out_of_time_is_not_drawn_again_by_a_fall_back() -> None:
    machine = fed(TWO, (0, 0, "a"), (0, 2, "a"))
    machine.expire()
    machine.feed(1, Sample(0, Generation(None)))
    outcome = machine.outcome
    assert (outcome.status, outcome.answer, outcome.confidence) == (Status.FALLBACK, "a", 0.5)


def test_out_of_time_at_the_last_tier_ends_with_the_best_answer_so_far() -> None:
    route = "mv_cascade_S_k4_t0.7_L_k4_t0.7"
    first = tuple((0, i, a) for i, a in enumerate("aaab"))
    machine = fed(route, *first, (1, 0, "c"))
    assert machine.expire() == [Cancel(1, (1, 2, 3))]
    assert machine.outcome.verdict[:3] == (Status.DEADLINE, "a", 0)
    machine = fed(route, *first, *((1, i, "c") for i in range(3)))
    machine.expire()
    assert machine.outcome.verdict[:3] == (Status.DEADLINE, "a", 0)  # 3 of 4 each: the cheaper
    assert machine.expire() == [] and machine.outcome.status is Status.DEADLINE
    assert fed("S").expire() == [Cancel(0, (0,))]


def test_entropy_confidence_of_a_broken_off_ballot_is_no_unanimity() -> None:
    policy = Policy(stop="none", confidence="entropy")
    first = tuple((0, i, a) for i, a in enumerate("aaab"))
    machine = fed("mv_cascade_S_k4_t0.7_L_k4_t0.7", *first, (1, 0, "c"), policy=policy)
    machine.end(Status.BUDGET, "no money")
    assert machine.outcome.answer == "a"


def test_out_of_money_ends_with_the_best_answer_so_far() -> None:
    machine = fed(TWO, (0, 0, "a"), (0, 1, "b"), (0, 2, "a"))
    assert machine.end(Status.BUDGET, "no money") == [Cancel(0, (3,))]
    outcome = machine.outcome
    assert (outcome.status, outcome.answer, outcome.decided_by, outcome.confidence) == (Status.BUDGET, "a", 0, 0.5)
    assert outcome.notes == ("no money",)
    assert machine.end(Status.BUDGET, "again") == [] and machine.outcome is outcome
    machine = fed(TWO)
    machine.end(Status.BUDGET, "no money")
    assert machine.outcome.verdict[:3] == (Status.BUDGET, None, None)


def test_a_fall_back_can_run_out_too() -> None:
    for end, status in ((lambda m: m.end(Status.BUDGET, "."), Status.BUDGET), (lambda m: m.expire(), Status.DEADLINE)):
        machine = machine_of(TWO)
        machine.start()
        for tier, sample in ((0, votes("a", "b")[0]), (0, votes("a", "b")[1]), (1, votes(None)[0])):
            machine.feed(tier, sample)
        assert machine.outcome is None  # two more of S are wanted
        assert end(machine) == [Cancel(0, (2, 3))]
        assert machine.outcome.verdict[:3] == (status, "a", 0)


def test_a_failed_engine_ends_the_problem() -> None:
    machine = fed(TWO, (0, 0, "a"))
    assert machine.fail("S is gone") == [Cancel(0, (1, 2, 3))]
    assert machine.outcome.verdict[:3] == (Status.ERROR, None, None) and machine.outcome.notes == ("S is gone",)
    assert machine.fail("again") == [] == machine.expire()


def test_samples_nobody_wants_are_passed_over() -> None:
    machine = fed(TWO, (0, 0, "a"))
    for tier, index in ((0, 0), (0, 7), (1, 0), (5, 0)):
        assert machine.feed(tier, Sample(index, Generation(None), key="b")) == []
    machine.end(Status.BUDGET, ".")
    assert machine.outcome.answer == "a" and machine.outcome.tiers[0].drawn == 1


def test_notes_are_carried_into_the_outcome_once() -> None:
    route = machine_of("S").route
    machine = type(machine_of("S"))(route, NONE, notes=("greedy only", "greedy only"))
    assert drive(machine, [votes("a")]).outcome.notes == ("greedy only",)


@pytest.mark.parametrize("how", ["expire", "end", "fail"])
def test_breaking_off_anywhere_gives_an_outcome(how: str) -> None:
    for seed in range(200):
        some = case(seed)
        rng = random.Random(seed)
        machine = machine_of(some.route, Policy(**some.settings), **some.evidence)
        wanted = {(a.tier, i) for a in machine.start() if isinstance(a, Draw) for i in a.indexes}
        for _ in range(rng.randint(0, 12)):
            if machine.outcome is not None:
                break
            place = rng.choice(sorted(wanted))
            wanted.discard(place)
            for action in machine.feed(place[0], some.tiers[place[0]][place[1]]):
                places = {(action.tier, i) for i in action.indexes}
                wanted = wanted | places if isinstance(action, Draw) else wanted - places
        assert (machine.outcome is None) == bool(wanted)
        while machine.outcome is None:
            if how == "expire":
                actions = machine.expire()
            else:
                actions = machine.end(Status.BUDGET, "no money") if how == "end" else machine.fail("gone")
            assert {(a.tier, i) for a in actions if isinstance(a, Cancel) for i in a.indexes} == wanted
            wanted = {(a.tier, i) for a in actions if isinstance(a, Draw) for i in a.indexes}
        assert (machine.outcome.decided_by is None) == (machine.outcome.answer is None)
