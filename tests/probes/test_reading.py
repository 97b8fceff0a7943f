"""Reading features: what a probe reads now must be what it read in training."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from escalade.errors import ScoreError
from escalade.pool import Pool, load_pool
from escalade.probes.making import Grouped, make_probe
from escalade.probes.probe import Probe, Reading
from escalade.probes.reading import Features, Source, features_of, raw_scores
from tests.probes.planted import POOL, labels, planted
from tests.probes.test_making import texts_of

DATA = planted(60, blocks=1, told=0)
TEXTS = texts_of(60)


def probe_of(features: Features, pool: Pool = POOL) -> Probe:
    told, grouped = labels(DATA.target, TEXTS), Grouped(range(60), "each on its own")
    return make_probe(told, features, grouped, pool, name="t", day=datetime.date(2026, 1, 1)).probe


def test_text_costs_nothing_and_is_read_alike() -> None:
    features = features_of(TEXTS, POOL, Source())
    assert features.tokens is not None and not features.tokens.any()
    probe = probe_of(features)
    raw = raw_scores(probe, TEXTS, POOL)
    assert raw.values == pytest.approx(probe.lines[0].at(features.blocks[0].values), abs=1e-4)
    assert raw.tokens is not None and not raw.tokens.any()


def reading(**changes: str) -> Features:
    pool = load_pool("tiny")
    model = pool["135M"]
    kept = Reading(model=model.name, identity="x", reader="llamacpp", prompt=pool.prompt_of(model).fingerprint)
    from escalade.probes.reading import Place

    return Features(DATA.blocks, kept.model_copy(update=changes), np.ones(60, np.int64), places=(Place(30, -1),))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "another/model"}, "reads the hidden states of another/model, which pool 'tiny' does not have"),
        ({"prompt": "another"}, "at the end of another prompt than pool 'tiny' asks 135M with"),
    ],
)
def test_states_of_another_model_or_prompt_are_refused(changes: dict[str, str], said: str) -> None:
    probe = probe_of(reading(**changes))
    with pytest.raises(ScoreError, match=said):
        raw_scores(probe, TEXTS[:2], load_pool("tiny"))


@pytest.mark.model
def test_states_of_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"fingerprint was x, now it is .*: take the same weights"):
        raw_scores(probe_of(reading()), TEXTS[:2], load_pool("tiny"), cache=tmp_path)
