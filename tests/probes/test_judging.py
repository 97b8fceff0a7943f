"""A probe on other problems: what it has seen is left out, and its own record stands for its own problems."""

import numpy as np
import pytest

from escalade.errors import SettingError
from escalade.probes.judging import judge
from escalade.statistics.metrics import auroc
from tests.probes.planted import labels, planted
from tests.probes.test_making import made, texts_of

OLD, NEW = planted(120), planted(90, seed=5)
PROBE = made(OLD).probe


def said(data: object) -> np.ndarray:
    return PROBE.platt.at(PROBE.raw_of([data.blocks[1].values] * len(PROBE.lines)))  # type: ignore[attr-defined]


def test_new_problems_are_judged() -> None:
    told = labels(NEW.target, [f"new {text}" for text in texts_of(90)])
    found = judge(PROBE, told, said(NEW), range(90), "new")
    assert (found.seen, found.own, found.quality.problems) == (0, False, 90)
    assert found.quality.auroc.value == pytest.approx(auroc(said(NEW), told.majority))


def test_its_own_problems_get_the_record_it_was_made_with() -> None:
    found = judge(PROBE, labels(OLD.target, texts_of(120)), said(OLD), range(120), "old")
    assert found.own
    assert found.quality == PROBE.about.held_out


def test_what_it_has_seen_is_left_out_with_its_near_duplicates() -> None:
    texts = [*texts_of(30), *(f"new {text}" for text in texts_of(60))]
    groups = [*range(30), *range(10), *range(100, 150)]  # ten new ones are near-duplicates of old ones
    found = judge(PROBE, labels(NEW.target, texts), said(NEW), groups, "mixed")
    assert (found.seen, found.quality.problems) == (30, 50)


def test_too_few_new_ones_are_refused() -> None:
    texts = [*texts_of(75), *(f"new {text}" for text in texts_of(15))]
    with pytest.raises(SettingError, match="all but 15 of the 90 problems of mixed"):
        judge(PROBE, labels(NEW.target, texts), said(NEW), range(90), "mixed")
