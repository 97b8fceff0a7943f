"""Models on disk: the list, and fetching with a progress bar."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from escalade import weights
from escalade.cli.display import aside, console
from escalade.errors import PoolError, WeightsError
from escalade.pool import PoolModel, load_pool


def show(pool_name: str) -> None:
    """Print a pool's models, their prices, and what is on disk."""
    pool = load_pool(pool_name)
    console.print(
        f"pool [bold]{escape(pool.name)}[/], weights in {escape(str(weights.cache_folder()))}", soft_wrap=True
    )
    table = Table(
        "alias",
        "name",
        "engine",
        "USD per million tokens, in / out",
        "on disk",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for model in pool.models:
        price = "unknown" if model.price is None else f"{model.price.input:f} / {model.price.output:f}"
        table.add_row(model.alias, escape(model.name), escape(model.engine), price, _on_disk(model))
    console.print(table)
    if pool.route is not None:
        console.print(f"[dim]its own route: {escape(pool.route)}[/]", soft_wrap=True)


def _on_disk(model: PoolModel) -> str:
    if model.engine != "llamacpp":
        return "[dim]not kept here[/]"
    state = weights.state(model)
    if state.whole:
        return f"[green]whole[/], {_megabytes(state.size)}"
    size = f" of {_megabytes(model.size)}" if model.size else ""
    return (
        f"[yellow]{_megabytes(state.partial_bytes)}{size}[/]"
        if state.partial_bytes
        else f"no{size and ', ' + size[4:]}"
    )


def _megabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e6:.0f} MB"


def fetch(pool_name: str, aliases: list[str]) -> None:
    """Fetch the weights of a pool's models, or of some of them.

    Raises:
        PoolError: an alias that the pool has not. WeightsError: no source gave the right file.
    """
    pool = load_pool(pool_name)
    for alias in aliases:
        if alias not in pool:
            raise PoolError(pool.unknown(alias))
    chosen = [pool[alias] for alias in aliases] or [model for model in pool.models if model.engine == "llamacpp"]
    if not chosen:
        raise WeightsError(f"pool {pool.name!r} has no model whose weights are kept here")
    for model in chosen:
        state = weights.state(model)
        if state.whole:
            console.print(f"{model.alias}: whole, {state.path}", soft_wrap=True)
            continue
        path = _with_bar(model)
        console.print(f"{model.alias}: fetched and checked, {path}", soft_wrap=True)


def _with_bar(model: PoolModel) -> object:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=aside, disable=not aside.is_terminal) as bar:
        task = bar.add_task(model.alias, total=model.size)
        tenths = 0

        def progress(done: int, total: int | None) -> None:
            nonlocal tenths
            bar.update(task, completed=done, total=total)
            if not aside.is_terminal and total and done * 10 // total > tenths:
                tenths = done * 10 // total
                aside.print(f"{model.alias}: {_megabytes(done)} of {_megabytes(total)}")

        return weights.pull(model, progress=progress, say=lambda text: aside.print(escape(f"{model.alias}: {text}")))
