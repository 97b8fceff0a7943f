import math

import pytest

from escalade.calibration.shapes import Shape, best_completion, features, readings, shape_of, worst_completions
from escalade.cascade.ballot import count, standing
from escalade.errors import SettingError
from escalade.testing import votes
from tests.calibration.completions import ballots, led


def test_features_of_a_ballot_with_abstentions() -> None:
    seen = features(Shape((3, 1), 6))
    assert seen.share_logit == pytest.approx(math.log(0.5 / 0.5))
    assert seen.margin == pytest.approx(2 / 6)
    assert seen.abstained == pytest.approx(2 / 6)
    # Shares 1/2, 1/6 and twice 1/6, as each abstention is a class of its own.
    assert seen.entropy == pytest.approx((0.5 * math.log(2) + 0.5 * math.log(6)) / math.log(6))
    assert seen.log_k == pytest.approx(math.log(6))


def test_unanimity_and_discord_are_the_ends_of_entropy() -> None:
    assert features(Shape((5,), 5)).entropy == 0.0
    assert features(Shape((1, 1, 1, 1, 1), 5)).entropy == pytest.approx(1.0)
    assert features(Shape((1,), 1)) == (math.log(3), 1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("shape", [Shape((), 5), Shape((1, 2), 5), Shape((3, 3), 5), Shape((2, 0), 5)])
def test_what_is_no_ballot_is_refused(shape: Shape) -> None:
    with pytest.raises(SettingError, match=r"ballot with votes .* of 5 seats"):
        features(shape)


def test_undrawn_seats_win_nothing() -> None:
    assert shape_of(count(votes("7", "7"), k=5)) == Shape((2,), 5)


def test_weighted_votes_have_no_shape() -> None:
    ballot = count(votes("7", "3"), k=3.5, weights=[2.0, 1.5])
    with pytest.raises(SettingError, match=r"votes and seats \[2\.0, 1\.5, 3\.5\].*use aggregate 'last'"):
        shape_of(ballot)


def test_a_standing_may_be_read_in_two_ways() -> None:
    drawn = votes("7", "7", "3", "4", None, "5")
    whole = count(drawn, k=8)
    assert readings(whole) == (shape_of(whole), shape_of(whole))
    most, fewest = readings(standing(drawn, k=8))
    assert most == Shape((2, 1), 8)
    assert fewest == Shape((2, 1, 1, 1, 1), 8)
    # Without a runner-up all the others abstained.
    assert readings(standing(votes("7", "7", None), k=5)) == (Shape((2,), 5), Shape((2,), 5))
    assert readings(standing(votes(None), k=5)) == (Shape((), 5), Shape((), 5))


def test_the_best_completion_is_best_in_every_feature() -> None:
    for shape in (one for k in range(2, 7) for one in ballots(k)):
        for open_seats in range(shape.k - sum(shape.votes) + 1):
            best = features(best_completion(shape, open_seats))
            for other in led(shape, open_seats):
                seen = features(other)
                assert best.share_logit >= seen.share_logit
                assert best.margin >= seen.margin
                assert best.entropy <= seen.entropy + 1e-12
                assert best.abstained <= seen.abstained


def test_each_completion_is_at_least_as_good_as_a_worst_one() -> None:
    for shape in (one for k in range(2, 7) for one in ballots(k)):
        for open_seats in range(shape.k - sum(shape.votes) + 1):
            worst = [features(one) for one in worst_completions(shape, open_seats)]
            for other in led(shape, open_seats):
                seen = features(other)
                assert any(
                    seen.share_logit >= one.share_logit
                    and seen.margin >= one.margin
                    and seen.entropy <= one.entropy + 1e-12
                    and seen.abstained <= one.abstained
                    for one in worst
                ), (shape, open_seats, other)


def test_no_more_seats_are_open_than_there_are() -> None:
    with pytest.raises(SettingError, match="3 open seats in a ballot of 5"):
        best_completion(Shape((2, 1), 5), 3)
    with pytest.raises(SettingError, match="3 open seats in a ballot of 5"):
        list(worst_completions(Shape((2, 1), 5), 3))
    with pytest.raises(SettingError, match="no leader who could stay"):
        list(worst_completions(Shape((), 5), 3))
