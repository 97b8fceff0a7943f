"""Judging a probe on labelled problems: on those that are new to it, and beside its own held-out record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from escalade.errors import SettingError
from escalade.probes.labels import Labels
from escalade.probes.making import quality_of
from escalade.probes.probe import Probe
from escalade.probes.quality import Quality
from escalade.probes.ridge import Floats

FEWEST = 20
"""New problems that a probe is judged on, at the least."""


class Judgement(NamedTuple):
    """How one probe did on one data set."""

    probe: str
    data: str
    seen: int
    """Problems that it was trained on: they are left out, with the near-duplicates that they have here."""
    quality: Quality
    own: bool
    """Whether all problems are its own, and this is the record that it was trained with."""


def judge(probe: Probe, labels: Labels, scores: Floats, groups: Sequence[Any], data: str) -> Judgement:
    """Return how a probe did on problems it has not seen; on its own ones, its held-out record.

    Args:
        probe: a probe.
        labels: of N problems.
        scores: [N] of the probe.
        groups: [N] of near-duplicates.
        data: name of the data set.

    Raises:
        SettingError: too few problems are new, or there are no labels of the kind that it predicts.
    """
    seen = np.array(probe.seen(labels.problems))
    about = probe.about
    if seen.all():
        return Judgement(about.name, data, int(seen.sum()), about.held_out, own=True)
    names = np.array([str(group) for group in groups])
    new = np.flatnonzero(~np.isin(names, names[seen])).tolist()
    if len(new) < FEWEST:
        raise SettingError(
            f"probe {about.name!r} was trained on all but {len(new)} of the {len(labels)} problems of {data}, or on "
            f"near-duplicates of them: give at least {FEWEST} others"
        )
    kind = about.label if about.label == "majority" or labels.successes is not None else labels.kind
    found = quality_of(scores[new], labels.of(new), kind, [groups[row] for row in new], about.seed)
    return Judgement(about.name, data, int(seen.sum()), found, own=False)
