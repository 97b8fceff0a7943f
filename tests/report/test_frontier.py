"""The frontier chart: which points are on it, axes, and labels that do not overlap."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.report.comparisons import Curve
from escalade.report.frontier import Mark, frontier_spec

COSTS = st.floats(1e-7, 10.0)
SHARES = st.floats(0.0, 1.0)


def mark(number: int, cost: float, accuracy: float, *, front: bool = True, kind: str = "route") -> Mark:
    name = f"mv_cascade_1.5B_k{number}_t0.7"
    return Mark(
        number,
        name,
        kind,
        f"p{number}",
        accuracy,
        max(0, accuracy - 0.05),
        min(1, accuracy + 0.05),
        cost,
        None,
        None,
        front,
    )


def labels(spec: dict) -> list[tuple[float, float, float, float]]:
    """The boxes of the labels, as wide as their letters."""
    boxes = {}
    for layer in spec["layer"]:
        if layer["mark"]["type"] == "text":
            for value in layer["data"]["values"]:
                long = 6.2 * len(value["said"])
                left = value["px"] - (long if layer["mark"]["align"] == "right" else 0)
                boxes[value["said"]] = (left, value["py"] - 5, left + long, value["py"] + 5)
    return list(boxes.values())


@given(st.lists(st.tuples(COSTS, SHARES), min_size=1, max_size=25), st.sampled_from([(900, 420), (264, 300)]))
def test_labels_overlap_neither_each_other_nor_the_edge(
    points: list[tuple[float, float]], size: tuple[int, int]
) -> None:
    spec = frontier_spec([mark(n, c, a) for n, (c, a) in enumerate(points)], *size)
    boxes = labels(spec)
    for n, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert right <= size[0] + 1
        assert top >= 0
        assert bottom <= size[1]
        for other in boxes[n + 1 :]:
            assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]


@given(st.lists(st.tuples(COSTS, SHARES), min_size=1, max_size=10))
def test_every_point_is_inside_its_axes(points: list[tuple[float, float]]) -> None:
    spec = frontier_spec([mark(n, c, a) for n, (c, a) in enumerate(points)], 900, 420)
    x, y = (spec["layer"][0]["encoding"][axis]["scale"]["domain"] for axis in "xy")
    for value in spec["data"]["values"]:
        assert x[0] <= value["left"] <= value["x"] <= value["right"] <= x[1]
        assert y[0] <= value["low"] <= value["high"] <= y[1]
    ticks = spec["layer"][0]["encoding"]["x"]["axis"]["values"]
    assert ticks == sorted(ticks)
    assert len(ticks) <= 8 or x[1] / x[0] > 1e4


def test_costs_far_apart_are_drawn_on_a_logarithmic_axis() -> None:
    near = frontier_spec([mark(1, 1.0, 0.5), mark(2, 2.0, 0.6)], 900, 420)
    far = frontier_spec([mark(1, 1.0, 0.5), mark(2, 100.0, 0.6)], 900, 420)
    free = frontier_spec([mark(1, 0.0, 0.5), mark(2, 100.0, 0.6)], 900, 420)
    scales = [spec["layer"][0]["encoding"]["x"]["scale"]["type"] for spec in (near, far, free)]
    assert scales == ["linear", "log", "linear"]


def test_a_point_says_its_name_and_numbers_and_leads_to_its_details() -> None:
    (value,) = frontier_spec([mark(3, 0.0002, 0.5)], 900, 420)["data"]["values"]
    assert value["words"] == (
        "3. mv_cascade_1.5B_k3_t0.7: right 50.0 % (45.0 to 55.0), 0.0002 USD a problem; on the frontier"
    )
    assert value["href"] == "#p3"
    assert math.isclose(value["x"], 0.2)


@pytest.mark.parametrize("cost", [0.0, 1e-9, 7.0])
def test_a_single_point_is_drawn(cost: float) -> None:
    spec = frontier_spec([mark(1, cost, 1.0)], 264, 300)
    assert spec["data"]["values"][0]["x"] == cost * 1000


def test_a_curve_is_straight_in_cost_even_on_a_logarithmic_axis() -> None:
    curve = Curve("models mixed blindly", ((0.001, 0.2), (0.1, 0.6)))
    spec = frontier_spec([mark(1, 0.001, 0.2), mark(2, 0.1, 0.6)], 900, 420, [curve])
    values = spec["layer"][0]["data"]["values"]
    assert spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    assert len(values) > 5
    for value in values:
        assert value["y"] == pytest.approx(0.2 + (value["x"] / 1000 - 0.001) / 0.099 * 0.4)
