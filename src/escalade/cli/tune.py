"""The commands `escalade tune` and `escalade certify`. They read options and load what is heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import compare as shared
from escalade.cli import options as opt

_GOAL = "Goal: one of these"
_SPLITS = "Splits"

Budget = Annotated[
    float | None,
    typer.Option("--budget", help="USD a problem: the most accurate route within it.", rich_help_panel=_GOAL),
]
MinAccuracy = Annotated[
    str | None,
    typer.Option(
        "--min-accuracy",
        metavar="A",
        help="The cheapest route that reaches it: a number, an alias, a routing string.",
        rich_help_panel=_GOAL,
    ),
]
Frontier = Annotated[
    bool, typer.Option("--frontier", help="What budgets from the cheapest to the dearest buy.", rich_help_panel=_GOAL)
]
MaxLoss = Annotated[
    float | None,
    typer.Option(
        "--max-loss",
        metavar="E",
        help="The cheapest route certified to lose at most E accuracy to the reference, as 0.02.",
        rich_help_panel=_GOAL,
    ),
]
ConfidenceLevel = Annotated[float, typer.Option("--confidence", help="Of a certificate.", rich_help_panel=_GOAL)]
MaxOverrun = Annotated[
    float,
    typer.Option(help="Of a certificate: share of problems that may cost more than it says.", rich_help_panel=_GOAL),
]
Caution = Annotated[
    float | None,
    typer.Option(
        help="Standard errors by which a difference has to be clear.",
        show_default="1 for a budget, 0 for an accuracy",
        rich_help_panel=_GOAL,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        help="What is lost or saved is counted against it: an alias or a routing string.",
        show_default="one sample of the dearest model",
    ),
]
Confidences = Annotated[
    str, typer.Option("--confidences", help="Comma separated: what cascades are tried with, as run --confidence.")
]
PriorStrength = Annotated[
    float, typer.Option("--prior-strength", help="Votes that a model's score counts as, for the confidence prior.")
]
CalibrationFile = Annotated[
    Path | None, typer.Option("--calibration", help="Try calibrated confidence too, from a file of escalade calibrate.")
]
Explore = Annotated[
    bool, typer.Option("--explore", help="Try cascades of the entropy rule that draw more; simulated, slower.")
]
Folds = Annotated[int, typer.Option(help="Parts of a split, each held out once.", min=2, rich_help_panel=_SPLITS)]
Repeats = Annotated[int, typer.Option(help="Splits.", min=1, rich_help_panel=_SPLITS)]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the problems' file: problems that splits keep together.",
        show_default="near-duplicates",
        rich_help_panel=_SPLITS,
    ),
]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="The policy's file (TOML).", show_default="none")]
Name = Annotated[str | None, typer.Option(help="Of the policy.", show_default="the file's")]


def tune(
    source: shared.Source = "shipped",
    budget: Budget = None,
    min_accuracy: MinAccuracy = None,
    frontier: Frontier = False,
    max_loss: MaxLoss = None,
    confidence_level: ConfidenceLevel = 0.9,
    max_overrun: MaxOverrun = 0.1,
    caution: Caution = None,
    reference: Reference = None,
    problems: shared.ProblemsOf = None,
    pool: shared.PoolOf = None,
    scores: opt.Scores = None,
    dataset: shared.Dataset = None,
    complete: shared.Complete = False,
    cost_column: shared.CostColumn = None,
    confidences: Confidences = "share,margin",
    prior_strength: PriorStrength = 4.0,
    calibration: CalibrationFile = None,
    stop: opt.Stop = "verdict",
    explore: Explore = False,
    folds: Folds = 5,
    repeats: Repeats = 10,
    group: Group = None,
    seed: opt.Seed = 0,
    out: OutFile = None,
    name: Name = None,
    json: opt.Json = False,
) -> None:
    """Find the route for a budget, an accuracy or a promise on recorded samples; say what it is worth held out."""
    from escalade.cli import tuning

    if out is not None:
        opt.file("--out", out)
    request = tuning.Request(
        source=source,
        problems=problems,
        pool=pool,
        scores=scores,
        dataset=dataset,
        complete=complete,
        cost_column=cost_column,
        confidences=[word.strip() for word in confidences.split(",") if word.strip()],
        calibration=calibration,
        stop=stop,
        prior_strength=prior_strength,
        explore=explore,
        reference=reference,
        group=group,
        folds=folds,
        repeats=repeats,
        seed=seed,
    )
    goals = tuning.Goals(budget, min_accuracy, frontier, max_loss, confidence_level, max_overrun, caution)
    if not tuning.show_tuned(request, goals, out, name, as_json=json):
        raise typer.Exit(1)


def certify(
    policy: Annotated[Path, typer.Argument(metavar="POLICY.toml", help="A policy with a certificate.")],
    source: shared.Source = "shipped",
    problems: shared.ProblemsOf = None,
    pool: shared.PoolOf = None,
    scores: opt.Scores = None,
    group: Group = None,
    json: opt.Json = False,
) -> None:
    """Work a certificate out again: 0 it holds, 1 it does not hold, 2 the file says what the data do not."""
    from escalade.cli import certifying

    code = certifying.show_certified(policy, source, problems, pool, scores, group, as_json=json)
    if code:
        raise typer.Exit(code)
