"""The commands. They read options, call the library and show what it gave; heavy modules load inside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import options as opt
from escalade.cli.calibrating import calibrate
from escalade.cli.compare import compare
from escalade.cli.probe import probe_app
from escalade.cli.report import report
from escalade.cli.serve import key, serve
from escalade.cli.storing import store_app
from escalade.cli.tune import certify, tune

app = typer.Typer(
    name="escalade",
    help="Answer verifiable questions on the cheapest rung of a ladder of models that can be trusted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="List a pool's models and what is on disk; fetch their weights.")
app.add_typer(models_app, name="models")
app.add_typer(store_app, name="store")
app.add_typer(probe_app, name="probe")
app.command()(compare)
app.command()(report)
app.command()(tune)
app.command()(certify)
app.command()(calibrate)
app.command()(serve)
app.command()(key)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from escalade import __version__

        print(f"escalade {__version__}")
        raise typer.Exit


@app.command()
def run(
    context: typer.Context,
    problems: opt.Problems = None,
    route: opt.Route = None,
    strategy: opt.Strategy = None,
    pool: opt.PoolName = None,
    engine: opt.EngineName = None,
    scores: opt.Scores = None,
    target: opt.Target = 0.90,
    out: opt.Out = Path("escalade-out"),
    store: opt.StoreFile = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    json: opt.Json = False,
    policy: opt.PolicyFile = None,
    confidence: opt.Confidence = "share",
    calibration: opt.Calibration = None,
    stop: opt.Stop = "verdict",
    aggregate: opt.Aggregate = "last",
    entropy_bits: opt.EntropyBits = 0.6,
    explore_floor: opt.ExploreFloor = 0.5,
    max_k: opt.MaxK = 8,
    prior_strength: opt.PriorStrength = 4.0,
    max_cost: opt.MaxCost = None,
    max_cost_per_problem: opt.MaxCostProblem = None,
    max_cost_per_tier: opt.MaxCostTier = None,
    max_tokens: opt.MaxTokens = None,
    max_tokens_per_problem: opt.MaxTokensProblem = None,
    max_tokens_per_tier: opt.MaxTokensTier = None,
    max_samples: opt.MaxSamples = None,
    max_samples_per_problem: opt.MaxSamplesProblem = None,
    max_samples_per_tier: opt.MaxSamplesTier = None,
    max_seconds: opt.MaxSeconds = None,
    max_seconds_per_problem: opt.MaxSecondsProblem = None,
    max_seconds_per_tier: opt.MaxSecondsTier = None,
    log_json: opt.LogJson = None,
) -> None:
    """Answer problems by a route or a strategy; print who decided what, and what it cost."""
    from escalade.cli import running
    from escalade.job import prepare
    from escalade.limits import Limits
    from escalade.policies import chosen_settings, with_mismatches

    opt.alone(context, policy, opt.DECIDED)
    kept, fitted, settings = chosen_settings(
        policy,
        calibration,
        target=target,
        confidence=confidence,
        stop=stop,
        aggregate=aggregate,
        entropy_bits=entropy_bits,
        explore_floor=explore_floor,
        max_k=max_k,
        prior_strength=prior_strength,
    )
    job = prepare(
        problems,
        route=route if kept is None else kept.file.route,
        gate=None if kept is None else kept.file.gate,
        strategy=strategy,
        pool=pool,
        engine=engine,
        scores=scores,
        policy=settings,
        limits=Limits(
            run_usd=opt.money("--max-cost", max_cost),
            problem_usd=opt.money("--max-cost-per-problem", max_cost_per_problem),
            tier_usd=opt.money("--max-cost-per-tier", max_cost_per_tier),
            run_tokens=max_tokens,
            problem_tokens=max_tokens_per_problem,
            tier_tokens=max_tokens_per_tier,
            run_samples=max_samples,
            problem_samples=max_samples_per_problem,
            tier_samples=max_samples_per_tier,
            run_seconds=max_seconds,
            problem_seconds=max_seconds_per_problem,
            tier_seconds=max_seconds_per_tier,
        ),
        limit=limit,
        seed=seed,
    )
    job = with_mismatches(job, kept, fitted)
    opt.folder("--out", out)
    samples = store if store is not None or job.recorded else Path("escalade.sqlite")
    summary = running.show(job, out, samples, log_json, as_json=json)
    if summary.interrupted:
        raise typer.Exit(130)
    if set(summary.statuses) == {"error"}:
        raise typer.Exit(1)


@app.command()
def route(
    context: typer.Context,
    problems: opt.Problems = None,
    route: opt.Route = None,
    strategy: opt.Strategy = None,
    pool: opt.PoolName = None,
    engine: opt.EngineName = None,
    scores: opt.Scores = None,
    target: opt.Target = 0.90,
    out: opt.Out = Path("escalade-out"),
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    json: opt.Json = False,
    policy: opt.PolicyFile = None,
    max_k: opt.MaxK = 8,
) -> None:
    """Dry run: where each problem would go and what it can cost at most; no engine is touched."""
    from escalade.cli import display
    from escalade.dryrun import plan
    from escalade.job import prepare
    from escalade.policies import chosen_settings
    from escalade.routing import write_routing

    opt.alone(context, policy, opt.DECIDED)
    kept, _, settings = chosen_settings(policy, None, target=target, max_k=max_k)
    job = prepare(
        problems,
        route=route if kept is None else kept.file.route,
        gate=None if kept is None else kept.file.gate,
        strategy=strategy,
        pool=pool,
        engine=engine,
        scores=scores,
        policy=settings,
        limit=limit,
        seed=seed,
    )
    planned = plan(job)
    path = opt.folder("--out", out) / "routing.parquet"
    write_routing(planned.table, path)
    if json:
        display.as_json(planned.to_dict())
    else:
        display.plan(job, planned, path)


@app.command()
def explain(
    results: Annotated[Path, typer.Argument(metavar="RESULT.parquet", help="answers.parquet of a run.")],
    problem_id: Annotated[str, typer.Argument(metavar="PROBLEM_ID")],
) -> None:
    """Tell the story of one problem: each tier's votes, confidence, threshold, decision and reason, and the cost."""
    from escalade.cli import story

    story.show(results, problem_id)


@app.command()
def check(
    routes: Annotated[list[str], typer.Argument(metavar="ROUTE...", help="Routing strings.")],
    pool: Annotated[str, typer.Option("--pool", "-p", help="The pool they are meant for.")] = "qwen2.5-math",
) -> None:
    """Validate routing strings and print their tiers."""
    from escalade.cli import display
    from escalade.errors import RouteError
    from escalade.pool import load_pool
    from escalade.routes import parse_route

    models = load_pool(pool)
    wrong = 0
    for text in routes:
        try:
            display.tiers(parse_route(text, models), models)
        except RouteError as error:
            wrong += 1
            print(f"error: {error}", file=sys.stderr)
            if pool == "qwen2.5-math":
                _hint_other_pools(text)
    if wrong:
        raise typer.Exit(2)


@app.command(context_settings={"ignore_unknown_options": True})  # an answer may begin with a minus
def answers(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Generated texts, or answers as they are.")],
    kind: Annotated[str, typer.Option("--kind", "-k", help=opt.KIND)] = "math",
    json: opt.Json = False,
) -> None:
    """Try by hand what a text answers: by which rule, its key, and which answers are equal and why."""
    from escalade.cli import grading

    if unknown := next((text for text in texts if text.startswith("--")), None):
        raise typer.BadParameter(f"no such option: {unknown}; put -- before texts that begin so")
    grading.show_answers(texts, kind, as_json=json)


@app.command()
def grade(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="Folder of a run, its answers.parquet, or a table of samples.")
    ],
    problems: Annotated[
        Path | None,
        typer.Option("--problems", help="Gold answers to grade by, joined by id.", show_default="those of the results"),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", "-k", help=opt.KIND, show_default="as the problems or results say")
    ] = None,
    from_text: Annotated[
        bool, typer.Option("--from-text", help="Extract answers anew from the samples' texts.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results with the new grades.", show_default="none"),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="A store whose verdicts on pairs of answers are used and kept.")
    ] = None,
    json: opt.Json = False,
) -> None:
    """Grade results again without sampling, and say what changed."""
    from escalade.cli import grading

    if out is not None:
        opt.folder("--out", out)
    grading.show_regraded(results, problems, kind, from_text=from_text, out=out, store=store, as_json=json)


@app.command()
def reprice(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of a run, or its answers.parquet.")],
    pool: Annotated[str, typer.Option("--pool", "-p", help="The pool whose prices are taken.")],
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            help="Day whose prices are taken, where they are dated.",
            show_default="the pool's prices_as_of, else today",
        ),
    ] = None,
    billing: Annotated[
        str | None,
        typer.Option(help="How prompts are billed: once, cached or each.", show_default="as the pool says"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results with the new costs.", show_default="none"),
    ] = None,
    json: opt.Json = False,
) -> None:
    """Say what results would have cost by other prices, exactly and without sampling."""
    from escalade.cli import repricing

    if out is not None:
        opt.folder("--out", out)
    repricing.show_repriced(results, pool, as_of, billing, out=out, as_json=json)


def _hint_other_pools(text: str) -> None:
    from escalade.errors import RouteError
    from escalade.pool import load_pool, shipped_pools
    from escalade.routes import parse_route

    for name in shipped_pools():
        try:
            parse_route(text, load_pool(name))
        except RouteError:
            continue
        print(f"  pool {name} has these models: escalade check --pool {name} ...", file=sys.stderr)
        return


@app.command()
def strategies(
    name: Annotated[str | None, typer.Argument(help="Tell all about this one.")] = None,
    pool: Annotated[str, typer.Option("--pool", "-p", help="The pool they are to choose from.")] = "qwen2.5-math",
) -> None:
    """List the strategies, or tell what one does and what it is good for."""
    from escalade.cli import display
    from escalade.pool import load_pool

    display.strategies(name, load_pool(pool))


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, pool: opt.PoolName = None) -> None:
    """List a pool's models and what of them is on disk."""
    from escalade.cli import models as view

    if context.invoked_subcommand is None:
        view.show(pool or "embedded")


@models_app.command()
def pull(
    aliases: Annotated[list[str] | None, typer.Argument(metavar="[ALIAS]...", help="Only these.")] = None,
    pool: opt.PoolName = None,
) -> None:
    """Fetch the weights of a pool's models into the cache folder (ESCALADE_CACHE); resumes, checks sha256."""
    from escalade.cli import models as view

    view.fetch(pool or "embedded", aliases or [])


@app.command()
def record(
    problems: opt.Problems = None,
    pool: opt.PoolName = None,
    samples: Annotated[int, typer.Option(help="Samples of each problem and model.", min=0)] = 8,
    temperature: Annotated[float, typer.Option(help="Their temperature.", min=0)] = 0.7,
    greedy: Annotated[bool, typer.Option("--greedy", help="A greedy sample as well.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="The recording.")] = Path("recording.parquet"),
    store: opt.StoreFile = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
) -> None:
    """Draw samples of every model of a pool for every problem: into a store, and a Parquet file for replay:FILE."""
    from escalade.cli import recording
    from escalade.record import recording_job

    job = recording_job(
        problems,
        pool or "embedded",
        samples=samples,
        temperature=temperature,
        greedy=greedy,
        limit=limit,
        seed=seed,
    )
    opt.file("--out", out)
    if not recording.show(job, out, store or Path("escalade.sqlite")):
        raise typer.Exit(130)
