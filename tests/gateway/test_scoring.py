"""Requests scored by probes of text, for strategies and gates."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from escalade import strategy
from escalade.errors import ScoreError, SettingError
from escalade.gateway.bodies import ChatBody, asked_in
from escalade.gateway.menu import Menu, Plan
from escalade.gateway.scoring import scorer_of
from escalade.pool import load_pool
from escalade.probes.making import Grouped, make_probe
from escalade.probes.probe import Probe
from escalade.probes.reading import Source, features_of
from escalade.probes.scoring import score
from escalade.problems import Problem
from tests.probes.planted import labels, planted
from tests.probes.test_making import texts_of as made_up

EMBEDDED = load_pool("embedded")
POOL = EMBEDDED.model_copy(
    update={
        "models": (EMBEDDED["0.5B"].model_copy(update={"alias": "S"}), EMBEDDED["1.5B"]),
        "route": None,
        "ladder": ("S", "1.5B", "1.5B"),
    }
)
PROBLEM = "Halve 9 and add 3 to it, then say what is left of 20."


@pytest.fixture(scope="module")
def probe() -> Probe:
    data, texts = planted(60), made_up(60)
    told, grouped = labels(data.target, texts), Grouped(range(60), "each on its own")
    day = datetime.date(2026, 1, 1)
    return make_probe(told, features_of(texts, POOL, Source()), grouped, POOL, name="made up", day=day).probe


def kept(probe: Probe, folder: Path, *, low: float) -> Path:
    """The probe's file, as if its held-out AUROC were above `low`."""
    record = probe.about.held_out
    auroc = record.auroc.model_copy(update={"value": 0.95, "low": low})
    held_out = record.model_copy(update={"auroc": auroc, "rarer": 100})
    path = folder / f"{low}.safetensors"
    replace(probe, about=probe.about.model_copy(update={"held_out": held_out})).write(path)
    return path


def plan(menu: Menu) -> Plan:
    body = ChatBody.model_validate({"model": "auto:sure", "messages": [{"role": "user", "content": PROBLEM}]})
    return menu.plan(body, asked_in(body), "r1")


@pytest.fixture(autouse=True)
def _strategy() -> None:
    @strategy("sure", needs=("S",))
    def sure(inputs):
        return ["S" if score >= 0 else "1.5B" for score in inputs.scores["S"]]


def test_a_probe_scores_the_problem_of_a_request(probe: Probe, tmp_path: Path) -> None:
    path = kept(probe, tmp_path, low=0.8)
    made = plan(Menu(POOL, scorer=scorer_of([path], POOL)))
    expected = float(score(probe, [Problem("r1", PROBLEM)], POOL).scores[0])
    assert made.task.problem.scores == {"S": pytest.approx(expected)}
    assert [tier.model for tier in made.route.tiers] == ["S"]
    assert [(charge.alias, charge.cost.usd) for charge in made.task.scoring] == [("S", 0)]


def test_a_probe_that_is_too_poor_has_the_strategy_give_way(probe: Probe, tmp_path: Path) -> None:
    path = kept(probe, tmp_path, low=0.4)
    made = plan(Menu(POOL, scorer=scorer_of([path], POOL)))
    assert made.route.is_cascade
    assert any("refused" in note and "no better than chance" in note for note in made.task.notes)


def test_probes_that_cannot_serve_are_refused_at_the_start(probe: Probe, tmp_path: Path) -> None:
    path = kept(probe, tmp_path, low=0.8)
    with pytest.raises(SettingError, match="is of S, and so is another"):
        scorer_of([path, path], POOL)
    with pytest.raises(ScoreError, match=r"which pool .qwen2\.5-math. does not have"):
        scorer_of([path], load_pool("qwen2.5-math"))
