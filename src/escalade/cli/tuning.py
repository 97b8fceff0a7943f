"""Tuning and certifying, seen from the command line."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from escalade.calibration.calibration import read_calibration
from escalade.cli.certifying import finite, name_of, own_groups, say_written, show_certification
from escalade.cli.display import as_json as print_json
from escalade.cli.display import aside, console
from escalade.errors import SettingError
from escalade.evaluation.sources import Opened, open_bank
from escalade.policies import Gate
from escalade.routes import Route
from escalade.tuning.candidates import Sort
from escalade.tuning.goals import Goal
from escalade.tuning.making import (
    Ground,
    label,
    prepare_ground,
    reference_route,
    tuned_policy,
)
from escalade.tuning.tuning import MARGIN, Numbers, Tuned, tune, tune_frontier
from escalade.wording import counted, signed


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be tuned on, as the options say it."""

    source: str
    problems: str | None
    pool: str | None
    scores: Path | None
    dataset: str | None
    complete: bool
    cost_column: str | None
    confidences: Sequence[str]
    calibration: Path | None
    stop: str
    prior_strength: float
    explore: bool
    reference: str | None
    group: str | None
    folds: int
    repeats: int
    seed: int


class Goals(NamedTuple):
    """The options that are goals; one of them is given."""

    budget: float | None
    min_accuracy: str | None
    frontier: bool
    max_loss: float | None
    level: float
    alpha: float
    caution: float | None


def show_tuned(request: Request, goals: Goals, out: Path | None, name: str | None, *, as_json: bool) -> bool:
    """Tune; print what was found, and write the policy's file. Return whether there is a policy."""
    asked = [goals.budget is not None, goals.min_accuracy is not None, goals.frontier, goals.max_loss is not None]
    if sum(asked) != 1:
        raise SettingError("give one goal: --budget USD, --min-accuracy A, --frontier or --max-loss E")
    if goals.frontier and out is not None:
        raise SettingError(
            "--frontier finds many policies, --out keeps one: give --budget USD of the one that is meant"
        )
    opened = open_bank(
        request.source,
        request.problems,
        pool=request.pool,
        scores=request.scores,
        dataset=request.dataset,
        complete=request.complete,
        cost_column=request.cost_column,
    )
    reference = reference_route(request.reference, opened)
    accuracy = _accuracy(goals.min_accuracy, opened)
    if reference is None and isinstance(accuracy, Route):
        reference = accuracy
    also = [route for route in dict.fromkeys((reference, accuracy)) if isinstance(route, Route)]
    ground = prepare_ground(
        opened,
        confidences=request.confidences,
        stop=request.stop,
        prior_strength=request.prior_strength,
        calibration=None if request.calibration is None else read_calibration(request.calibration),
        also=also,
        groups=own_groups(request.group, request.problems, opened),
        exploring=request.explore,
        seed=request.seed,
        dataset=request.dataset,
        complete=request.complete,
        cost_column=request.cost_column,
        group=request.group,
    )
    if not as_json:
        _say_ground(ground)
    if goals.max_loss is not None:
        return show_certification(
            ground, reference, goals.max_loss, goals.level, goals.alpha, out, name, as_json=as_json
        )
    splits: dict[str, Any] = {
        "groups": ground.groups,
        "reference": reference,
        "folds": request.folds,
        "repeats": request.repeats,
        "seed": request.seed,
    }
    if goals.frontier:
        found = tune_frontier(ground.trials, **splits)
        if as_json:
            print_json({"frontier": [_plain(tuned) for tuned in found]})
        else:
            console.print(_frontier_table(found))
        return True
    tuned = tune(ground.trials, Goal(goals.budget, accuracy, goals.caution), **splits)
    file = tuned_policy(ground, tuned, name=name or name_of(out), day=datetime.date.today())
    if out is not None:
        file.write(out)
    if as_json:
        print_json({**_plain(tuned), "policy": file.model_dump(mode="json", exclude_none=True)})
    else:
        _show_tuned(tuned, opened)
        say_written(out)
    return True


def _accuracy(text: str | None, opened: Opened) -> float | Route | None:
    if text is None:
        return None
    if text in opened.bank.pool:
        return reference_route(text, opened)
    try:
        return float(text)
    except ValueError:
        return reference_route(text, opened)


def _say_ground(ground: Ground) -> None:
    opened, trials = ground.opened, ground.trials
    sorts = trials.sorts
    found = {sort: int((sorts == sort).sum()) for sort in Sort}
    of_each = (
        f"{counted(found[Sort.DIRECT], 'single sample')}, {counted(found[Sort.VOTE], 'vote')}, "
        f"{found[Sort.PAIR]:,} of two tiers, {found[Sort.TRIPLE]:,} of three"
    ) + (f", {found[Sort.GATE]:,} with a gate" if found[Sort.GATE] else "")
    aside.print(
        f"{counted(len(opened.bank), 'problem')} of {escape(opened.source)}, pool {escape(opened.bank.pool.name)}: "
        f"{counted(len(trials.candidates), 'candidate')} ({of_each})",
        soft_wrap=True,
    )
    for note in (*opened.notes, *trials.notes, ground.note):
        aside.print(f"note: {escape(note)}", soft_wrap=True)
    if any(ground.seen):
        aside.print(
            f"note: the calibration was fitted on {sum(ground.seen)} of these problems: what is held out here was not "
            "held out there",
            soft_wrap=True,
        )


def _show_tuned(tuned: Tuned, opened: Opened) -> None:
    console.print(f"[bold]{escape(label(tuned.chosen))}[/]", soft_wrap=True)
    table = Table("", box=None)
    for column in ("accuracy", "95 %", "USD a problem", "95 %"):
        table.add_column(column, justify="right")
    for said, found in (
        ("in-sample, flattered", tuned.in_sample),
        ("held out", tuned.held_out),
        ("best single model at equal cost, held out", tuned.single_held_out),
        (f"reference {tuned.reference.route}", tuned.reference_numbers),
    ):
        table.add_row(escape(said), *_cells(found))
    console.print(table)
    console.print(
        f"optimism {signed(100 * tuned.optimism)} points (in-sample less held out, {tuned.repeats} x {tuned.folds} "
        f"parts of {counted(tuned.groups, 'group')}; {tuned.stability:.0%} of the choices were this route)".replace(
            "%", " %"
        ),
        soft_wrap=True,
    )
    if tuned.unmet:
        console.print(f"on {tuned.unmet:.0%} of the parts no candidate met the goal".replace("%", " %"))
    console.print(tuned.verdict, soft_wrap=True)
    console.print(_against(tuned), soft_wrap=True)


def _against(tuned: Tuned) -> str:
    found, ratio = tuned.against_reference, tuned.cost_to_reference
    shown = "shown" if found.shown else "not shown"
    low, high = ratio.interval
    # The resamples of few problems do not bound it.
    sure = f"{low:.2f} to {high:.2f}" if low > 0 and math.isfinite(high) else "too few problems to say how sure that is"
    needs = "" if found.shown or tuned.groups >= found.needed else f" (that takes {found.needed} problems or more)"
    return (
        f"Against {tuned.reference.route}, held out: {signed(100 * found.difference)} points at {ratio.value:.2f} "
        f"times the cost ({sure}); {shown} to lose less than {100 * MARGIN:g} point{needs}."
    )


def _frontier_table(found: Sequence[Tuned]) -> Table:
    table = Table("route", box=None)
    for column in ("USD a problem", "in-sample", "held out", "single, held out", "gain"):
        table.add_column(column, justify="right")
    for tuned in found:
        gain, (low, high) = tuned.gain
        table.add_row(
            escape(label(tuned.chosen)),
            f"{tuned.in_sample.cost.value:.3g}",
            f"{tuned.in_sample.accuracy.value:.3f}",
            f"{tuned.held_out.accuracy.value:.3f}",
            f"{tuned.single_held_out.accuracy.value:.3f}",
            f"{signed(100 * gain)} ({signed(100 * low)} to {signed(100 * high)})",
        )
    return table


def _cells(found: Numbers) -> list[str]:
    (accuracy, (low, high)), (cost, (cost_low, cost_high)) = found.accuracy, found.cost
    return [f"{accuracy:.3f}", f"{low:.3f} to {high:.3f}", f"{cost:.3g}", f"{cost_low:.3g} to {cost_high:.3g}"]


def _numbers(found: Numbers) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy.value,
        "accuracy_ci95": list(found.accuracy.interval),
        "cost_usd": found.cost.value,
        "cost_usd_ci95": list(found.cost.interval),
    }


def _plain(tuned: Tuned) -> dict[str, Any]:
    against, ratio = tuned.against_reference, tuned.cost_to_reference
    gate = Gate.of(tuned.chosen.gate)
    return finite(
        {
            "route": str(tuned.chosen.route),
            "gate": None if gate is None else gate.model_dump(),
            "confidence": tuned.chosen.policy.confidence,
            "in_sample": _numbers(tuned.in_sample),
            "held_out": _numbers(tuned.held_out),
            "optimism": tuned.optimism,
            "stability": tuned.stability,
            "unmet": tuned.unmet,
            "single": str(tuned.single.route),
            "single_in_sample": _numbers(tuned.single_in_sample),
            "single_held_out": _numbers(tuned.single_held_out),
            "gain": tuned.gain.value,
            "gain_ci95": list(tuned.gain.interval),
            "over_coin": None if tuned.over_coin is None else tuned.over_coin.value,
            "over_coin_ci95": None if tuned.over_coin is None else list(tuned.over_coin.interval),
            "verdict": tuned.verdict,
            "reference": str(tuned.reference.route),
            "reference_numbers": _numbers(tuned.reference_numbers),
            "difference_to_reference": against.difference,
            "difference_to_reference_ci95": list(against.interval),
            "non_inferior": against.shown,
            "cost_to_reference": ratio.value,
            "cost_to_reference_ci95": list(ratio.interval),
            "problems": tuned.problems,
            "groups": tuned.groups,
            "folds": tuned.folds,
            "repeats": tuned.repeats,
        }
    )
