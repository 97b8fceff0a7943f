"""Scores of problems by a probe: what they cost, and the file that strategies read."""

import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from escalade.errors import ScoreError, SettingError
from escalade.pool import load_pool
from escalade.probes.making import Grouped, make_probe
from escalade.probes.probe import Probe
from escalade.probes.reading import Source, features_of, texts_of
from escalade.probes.scoring import ProbeScores, score, write_scores
from escalade.problems import Problem
from escalade.scored_file import note_of
from escalade.scores import read_published
from tests.probes.planted import labels, planted, problems
from tests.probes.test_making import texts_of as made_up

POOL = load_pool("embedded")
ASKED = problems(["Add 1 and 2.", "Halve 9 and add 3 to it, then say what is left of 20."])


@pytest.fixture(scope="module")
def probe() -> Probe:
    data, texts = planted(60), made_up(60)
    told = labels(data.target, texts)
    features, grouped = features_of(texts, POOL, Source()), Grouped(range(60), "each on its own")
    made = make_probe(told, features, grouped, POOL_OF_S, name="made/up", day=datetime.date(2026, 1, 1))
    return made.probe


POOL_OF_S = POOL.model_copy(update={"models": (POOL["0.5B"].model_copy(update={"alias": "S"}), POOL["1.5B"])})


def test_a_probe_of_text_costs_nothing(probe: Probe) -> None:
    found = score(probe, ASKED, POOL_OF_S)
    assert found.total == 0
    assert found.floats.tolist() == [0, 0]
    assert np.all((found.scores > 0) & (found.scores < 1))
    assert found.scores == pytest.approx(probe.platt.at(found.raw))


def test_the_file_is_what_strategies_read(probe: Probe, tmp_path: Path) -> None:
    found = score(probe, ASKED, POOL_OF_S)
    path = write_scores(found, probe, ASKED, POOL_OF_S, tmp_path, dataset="two/problems")
    run = "Qwen-Qwen2.5-Coder-0.5B-Instruct_maxlen_200_k_5_temp_0.7"
    assert path.relative_to(tmp_path).as_posix() == f"made_up_probe/two_problems/{run}/scored.parquet"
    note = note_of(path)
    assert note is not None
    assert (note["probe"], note["sha256"], note["scoring_model"]) == ("made/up", probe.sha256, None)
    read = read_published(tmp_path, "made_up", "two_problems", pool=POOL_OF_S).scores
    if note["refused"] is None:
        assert read["S"] == pytest.approx(found.scores)
    else:
        assert read.refused == {"S": note["refused"]}


def test_what_is_unknown_is_not_zero() -> None:
    two = np.zeros(2)
    assert ProbeScores(two, two, None, (Decimal(1), None)).total is None
    assert np.isnan(ProbeScores(two, two, None, (Decimal(1), None)).floats).tolist() == [False, True]
    assert ProbeScores(two, two, None, (Decimal("0.1"), Decimal("0.2"))).total == Decimal("0.3")


def test_another_pool_and_a_problem_without_a_text_are_refused(probe: Probe) -> None:
    with pytest.raises(ScoreError, match="which pool 'tiny' does not have"):
        score(probe, ASKED, load_pool("qwen2.5-math").model_copy(update={"name": "tiny"}))
    with pytest.raises(SettingError, match="problem 'b' has no text"):
        texts_of([Problem("a", "1 + 1?"), Problem("b", "")])
