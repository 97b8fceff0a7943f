"""The store, seen from the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from escalade import ledger
from escalade.asking import params_of
from escalade.cli.display import as_json as print_json
from escalade.cli.display import aside, console
from escalade.climb import usage_of
from escalade.errors import SettingError, StoreError
from escalade.job import Engines
from escalade.pool import Pool, load_pool
from escalade.problems import Problem, read_problems
from escalade.samples.archive import write_archive
from escalade.samples.audit import findings, survey
from escalade.samples.filing import Office
from escalade.samples.importing import import_file
from escalade.samples.logs import write_logs
from escalade.samples.merging import Merged, contents, merge
from escalade.samples.store import Question, Store
from escalade.samples.verdicts import Verdicts

FEW = 20
"""Up to so many conflicts, or reasons, are listed."""


def show(path: Path, pool_name: str | None, *, as_json: bool) -> None:
    """Print what a store holds."""
    pool = None if pool_name is None else load_pool(pool_name)
    found = survey(path)
    costs = {} if pool is None else _costs(path, pool)
    if as_json:
        money = {} if pool is None else {"cost_usd": {name: _usd(cost) for name, cost in costs.items()}}
        print_json({**found.to_dict(), **money})
        return
    console.print(
        f"{escape(str(path))}: [bold]{found.samples}[/] samples of {found.problems} problems, "
        f"{found.verdicts} verdicts, {found.texts} problem texts, {_size(found.bytes)}",
        soft_wrap=True,
    )
    table = Table("model", "t", "job", "samples", "problems", "prompt", "completion tokens", box=None, pad_edge=False)
    for group in found.groups:
        counted = f", {group.uncounted} uncounted" if group.uncounted else ""
        table.add_row(
            escape(group.model),
            f"{group.temperature:g}",
            escape(group.job),
            str(group.samples),
            str(group.problems),
            str(group.prompt_tokens),
            f"{group.completion_tokens}{counted}",
        )
    if found.groups:
        console.print(table)
    for row in found.tries:
        console.print(
            f"{row.requests} attempts of the kind {escape(row.kind)}: {row.prompt_tokens} prompt, "
            f"{row.completion_tokens} completion tokens"
        )
    for repeat in found.repeats:
        if repeat.repeated:
            console.print(
                f"{escape(repeat.model)} at t{repeat.temperature:g}: {repeat.repeated} of {repeat.samples} samples "
                "have the text of an earlier one of their problem: short answers, or seeds that are not heeded",
                soft_wrap=True,
            )
    for name, cost in costs.items():
        console.print(f"{escape(name)}: {cost}, requests that gave no sample included", soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _costs(path: Path, pool: Pool) -> dict[str, ledger.Cost]:
    """What each model's samples and paid attempts cost by a pool's prices, and all of them (`total`)."""
    costs: dict[str, ledger.Cost] = {}
    with Store(path) as store:
        for key, samples in groupby(store.samples(), key=lambda sample: sample.key):
            drawn = list(samples)
            paid = [attempt for attempt in store.attempts(key) if attempt.paid]
            name = drawn[0].model_name
            price = pool[name].price if name in pool else None
            usages = [usage_of(s.generation) for s in drawn] + [usage_of(attempt) for attempt in paid]
            costs[name] = costs.get(name, ledger.Cost()) + ledger.total(ledger.charge(usages, price, pool.billing))
    return {**costs, "total": ledger.total(costs.values())}


def _usd(cost: ledger.Cost) -> str | None:
    return None if cost.usd is None else f"{cost.usd.normalize():f}"


def verify(path: Path, *, as_json: bool) -> bool:
    """Print what is wrong with a store; return whether nothing is."""
    found = findings(path)
    if as_json:
        print_json({"path": str(path), "sound": not found, "findings": found})
    else:
        for finding in found:
            console.print(escape(finding), soft_wrap=True)
        what = f"{len(found)} findings" if found else "sound: every row can be read and is where it belongs"
        console.print(f"{escape(str(path))}: {what}", soft_wrap=True)
    return not found


def merge_stores(into: Path, others: list[Path]) -> None:
    """Enter stores into another one; print what came of it."""
    for path in others:
        if not path.is_file():
            raise StoreError(f"store {path} is not there: check the path")
        if into.exists() and path.samefile(into):
            raise SettingError(f"{path} cannot be merged into itself: name another store")
    for path in others:
        with _opened(into) as (store, verdicts), _opened(path) as (other, theirs):
            done = merge(store, verdicts, contents(other, theirs))
        _say(path, done)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Store, Verdicts]]:
    """A store and its verdicts, closed behind the block."""
    with Store(path) as store, closing(Verdicts(path)) as verdicts:
        yield store, verdicts


def _say(path: Path, done: Merged) -> None:
    console.print(
        f"{escape(str(path))}: {done.added} samples added, {done.equal} there already, {len(done.conflicts)} in "
        f"conflict; {done.attempts} attempts, {done.verdicts} verdicts, {done.questions} texts added",
        soft_wrap=True,
    )
    for conflict in done.conflicts[:FEW]:
        console.print(f"  {escape(str(conflict))}", soft_wrap=True)
    if len(done.conflicts) > FEW:
        console.print(f"  and {len(done.conflicts) - FEW} more")
    if done.conflicts:
        new = sum(conflict.new for conflict in done.conflicts)
        console.print(
            f"  the first stays; the tokens of {new} are kept as cancelled attempts now, of the others before"
        )


def export(path: Path, out: Path, form: str | None, pool_name: str | None, problems: Path | None) -> None:
    """Write a store to a file, or its samples as logs."""
    if not path.is_file():
        raise StoreError(f"store {path} is not there: check the path")
    pool = None if pool_name is None else load_pool(pool_name)
    given = [] if problems is None else read_problems(problems)
    texts = {problem.fingerprint: Question(problem.fingerprint, problem.text, problem.gold) for problem in given}
    with _opened(path) as (store, verdicts):
        whole = contents(store, verdicts)
        texts.update(store.questions())
        if form is None:
            count = write_archive(replace(whole, questions=texts.values()), out, pool)
            console.print(f"{count} samples in {escape(str(out))}", soft_wrap=True)
            return
        created = datetime.now(UTC).isoformat(timespec="seconds")
        for written in write_logs(whole.samples, texts, out, form, created, pool):
            console.print(escape(str(written)), soft_wrap=True)


def import_files(
    into: Path,
    files: list[Path],
    pool_name: str | None,
    engine: str | None,
    models: list[str],
    *,
    temperature: float | None,
    seed: int,
    vouched: bool,
) -> None:
    """Enter files into a store; print what came of each, and what its samples can be used for."""
    pool = None if pool_name is None else load_pool(pool_name)
    names = dict(_names(models, pool))
    engines = None if pool is None else Engines(pool, engine, seed)
    office = Office(
        fingerprint=lambda model: "" if engines is None else engines.of(model).fingerprint(model),
        params=params_of,
        problem=lambda text: Problem("", text).fingerprint,
        pool=pool,
        names=names,
        seed=seed,
        temperature=temperature,
        vouched=vouched,
    )
    with _opened(into) as (store, verdicts):
        for path in files:
            done = import_file(store, verdicts, path, office)
            _say(path, done.merged)
            aside.print(f"  taken for {escape(done.kind)}")
            if done.usable and pool is not None:
                console.print(f"  {done.usable} are what runs with pool {escape(pool.name)} and seed {seed} look for")
            _list(done.apart, "filed apart, no run looks for them (export and replay them)")
            if done.skipped:
                first = {skipped.why: skipped.place for skipped in reversed(done.skipped)}
                reasons = Counter(f"{skipped.why}; first {first[skipped.why]}" for skipped in done.skipped)
                _list(reasons, "skipped")


def _names(models: list[str], pool: Pool | None) -> Iterator[tuple[str, str]]:
    for text in models:
        alias, _, name = text.partition("=")
        if pool is not None and alias not in pool:
            raise SettingError(f"--model {text}: {pool.unknown(alias)}")
        if pool is None and name:
            raise SettingError(f"--model {text}: an alias is of a pool; give it with --pool, or the name alone")
        yield name, alias


def _list(reasons: Counter[str], what: str) -> None:
    for reason, count in reasons.most_common(FEW):
        console.print(f"  {count} {what}: {escape(reason)}", soft_wrap=True)
    if len(reasons) > FEW:
        console.print(f"  and {len(reasons) - FEW} more kinds {what}")
