"""The commands of the gateway: serving, and making keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import options as opt

SERVER = "Server"
BOUNDS = "Bounds"


def serve(
    pool: Annotated[
        str, typer.Option("--pool", "-p", help="A pool that ships with escalade, or a .toml file.")
    ] = "embedded",
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", help="A policy of escalade tune, served under its name; more than once for several."),
    ] = None,
    probe: Annotated[
        list[Path] | None,
        typer.Option("--probe", help="A probe of text that scores requests, for auto:STRATEGY; once for each model."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            help="File that keeps every sample and what each request came to.",
            show_default="escalade.sqlite",
        ),
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep nothing.")] = False,
    target: opt.Target = 0.90,
    seed: opt.Seed = 0,
    host: Annotated[str, typer.Option(help="Address to listen at.", rich_help_panel=SERVER)] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535, rich_help_panel=SERVER)
    ] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="API keys and their limits (escalade key NAME).", rich_help_panel=SERVER),
    ] = None,
    keep_alive: Annotated[
        float, typer.Option(help="Seconds between two comments of a silent stream.", min=0.05, rich_help_panel=SERVER)
    ] = 10.0,
    grace: Annotated[
        float, typer.Option(help="Seconds that requests have when the server stops.", min=0, rich_help_panel=SERVER)
    ] = 10.0,
    log_json: opt.LogJson = None,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Log prompts and answers, too.", rich_help_panel=SERVER)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no line per request.", rich_help_panel=SERVER)
    ] = False,
    otlp: Annotated[
        str | None,
        typer.Option(
            "--otlp",
            metavar="URL",
            help="Send traces there, as in http://127.0.0.1:4318/v1/traces.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    max_requests: Annotated[
        int, typer.Option(help="Requests under way or waiting; more get 429.", min=1, rich_help_panel=BOUNDS)
    ] = 1024,
    max_body_bytes: Annotated[
        int, typer.Option(help="Bytes of a request's body.", min=1, rich_help_panel=BOUNDS)
    ] = 1024 * 1024,
    max_prompt_bytes: Annotated[
        int, typer.Option(help="Bytes of all texts of a request.", min=1, rich_help_panel=BOUNDS)
    ] = 65_536,
    max_samples: Annotated[
        int, typer.Option(help="Samples that a route may ask for.", min=1, rich_help_panel=BOUNDS)
    ] = 256,
    max_seconds: Annotated[
        float, typer.Option(help="Seconds of a request.", min=0.001, rich_help_panel=BOUNDS)
    ] = 600.0,
) -> None:
    """Serve routes as models of an OpenAI-compatible API: a routing string is a model name."""
    from escalade.cli import serving

    if store is not None and no_store:
        raise typer.BadParameter("give --store or --no-store, not both")
    serving.run(
        pool,
        policies=policy or [],
        probes=probe or [],
        store=None if no_store else store or Path("escalade.sqlite"),
        target=target,
        seed=seed,
        host=host,
        port=port,
        keys=keys,
        keep_alive=keep_alive,
        grace=grace,
        log_file=log_json,
        log_prompts=log_prompts,
        quiet=quiet,
        otlp=otlp,
        max_requests=max_requests,
        max_body_bytes=max_body_bytes,
        max_prompt_bytes=max_prompt_bytes,
        max_samples=max_samples,
        max_seconds=max_seconds,
    )


def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    keys: Annotated[Path, typer.Option("--keys", help="File of keys; made where it is not there.")] = Path("keys.toml"),
    budget: Annotated[str | None, typer.Option(help="USD that its holder may spend.", show_default="no limit")] = None,
    per: Annotated[str, typer.Option(help="What the budget is for: day, month or ever.")] = "day",
    requests_per_minute: Annotated[int | None, typer.Option(min=1, show_default="no limit")] = None,
    concurrent: Annotated[
        int | None, typer.Option(help="Requests under way at once.", min=1, show_default="no limit")
    ] = None,
    observer: Annotated[
        bool, typer.Option("--observer", help="Its holder may see /metrics, and everybody's requests on the page.")
    ] = False,
) -> None:
    """Make an API key: print it, once, and add its hash to a file of keys."""
    from escalade.gateway.keys import new_key

    settings: dict[str, str | int | bool] = {}
    if budget is not None:
        settings |= {"budget_usd": str(opt.money("--budget", budget)), "per": per}
    if requests_per_minute is not None:
        settings["requests_per_minute"] = requests_per_minute
    if concurrent is not None:
        settings["concurrent"] = concurrent
    if observer:
        settings["observer"] = True
    print(new_key(name, keys, settings))
