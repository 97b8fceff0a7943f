"""Lanes: the order in which requests go, and how many an engine gets, on a clock of the test's own."""

import random
from collections.abc import Iterable

import pytest

from escalade.cascade.machine import Machine
from escalade.cascade.policy import Policy
from escalade.climb import Climb, Task, Wish
from escalade.lanes import AHEAD, FAULTS, LONGEST_PAUSE, PATIENCE, PATIENCE_SERVING, PAUSE, Lane
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.testing import pool_of

POOL = pool_of("S")
ROUTE = parse_route("mv_S_k8_t0.7", POOL)


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def climb(order: int) -> Climb:
    problem = Problem(f"p{order}", f"Number {order}?")
    return Climb(order, Task(problem, ROUTE), ROUTE, Machine(ROUTE, Policy()), POOL, "job")


def lane(capacity: int = 4, *, warm_up: bool = False, serving: bool = False) -> tuple[Lane, Clock]:
    clock = Clock()
    return Lane("S", capacity, clock, warm_up=warm_up, serving=serving), clock


def fill(to: Lane, climbs: Iterable[Climb], each: int) -> None:
    for one in climbs:
        for index in range(each):
            to.queue(Wish(one, 0, index))


def send(by: Lane) -> Wish | None:
    wish = by.take() if by.room > 0 else None
    if wish is not None:
        by.begun(wish)
    return wish


def sent(by: Lane) -> list[tuple[int, int]]:
    """Send all there is room for; return climb and index of each."""
    out: list[tuple[int, int]] = []
    while (wish := send(by)) is not None:
        out.append((wish.climb.order, wish.index))
    return out


def finish(in_: Lane, order: int, *, ok: bool = True) -> None:
    """The oldest request of a climb ends."""
    wish = min((w for w in in_.running if w.climb.order == order), key=lambda w: w.sent)
    in_.over(wish)
    if ok:
        in_.succeeded()


# -- order ----------------------------------------------------------------------------------------------------


def test_climbs_with_nothing_under_way_go_first_in_their_order() -> None:
    one, _ = lane(4)
    fill(one, map(climb, range(3)), each=3)
    assert sent(one) == [(0, 0), (1, 0), (2, 0), (0, 1)]
    assert (one.waiting, len(one.running), one.room) == (5, 4, 0)


def test_a_begun_ballot_is_finished_before_others_are_begun() -> None:
    one, _ = lane(2)
    fill(one, map(climb, range(4)), each=2)
    assert sent(one) == [(0, 0), (1, 0)]
    finish(one, 1)
    assert sent(one) == [(1, 1)]  # one left to ask; the others have two
    finish(one, 0)
    assert sent(one) == [(0, 1)]
    finish(one, 0)
    assert sent(one) == [(2, 0)]


def test_what_was_put_back_goes_before_the_others_of_its_climb() -> None:
    one, _ = lane()
    fill(one, [climb(0)], each=3)
    first = one.take()
    assert first is not None
    one.put_back(first)
    assert sent(one) == [(0, 0), (0, 1), (0, 2)]


def test_a_lane_wants_climbs_while_it_has_fewer_than_it_can_ask_at_once_and_some() -> None:
    one, _ = lane(4)
    climbs = [climb(i) for i in range(4 + AHEAD)]
    for each in climbs:
        assert one.wants_climbs
        fill(one, [each], each=8)
    assert not one.wants_climbs
    assert not one.idle
    assert len(list(one.clear())) == 8 * len(climbs)
    assert one.wants_climbs
    assert one.idle


def test_an_engine_that_says_0_is_asked_one_at_a_time() -> None:
    one, _ = lane(0)
    fill(one, [climb(0)], each=2)
    assert sent(one) == [(0, 0)]


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_nor_sent_twice_whatever_is_done(seed: int) -> None:
    dice = random.Random(seed)
    one, _ = lane(dice.choice([1, 3, 10]), warm_up=dice.random() < 0.3)
    climbs, queued, gone = [climb(i) for i in range(12)], 0, list[Wish]()
    for _ in range(600):
        what = dice.random()
        if what < 0.4:
            one.queue(Wish(dice.choice(climbs), 0, queued))
            queued += 1
        elif what < 0.6:
            send(one)
        elif what < 0.7 and (wish := one.take()) is not None:
            one.put_back(wish)
        elif what < 0.75 and (wish := one.take()) is not None:
            one.drop(wish)
            gone.append(wish)
        elif one.running:
            wish = dice.choice(sorted(one.running, key=lambda w: w.sent))
            one.over(wish)
            gone.append(wish)
        assert one.waiting + len(one.running) + len(gone) == queued
        assert len(one.running) <= one.capacity
    while not one.idle:
        sent(one)
        for wish in list(one.running):
            one.over(wish)
            gone.append(wish)
    assert sorted(wish.index for wish in gone) == list(range(queued))


def test_warm_up_holds_a_climb_until_its_first_request_has_a_token() -> None:
    one, _ = lane(8, warm_up=True)
    fill(one, map(climb, range(2)), each=3)
    assert sent(one) == [(0, 0), (1, 0)]
    first = min(one.running, key=lambda w: w.sent)
    one.warmed(first)
    one.warmed(first)
    assert sent(one) == [(0, 1), (0, 2)]
    finish(one, 1)  # one that ends without a word counts, too
    assert sent(one) == [(1, 1), (1, 2)]


# -- how many -------------------------------------------------------------------------------------------------


def test_turned_away_it_gets_half_as_many_once_for_all_that_had_been_sent() -> None:
    one, _ = lane(16)
    fill(one, map(climb, range(20)), each=4)
    sent(one)
    for wish in sorted(one.running, key=lambda w: w.sent)[:8]:
        one.over(wish)
        one.turned_away(wish, None, "too many")
    assert one.allowed == 8
    assert one.room == 0
    for wish in list(one.running)[:4]:
        one.over(wish)
    (late,) = [send(one)]
    for _ in range(3):
        send(one)
    assert late is not None
    one.over(late)
    one.turned_away(late, None, "too many")
    assert one.allowed == 4


def test_it_never_gets_fewer_than_one() -> None:
    one, _ = lane(4)
    fill(one, [climb(0)], each=8)
    for _ in range(6):
        wish = send(one)
        assert wish is not None
        one.over(wish)
        one.turned_away(wish, None, "too many")
    assert (one.allowed, one.room) == (1, 1)


def test_a_round_of_successes_gives_one_more_up_to_all() -> None:
    one, _ = lane(8)
    wish = Wish(climb(0), 0, 0)
    one.queue(wish)
    send(one)
    one.over(wish)
    one.turned_away(wish, None, "too many")
    assert one.allowed == 4
    for _ in range(5):
        one.succeeded()
    assert one.allowed == 5
    for _ in range(100):
        one.succeeded()
    assert one.allowed == 8


def test_the_time_that_an_engine_asks_for_is_waited() -> None:
    one, clock = lane(4)
    fill(one, [climb(0)], each=3)
    wish = send(one)
    assert wish is not None
    one.over(wish)
    one.turned_away(wish, 7.5, "too many")
    assert (one.room, one.opens_in) == (0, 7.5)
    clock.now += 7.5
    assert (one.room, one.opens_in) == (2, None)


def test_what_fails_for_one_climb_only_is_not_the_engine() -> None:
    one, _ = lane(4)
    lonely = climb(0)
    assert not any(one.failed(lonely, unreachable=False, why="no") for _ in range(4 * FAULTS))
    assert one.room == 4


def test_an_engine_that_fails_at_everything_is_left_alone_then_tried_with_one() -> None:
    one, clock = lane(4)
    fill(one, map(climb, range(9)), each=4)
    blamed = [one.failed(climb(i), unreachable=False, why="no") for i in range(FAULTS)]
    assert blamed == [False] * (FAULTS - 1) + [True]
    assert (one.room, one.opens_in) == (0, PAUSE)
    pause = PAUSE
    while pause < LONGEST_PAUSE:
        clock.now += pause
        assert one.room == 1
        wish = send(one)
        assert wish is not None
        assert one.room == 0
        one.over(wish)
        assert one.failed(wish.climb, unreachable=False, why="no")
        pause = min(2 * pause, LONGEST_PAUSE)
        assert one.opens_in == pause
    assert one.given_up is None
    clock.now += pause
    one.succeeded()
    assert (one.room, one.opens_in) == (4, None)


def test_an_engine_that_cannot_be_reached_is_left_alone_even_for_one_climb() -> None:
    one, _ = lane(4)
    lonely = climb(0)
    assert [one.failed(lonely, unreachable=True, why="gone") for _ in range(FAULTS)][-1]
    assert one.room == 0


def test_it_is_given_up_after_the_patience_and_says_what_failed_last() -> None:
    one, clock = lane(4)
    climbs = [climb(i) for i in range(FAULTS)]
    for each in climbs:
        one.failed(each, unreachable=True, why="first")
    clock.now += PATIENCE
    one.failed(climbs[0], unreachable=True, why="again")
    assert one.given_up is None
    clock.now += 0.1
    one.failed(climbs[0], unreachable=True, why="cannot be reached")
    assert one.given_up == f"S: no request has succeeded for {PATIENCE:g} s; the last one: cannot be reached"


def test_patience_with_an_engine_that_asks_for_time_is_longer_by_that() -> None:
    one, clock = lane(4)
    wish = Wish(climb(0), 0, 0)
    one.turned_away(wish, 90.0, "wait")
    clock.now += 90 + PATIENCE
    one.turned_away(wish, 90.0, "wait")
    assert one.given_up is None
    clock.now += 1
    one.turned_away(wish, 90.0, "wait")
    assert one.given_up is not None


def test_a_success_ends_all_trouble() -> None:
    one, clock = lane(4)
    for i in range(FAULTS):
        one.failed(climb(i), unreachable=True, why="no")
    clock.now += PATIENCE / 2
    one.succeeded()
    clock.now += PATIENCE
    one.failed(climb(0), unreachable=True, why="no")
    assert one.given_up is None
    assert one.room == 4


# -- where somebody waits -------------------------------------------------------------------------------------


def test_serving_ballots_go_whole_and_first_come_first_served() -> None:
    many, _ = lane(5, serving=True)
    fill(many, [climb(2), climb(1)], 3)
    assert sent(many) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    fill(many, [climb(0)], 2)
    finish(many, 2)
    assert sent(many) == [(0, 0)], "what came first goes first, whatever is under way"


def test_serving_the_heap_holds_no_more_than_there_is() -> None:
    many, _ = lane(2, serving=True)
    fill(many, [climb(order) for order in range(3)], 400)
    for _ in range(600):
        sent(many)
        finish(many, min(wish.climb.order for wish in many.running))
    assert len(many._order) <= 64 + 4 * 3 + 1


def test_serving_an_engine_that_was_given_up_is_tried_again_with_one_request() -> None:
    down, clock = lane(4, serving=True)
    fill(down, [climb(0), climb(1), climb(2)], 2)

    def fail() -> None:
        wish = send(down)
        assert wish is not None
        down.over(wish)
        down.failed(wish.climb, unreachable=True, why="nobody is there")

    for _ in range(FAULTS):
        fail()
    assert down.given_up is None
    clock.now += PATIENCE_SERVING + PAUSE
    fail()
    assert "no request has succeeded for 5 s; the last one: nobody is there" in str(down.given_up)
    clock.now += LONGEST_PAUSE
    assert down.given_up is None
    assert down.room == 1
    fill(down, [climb(3)], 2)
    wish = send(down)
    assert wish is not None and send(down) is None
    down.over(wish)
    down.succeeded()
    assert down.given_up is None
    assert down.room == 4


def test_serving_a_failure_long_ago_says_nothing_of_one_now() -> None:
    quiet, clock = lane(4, serving=True)
    fill(quiet, [climb(0)], 2)
    for _ in range(2):
        wish = send(quiet)
        assert wish is not None
        quiet.over(wish)
        assert not quiet.failed(wish.climb, unreachable=False, why="no")
        clock.now += 3600
    assert quiet.given_up is None
    assert quiet.room == 4


def test_serving_a_few_requests_that_fail_are_not_the_engines_end() -> None:
    busy, clock = lane(8, serving=True)
    fill(busy, [climb(order) for order in range(FAULTS - 1)], 4)
    for _ in range(12):
        wish = send(busy)
        assert wish is not None
        busy.over(wish)
        busy.failed(wish.climb, unreachable=False, why="this prompt kills it")
        clock.now += 1
    assert busy.given_up is None
    assert busy.room == 8


def test_serving_an_engine_that_only_turns_away_is_given_up_for_a_while_and_tried_again() -> None:
    full, clock = lane(4, serving=True)
    fill(full, [climb(order) for order in range(40)], 1)

    def turn_away() -> None:
        wish = send(full)
        assert wish is not None
        full.over(wish)
        full.turned_away(wish, None, "too many")

    while full.given_up is None:
        turn_away()
        clock.now += 1
        assert clock.now < 100 + 2 * PATIENCE_SERVING
    clock.now += LONGEST_PAUSE
    assert full.given_up is None
    wish = send(full)
    assert wish is not None
    full.over(wish)
    full.succeeded()
    assert full.given_up is None
