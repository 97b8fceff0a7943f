"""What results would cost by other prices, seen from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from rich.markup import escape
from rich.table import Table

from escalade.cli.display import as_json as print_json
from escalade.cli.display import console
from escalade.dryrun import rounded
from escalade.errors import SettingError
from escalade.ledger import Billing, Cost
from escalade.pool import Pool, load_pool
from escalade.prices import DatedPrice, day_of
from escalade.repricing import Repriced, reprice


def show_repriced(
    results: Path, pool: str, as_of: str | None, billing: str | None, *, out: Path | None, as_json: bool
) -> None:
    """Price results anew; print what each tier cost, and would cost."""
    priced = _pool(pool, as_of)
    repriced = reprice(results, priced, billing=cast("Billing | None", billing))
    if out is not None:
        repriced.write(out)
    if as_json:
        print_json(repriced.to_dict())
        return
    _show(repriced, priced)
    where = f"written to {out}" if out is not None else "nothing is written; --out FOLDER writes the new costs"
    console.print(f"[dim]{escape(where)}[/]", soft_wrap=True)


def _pool(name: str, as_of: str | None) -> Pool:
    if as_of is None:
        return load_pool(name)
    try:
        day = day_of(as_of)
    except ValueError as error:
        raise SettingError(f"--as-of: {error}") from error
    pool = load_pool(name, as_of=day)
    if not any(isinstance(model.price, DatedPrice) for model in pool.models):
        raise SettingError(
            f"--as-of chooses among prices with dates, and pool {pool.name!r} has none: leave it out, or give its "
            "models [[models.prices]] with `from`"
        )
    return pool


def _show(repriced: Repriced, pool: Pool) -> None:
    table = Table("tier", "model", "k", "t", "requests", box=None, header_style="bold", pad_edge=False)
    table.add_column("before, USD", justify="right")
    table.add_column("after, USD", justify="right")
    for tier in repriced.tiers:
        table.add_row(
            str(tier.position + 1),
            escape(tier.model),
            str(tier.k),
            f"{tier.temperature:g}",
            str(tier.requests),
            _usd(tier.before),
            _usd(tier.after),
        )
    if repriced.scoring is not None:
        table.add_row("scores", "", "", "", "", *map(_usd, repriced.scoring))
    table.add_row("all", "", "", "", str(sum(t.requests for t in repriced.tiers)), *_both(repriced), style="bold")
    console.print(table)
    problems = len(repriced.problems)
    if repriced.before.usd is not None and repriced.after.usd is not None and problems:
        before, after = repriced.before.usd / problems, repriced.after.usd / problems
        change = f" ({float(after / before - 1):+.1%})" if before else ""
        said = "the same now" if before == after else f"{rounded(after)} now{change}"
        console.print(f"{problems} problems: {rounded(before)} USD each before, {said}")
    elif repriced.after.unknown:
        console.print(f"{repriced.after}", soft_wrap=True)
    for note in repriced.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    used = {tier.model for tier in repriced.tiers}
    undated = [m.alias for m in pool.models if m.alias in used and not isinstance(m.price, DatedPrice)]
    day = f" of {pool.prices_as_of}" if pool.prices_as_of else ""
    said = f"prices of pool {pool.name}{day}, the prompt billed {repriced.stamp['billing']}"
    if len(undated) < len(used) and undated:
        said += f"; without dates: {', '.join(undated)}"
    console.print(f"[dim]{escape(said)}[/]", soft_wrap=True)


def _both(repriced: Repriced) -> tuple[str, str]:
    return _usd(repriced.before), _usd(repriced.after)


def _usd(cost: Cost) -> str:
    return "unknown" if cost.usd is None else str(cost).removesuffix(" USD")
