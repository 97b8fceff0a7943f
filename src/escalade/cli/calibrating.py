"""The command `escalade calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import compare as shared
from escalade.cli import options as opt

Sizes = Annotated[str, typer.Option("--k", help="Samples of the ballots that are fitted on, comma separated.")]
OutFile = Annotated[Path, typer.Option("--out", "-o", help="The calibration's file (JSON).")]


def calibrate(
    source: shared.Source = "shipped",
    problems: shared.ProblemsOf = None,
    pool: shared.PoolOf = None,
    dataset: shared.Dataset = None,
    complete: shared.Complete = False,
    k: Sizes = "3,5,8",
    seed: opt.Seed = 0,
    out: OutFile = Path("calibration.json"),
    json: opt.Json = False,
) -> None:
    """Fit P(the leader is right) of each tier's ballots on labelled samples, for --confidence calibrated."""
    import datetime

    from rich.markup import escape
    from rich.table import Table

    from escalade.calibration.labelling import fit_bank
    from escalade.cli.display import as_json as print_json
    from escalade.cli.display import aside, console
    from escalade.evaluation.groups import groups_of
    from escalade.evaluation.sources import open_bank
    from escalade.policies import conditions_of

    opt.file("--out", out)
    opened = open_bank(source, problems, pool=pool, dataset=dataset, complete=complete)
    bank = opened.bank
    groups, note = groups_of(bank.problems)
    by_id = {problem.id: str(group) for problem, group in zip(bank.problems, groups, strict=True)}
    found = fit_bank(
        bank,
        conditions_of(bank.pool, bank.problems),
        datetime.date.today(),
        sizes=sizes_of(k),
        groups=by_id,
        seed=seed,
    )
    found.calibration.write(out)
    if json:
        print_json({**found.calibration.model_dump(mode="json"), "left_out": list(found.left_out)})
        return
    for line in (*opened.notes, note, *(f"not calibrated: {reason}" for reason in found.left_out)):
        aside.print(f"note: {escape(line)}", soft_wrap=True)
    table = Table("tier", "method", box=None)
    for column in ("labels", "k", "Brier of the share", "Brier", "ECE", "ECE by chance"):
        table.add_column(column, justify="right")
    for tier in found.calibration.tiers:
        quality = tier.quality
        table.add_row(
            tier.name,
            tier.curve.method,
            str(tier.labels),
            f"{tier.least_k} to {tier.most_k}" if tier.least_k < tier.most_k else str(tier.most_k),
            f"{quality.share_brier:.3f}",
            f"{quality.brier:.3f}",
            f"{quality.ece:.3f}",
            f"{quality.ece_by_chance:.3f}",
        )
    console.print(table)
    console.print(
        f"cross-validated in {found.calibration.tiers[0].quality.folds} parts, groups whole; ECE by chance is that of "
        "a perfect calibration of as many problems",
        soft_wrap=True,
    )
    console.print(f"[dim]written to {escape(str(out))}: --confidence calibrated --calibration {escape(str(out))}[/]")


def sizes_of(text: str) -> list[int]:
    """Return the sizes of ballots that a text lists.

    Raises:
        SettingError: one is no integer >= 1.

    Example:
        >>> sizes_of("3, 5,8")
        [3, 5, 8]
    """
    from escalade.errors import SettingError

    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise SettingError(f"--k is {text!r}: give integers >= 1, comma separated, as 3,5,8")
    return [int(word) for word in words]
