"""Making a probe: labels and features in, a probe with its held-out record out; and scores of problems by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from escalade.evaluation.conditions import ModelConditions
from escalade.evaluation.identity import digests, fingerprint
from escalade.pool import Pool
from escalade.probes.labels import Kind, Labels
from escalade.probes.probe import About, FeatureKind, MemberOf, Probe
from escalade.probes.quality import Outcomes, Quality, quality
from escalade.probes.reading import Features
from escalade.probes.ridge import Floats
from escalade.probes.training import FOLDS, Ints, Target, folds_of, nested, trained
from escalade.statistics.beta_binomial import ceiling, fit_strength


class Grouped(NamedTuple):
    """Which problems must not be parted, and how that was found."""

    groups: Sequence[Any]
    """[N]"""
    by: str


@dataclass(frozen=True, eq=False)
class Made:
    """A probe, and what it said of each problem before it had seen it."""

    probe: Probe
    held_out: Floats
    """[N] Scores by probes that were made without the problem's fold."""
    fold: Ints
    """[N]"""


def make_probe(
    labels: Labels,
    features: Features,
    grouped: Grouped,
    pool: Pool,
    *,
    name: str,
    day: date,
    label: Kind | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Made:
    """Return a probe of the model that the labels are of.

    Args:
        labels: how the N problems came out.
        features: what was read of them.
        grouped: near-duplicates, kept together in every fold.
        pool: under whose settings the labels were drawn.
        name: of the probing data set.
        day: of the training.
        label: what is predicted; None takes the success rate where it is known.
        folds: in which the problems are dealt, at least 3.
        seed: of the folds and of the bootstrap.

    Raises:
        SettingError: labels of this kind are not there, all came out alike, or there are too few groups.
    """
    kind = label or labels.kind
    target = labels.target(kind)
    fold = folds_of(grouped.groups, folds, seed)
    found = nested(features.blocks, target, fold)
    final = trained(features.blocks, target, fold, found.judged)
    # What a careless test would say of the same features: folds that part near-duplicates.
    used = [features.blocks[place] for place in dict.fromkeys(member.block for member in final.members)]
    apart = folds_of(range(len(labels)), folds, seed)
    careless = nested(used, target, apart).scores
    problems = digests(labels.problems)
    places = [features.places[member.block] for member in final.members]
    about = About(
        name=name,
        features=_kind(features),
        alias=labels.alias,
        model=_conditions(pool, labels.alias),
        temperature=labels.temperature,
        k=labels.k,
        label=kind,
        reading=features.reading,
        members=tuple(
            MemberOf(
                features=features.blocks[member.block].name,
                layer=None if place is None else place.layer,
                position=None if place is None else place.position,
                alpha=member.alpha,
                judged=member.judged,
            )
            for member, place in zip(final.members, places, strict=True)
        ),
        slope=final.platt.slope,
        intercept=final.platt.intercept,
        prior_strength=_strength(found.scores, target),
        source=labels.source,
        problems=problems,
        data=fingerprint(problems),
        groups=len({str(group) for group in grouped.groups}),
        grouped_by=grouped.by,
        folds=folds,
        seed=seed,
        date=day,
        escalade=version("escalade"),
        held_out=quality_of(found.scores, labels, kind, grouped.groups, seed, fold),
        random_folds=quality_of(careless, labels, kind, range(len(labels)), seed, apart),
        words=() if features.text is None else features.text.words,
    )
    idf = np.zeros(0) if features.text is None else features.text.idf
    return Made(Probe(about, tuple(member.line for member in final.members), idf), found.scores, fold)


def quality_of(
    scores: Floats, labels: Labels, kind: Kind, groups: Sequence[Any], seed: int = 0, fold: Ints | None = None
) -> Quality:
    """Return how good scores of problems are that the probe has not seen; `kind` is what it predicts.

    `fold` says which of several probes each score is from.
    """
    target = labels.target(kind)
    apart = target.rate if labels.majority is None else labels.majority
    most = float("nan")
    if labels.successes is not None:
        most = ceiling(labels.successes, labels.trials, seed)
    outcomes = Outcomes(apart, target.rate, target.trials)
    return quality(scores, outcomes, groups, fold=fold, ceiling=most, seed=seed)


def _strength(scores: Floats, target: Target) -> float | None:
    return None if target.binary else fit_strength(scores, target.successes, target.trials)


def _kind(features: Features) -> FeatureKind:
    if features.reading is None:
        return "text"
    return "embedding" if features.reading.reader is None else "hidden"


def _conditions(pool: Pool, alias: str) -> ModelConditions:
    model = pool[alias]
    # A recording without a pool of its own does not say how its models were asked.
    return ModelConditions(name=model.name) if model.engine == "replay" else ModelConditions.of(pool, model)
