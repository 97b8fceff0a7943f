import math

import pytest

from escalade.calibration.curves import Curve, Table
from escalade.calibration.shapes import Shape
from tests.calibration.completions import ballots
from tests.calibration.curves import CURVES, LOGISTIC, TABLE


def test_the_logistic_is_its_formula() -> None:
    z = -1 + 0.8 * math.log(4.5 / 1.5) + 0.5 * 3 / 5 + 0.1 * math.log(5)
    z += -1.2 * (-(0.8 * math.log(0.8) + 0.2 * math.log(0.2))) / math.log(5)
    assert LOGISTIC.probability(Shape((4, 1), 5)) == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-12)


def test_a_table_is_read_by_the_smoothed_share() -> None:
    # (a + 1/2) / 6 is .25, .417, .583, .75, .917.
    assert [TABLE.probability(Shape((a,), 5)) for a in range(1, 6)] == [0.2, 0.5, 0.5, 0.9, 0.9]
    assert Table(upto=(0.75, 1.0), p=(0.1, 0.6)).probability(Shape((4,), 5)) == 0.1  # an edge is within its bin


@pytest.mark.parametrize("curve", CURVES)
def test_a_vote_more_for_the_leader_never_lowers_the_probability(curve: Curve) -> None:
    for shape in (one for k in range(1, 17) for one in ballots(k)):
        p = curve.probability(shape)
        leader, *others = shape.votes
        donors = [i for i in range(len(others)) if i + 1 == len(others) or others[i + 1] < others[i]]
        moved = [[*others[:i], others[i] - 1, *others[i + 1 :]] for i in donors]
        if sum(shape.votes) < shape.k:
            moved.append(others)
        for rest in moved:
            more = Shape((leader + 1, *(n for n in rest if n)), shape.k)
            assert curve.probability(more) >= p - 1e-12, (shape, more)


def test_tables_rise() -> None:
    for upto, p in (((0.5, 1.0), (0.9, 0.1)), ((0.5, 0.4), (0.1, 0.9)), ((0.5,), (0.1,)), ((1.0,), (0.1, 0.2))):
        with pytest.raises(ValueError, match="table needs"):
            Table(upto=upto, p=p)
