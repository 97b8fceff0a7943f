"""The commands of `escalade probe`. They read options and call `cli.probing`, which loads what is heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import options as opt

probe_app = typer.Typer(
    help="Train, judge and show probes, which predict success before a token is generated; score problems by them.",
    no_args_is_help=True,
)

_FEATURES = "Features"
_TRAINING = "Training"
STATES = Path("escalade-states")

Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        help="How problems came out: a store, a recording, the folder of a run, shipped, or a table with an id and "
        "successes and trials, success_rate or majority_correct.",
    ),
]
ProblemsFile = Annotated[
    str | None,
    typer.Option(
        "--problems",
        help="Problems with gold answers; shipped for the 60 that ship with escalade.",
        show_default="those of the labels",
    ),
]
PoolOf = Annotated[
    str | None,
    typer.Option(
        "--pool",
        "-p",
        help="A pool that ships with escalade, or a .toml file.",
        show_default="the labels' own, else embedded",
    ),
]
Probes = Annotated[list[Path], typer.Argument(metavar="PROBE...", help="Files of escalade probe train.")]
Cache = Annotated[
    Path,
    typer.Option("--cache", help="Folder that keeps hidden states and embeddings.", rich_help_panel=_FEATURES),
]
EncoderNow = Annotated[
    str | None,
    typer.Option("--encoder", help="Where the probe's encoder is now.", show_default="where it was"),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Column of the problems' file: problems that folds keep together.",
        show_default="near-duplicates",
    ),
]


@probe_app.command("train")
def train(
    labels: Labels = "shipped",
    problems: ProblemsFile = None,
    features: Annotated[
        str, typer.Option("--features", help="text, hidden (states of a model) or embedding (of an encoder).")
    ] = "text",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Alias of the model whose success is predicted.", show_default="the only one"
        ),
    ] = None,
    pool: PoolOf = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The probe's file.")] = Path("probe.safetensors"),
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", help="Write the held-out scores too: Parquet, for --scores.", show_default="none"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the probing data set.", show_default="the problems' file, else the labels'")
    ] = None,
    reads: Annotated[
        str | None,
        typer.Option(
            "--reads",
            metavar="ALIAS",
            help="Whose hidden states are read.",
            show_default="the same model",
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            help="What reads hidden states: llamacpp (the last layer), transformers.",
            show_default="as the model's engine",
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers, comma separated.",
            show_default="at .5, .6, .7, .8 of the depth, and the last",
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    positions: Annotated[
        int, typer.Option(min=1, help="Last tokens of the prompt that are read.", rich_help_panel=_FEATURES)
    ] = 2,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A .gguf file, a folder of sentence-transformers, or ADDRESS#MODEL of an OpenAI-compatible server.",
            show_default="none",
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    cache: Cache = STATES,
    label: Annotated[
        str | None,
        typer.Option(
            help="What is predicted: rate (that a sample is right), or majority (that the vote of all is).",
            show_default="rate, where it is known",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Of the samples that are labels.", show_default="that of most samples", rich_help_panel=_TRAINING
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", min=1, help="Samples behind each success_rate of a table.", rich_help_panel=_TRAINING),
    ] = None,
    group: Group = None,
    folds: Annotated[int, typer.Option(min=3, help="Parts of the problems.", rich_help_panel=_TRAINING)] = 5,
    seed: opt.Seed = 0,
    json: opt.Json = False,
) -> None:
    """Train a probe on how problems came out, and say how good it is on others; exit 1 if it is refused for routing."""
    from escalade.cli import probing
    from escalade.probes.opening import Request, Wanted

    request = Request(
        labels=labels,
        problems=problems,
        pool=pool,
        model=model,
        temperature=temperature,
        k=k,
        group=group,
    )
    wanted = Wanted(features, reads, reader, layers, positions, encoder, cache)
    training = probing.Training(name, label, folds, seed)
    if not probing.show_trained(request, wanted, training, out, held_out, as_json=json):
        raise typer.Exit(1)


@probe_app.command("score")
def score(
    probes: Probes,
    problems: ProblemsFile = None,
    pool: PoolOf = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the published layout.")] = Path("scores"),
    dataset: Annotated[str | None, typer.Option(help="Name of the problems.", show_default="their file's")] = None,
    probing: Annotated[str | None, typer.Option(help="Name of the probe.", show_default="the first probe's")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite scores of another probe.")] = False,
    encoder: EncoderNow = None,
    cache: Cache = STATES,
    json: opt.Json = False,
) -> None:
    """Score problems, and write the scores in the published layout, for run, route and compare --scores FOLDER."""
    from escalade.cli import probing as view

    view.show_scored(
        probes,
        problems,
        pool,
        view.Place(out, dataset=dataset, probing=probing, replace=replace),
        encoder=encoder,
        cache=cache,
        as_json=json,
    )


@probe_app.command("eval")
def evaluate(
    probes: Probes,
    labels: Annotated[
        list[str], typer.Option("--labels", help="How problems came out, as for train; several data sets are fine.")
    ],
    problems: Annotated[
        list[str] | None,
        typer.Option("--problems", help="Their problems, one file per --labels.", show_default="those of the labels"),
    ] = None,
    pool: PoolOf = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Samples behind each success_rate of a table.")] = None,
    group: Group = None,
    encoder: EncoderNow = None,
    cache: Cache = STATES,
    json: opt.Json = False,
) -> None:
    """Judge probes on every data set (transfer), and routing by them against always asking one model (regret)."""
    from escalade.cli import probing

    requests = probing.requests_of(labels, problems or [], pool=pool, k=k, group=group)
    probing.show_judged(probes, requests, encoder=encoder, cache=cache, as_json=json)


@probe_app.command("show")
def show(
    probe: Annotated[Path, typer.Argument(metavar="PROBE", help="File of escalade probe train.")],
    json: opt.Json = False,
) -> None:
    """Say what a probe was made from, what it reads and how good it is."""
    from escalade.cli import probing

    probing.show_probe(probe, as_json=json)
