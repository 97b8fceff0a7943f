"""Probes, seen from the command line."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.markup import escape
from rich.table import Table

from escalade.cli import options as opt
from escalade.cli.display import as_json as print_json
from escalade.cli.display import aside, console, counting
from escalade.errors import SettingError
from escalade.evaluation.sources import SHIPPED
from escalade.pool import load_pool
from escalade.probes.judging import judge
from escalade.probes.making import make_probe
from escalade.probes.opening import (
    POOL,
    Known,
    Request,
    Wanted,
    open_labels,
    open_source,
    problems_of,
)
from escalade.probes.probe import Probe, read_probe
from escalade.probes.quality import Quality
from escalade.probes.reading import features_of, texts_of
from escalade.probes.regret import Regret, regrets
from escalade.probes.scoring import score, write_scores


class Training(NamedTuple):
    """How a probe is to be trained."""

    name: str | None
    label: str | None
    folds: int
    seed: int


class Place(NamedTuple):
    """Where scores are to be written."""

    out: Path
    dataset: str | None
    probing: str | None
    replace: bool


def show_trained(
    request: Request, wanted: Wanted, training: Training, out: Path, held_out: Path | None, *, as_json: bool
) -> bool:
    """Train a probe, write it and say how good it is; return whether it may be routed by."""
    if training.label not in (None, "rate", "majority"):
        raise SettingError(f"--label is {training.label!r}: give rate or majority")
    for option, path in (("--out", out), ("--held-out", held_out)):
        if path is not None:
            opt.file(option, path)
    known = open_labels(request)
    source = open_source(wanted, known.pool, known.labels.alias)
    texts = texts_of(known.labels.problems)
    with counting("problems read") as progress:
        features = features_of(texts, known.pool, source, progress)
    made = make_probe(
        known.labels,
        features,
        known.grouped,
        known.pool,
        name=training.name or Path(request.problems or request.labels).stem,
        day=datetime.date.today(),
        label="rate" if training.label == "rate" else "majority" if training.label == "majority" else None,
        folds=training.folds,
        seed=training.seed,
    )
    made.probe.write(out)
    about = made.probe.about
    if held_out is not None:
        ids = [problem.id for problem in known.labels.problems]
        pd.DataFrame({"idx": ids, f"score_{about.alias}": made.held_out, "fold": made.fold}).to_parquet(held_out)
    refusal = about.held_out.refusal
    if as_json:
        body = about.model_dump(mode="json", exclude={"problems", "words"})
        print_json({**body, "refused": refusal, "notes": known.notes})
        return refusal is None
    _say(known.notes)
    _show(made.probe)
    words = ["escalade probe score", str(out), "--problems FILE", *([f"--pool {request.pool}"] if request.pool else [])]
    console.print(f"[dim]written to {escape(str(out))}: {escape(' '.join(words))}[/]", soft_wrap=True)
    return refusal is None


def show_probe(path: Path, *, as_json: bool) -> None:
    """Say what a probe is and how good."""
    probe = read_probe(path)
    if as_json:
        body = probe.about.model_dump(mode="json", exclude={"problems", "words"})
        print_json({**body, "refused": probe.about.held_out.refusal, "sha256": probe.sha256})
        return
    _show(probe)


def show_scored(
    paths: Sequence[Path],
    problems: str | None,
    pool: str | None,
    place: Place,
    *,
    encoder: str | None,
    cache: Path,
    as_json: bool,
) -> None:
    """Score problems by each probe and write the scores."""
    probes = [read_probe(path) for path in paths]
    chosen = load_pool(pool or POOL)
    asked = problems_of(problems or SHIPPED, chosen)
    opt.folder("--out", place.out)
    dataset = place.dataset or (Path(problems).stem if problems is not None else SHIPPED)
    probing = place.probing or probes[0].about.name
    said: list[dict[str, Any]] = []
    for path, probe in zip(paths, probes, strict=True):
        model = probe.check(chosen)
        with counting("problems read") as progress:
            found = score(probe, asked, chosen, encoder=encoder, cache=cache, progress=progress)
        file = write_scores(
            found, probe, asked, chosen, place.out, dataset=dataset, probing=probing, replace=place.replace
        )
        said.append(
            {
                "probe": str(path),
                "alias": model.alias,
                "problems": len(asked),
                "seen": sum(probe.seen(asked)),
                "mean": float(found.scores.mean()),
                "low": float(found.scores.min()),
                "high": float(found.scores.max()),
                "tokens": None if found.tokens is None else int(found.tokens.sum()),
                "cost_usd": None if found.total is None else f"{found.total:f}",
                "refused": probe.about.held_out.refusal,
                "file": str(file),
            }
        )
    if as_json:
        print_json({"scores": said})
        return
    for line in said:
        _say_scored(line)
    words = ["escalade run", *filter(None, [problems]), "--strategy NAME", f"--pool {pool or POOL}"]
    where = Path(said[0]["file"]).parent.parent
    console.print(f"[dim]use them: {escape(' '.join(words))} --scores {escape(str(where))}[/]", soft_wrap=True)


def show_judged(
    paths: Sequence[Path], requests: Sequence[Request], *, encoder: str | None, cache: Path, as_json: bool
) -> None:
    """Judge every probe on every data set, and routing by them where samples of several models are there."""
    probes = [read_probe(path) for path in paths]
    judged: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    routed: list[dict[str, Any]] = []
    for request in requests:
        data = Path(request.problems or request.labels).stem
        scores: dict[str, Any] = {}
        cost: Any = 0.0
        known: Known | None = None
        for path, probe in zip(paths, probes, strict=True):
            known = open_labels(replace(request, model=None), of=probe)
            notes.update(dict.fromkeys(known.notes))
            asked = known.labels.problems
            with counting("problems read") as progress:
                scored = score(probe, asked, known.pool, encoder=encoder, cache=cache, progress=progress)
            found = judge(probe, known.labels, scored.scores, known.grouped.groups, data)
            judged.append(
                {
                    "probe": str(path),
                    "alias": known.labels.alias,
                    "data": data,
                    "seen": found.seen,
                    "own": found.own,
                    "quality": found.quality.model_dump(mode="json"),
                    "refused": found.quality.refusal,
                }
            )
            if not found.seen:
                scores[known.labels.alias] = scored.scores
                cost = cost + scored.floats
        if known is not None and known.opened is not None and scores and len(known.sampled) > 1:
            for each in regrets(known.opened.bank, scores, cost, list(map(str, known.grouped.groups))):
                routed.append({"data": data, "by": list(scores), **_plain(each)})
    if as_json:
        print_json({"transfer": judged, "regret": routed, "notes": list(notes)})
        return
    _say(notes)
    _show_judged(judged)
    _show_regret(routed)


def requests_of(
    labels: Sequence[str], problems: Sequence[str], *, pool: str | None, k: int | None, group: str | None
) -> list[Request]:
    """Return what is asked for of each data set.

    Raises:
        SettingError: there are files of problems, and not one for each --labels.
    """
    if problems and len(problems) != len(labels):
        raise SettingError(
            f"--problems is given {len(problems)} times and --labels {len(labels)} times: give them in pairs"
        )
    files: Sequence[str | None] = problems or [None] * len(labels)
    return [Request(source, file, pool, k=k, group=group) for source, file in zip(labels, files, strict=True)]


def _say(notes: Iterable[str]) -> None:
    for note in notes:
        aside.print(f"note: {escape(note)}", soft_wrap=True)


def _show(probe: Probe) -> None:
    about = probe.about
    what = "a sample is right" if about.label == "rate" else f"the majority of {about.k} is right"
    read = "the text" if about.reading is None else about.reading.model
    console.print(
        f"[bold]{escape(about.name)}[/]: P({what}) of {escape(about.alias)} = {escape(about.model.name)}, "
        f"t={about.temperature:g}, from {about.features} features of {escape(read)}",
        soft_wrap=True,
    )
    for member in about.members:
        console.print(f"  {member.features}: alpha {member.alpha:g}, Spearman {member.judged:.3f} on folds left out")
    console.print(f"{len(about.problems)} problems of {escape(about.source)}, {escape(about.grouped_by)}; {about.date}")
    table = Table("held out", "near-duplicates together", "random folds", box=None)
    for name, value in _rows(about.held_out, about.random_folds):
        table.add_row(name, *value)
    console.print(table)
    if about.prior_strength is not None:
        console.print(
            f"as a prior a score is worth {about.prior_strength:.1f} votes: --confidence prior "
            f"--prior-strength {about.prior_strength:.1f}"
        )
    if (refusal := about.held_out.refusal) is not None:
        console.print(f"[bold red]refused for routing:[/] {refusal}; strategies fall back to a cascade", soft_wrap=True)


def _rows(together: Quality, apart: Quality) -> list[tuple[str, tuple[str, str]]]:
    return [
        ("AUROC", (str(together.auroc), str(apart.auroc))),
        (
            "Spearman" + ("" if together.ceiling is None else f" (ceiling {together.ceiling:.3f})"),
            (str(together.spearman), str(apart.spearman)),
        ),
        (f"Brier (of the mean: {together.base_brier:.3f})", (str(together.brier), str(apart.brier))),
        (f"ECE (by chance {together.ece_by_chance:.3f})", (str(together.ece), str(apart.ece))),
    ]


def _say_scored(line: dict[str, Any]) -> None:
    tokens = "tokens unknown" if line["tokens"] is None else f"{line['tokens']} tokens read"
    cost = "cost unknown" if line["cost_usd"] is None else f"{line['cost_usd']} USD"
    console.print(
        f"{escape(line['alias'])}: {line['problems']} problems, scores {line['low']:.3f} to {line['high']:.3f}, mean "
        f"{line['mean']:.3f}; {tokens}, {cost}; {escape(line['file'])}",
        soft_wrap=True,
    )
    if line["seen"]:
        aside.print(f"note: {line['seen']} of them are problems that the probe was trained on")
    if line["refused"] is not None:
        console.print(f"[bold red]refused for routing:[/] {line['refused']}", soft_wrap=True)


def _show_judged(judged: Sequence[dict[str, Any]]) -> None:
    table = Table("probe", "of", "on", "problems", "AUROC", "Spearman", "Brier", "ECE", box=None)
    for line in judged:
        found = Quality.model_validate(line["quality"])
        note = (
            " (its own held-out record)" if line["own"] else f" ({line['seen']} seen left out)" if line["seen"] else ""
        )
        table.add_row(
            escape(Path(line["probe"]).stem),
            escape(line["alias"]),
            escape(line["data"]) + note,
            str(found.problems),
            *(str(value) for value in (found.auroc, found.spearman, found.brier, found.ece)),
        )
    console.print(table)
    for line in judged:
        if line["refused"] is not None:
            console.print(
                f"[bold red]not to be routed by on {escape(line['data'])}:[/] {line['refused']}", soft_wrap=True
            )


def _show_regret(routed: Sequence[dict[str, Any]]) -> None:
    if not routed:
        aside.print("regret: not told; it takes samples of several models of problems that no probe has seen")
        return
    table = Table("on", "against", "accuracy", "USD", "routed", "USD", "loss [95 %]", "to the oracle", box=None)
    for line in routed:
        loss = line["loss"]
        table.add_row(
            escape(line["data"]),
            f"always {escape(line['alias'])}",
            f"{line['accuracy']:.3f}",
            f"{line['usd']:.4g}",
            f"{line['routed_accuracy']:.3f}",
            f"{line['routed_usd']:.4g}",
            f"{loss['value']:+.3f} [{loss['low']:+.3f}, {loss['high']:+.3f}]",
            f"{line['oracle_loss']:+.3f}",
        )
    console.print(table)
    console.print("routed: one sample of the model with the largest score less lambda times cost, at no more money")


def _plain(regret: Regret) -> dict[str, Any]:
    loss = regret.loss
    return {
        **regret._asdict(),
        "loss": {"value": loss.value, "low": loss.interval.low, "high": loss.interval.high, "p_value": loss.p_value},
    }
