"""Answers and grades, seen from the command line."""

from __future__ import annotations

import re
import time
from itertools import combinations
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from escalade.answers.grader import Grader
from escalade.answers.kinds import Kind, kind_of
from escalade.cli.display import as_json as print_json
from escalade.cli.display import console, undecided
from escalade.regrading import Regraded, regrade
from escalade.samples.verdicts import Verdicts

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])")
FEW = 20
"""Up to so many changes are listed."""


def show_answers(texts: list[str], kind: str, *, as_json: bool) -> None:
    """Print what each text answers, and whether the answers are equal."""
    chosen, grader = kind_of(kind), Grader()
    rows = []
    for text in texts:
        found = chosen.extract(text)
        # Where no rule finds one, it is an answer itself, unless it is cut off inside one as generated texts are.
        itself = None if _BOX.search(text) else text
        answer = itself if found is None else found.text
        key = None if answer is None else chosen.key(answer)
        rows.append({"text": text, "answer": answer, "rule": None if found is None else found.rule, "key": key})
    pairs = []
    for a, b in combinations(range(len(rows)), 2):
        verdict, why = _compared(grader, chosen, rows[a]["key"], rows[b]["key"])
        pairs.append({"a": a + 1, "b": b + 1, "equal": verdict, "why": why})
    if as_json:
        print_json({"kind": chosen.name, "answers": rows, "pairs": pairs})
        return
    table = Table("", "answer", "found by", "key", box=None, header_style="bold", pad_edge=False)
    for number, row in enumerate(rows, start=1):
        rule = row["rule"] or ("no rule: taken as an answer itself" if row["answer"] else "no rule: cut off inside it")
        key = "[dim]none: it abstains[/]" if row["key"] is None else f"[bold]{escape(row['key'])}[/]"
        table.add_row(str(number), escape(row["answer"] or ""), rule, key)
    console.print(table)
    for pair in pairs:
        said = "[green]equal[/]" if pair["equal"] else "[red]not equal[/]"
        console.print(f"{pair['a']} and {pair['b']}: {said}, {escape(str(pair['why']))}", soft_wrap=True)


def _compared(grader: Grader, kind: Kind, a: str | None, b: str | None) -> tuple[bool, str]:
    if a is None or b is None:
        return False, "as an abstention equals nothing"
    if a == b:
        return True, "their keys are the same"
    if kind.surely_different(a, b):
        return False, "their keys differ, and each is the only one of its value"
    started = time.perf_counter()
    verdict = grader.same(kind, a, b)
    took = f"{(time.perf_counter() - started) * 1000:.0f} ms"
    if grader.undecided:
        return False, f"undecided: {next(iter(grader.undecided.values()))}; it counts as different"
    return verdict, f"their keys differ, {kind.name} was asked ({took})"


def show_regraded(
    results: Path,
    problems: Path | None,
    kind: str | None,
    *,
    from_text: bool,
    out: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Grade results again; print what changed."""
    verdicts = None if store is None else Verdicts(store)
    try:
        regraded = regrade(results, problems, kind=kind, from_text=from_text, grader=Grader(verdicts))
    finally:
        if verdicts is not None:
            verdicts.close()
    if out is not None:
        regraded.write(out)
    if as_json:
        print_json(regraded.to_dict())
        return
    _show(regraded, out)


def _show(regraded: Regraded, out: Path | None) -> None:
    what = "samples" if "sample_index" in regraded.table else "problems"
    if not regraded.graded:
        console.print(f"none of the {len(regraded.table)} {what} has a gold answer: give them with --problems FILE")
        return
    low, high = regraded.interval
    before = "" if regraded.before is None else f", before {regraded.before / regraded.graded:.3f}"
    console.print(
        f"{regraded.graded} {what} graded: [bold]{regraded.correct / regraded.graded:.3f}[/] right  "
        f"({regraded.correct}; 95 % [{low:.3f}, {high:.3f}]){before}"
    )
    gained = sum(change.after for change in regraded.changes)
    console.print(
        f"{len(regraded.changes)} changed: {gained} to right, {len(regraded.changes) - gained} to wrong"
        if regraded.changes
        else "nothing changed"
    )
    table = Table("id", "answer", "gold", "before", "now", box=None, header_style="bold", pad_edge=False)
    word = {True: "right", False: "wrong", None: "not graded"}
    for change in regraded.changes[:FEW]:
        answer = "no answer" if change.answer is None else escape(f"{change.answer:.60}")
        table.add_row(escape(change.id), answer, escape(f"{change.gold:.60}"), word[change.before], word[change.after])
    if regraded.changes:
        console.print(table)
    if len(regraded.changes) > FEW:
        console.print(f"[dim]and {len(regraded.changes) - FEW} more; --json lists all[/]")
    if pairs := regraded.stamp["undecided_pairs"]:
        console.print(undecided(pairs))
    for name, version in regraded.stamp["grader"].items():
        console.print(f"[dim]graded by {escape(name)}: {escape(version)}[/]", soft_wrap=True)
    was = regraded.stamp_before
    if was is not None and dict(was) != regraded.stamp["grader"]:
        said = ", ".join(f"{name}: {version}" for name, version in was.items())
        console.print(f"[dim]before by {escape(said)}[/]", soft_wrap=True)
    where = f"written to {out}" if out is not None else "nothing is written; --out FOLDER writes the new grades"
    console.print(f"[dim]{escape(str(where))}[/]", soft_wrap=True)
