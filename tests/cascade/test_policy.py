import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.cascade.policy import Policy, Stop
from escalade.errors import SettingError


@given(st.integers(1, 400), st.integers(1, 10_000))
def test_V6_need_is_what_exact_arithmetic_says(k: int, hundredths: int) -> None:
    threshold = hundredths / 10_000
    assert Policy(target=threshold).need(k) == math.ceil(Fraction(hundredths, 10_000) * k)


def test_V6_need_of_published_thresholds() -> None:
    assert Policy().need(25, 0.28) == 7
    assert [Policy().need(k) for k in (1, 4, 5, 8, 10)] == [1, 4, 5, 8, 9]
    assert Policy(target=0.0).need(4) == 0


@pytest.mark.parametrize(
    ("written", "stop"),
    [
        ("verdict", Stop("verdict")),
        ("exact", Stop("exact")),
        ("none", Stop("none")),
        ("beta:0.95", Stop("beta", 0.95)),
        ("esc:4", Stop("esc", 4)),
    ],
)
def test_stop_rules(written: str, stop: Stop) -> None:
    assert Policy(stop=written).stop_rule == stop


@pytest.mark.parametrize(
    "stop",
    [
        *["", "Verdict", "verdict:1", "none ", "beta", "beta:", "beta:0.5", "beta:1", "beta:nan", "beta:x"],
        *["beta:0.9:1", "esc", "esc:1", "esc:2.5", "esc:-4", "esc:4_0", "esc: 4", "esc:٤"],
    ],
)
def test_a_stop_rule_that_is_none_is_refused(stop: str) -> None:
    with pytest.raises(SettingError, match=r"stop rule .* give verdict, exact, none, beta:P, esc:W") as caught:
        Policy(stop=stop)
    assert repr(stop) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target": 1.01}, r"target is 1.01: give a number in \[0, 1\]"),
        ({"target": -0.1}, r"target is -0.1"),
        ({"target": math.nan}, r"target is nan"),
        ({"entropy_bits": -1.0}, r"entropy_bits is -1.0"),
        ({"explore_floor": 2.0}, r"explore_floor is 2.0"),
        ({"thresholds": {"7B": 1.5}}, r"threshold of 7B is 1.5"),
        ({"max_k": 0}, r"max_k is 0: give an integer >= 1"),
        ({"confidence": "shar"}, r"confidence 'shar' is unknown: .*did you mean 'share'\?"),
        ({"aggregate": "pool"}, r"aggregate 'pool' is unknown: .*did you mean 'pooled'\?"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value_and_range(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Policy(**settings)
