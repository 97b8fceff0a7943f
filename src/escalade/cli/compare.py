"""The command `escalade compare`. It reads options and calls `cli.comparing`, which loads what is heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import options as opt

_STATISTICS = "Statistics"
_SAMPLES = "Recorded samples"

Source = Annotated[
    str,
    typer.Argument(
        metavar="[SOURCE]",
        help="Recorded samples: a recorded pool, a store, the folder of a run, or shipped.",
    ),
]
ProblemsOf = Annotated[
    str | None,
    typer.Option(
        "--problems",
        help="Problems with gold answers; shipped for the 60 that ship with escalade.",
        show_default="those of the source",
        rich_help_panel=_SAMPLES,
    ),
]
PoolOf = Annotated[
    str | None,
    typer.Option(
        "--pool",
        "-p",
        help="Aliases, prices and billing: a pool that ships with escalade, or a .toml file.",
        show_default="the source's own",
        rich_help_panel=_SAMPLES,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Only this data set, of a recording of several.", rich_help_panel=_SAMPLES),
]
Complete = Annotated[
    bool,
    typer.Option("--complete", help="Only problems with samples of every model.", rich_help_panel=_SAMPLES),
]
CostColumn = Annotated[
    str | None,
    typer.Option(
        "--cost-column",
        metavar="COLUMN",
        help="Count this column (characters, say) in the place of completion tokens, at the prices of output.",
        rich_help_panel=_SAMPLES,
    ),
]
Routes = Annotated[
    list[str] | None,
    typer.Option(
        "--routes",
        "-r",
        help="Routing strings, comma separated, or @FILE with one a line; may be repeated.",
        show_default="votes and cascades of what was recorded",
    ),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option("--strategies", "-s", help="all, or names (escalade strategies), or FILE.py:NAME of your own."),
]
Targets = Annotated[
    str,
    typer.Option("--target", "-t", help="Target confidence: 0.9, a list 0.8,0.9, or a range 0.5..0.99."),
]
Steps = Annotated[int, typer.Option("--steps", help="Targets in a range.", min=2)]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="What all are held against: a model's alias, a routing string, the name of a policy.",
        show_default="one sample of the dearest model",
        rich_help_panel=_STATISTICS,
    ),
]
Margin = Annotated[
    float,
    typer.Option("--margin", help="Accuracy that may be lost to pass for no worse.", rich_help_panel=_STATISTICS),
]
Level = Annotated[float, typer.Option("--level", help="Of all intervals.", rich_help_panel=_STATISTICS)]
Grouped = Annotated[
    bool,
    typer.Option(
        "--grouped", help="Near-duplicate problems count as one in all intervals.", rich_help_panel=_STATISTICS
    ),
]
Draws = Annotated[
    int | None,
    typer.Option(
        "--draws",
        help="Runs a problem, where a route has no closed form.",
        show_default="12000 over all problems",
        min=2,
        rich_help_panel=_STATISTICS,
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for comparison.parquet and comparison.json.", show_default="none"),
]


def compare(
    source: Source = "shipped",
    routes: Routes = None,
    strategies: Strategies = None,
    target: Targets = "0.9",
    steps: Steps = 11,
    problems: ProblemsOf = None,
    pool: PoolOf = None,
    scores: opt.Scores = None,
    dataset: Dataset = None,
    complete: Complete = False,
    cost_column: CostColumn = None,
    reference: Reference = None,
    margin: Margin = 0.01,
    level: Level = 0.95,
    grouped: Grouped = False,
    draws: Draws = None,
    seed: opt.Seed = 0,
    out: OutFolder = None,
    json: opt.Json = False,
    confidence: opt.Confidence = "share",
    calibration: opt.Calibration = None,
    stop: opt.Stop = "verdict",
    aggregate: opt.Aggregate = "last",
    entropy_bits: opt.EntropyBits = 0.6,
    explore_floor: opt.ExploreFloor = 0.5,
    max_k: opt.MaxK = 8,
    prior_strength: opt.PriorStrength = 4.0,
) -> None:
    """Compare routes and strategies on recorded samples, with the references they must beat; nothing is drawn."""
    from escalade.cli import comparing
    from escalade.policies import chosen_settings

    chosen = chosen_settings(
        None,
        calibration,
        confidence=confidence,
        stop=stop,
        aggregate=aggregate,
        entropy_bits=entropy_bits,
        explore_floor=explore_floor,
        max_k=max_k,
        prior_strength=prior_strength,
    )
    if out is not None:
        opt.folder("--out", out)
    request = comparing.Request(
        source=source,
        problems=problems,
        pool=pool,
        scores=scores,
        routes=routes or [],
        strategies=strategies or [],
        target=target,
        steps=steps,
        reference=reference,
        margin=margin,
        level=level,
        dataset=dataset,
        complete=complete,
        cost_column=cost_column,
        grouped=grouped,
        draws=draws,
        seed=seed,
    )
    comparing.show_comparison(request, chosen.policy, chosen.calibration, out=out, as_json=json)
