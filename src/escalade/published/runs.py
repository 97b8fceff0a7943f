"""All strategies on several data sets of the published layout: routed, shown, and answered unless it is a dry run.

A data set or strategy that cannot be used is reported, and the others go on. Every strategy of every data set is
answered in one session: each model is loaded once, and strategies that want the same samples share them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from escalade.cascade.policy import Policy
from escalade.engines.base import Engine
from escalade.errors import EscaladeError, ScoreError, StrategyError, TableError
from escalade.given_scores import said_of_refused
from escalade.pool import Pool
from escalade.published.layout import (
    SAVE,
    Layout,
    broken_rows,
    find_data,
    find_strategies,
    folder_name,
    pool_of,
    read_scored,
    write_routes,
)
from escalade.published.overrides import override
from escalade.published.session import Session
from escalade.published.table import Columns, filled, routed_job
from escalade.results import write_answers
from escalade.routing import breakdown
from escalade.running import wait_for
from escalade.strategies.ladder import rungs_of, said_of

Say = Callable[[object], None]
_LOCAL = (ScoreError, StrategyError, TableError)
"""What concerns one data set or strategy only; anything else would meet all of them."""


class Runs(dict[str, dict[str, pd.DataFrame]]):
    """Tables by data set and strategy: routing tables of a dry run, else answered ones.

    `failures` has a line for everything that could not be done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs have in common."""

    layout: Layout
    pool: Pool
    target: float
    seed: int


def run_strategies(
    datasets: Sequence[str] | None,
    probing: str,
    *,
    data: str | Path | None = None,
    save: str | Path | None = None,
    names: Sequence[str] | None = None,
    target: float = 0.9,
    dry_run: bool = False,
    engine: str | Engine | None = None,
    pool: str | Path | Pool | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_tokens: int | None = None,
    slots: Mapping[str, int] | None = None,
    probe_k: int | None = None,
    probe_temp: float | None = None,
    probe_maxlen: int | None = None,
    say: Say | None = None,
) -> Runs:
    """Route data sets by strategies, show where the problems go, and answer them unless `dry_run`.

    Args:
        datasets: names; None takes all that the probe has scored.
        probing: the data set the probe was trained on.
        data, save: the folders of scores and of results (`escalade.published.layout`).
        names: of strategies; None takes all.
        target: the target confidence, of the strategies' rules and of every decision to escalate.
        engine: answers in the place of the pool's engines.
        pool: the models; the published pool if None.
        seed, limit, max_tokens, slots: of the run; only so many problems; tokens a sample; requests in flight a model.
        probe_k, probe_temp, probe_maxlen: which scores, where there are several of a model.
        say: where reports go; standard output if None.

    Raises:
        InputError: what concerns all: the folder of scores, the pool, a strategy's name, a setting, the engine.
    """
    say = say or _print
    policy = Policy(target=target)
    chosen = find_strategies(names)
    models = override(
        pool_of(pool, engine), engine=_name(engine), max_tokens=max_tokens, slots=slots if not dry_run else None
    )
    layout = Layout(find_data(data), Path(save if save is not None else SAVE), probing)
    setting = Setting(layout, models, policy.target, seed)
    runs = Runs()
    if (rungs := rungs_of(models)) and any(strategy.ladder for strategy in chosen):
        say(f"note: {said_of(rungs, models)}")
    for dataset in dict.fromkeys(
        folder_name(name) for name in (datasets if datasets is not None else layout.datasets())
    ):
        try:
            scored = read_scored(layout, dataset, models, k=probe_k, temp=probe_temp, maxlen=probe_maxlen, limit=limit)
        except ScoreError as error:
            _fail(runs, say, dataset, error)
            continue
        say(f"\n{dataset}: {scored.scores.rows} problems, scores of {', '.join(scored.scores.columns) or 'no model'}")
        for note in said_of_refused(scored.scores.refused):
            say(f"note: {note}")
        tables: dict[str, pd.DataFrame] = {}
        for strategy in chosen:
            place = layout.routing(dataset, strategy.name, target)
            try:
                table = write_routes(scored, strategy, place, target=target, pool=models, seed=seed)
            except _LOCAL as error:
                _fail(runs, say, f"{dataset}, {strategy.name}", error)
                continue
            tables[strategy.name] = table
            broken = broken_rows(table)
            if broken is not None:
                _fail(runs, say, f"{dataset}, {strategy.name}", broken)
        _show(dataset, tables, setting, say)
        runs[dataset] = tables
    if not runs and not runs.failures:
        _fail(runs, say, probing, f"no data sets are named, and the probe has scored none in {layout.data.resolve()}")
    if not dry_run and runs:
        wait_for(lambda: _answer(runs, setting, engine, say))
    return runs


async def _answer(runs: Runs, setting: Setting, engine: str | Engine | None, say: Say) -> None:
    """Answer all tables of the runs, each in its place."""
    replayed = isinstance(engine, str) and engine.partition(":")[0] == "replay"
    store = None if replayed else setting.layout.store
    columns = Columns(input_cost="input_cost_usd_once" if setting.pool.billing == "once" else "input_cost_usd")
    policy = Policy(target=setting.target)
    async with Session(setting.pool, engine=engine, store=store, seed=setting.seed) as session:
        for dataset, tables in runs.items():
            say(f"\n{dataset}: answers")
            for name, table in list(tables.items()):
                routed = routed_job(table, setting.pool, columns=columns, policy=policy, seed=setting.seed)
                try:
                    results = await session.answer(routed.job)
                except TableError as error:
                    del tables[name]
                    _fail(runs, say, f"{dataset}, {name}", error)
                    continue
                tables[name] = filled(routed, results)
                path = setting.layout.answered(dataset, name, setting.target)
                write_answers(tables[name], path, results.grading)
                say(f"  {name}: {results.summary()}")
                say(f"    {path}")


def _show(dataset: str, tables: Mapping[str, pd.DataFrame], setting: Setting, say: Say) -> None:
    """Show where the problems of a data set go."""
    grid = Table(
        title=f"{dataset} under the probe of {setting.layout.probing}, target {setting.target:g}", title_justify="left"
    )
    for heading in ("strategy", "first model", "kind"):
        grid.add_column(heading, overflow="fold")
    for heading in ("k", "rows", "share"):
        grid.add_column(heading, justify="right", no_wrap=True)
    overrides: dict[str, list[str]] = {}
    for name, table in tables.items():
        routes = breakdown(table)
        for position, row in enumerate(routes.to_dict("records")):
            grid.add_row(
                name if position == 0 else "",
                setting.pool[row["model"]].alias if row["model"] in setting.pool else "-",
                str(row["kind"]).replace("_", " "),
                "-" if row["kind"] == "error" else _range(row["k_min"], row["k_max"]),
                str(row["rows"]),
                f"{row['share']:.1%}",
                end_section=position == len(routes) - 1,
            )
            if row["overrides"] is not None:
                overrides.setdefault(row["overrides"], []).append(name)
    say(grid)
    cascades = sum(int(table["cascade_tiers"].notna().sum()) for table in tables.values())
    say(f"cascade_tiers: filled in all {cascades} rows that are cascades, empty in all others")
    for note, names in overrides.items():
        say(f"note: {note}: {', '.join(dict.fromkeys(names))}")
    if tables:
        place = setting.layout.routing(dataset, "x", setting.target).parent
        say(f"routing tables of {len(tables)} strategies: {place}")


def _print(what: object) -> None:
    # A file or a pipe is no terminal of 80 columns; lines are left whole, as paths and errors want it.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    console.print(what, soft_wrap=isinstance(what, str))


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _fail(runs: Runs, say: Say, what: str, why: EscaladeError | str) -> None:
    line = f"{what}: {why}"
    runs.failures.append(line)
    say(f"FAILED {line}")


def _name(engine: str | Engine | None) -> str | None:
    """The engine's name for checking options; an engine that is open already has taken its own."""
    return engine if engine is None or isinstance(engine, str) else type(engine).__name__
