import pytest

from escalade.answers.quantity import without_signs, without_unit


@pytest.mark.parametrize(
    ("written", "bare"),
    [
        ("$5.50", "5.50"),
        (r"\$1,000", "1000"),
        ("1,000,000", "1000000"),
        ("1,2,100", "1,2,100"),
        ("100,20", "100,20"),
        ("0,125", "0,125"),
        ("(1,000)", "(1,000)"),
        (r"27^\circ, 63^{\circ}", "27, 63"),
        (r"33\%", "33"),
        ("usd 5", "5"),
    ],
)
def test_signs(written: str, bare: str):
    assert without_signs(written) == bare


@pytest.mark.parametrize(
    ("written", "bare"),
    [
        ("12 apples", "12"),
        ("5cm", "5"),
        ("5 cm^2", "5"),
        ("60 km/h", "60"),
        (r"65 \text{ children tickets }", "65 "),
        (r"\frac{3}{4}\pi\text{ inches}", r"\frac{3}{4}\pi"),
        ("3 hours", "3"),
        ("2.5 million", r"2.5\cdot10^6"),
    ],
)
def test_units_are_dropped(written: str, bare: str):
    assert without_unit(written) == bare


@pytest.mark.parametrize(
    "text",
    [
        "5k",
        "5 k",
        "2xyz",
        "5r^5",
        "4 pm",
        "2 thirds",
        "5 or 6",
        "5 more than x",
        r"19 \text{ and }",
        "23 may",
        "abc",
        "",
    ],
)
def test_what_is_no_unit(text: str):
    assert without_unit(text) == text
