"""Making policies: a tuned or certified route as a policy's file, and a file's certificate worked out again.

What is chosen, measured and tested is in `escalade.evaluation`; this module writes it down with what it was made from,
and holds what is written against the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from escalade.calibration.calibration import Calibration
from escalade.cascade.policy import Policy
from escalade.errors import ProblemError, SettingError, nearest
from escalade.evaluation.exact import evaluate
from escalade.evaluation.inventory import Shelf, inventory
from escalade.evaluation.sources import Opened
from escalade.policies import (
    CostCertificate,
    MadeFrom,
    Measured,
    PolicyFile,
    RiskCertificate,
    Settings,
    calibrated,
    conditions_of,
)
from escalade.policies import Numbers as NumbersKept
from escalade.pool import Pool
from escalade.problems import ID, read_table
from escalade.routes import Route, parse_route
from escalade.tuning.candidates import Candidate, Trials, try_all
from escalade.tuning.certificate import Certification, Verdict, certify, examine
from escalade.tuning.splits import groups_of
from escalade.tuning.tuning import Numbers, Tuned


@dataclass(frozen=True)
class Ground:
    """What policies are made from: recorded problems, their groups, and all candidates tried on them."""

    opened: Opened
    groups: Sequence[Any]
    note: str
    """How the groups were found."""
    trials: Trials
    confidences: tuple[str, ...]
    exploring: bool
    calibration: Calibration | None
    seed: int
    dataset: str | None = None
    complete: bool = False
    cost_column: str | None = None
    group: str | None = None

    @property
    def seen(self) -> list[bool]:
        """[N] Whether the calibration was fitted on a problem."""
        problems = [problem.id for problem in self.opened.bank.problems]
        fitted = set() if self.calibration is None else set(self.calibration.fitted_on(problems))
        return [problem in fitted for problem in problems]


def prepare_ground(
    opened: Opened,
    *,
    confidences: Sequence[str] = ("share", "margin"),
    stop: str = "verdict",
    calibration: Calibration | None = None,
    also: Sequence[Route] = (),
    groups: Sequence[Any] | None = None,
    exploring: bool = False,
    seed: int = 0,
    **asked: Any,
) -> Ground:
    """Return the ground that policies are made from: all candidates tried on the problems of a source.

    Args:
        opened: a source.
        confidences: that cascades are tried with; "calibrated" needs a calibration.
        stop: rule of all candidates.
        calibration: what "calibrated" is read from.
        also: routes to be tried in any case.
        groups: [N] of problems that belong together; None looks for near-duplicates.
        exploring: whether the entropy rule may draw more, by simulation.
        seed: of simulations, splits and draws.
        asked: dataset, complete, cost_column and group (a column's name), as they were asked for; for the file.

    Raises:
        InputError: see `try_all`; a confidence is unknown, or nothing was fitted for it.

    Example:
        >>> from escalade.evaluation.sources import open_bank
        >>> ground = prepare_ground(open_bank(), confidences=["share"])
        >>> len(ground.groups), ground.confidences
        (60, ('share',))
    """
    fitted = None if calibration is None else calibrated(calibration)
    if fitted is not None and "calibrated" not in confidences:
        confidences = [*confidences, "calibrated"]
    policies = [
        Policy(confidence=name, stop=stop, calibration=fitted if name == "calibrated" else None)
        for name in dict.fromkeys(confidences)
    ]
    found, note = (list(groups), "groups as given") if groups is not None else groups_of(opened.bank)
    trials = try_all(opened.bank, policies, also=also, exploring=exploring, seed=seed)
    names = tuple(policy.confidence for policy in policies)
    return Ground(opened, found, note, trials, names, exploring, calibration, seed, **asked)


def reference_route(text: str | None, opened: Opened) -> Route | None:
    """Return the route that a reference's text means: a routing string, or an alias for one recorded sample of it.

    Raises:
        RouteError: it is neither.
    """
    if text is None:
        return None
    pool = opened.bank.pool
    if text in pool:
        alias = pool[text].alias
        shelves = [shelf for shelf in _shelves(opened) if shelf.alias == alias]
        if shelves:
            return shelves[0].vote(1)
    return parse_route(text, pool)


def groups_in(path: str | Path, column: str, opened: Opened) -> list[str]:
    """[N] the group of each problem, from a column of the problems' file.

    Raises:
        ProblemError: no such column, no id, or a problem without a row.
    """
    table = read_table(Path(path))
    name = next((name for name in ID if name in table), None)
    if name is None or column not in table:
        known = [str(c) for c in table]
        lacking = column if name is not None else "id"
        raise ProblemError(f"{path} has no column {lacking!r}; it has {', '.join(known)}{nearest(lacking, known)}")
    rows = dict(zip(table[name].map(str), table[column].map(str), strict=True))
    missing = next((p.id for p in opened.bank.problems if p.id not in rows), None)
    if missing is not None:
        raise ProblemError(f"{path} has no row for problem {missing!r}: every problem needs its {column}")
    return [rows[problem.id] for problem in opened.bank.problems]


def tuned_policy(ground: Ground, tuned: Tuned, *, name: str, day: date) -> PolicyFile:
    """Return the file of a tuned policy."""
    single = tuned.single_held_out
    gain = tuned.gain
    return PolicyFile(
        name=name,
        route=str(tuned.chosen.route),
        settings=settings_of(tuned.chosen.policy),
        made_from=_made_from(ground, goal_of(tuned), day),
        numbers=NumbersKept(
            in_sample=_measured(tuned.in_sample),
            held_out=_measured(tuned.held_out),
            optimism=tuned.optimism,
            single=str(tuned.single.route),
            single_held_out=_measured(single),
            gain=gain.value,
            gain_low=gain.interval.low,
            gain_high=gain.interval.high,
            verdict=tuned.verdict,
        ),
        calibration=ground.calibration if tuned.chosen.policy.confidence == "calibrated" else None,
    )


def certified_policy(ground: Ground, found: Certification, *, name: str, day: date) -> PolicyFile:
    """Return the file of a certified policy.

    Raises:
        SettingError: nothing was certified.
    """
    if found.chosen is None or found.place is None:
        raise SettingError("no policy was certified: there is none to write")
    cost = None
    if math.isfinite(found.cost.budget):
        cost = CostCertificate(
            budget_usd=found.cost.budget, alpha=found.cost.alpha, labels=found.labels, seed=found.seed
        )
    goal = f"cheapest that loses at most {found.max_loss:g} to {found.reference.route}"
    return PolicyFile(
        name=name,
        route=str(found.chosen.route),
        settings=settings_of(found.chosen.policy),
        made_from=_made_from(ground, goal, day),
        certificate=RiskCertificate(
            kind=found.kind,
            reference=str(found.reference.route),
            max_loss=found.max_loss,
            confidence_level=found.level,
            bound=found.bound,
            labels=found.labels,
            planning=found.planning,
            path=tuple(label(candidate) for candidate in found.path),
            p_values=found.p_values,
            chosen=found.place,
            seed=found.seed,
        ),
        cost_certificate=cost,
        calibration=ground.calibration if found.chosen.policy.confidence == "calibrated" else None,
    )


@dataclass(frozen=True)
class Recertified:
    """What became of a certificate when it was worked out again."""

    same_data: bool
    """Whether problems, samples and pool are those of the certificate."""
    holds: bool
    differences: tuple[str, ...]
    """Between the file and what the same data give."""
    verdict: Verdict | None
    """Of other data: a new one, no certificate."""


def recertify(file: PolicyFile, opened: Opened, *, groups: Sequence[Any] | None = None) -> Recertified:
    """Return whether a policy's certificate follows from the data; on other data, what they say of the policy.

    On the certificate's own data all is done again: split, path, tests, cost. Other problems test the one policy; the
    same problems with other samples or prices confirm nothing.

    Raises:
        SettingError: the file has no certificate, or its models were not recorded here.
    """
    kept, made = file.certificate, file.made_from
    if kept is None or made is None:
        raise SettingError(
            f"policy {file.name!r} has no certificate: escalade tune --max-loss E makes one; this one was tuned without"
        )
    pool, bank = opened.bank.pool, opened.bank
    reference = parse_route(kept.reference, pool)
    ours = {f"{name}_sha256": value for name, value in opened.fingerprints.items()}
    differences = [
        f"{name}: the file says {said}, the data {ours[name]}"
        for name in ("problems_sha256", "samples_sha256", "pool_sha256")
        if (said := getattr(made, name)) != ours[name]
    ]
    alpha = 0.1 if file.cost_certificate is None else file.cost_certificate.alpha
    if differences and made.problems_sha256 == ours["problems_sha256"]:
        # These problems laid the path: they cannot give a new verdict.
        return Recertified(True, False, tuple(differences), None)
    if differences:
        policies = [Candidate(reference, file.policy()), Candidate(file.parsed(pool), file.policy())]
        trials = _few(opened, policies)
        budget = None if file.cost_certificate is None else file.cost_certificate.budget_usd
        own = groups if groups is not None else groups_of(bank)[0]
        found = examine(
            bank, trials, 1, 0, kept.max_loss, level=kept.confidence_level, budget=budget, groups=own, seed=kept.seed
        )
        return Recertified(False, found.holds, tuple(differences), found)
    ground = prepare_ground(
        opened,
        confidences=made.confidences,
        stop=file.settings.stop,
        calibration=file.calibration,
        also=[reference],
        groups=groups,
        exploring=made.exploring,
        seed=made.seed,
    )
    again = certify(
        bank,
        ground.trials,
        reference,
        kept.max_loss,
        level=kept.confidence_level,
        alpha=alpha,
        groups=ground.groups,
        seen=ground.seen,
        seed=kept.seed,
    )
    if again.chosen is None:
        return Recertified(True, False, ("no policy of the path is certified by these data",), None)
    anew = certified_policy(ground, again, name=file.name, day=made.date)
    differences = _differences(file, anew)
    return Recertified(True, not differences, tuple(differences), None)


def label(candidate: Candidate) -> str:
    """Say a candidate: its routing string, and the settings that are not the usual ones.

    Example:
        >>> from escalade.tuning.candidates import Candidate
        >>> label(Candidate(parse_route("mv_7B_k3_t0.7"), Policy(confidence="margin")))
        'mv_7B_k3_t0.7 (confidence margin)'
    """
    usual, own = settings_of(Policy()).model_dump(), settings_of(candidate.policy).model_dump()
    said = [f"{name} {value}" for name, value in own.items() if value != usual[name]]
    return f"{candidate.route}" + (f" ({', '.join(said)})" if said else "")


def settings_of(policy: Policy) -> Settings:
    """Return the settings of a policy as a file writes them."""
    return Settings(**{name: getattr(policy, name) for name in Settings.model_fields})


def goal_of(tuned: Tuned) -> str:
    """Say a goal."""
    goal = tuned.goal
    if goal.budget is not None:
        return f"most accurate at a mean cost of at most {goal.budget!r} USD a problem"
    asked = f"that of {goal.accuracy}" if isinstance(goal.accuracy, Route) else f"{goal.accuracy!r}"
    return f"cheapest with an accuracy of at least {asked}"


def _shelves(opened: Opened) -> Sequence[Shelf]:
    """The shelves of a bank, greedy ones first, as an alias alone means, then those with the most samples."""
    return sorted(inventory(opened.bank), key=lambda shelf: (shelf.temperature > 0, -shelf.least))


def _few(opened: Opened, candidates: Sequence[Candidate]) -> Trials:
    found = [evaluate(opened.bank, each.route, each.policy) for each in candidates]
    correct, cost = np.stack([e.correct for e in found]), np.stack([e.cost for e in found])
    return Trials(tuple(candidates), np.minimum(correct, 1.0), cost)


def _made_from(ground: Ground, goal: str, day: date) -> MadeFrom:
    opened, pool = ground.opened, ground.opened.bank.pool
    return MadeFrom(
        source=opened.source,
        unit=opened.unit,
        dataset=ground.dataset,
        complete=ground.complete,
        cost_column=ground.cost_column,
        problems=len(opened.bank),
        problems_sha256=opened.fingerprints["problems"],
        groups=len(set(ground.groups)),
        group=ground.group,
        samples_sha256=opened.fingerprints["samples"],
        pool_sha256=opened.fingerprints["pool"],
        candidates=len(ground.trials.candidates),
        confidences=ground.confidences,
        exploring=ground.exploring,
        goal=goal,
        seed=ground.seed,
        date=day,
        escalade=version("escalade"),
        prices=_prices(pool),
        conditions=conditions_of(pool, opened.bank.problems),
    )


def _prices(pool: Pool) -> dict[str, dict[str, str]]:
    return {
        model.alias: {
            "input": str(model.price.input),
            "cached": str(model.price.cached_input),
            "output": str(model.price.output),
        }
        for model in pool.models
        if model.price is not None
    }


def _measured(found: Numbers) -> Measured:
    (accuracy, (low, high)), (cost, (cost_low, cost_high)) = found.accuracy, found.cost
    return Measured(
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        cost_usd=cost,
        cost_usd_low=cost_low,
        cost_usd_high=cost_high,
    )


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
