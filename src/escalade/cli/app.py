"""The commands. They read options, call the library and show what it gave; heavy modules load inside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from escalade.cli import options as opt

app = typer.Typer(
    name="escalade",
    help="Answer verifiable questions on the cheapest rung of a ladder of models that can be trusted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="List a pool's models and what is on disk; fetch their weights.")
app.add_typer(models_app, name="models")


class _ShowsByDefault(TyperGroup):
    """`escalade store FILE` is `escalade store show FILE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args and args[0] in self.commands else ["show", *args])


store_app = typer.Typer(
    cls=_ShowsByDefault,
    help="Show a store of samples (escalade store FILE), verify, merge, export and import.",
    no_args_is_help=True,
)
app.add_typer(store_app, name="store")


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
    confidence: opt.Confidence = "share",
    stop: opt.Stop = "verdict",
    aggregate: opt.Aggregate = "last",
    entropy_bits: opt.EntropyBits = 0.6,
    explore_floor: opt.ExploreFloor = 0.5,
    max_k: opt.MaxK = 8,
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
    from escalade.cascade.policy import Policy
    from escalade.cli import running
    from escalade.job import prepare
    from escalade.limits import Limits

    job = prepare(
        problems,
        route=route,
        strategy=strategy,
        pool=pool,
        engine=engine,
        scores=scores,
        policy=Policy(
            target=target,
            confidence=confidence,
            stop=stop,
            aggregate=aggregate,
            entropy_bits=entropy_bits,
            explore_floor=explore_floor,
            max_k=max_k,
        ),
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
    opt.folder("--out", out)
    kept = store if store is not None or job.recorded else Path("escalade.sqlite")
    summary = running.show(job, out, kept, log_json, as_json=json)
    if summary.interrupted:
        raise typer.Exit(130)
    if set(summary.statuses) == {"error"}:
        raise typer.Exit(1)


@app.command()
def route(
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
    max_k: opt.MaxK = 8,
) -> None:
    """Dry run: where each problem would go and what it can cost at most; no engine is touched."""
    from escalade.cascade.policy import Policy
    from escalade.cli import display
    from escalade.dryrun import plan
    from escalade.job import prepare
    from escalade.routing import write_routing

    job = prepare(
        problems,
        route=route,
        strategy=strategy,
        pool=pool,
        engine=engine,
        scores=scores,
        policy=Policy(target=target, max_k=max_k),
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
) -> None:
    """List the strategies, or tell what one does and what it is good for."""
    from escalade.cli import display

    display.strategies(name)


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
    opt.folder("--out", out.parent)
    if not recording.show(job, out, store or Path("escalade.sqlite")):
        raise typer.Exit(130)


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
