"""Problems scored by a probe: the scores, what they cost, and their file in the published layout."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from escalade.pool import Pool
from escalade.probes.probe import Probe
from escalade.probes.reading import Progress, raw_scores, texts_of
from escalade.probes.ridge import Floats
from escalade.problems import Problem
from escalade.score_files import write_published


class ProbeScores(NamedTuple):
    """What a probe says of N problems."""

    raw: Floats
    """[N] Before Platt's scaling, about a logit."""
    scores: Floats
    """[N] P(right), in [0, 1]."""
    tokens: NDArray[np.int64] | None
    """[N] Read for it; None is unknown."""
    usd: tuple[Decimal | None, ...]
    """[N] Cost; None is unknown."""

    @property
    def total(self) -> Decimal | None:
        """USD of all; None where one is unknown."""
        known = [amount for amount in self.usd if amount is not None]
        return sum(known, Decimal(0)) if len(known) == len(self.usd) else None

    @property
    def floats(self) -> Floats:
        """[N] USD; NaN is unknown."""
        return np.array([np.nan if amount is None else float(amount) for amount in self.usd])


def score(
    probe: Probe,
    problems: Sequence[Problem],
    pool: Pool,
    *,
    encoder: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> ProbeScores:
    """Return the scores of problems.

    Args:
        probe: of `escalade.probes.probe.read_probe`.
        problems: with texts.
        pool: has the model that the probe is about, asked as when its labels were drawn, and the one whose states it
            reads.
        encoder: where the probe's encoder is now; None takes the one that it names.
        cache: folder where states and embeddings are kept.
        progress: is told how many problems are read, and how many there are.

    Raises:
        ScoreError: the pool, the weights or the encoder is not what the probe was made with.
        SettingError: a problem has no text.
        InputError, EngineError: see `read_states` and `embed`.
    """
    probe.check(pool)
    raw = raw_scores(probe, texts_of(problems), pool, encoder=encoder, cache=cache, progress=progress)
    return ProbeScores(
        raw.values, probe.platt.at(raw.values), raw.tokens, _costs(probe, raw.tokens, len(problems), pool)
    )


def write_scores(
    scores: ProbeScores,
    probe: Probe,
    problems: Sequence[Problem],
    pool: Pool,
    folder: Path,
    *,
    dataset: str,
    probing: str | None = None,
    replace: bool = False,
) -> Path:
    """Write the scores of problems in the published layout, with what made them; return the file's path.

    Args:
        scores: of `score`.
        probe: that made them.
        problems: the same.
        pool: the same.
        folder: `{folder}/{probing}_probe/{dataset}/{model}_maxlen_{L}_k_{K}_temp_{T}/scored.parquet`.
        dataset: name of the problems.
        probing: name of the probe; None takes its own.
        replace: whether scores of another probe may be overwritten.

    Raises:
        ScoreError: another probe's scores are there.
    """
    about = probe.about
    table = pd.DataFrame(
        {
            "idx": [problem.id for problem in problems],
            "problem": [problem.text for problem in problems],
            "original_solution": [problem.solution or problem.gold for problem in problems],
            "score": 1 / (1 + np.exp(-scores.raw)),
            "calibrated_score": scores.scores,
            "prompt_tokens": pd.array(
                [None] * len(problems) if scores.tokens is None else scores.tokens.tolist(), dtype="Int64"
            ),
            "scoring_cost_usd": scores.floats,
        }
    )
    return write_published(
        folder,
        probing or about.name,
        dataset,
        about.model.name,
        maxlen=pool.max_tokens_of(probe.check(pool)),
        k=about.k,
        temp=about.temperature,
        table=table,
        note={
            "probe": about.name,
            "sha256": probe.sha256,
            "features": about.features,
            "scoring_model": None if about.reading is None else about.reading.model,
            "refused": about.held_out.refusal,
            "prior_strength": about.prior_strength,
        },
        replace=replace,
    )


def _costs(probe: Probe, tokens: NDArray[np.int64] | None, count: int, pool: Pool) -> tuple[Decimal | None, ...]:
    """The tokens that were read, at the price of input."""
    if probe.about.reading is None:
        return (Decimal(0),) * count
    model = next((model for model in pool.models if model.name == probe.about.reading.model), None)
    if model is None or model.price is None or tokens is None:
        return (None,) * count
    return tuple(Decimal(int(read)) * model.price.input / 1_000_000 for read in tokens)
