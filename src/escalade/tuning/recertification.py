"""Recertification: what is written of a certificate, held against data.

On the certificate's own data all is done again, and must come to what is written. On other data the one policy is
tested by problems that had no part in its making: those that had, and their near-duplicates, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from escalade.errors import SettingError
from escalade.evaluation.bank import Bank, Bools
from escalade.evaluation.groups import groups_of
from escalade.evaluation.identity import among
from escalade.evaluation.sources import Opened
from escalade.policies import MadeFrom, PolicyFile, RiskCertificate
from escalade.routes import Route, parse_route
from escalade.statistics.guarantees import labels_needed
from escalade.tuning.candidate import try_one
from escalade.tuning.candidates import Candidate, Trials
from escalade.tuning.certificate import BETTING_FROM, Verdict, certify, examine
from escalade.tuning.making import certified_policy, prepare_ground


@dataclass(frozen=True)
class Recertified:
    """What became of a certificate when it was worked out again."""

    same_data: bool
    """Whether problems, samples and pool are those of the certificate."""
    holds: bool
    differences: tuple[str, ...]
    """Between the file and what the same data give."""
    verdict: Verdict | None = None
    """Of other data: a new one, no certificate."""
    shared: int = 0
    """Problems of other data that had a part in making the policy, and so have none in the verdict."""
    alike: int = 0
    """Near-duplicates of these, which have none either."""


def recertify(file: PolicyFile, opened: Opened, *, groups: Sequence[Any] | None = None) -> Recertified:
    """Return whether a policy's certificate follows from the data; on other data, what they say of the policy.

    On the certificate's own data all is done again: split, path, tests, cost. Other problems test the one policy, as
    far as they had no part in its making; the same problems with other samples or prices confirm nothing.

    Args:
        file: a policy with a certificate.
        opened: the data.
        groups: [N] of problems that belong together; None looks for near-duplicates.

    Raises:
        SettingError: the file has no certificate, its models were not recorded here, or whether problems had a part in
            it cannot be told, or too few had none.
    """
    kept, made = file.certificate, file.made_from
    if kept is None or made is None:
        raise SettingError(
            f"policy {file.name!r} has no certificate: escalade tune --max-loss E makes one; this one was tuned without"
        )
    if file.tuned_on is None:
        raise SettingError(
            f"policy {file.name!r} does not say which problems it was tuned on ([tuned_on] is missing, which files of "
            f"escalade {made.escalade} may lack): tune it anew (escalade tune --max-loss {kept.max_loss:g})"
        )
    reference = parse_route(kept.reference, opened.bank.pool)
    ours = {f"{name}_sha256": value for name, value in opened.fingerprints.items()}
    differences = [
        f"{name}: the file says {said}, the data {ours.get(name)}"
        for name in ("problems_sha256", "samples_sha256", "pool_sha256", "scores_sha256")
        if (said := getattr(made, name)) != ours.get(name)
    ]
    if differences and made.problems_sha256 == ours["problems_sha256"]:
        # These problems laid the path: they cannot give a new verdict.
        return Recertified(True, False, tuple(differences))
    if differences:
        return _on_others(file, kept, reference, opened, groups, tuple(differences))
    return _again(file, kept, made, reference, opened, groups)


def _on_others(
    file: PolicyFile,
    kept: RiskCertificate,
    reference: Route,
    opened: Opened,
    groups: Sequence[Any] | None,
    differences: tuple[str, ...],
) -> Recertified:
    bank = opened.bank
    own = list(groups) if groups is not None else groups_of(bank.problems)[0]
    part = _had_a_part(file, bank)
    # Who shares a group with a problem that had a part is as good as one that had.
    touched = {str(group) for group, had in zip(own, part, strict=True) if had}
    fresh = [row for row, group in enumerate(own) if str(group) not in touched]
    shared = int(part.sum())
    if shared:
        _refuse_too_few(len({str(own[row]) for row in fresh}), shared, file.name, kept, len(bank))
    left = bank.subset(fresh)
    gate = None if file.gate is None else file.gate.parsed(bank.pool)
    policies = [Candidate(reference, file.policy()), Candidate(file.parsed(bank.pool), file.policy(), gate)]
    found = examine(
        left,
        _few(left, policies),
        1,
        0,
        kept.max_loss,
        level=kept.confidence_level,
        budget=None if file.cost_certificate is None else file.cost_certificate.budget_usd,
        groups=[own[row] for row in fresh],
        seed=kept.seed,
    )
    return Recertified(False, found.holds, differences, found, shared, len(bank) - len(fresh) - shared)


def _had_a_part(file: PolicyFile, bank: Bank) -> Bools:
    """[N] Whether the policy was tuned on a problem, or its calibration fitted on it."""
    assert file.tuned_on is not None
    part = np.array(among(bank.problems, file.tuned_on.problems, f"policy {file.name!r}"), dtype=np.bool_)
    if file.calibration is not None:
        part |= np.array(file.calibration.fitted_on(bank.problems), dtype=np.bool_)
    return part


def _refuse_too_few(labels: int, shared: int, name: str, kept: RiskCertificate, problems: int) -> None:
    if labels >= BETTING_FROM:
        return
    needed = min(BETTING_FROM, labels_needed(kept.max_loss, 1 - kept.confidence_level))
    if labels < needed:
        raise SettingError(
            f"{shared} of these {problems} problems had a part in making policy {name!r}, and the others give too few "
            f"labels: {labels}, where a loss of at most {kept.max_loss:g} takes {needed} or more; give others"
        )


def _again(
    file: PolicyFile,
    kept: RiskCertificate,
    made: MadeFrom,
    reference: Route,
    opened: Opened,
    groups: Sequence[Any] | None,
) -> Recertified:
    ground = prepare_ground(
        opened,
        confidences=made.confidences,
        stop=file.settings.stop,
        prior_strength=file.settings.prior_strength,
        calibration=file.calibration,
        also=[reference],
        groups=groups,
        exploring=made.exploring,
        seed=made.seed,
    )
    again = certify(
        opened.bank,
        ground.trials,
        reference,
        kept.max_loss,
        level=kept.confidence_level,
        alpha=0.1 if file.cost_certificate is None else file.cost_certificate.alpha,
        groups=ground.groups,
        seen=ground.seen,
        seed=kept.seed,
    )
    if again.chosen is None:
        return Recertified(True, False, ("no policy of the path is certified by these data",))
    differences = _differences(file, certified_policy(ground, again, name=file.name, day=made.date))
    return Recertified(True, not differences, tuple(differences))


def _few(bank: Bank, candidates: Sequence[Candidate]) -> Trials:
    found = [try_one(bank, each) for each in candidates]
    return Trials(tuple(candidates), np.stack([e.correct for e in found]), np.stack([e.cost for e in found]))


def _differences(file: PolicyFile, anew: PolicyFile) -> list[str]:
    """What the data give otherwise than the file says, key by key; numbers may differ by rounding."""
    said, found = (f.model_dump(mode="json", exclude={"made_from", "numbers", "calibration"}) for f in (file, anew))
    return list(_unlike("", said, found))


def _unlike(place: str, said: Any, found: Any) -> Iterator[str]:
    if isinstance(said, dict) and isinstance(found, dict):
        for key in sorted(said.keys() | found.keys()):
            yield from _unlike(f"{place}.{key}".lstrip("."), said.get(key), found.get(key))
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for number, (one, other) in enumerate(zip(said, found, strict=True)):
            yield from _unlike(f"{place}[{number}]", one, other)
    elif isinstance(said, float) and isinstance(found, float):
        if not math.isclose(said, found, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{place}: the file says {said!r}, the data {found!r}"
    elif said != found:
        yield f"{place}: the file says {said!r}, the data {found!r}"
