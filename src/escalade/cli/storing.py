"""The commands of `escalade store`. They read options and call `cli.store`, which loads what is heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from escalade.cli import options as opt


class _ShowsByDefault(TyperGroup):
    """`escalade store FILE` is `escalade store show FILE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args and args[0] in self.commands else ["show", *args])


store_app = typer.Typer(
    cls=_ShowsByDefault,
    help="Show a store of samples (escalade store FILE), verify, merge, export and import.",
    no_args_is_help=True,
)

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="File of a store.")]
PoolOfStore = Annotated[str | None, typer.Option("--pool", "-p", help="A pool that ships with escalade, or a .toml.")]


@store_app.command("show")
def store_show(file: StorePath, pool: PoolOfStore = None, json: opt.Json = False) -> None:
    """What a store holds: samples by model, temperature and job, tokens, failures, verdicts; with a pool, money."""
    from escalade.cli import store as view

    view.show(file, pool, as_json=json)


@store_app.command("verify")
def store_verify(file: StorePath, json: opt.Json = False) -> None:
    """Look for damage: every row is read. Ends with 1 where something is wrong, each finding named."""
    from escalade.cli import store as view

    if not view.verify(file, as_json=json):
        raise typer.Exit(1)


@store_app.command("merge")
def store_merge(
    into: Annotated[Path, typer.Argument(metavar="INTO", help="The store that gets what the others have.")],
    others: Annotated[list[Path], typer.Argument(metavar="FROM...", help="Stores; they stay as they are.")],
) -> None:
    """Enter other stores into one. The first sample of a place stays; conflicts are named, their tokens kept."""
    from escalade.cli import store as view

    view.merge_stores(into, others)


@store_app.command("export")
def store_export(
    file: StorePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .parquet or .jsonl file; a folder with --format.")],
    form: Annotated[
        str | None,
        typer.Option("--format", help="inspect or lm-eval: logs as those tools write them.", show_default="by OUT"),
    ] = None,
    pool: PoolOfStore = None,
    problems: Annotated[
        Path | None, typer.Option("--problems", help="Texts and gold answers of problems that the store lacks.")
    ] = None,
) -> None:
    """Write all of a store to one file, or its samples as logs of another tool."""
    from escalade.cli import store as view

    view.export(file, out, form, pool, problems)


@store_app.command("import")
def store_import(
    into: Annotated[Path, typer.Argument(metavar="STORE", help="The store, new or not.")],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="Exports, recordings, logs of inspect_ai, samples_*.jsonl of lm-eval."),
    ],
    pool: PoolOfStore = None,
    engine: opt.EngineName = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="ALIAS=NAME: the pool's model for a name in a file; ALIAS where it has none."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of files that do not say it.", min=0)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the runs that are to find the samples.")] = 0,
    same_settings: Annotated[
        bool, typer.Option("--same-settings", help="You vouch: what a file leaves open is as the pool has it.")
    ] = False,
) -> None:
    """Enter samples of elsewhere. Runs find them where pool and file agree on all that matters; else it says why."""
    from escalade.cli import store as view

    view.import_files(into, files, pool, engine, model or [], temperature=temperature, seed=seed, vouched=same_settings)
