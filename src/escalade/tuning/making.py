"""Making policies: a tuned or certified route as a policy's file, with what it was made from.

What is chosen, measured and tested is said by `escalade.tuning.tuning` and `certificate`; this module writes it down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Any

from escalade.calibration.calibration import Calibration
from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.groups import groups_of
from escalade.evaluation.identity import digests
from escalade.evaluation.inventory import Shelf, inventory
from escalade.evaluation.sources import Opened
from escalade.policies import (
    CostCertificate,
    MadeFrom,
    Measured,
    PolicyFile,
    RiskCertificate,
    Settings,
    TunedOn,
    calibrated,
    conditions_of,
)
from escalade.policies import Gate as GateKept
from escalade.policies import Numbers as NumbersKept
from escalade.pool import Pool
from escalade.routes import Route, parse_route
from escalade.tuning.candidates import Candidate, Trials, try_all
from escalade.tuning.certificate import Certification
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
        problems = self.opened.bank.problems
        return [False] * len(problems) if self.calibration is None else self.calibration.fitted_on(problems)


def prepare_ground(
    opened: Opened,
    *,
    confidences: Sequence[str] = ("share", "margin"),
    stop: str = "verdict",
    prior_strength: float = 4.0,
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
        prior_strength: votes that a score counts as, where "prior" is among the confidences.
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
        Policy(
            confidence=name,
            stop=stop,
            prior_strength=prior_strength,
            calibration=fitted if name == "calibrated" else None,
        )
        for name in dict.fromkeys(confidences)
    ]
    found, note = (list(groups), "groups as given") if groups is not None else groups_of(opened.bank.problems)
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


def tuned_policy(ground: Ground, tuned: Tuned, *, name: str, day: date) -> PolicyFile:
    """Return the file of a tuned policy."""
    single = tuned.single_held_out
    gain = tuned.gain
    return PolicyFile(
        name=name,
        route=str(tuned.chosen.route),
        gate=GateKept.of(tuned.chosen.gate),
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
        gate=GateKept.of(found.chosen.gate),
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
        tuned_on=TunedOn(problems=digests(ground.opened.bank.problems)),
        calibration=ground.calibration if found.chosen.policy.confidence == "calibrated" else None,
    )


def label(candidate: Candidate) -> str:
    """Say a candidate: its routing string, or two with their gate, and the settings that are not the usual ones.

    Example:
        >>> from escalade.tuning.candidates import Candidate
        >>> label(Candidate(parse_route("mv_7B_k3_t0.7"), Policy(confidence="margin")))
        'mv_7B_k3_t0.7 (confidence margin)'
    """
    usual, own = settings_of(Policy()).model_dump(), settings_of(candidate.policy).model_dump()
    if candidate.policy.confidence != "prior":
        del own["prior_strength"]
    said = [f"{name} {value}" for name, value in own.items() if value != usual[name]]
    return candidate.way + (f" ({', '.join(said)})" if said else "")


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
        scores_sha256=opened.fingerprints.get("scores"),
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
