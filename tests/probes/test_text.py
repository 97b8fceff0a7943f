"""Features of a text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.probes.text import NAMES, TextFeatures, shape_of


def named(text: str) -> dict[str, float]:
    values = shape_of([text])[0]
    return {n: v if n == "word length" else float(np.expm1(v)) for n, v in zip(NAMES, values.tolist(), strict=True)}


def test_what_is_counted() -> None:
    found = named(r"Ann pays $1,250.50 and 20% more. Is 20 - 7 = \frac{26}{2}? Why?")
    wanted = {
        "sentences": 3,
        "numbers": 6,
        "distinct numbers": 5,
        "numbers of 1 digit": 2,
        "numbers of 2 digits": 3,
        "numbers of 3 digits and more": 1,
        "decimals": 1,
        "largest number": 1250.5,
        "percent signs": 1,
        "currency signs": 1,
        "operators": 2,
        "LaTeX commands": 1,
        "question marks": 2,
    }
    assert {name: round(found[name], 6) for name in wanted} == wanted


@pytest.mark.parametrize("text", ["", " ", "²³ ٣ ½", "9" * 400, "1" + ",000" * 200])
def test_odd_texts_have_finite_features(text: str) -> None:
    assert np.isfinite(TextFeatures.of([text, "Add 1 and 2."]).values([text])).all()


@given(st.lists(st.text(max_size=60), min_size=1, max_size=6), st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_any_texts_have_finite_features(known: list[str], new: list[str]) -> None:
    features = TextFeatures.of(known)
    values = features.values(new)
    assert values.shape == (len(new), len(NAMES) + len(features.words))
    assert np.isfinite(values).all()


def test_words_are_those_of_the_training_texts() -> None:
    features = TextFeatures.of(["red apple pie", "red apple tart", "green pear"])
    assert features.words == ("apple", "red", "red apple")
    values = features.values(["green pear", "red red apple", "apple"])[:, len(NAMES) :]
    assert not values[0].any()
    assert np.linalg.norm(values[1:], axis=1) == pytest.approx([1, 1])
    once, twice = values[1, 0], values[1, 1]
    assert twice / once == pytest.approx(1 + np.log(2))  # as rare as each other, and one of them stands twice


def test_a_line_is_the_product_that_is_never_written_out() -> None:
    texts = [f"Tom has {n} red apples and eats {n % 7} of them." for n in range(40)]
    features = TextFeatures.of(texts)
    weights = np.random.default_rng(0).normal(size=len(NAMES) + len(features.words))
    assert features.line(texts[:9], weights) == pytest.approx(features.values(texts[:9]) @ weights, abs=1e-5)


def test_it_is_scikit_learns_tf_idf() -> None:
    from sklearn.feature_extraction.text import TfidfTransformer

    texts = ["a b c a", "b c d", "c d e", "a e c a"]
    features = TextFeatures.of(texts)
    counts = np.array([[f" {t} ".count(f" {w} ") for w in features.words] for t in texts])
    theirs = TfidfTransformer(sublinear_tf=True).fit_transform(counts).toarray()
    assert features.values(texts)[:, len(NAMES) :] == pytest.approx(theirs, abs=1e-6)
