"""The options that commands share: one definition each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from escalade.errors import SettingError

KIND = "math, number, choice, yesno, label:A,B, text, or FILE.py:NAME of your own."
SETTINGS = "Decisions"
DECIDED = (
    "route",
    "strategy",
    "target",
    "confidence",
    "calibration",
    "stop",
    "aggregate",
    "entropy_bits",
    "explore_floor",
    "max_k",
    "prior_strength",
)
"""Parameters that a policy's file decides."""
LIMITS = "Limits"

Problems = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PROBLEMS]",
        help="Problems: .jsonl, .csv or .parquet with a column problem and perhaps id, answer, score_ALIAS. "
        "Left out: those of the replayed recording, else the 60 that ship with escalade.",
        show_default=False,
    ),
]
Route = Annotated[str | None, typer.Option("--route", "-r", help="A routing string for all problems.")]
Strategy = Annotated[
    str | None,
    typer.Option("--strategy", "-s", help="A strategy's name (escalade strategies), or FILE.py:NAME of your own."),
]
PoolName = Annotated[
    str | None,
    typer.Option(
        "--pool",
        "-p",
        help="A pool that ships with escalade, or a .toml file.",
        show_default="embedded; with a strategy qwen2.5-math; the recording's own when replaying",
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", "-e", help="Answers in the place of the pool's engines: replay:FILE, replay:shipped."),
]
Scores = Annotated[
    Path | None,
    typer.Option(
        "--scores",
        help="A table with an id and columns score_ALIAS, or a folder PROBE_probe/DATASET of the published layout.",
    ),
]
Target = Annotated[float, typer.Option("--target", "-t", help="Target confidence.", rich_help_panel=SETTINGS)]
Limit = Annotated[int | None, typer.Option("--limit", "-n", help="Take only the first N problems.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, nothing else.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the Parquet files.")]
StoreFile = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="File that keeps every sample; a rerun generates none of them again.",
        show_default="escalade.sqlite; none when replaying",
    ),
]
Confidence = Annotated[
    str,
    typer.Option(
        help="share, margin, posterior, entropy, logprob, score, prior or calibrated.", rich_help_panel=SETTINGS
    ),
]
PriorStrength = Annotated[
    float,
    typer.Option(help="Votes that a model's score counts as, for --confidence prior.", rich_help_panel=SETTINGS),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="File of escalade calibrate, for --confidence calibrated.", rich_help_panel=SETTINGS
    ),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="A policy of escalade tune: the route and all settings of decisions.",
        show_default="none",
        rich_help_panel=SETTINGS,
    ),
]
Stop = Annotated[
    str, typer.Option(help="When a tier stops drawing: verdict, exact, beta:P, esc:W, none.", rich_help_panel=SETTINGS)
]
Aggregate = Annotated[
    str, typer.Option(help="Whose samples vote: last (each tier its own), pooled, weighted.", rich_help_panel=SETTINGS)
]
EntropyBits = Annotated[
    float, typer.Option(help="Entropy rule: a ballot of at most this is clean.", rich_help_panel=SETTINGS)
]
ExploreFloor = Annotated[
    float, typer.Option(help="Entropy rule: belief from which more is drawn.", rich_help_panel=SETTINGS)
]
MaxK = Annotated[int, typer.Option(help="Entropy rule: most samples of a tier.", rich_help_panel=SETTINGS)]
MaxCost = Annotated[str | None, typer.Option(help="USD for the whole job.", rich_help_panel=LIMITS)]
MaxCostProblem = Annotated[
    str | None,
    typer.Option("--max-cost-per-problem", help="USD for each problem.", rich_help_panel=LIMITS),
]
MaxCostTier = Annotated[
    str | None,
    typer.Option("--max-cost-per-tier", help="USD for each tier of a problem.", rich_help_panel=LIMITS),
]
MaxTokens = Annotated[int | None, typer.Option(help="Tokens generated in the whole job.", rich_help_panel=LIMITS)]
MaxTokensProblem = Annotated[
    int | None,
    typer.Option("--max-tokens-per-problem", help="Tokens generated for each problem.", rich_help_panel=LIMITS),
]
MaxTokensTier = Annotated[
    int | None,
    typer.Option("--max-tokens-per-tier", help="Tokens generated in each tier of a problem.", rich_help_panel=LIMITS),
]
MaxSamples = Annotated[int | None, typer.Option(help="Samples of the whole job.", rich_help_panel=LIMITS)]
MaxSamplesProblem = Annotated[
    int | None,
    typer.Option("--max-samples-per-problem", help="Samples of each problem.", rich_help_panel=LIMITS),
]
MaxSamplesTier = Annotated[
    int | None,
    typer.Option("--max-samples-per-tier", help="Samples of each tier of a problem.", rich_help_panel=LIMITS),
]
MaxSeconds = Annotated[float | None, typer.Option(help="Seconds for the run.", rich_help_panel=LIMITS)]
MaxSecondsProblem = Annotated[
    float | None,
    typer.Option("--max-seconds-per-problem", help="Seconds for each problem.", rich_help_panel=LIMITS),
]
MaxSecondsTier = Annotated[
    float | None,
    typer.Option("--max-seconds-per-tier", help="A tier that takes longer escalates.", rich_help_panel=LIMITS),
]
LogJson = Annotated[
    Path | None,
    typer.Option(
        "--log-json",
        metavar="FILE",
        help="Append what happens to FILE, one JSON object a line.",
        show_default="none",
    ),
]


def folder(name: str, path: Path) -> Path:
    """Return a folder that is there and can be written to, before anything is paid for.

    Raises:
        SettingError: it cannot be made, or may not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{name}: {path} cannot be a folder: {error.strerror or error}; name another") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingError(f"{name}: folder {path} may not be written: name another")
    return path


def file(name: str, path: Path) -> Path:
    """Return a file that can be written, before anything is worked out for it; its folder is made if need be.

    Raises:
        SettingError: it cannot be written.
    """
    folder(name, path.parent)
    try:
        path.open("xb").close()
        path.unlink()
    except FileExistsError:
        if path.is_dir():
            raise SettingError(f"{name}: {path} is a folder: name a file, as {path / 'NAME'}") from None
        if not os.access(path, os.W_OK):
            raise SettingError(f"{name}: {path} may not be written: name another") from None
    except OSError as error:
        raise SettingError(f"{name}: {path} cannot be written: {error.strerror or error}; name another") from error
    return path


def alone(context: typer.Context, policy: Path | None, names: Sequence[str]) -> None:
    """Refuse options that a policy's file has a say in, where both are given.

    Raises:
        SettingError: names the first of them.
    """
    if policy is None:
        return
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP"):
            raise SettingError(
                f"--policy {policy} has the route and all settings of decisions: leave out --{name.replace('_', '-')}, "
                "or change it in the file"
            )


def money(name: str, value: str | None) -> Decimal | None:
    """Return an amount of USD exactly as written.

    Raises:
        SettingError: it is no number.
    """
    if value is None:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise SettingError(f"{name} is {value!r}: give an amount of USD, as in 0.50") from error
    if not amount.is_finite():
        raise SettingError(f"{name} is {value!r}: give an amount of USD, as in 0.50")
    return amount
