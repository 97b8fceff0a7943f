"""What a person sees: progress while a run goes on, and its summary; plans, tiers, strategies."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from escalade import ledger
from escalade.cascade.outcome import Decision, Status
from escalade.cli.progress import Tiers
from escalade.climb import Answered
from escalade.dryrun import Plan, rounded
from escalade.executor import Executor
from escalade.job import Job
from escalade.pool import Pool
from escalade.routes import Kind, Route, executed
from escalade.summary import Summary

FEW = 120
"""Up to so many problems, each gets a line as it is answered."""
# A file or a pipe is no terminal of 80 columns.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
aside = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 140)


def as_json(body: Mapping[str, Any]) -> None:
    """Print one machine-readable object."""
    print(json.dumps(body, ensure_ascii=False, allow_nan=False))


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many are done while something is read; give what is to be told how many are, and of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=aside, transient=True, disable=not aside.is_terminal) as shown:
        bar = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)


class Watch:
    """Shows a run while it goes on, on standard error: a line per problem, and what is under way."""

    def __init__(self, job: Job, store: Path | None, *, quiet: bool) -> None:
        self._job, self._store, self._quiet = job, store, quiet
        self._executor: Executor | None = None
        self._aliases = {tier.model for route in job.routes for tier in route.tiers}
        self._tiers = Tiers(job.pool)
        self._started = time.monotonic()
        self._said = self._started
        bar = (TextColumn("{task.fields[now]}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*bar, console=aside)
        self._task = self._bar.add_task("", total=len(job.tasks), now="starting")
        self._live = Live(get_renderable=self._now, console=aside, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if not self._quiet:
            for line in self._job.defaults:
                aside.print(f"[dim]not given: taking {escape(line)}[/]")
            models = ", ".join(f"{m.alias} = {m.name}" for m in self._job.pool.models if m.alias in self._aliases)
            where = f"store {self._store}" if self._store is not None else "no store: recorded samples"
            aside.print(
                f"{len(self._job.tasks)} problems by [bold]{escape(self._job.chosen)}[/], target "
                f"{self._job.policy.target:g}, {escape(where)}\n[dim]{escape(models)}[/]"
            )
            for note in self._notes():
                aside.print(f"note: {escape(note)}")
            for difference in self._job.mismatches:
                warning = f"warning: not as the policy was made: {difference}"
                aside.print(warning, style="yellow", markup=False, soft_wrap=True)
            if aside.is_terminal:
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, executor: Executor) -> None:
        """Take the executor whose counters are shown."""
        self._executor = executor

    def answered(self, item: Answered) -> None:
        """Show one problem that is done."""
        self._tiers.answered(item)
        if self._quiet:
            return
        if len(self._job.tasks) <= FEW:
            aside.print(_line(item))
        elif not aside.is_terminal and time.monotonic() - self._said >= 5:
            self._said = time.monotonic()
            aside.print(self._state())

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Take what happens for the tiers that are shown; warn, once, of an engine that fails."""
        warning = self._tiers.event(name, facts)
        if warning is not None and not self._quiet:
            aside.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)

    def _notes(self) -> list[str]:
        notes = [note for route in self._job.routes for note in executed(route, self._job.pool).notes]
        return list(dict.fromkeys([*self._job.notes, *notes]))

    def _now(self) -> Any:
        if self._executor is None:
            return Text("")
        counters = self._executor.counters
        self._bar.update(self._task, completed=counters.done, now=self._state())
        return Group(self._tiers.table(counters, speed=not self._job.recorded), self._bar)

    def _state(self) -> str:
        if self._executor is None:
            return "starting"
        counters = self._executor.counters
        seconds = max(time.monotonic() - self._started, 1e-9)
        parts = [f"{counters.done} of {counters.problems} done", f"{counters.fresh + counters.stored} samples"]
        if not self._job.recorded:
            parts.append(f"{counters.stored} of them from the store")
            parts.append(f"{self._executor.tokens_now() / seconds:.0f} tokens/s")
        return ", ".join([*parts, _money(counters.cost)])


def _line(item: Answered) -> str:
    """One problem in one line: each tier's votes, who answered, right or wrong, and the cost."""
    parts: list[str] = []
    for trace in item.outcome.tiers:
        if not trace.looks:
            parts.append(f"{escape(trace.tier.model)} -")
            continue
        look = trace.looks[-1]
        ballot = look.ballot
        votes = f"{ballot.first:g}/{ballot.k:g}" if ballot.leader is not None else f"0/{ballot.k:g}"
        sure = "" if look.confidence is None else f" {look.source} {look.confidence:.2f}"
        climbs = " [yellow]↑[/]" if look.decision in (Decision.ESCALATE, Decision.ABSTAIN) else ""
        parts.append(f"{escape(trace.tier.model)} {votes}[dim]{sure}[/]{climbs}")
    mark = "" if item.grade is None else "[green]right[/]" if item.grade.outcome else "[red]wrong[/]"
    answer = "no answer" if item.outcome.answer is None else escape(item.outcome.answer)
    status = "" if item.outcome.status in (Status.ACCEPTED, Status.LAST_TIER) else f" [magenta]{item.outcome.status}[/]"
    why = f" [red]{escape(item.outcome.notes[-1])}[/]" if item.outcome.status is Status.ERROR else ""
    story = "  ".join(parts)
    return f"{escape(item.problem.id):>6}  {story}  → [bold]{answer}[/] {mark}{status}{why} [dim]{_money(item.cost)}[/]"


def summary(s: Summary, out: Path, store: Path | None) -> None:
    """Print the summary of a run and where its tables are."""
    if s.interrupted:
        console.print("[yellow]stopped early[/]: this is what was answered until then")
    facts = Table.grid(padding=(0, 2))
    if s.accuracy is not None:
        facts.add_row(
            "accuracy",
            f"[bold]{s.accuracy:.3f}[/]  ({s.correct} of {s.graded}; "
            f"95 % [{s.interval.low:.3f}, {s.interval.high:.3f}])",
        )
    else:
        facts.add_row("accuracy", "unknown: no gold answers")
    if s.pass_k is not None:
        facts.add_row("pass@k", f"{s.pass_k.value:.3f} at k={s.pass_k.k}, of the tier that decided")
    elif s.graded:
        facts.add_row("pass@k", "unknown: first samples were left out as the ballot was settled; --stop none draws all")
    each = f", {rounded(s.cost.usd / s.problems)} a problem" if s.cost.usd is not None and s.problems else ""
    spent = "" if s.spent == s.cost else f"; spent by this run {_money(s.spent)}"
    facts.add_row("cost", f"{_money(s.cost)}{each}{spent}")
    if s.scoring is not None:
        read = "tokens unknown" if s.scoring.tokens is None else f"{s.scoring.tokens} tokens read"
        facts.add_row("scoring", f"{s.scoring.scores} prompts, {read}, {_money(s.scoring.cost)} of the cost")
    tokens = "unknown" if s.completion_tokens is None else f"{s.completion_tokens} written"
    prompt = "" if s.prompt_tokens is None else f", {s.prompt_tokens} read"
    facts.add_row("tokens", tokens + prompt)
    facts.add_row(
        "samples",
        f"{s.samples_drawn} drawn ({s.samples_generated} of them now), {s.samples_saved} saved by settled-early "
        f"stopping, {s.samples_cancelled} cancelled under way"
        + (f", {s.requests_broken_off} tries broken off" if s.requests_broken_off else ""),
    )
    facts.add_row("status", ", ".join(f"{name} {n}" for name, n in s.statuses.items()))
    facts.add_row("time", f"{s.seconds:.1f} s")
    if s.ended_by is not None:
        facts.add_row("ended by", f"[magenta]{escape(s.ended_by)}[/]")
    for note in s.settings["notes"]:
        facts.add_row("note", escape(note))
    if pairs := s.settings.get("undecided_pairs"):
        facts.add_row("undecided", undecided(pairs))
    console.print(facts)
    timed = any(tier.engine_seconds.whole is not None for tier in s.tiers)
    heads = ["tier", "model", "k", "t", "asked", "accepted", "last word", "escalated", "decided", "accuracy", "samples"]
    table = Table(*heads, *["engine s"] * timed, "cost", box=None, header_style="bold", pad_edge=False)
    for tier in s.tiers:
        seconds = tier.engine_seconds.whole
        table.add_row(
            str(tier.position + 1), tier.model, str(tier.k), f"{tier.temperature:g}", str(tier.asked),
            str(tier.accepted), str(tier.last_word), str(tier.escalated), str(tier.decided),
            "" if tier.accuracy is None else f"{tier.accuracy:.3f}", str(tier.samples),
            *["" if seconds is None else f"{seconds:.1f}"] * timed, _money(tier.cost),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"[dim]answers and trace: {out / 'answers.parquet'}   one problem's story: "
        f"escalade explain {out / 'answers.parquet'} ID[/]",
        soft_wrap=True,
    )
    if s.interrupted and store is not None:
        console.print(f"[dim]what was paid for is in {store}: the same command goes on from there[/]", soft_wrap=True)


def undecided(pairs: Sequence[Mapping[str, str]]) -> str:
    """Say which pairs of answers nobody could tell equal or different, and why."""
    first = pairs[0]
    shown = f"{first['a']:.40} and {first['b']:.40}: {first['why']}"
    rest = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return f"[yellow]{len(pairs)} pairs of answers count as different[/] ({escape(shown)}{rest})"


def plan(job: Job, planned: Plan, path: Path) -> None:
    """Print what a dry run found."""
    for line in job.defaults:
        aside.print(f"[dim]not given: taking {escape(line)}[/]")
    console.print(
        f"{len(job.tasks)} problems by [bold]{escape(job.chosen)}[/], target {job.policy.target:g}, "
        f"pool {escape(job.pool.name)}"
    )
    if planned.gate is not None:
        score, least = planned.gate["score"], planned.gate["at_least"]
        console.print(
            f"gate: {planned.gate['problems']} of {len(job.tasks)} problems have a score of {escape(score)} >= {least}"
        )
    for note in job.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    table = Table(
        "first model", "kind", "rows", "share", "k", "overrides", box=None, header_style="bold", pad_edge=False
    )
    for row in planned.breakdown.to_dict("records"):
        k = f"{row['k_min']:g}" if row["k_min"] == row["k_max"] else f"{row['k_min']:g}-{row['k_max']:g}"
        table.add_row(
            escape(str(row["model"])),
            row["kind"],
            str(row["rows"]),
            f"{row['share']:.1%}",
            k,
            escape(str(row["overrides"] or "")),
        )
    console.print(table)
    if "error" in planned.table:
        for text in planned.table["error"].dropna().drop_duplicates():
            aside.print(f"error: {escape(text)}")
    console.print(
        f"worst case: {_money(planned.worst_cost)}, samples: {planned.worst_samples} [dim](every tier reached, "
        "every sample at its token limit, prompts at one token a byte)[/]",
        soft_wrap=True,
    )
    for gpu, aliases in planned.turns.items():
        console.print(f"one model at a time on gpu {escape(gpu)}: {', then '.join(map(escape, aliases))}")
    console.print(f"[dim]routing table: {path}[/]", soft_wrap=True)


def tiers(route: Route, pool: Pool) -> None:
    """Print the tiers of a route and what the pool changes."""
    ran = executed(route, pool)
    console.print(f"[bold]{escape(str(route))}[/]  {route.kind.value.replace('_', ' ')}")
    table = Table("tier", "model", "name", "k", "t", "threshold", box=None, header_style="dim", pad_edge=False)
    for number, tier in enumerate(ran.route.tiers, start=1):
        last = number == len(ran.route.tiers)
        model = pool[tier.model]
        own = tier.threshold if tier.threshold is not None else model.threshold
        threshold = "answers" if last else "target" if own is None else f"{own:g}"
        if route.kind is Kind.ENTROPY_CASCADE and tier.k > 1 and not last:
            threshold = "entropy rule"
        table.add_row(f"  {number}", tier.model, model.name, str(tier.k), f"{tier.temperature:g}", threshold)
    console.print(table)
    for note in ran.notes:
        console.print(f"  note: {escape(note)}")


def strategies(name: str | None, pool: Pool) -> None:
    """Print the catalogue, or one strategy's whole text, with the scores that it needs of a pool."""
    from escalade.strategies import get_strategy
    from escalade.strategies import strategies as catalogue
    from escalade.strategies.ladder import rungs_of, said_of

    if rungs := rungs_of(pool):
        console.print(f"note: {escape(said_of(rungs, pool))}", soft_wrap=True)

    if name is not None:
        found = get_strategy(name)
        console.print(f"[bold]{found.name}[/]" + (f"  (also {', '.join(found.aliases)})" if found.aliases else ""))
        console.print(f"needs scores of: {', '.join(found.needed(pool)) or 'no model'}\n")
        console.print(escape(found.doc))
        return
    table = Table("strategy", "scores", "what it does", box=None, header_style="bold", pad_edge=False)
    for entry in catalogue():
        table.add_row(entry.name, ", ".join(entry.needed(pool)), escape(entry.doc.split("\n", 1)[0]))
    console.print(table)
    console.print("[dim]escalade strategies NAME tells what one is good for[/]")


def _money(cost: ledger.Cost) -> str:
    usd = cost.usd
    return f"{rounded(usd)} USD" if usd is not None else "cost unknown"
