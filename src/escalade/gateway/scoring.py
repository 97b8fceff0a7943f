"""Scoring: probes of text that score a request's problem before a strategy chooses its route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from escalade.errors import SettingError
from escalade.gateway.menu import Scorer
from escalade.pool import Pool
from escalade.probes.probe import Probe, read_probe
from escalade.probes.scoring import score
from escalade.problems import Problem, Scoring


def scorer_of(paths: Sequence[Path], pool: Pool) -> Scorer:
    """Return what scores a problem by probes, one for each model.

    Raises:
        SettingError: two are of one model, or one reads more than the text: states take as long as an answer.
        ScoreError: one does not fit the pool.
    """
    probes: dict[str, Probe] = {}
    for path in paths:
        probe = read_probe(path)
        alias = probe.check(pool).alias
        if probe.about.reading is not None:
            raise SettingError(
                f"probe {path} reads {probe.about.features}, which takes a model for every request: serve a probe of "
                "text (escalade probe train --features text)"
            )
        if alias in probes:
            raise SettingError(f"probe {path} is of {alias}, and so is another: give one for each model")
        probes[alias] = probe

    def scored(problem: Problem) -> tuple[Mapping[str, float], Mapping[str, Scoring], Mapping[str, str]]:
        scores: dict[str, float] = {}
        refused: dict[str, str] = {}
        for alias, probe in probes.items():
            if probe.about.held_out.refusal is not None:
                refused[alias] = probe.about.held_out.refusal
            else:
                scores[alias] = float(score(probe, [problem], pool).scores[0])
        return scores, dict.fromkeys(scores, Scoring(usd=Decimal(0))), refused

    return scored
