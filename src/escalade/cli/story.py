"""The story of one problem, as a small tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.tree import Tree

from escalade.cli.display import console
from escalade.errors import TableError, nearest

_NEEDED = ("idx", "status", "trace", "majority_vote_extracted_answer", "decided_by")


def show(path: Path, problem_id: str) -> None:
    """Print what happened to a problem of a result table.

    Raises:
        TableError: the file is no result table, or has no such problem.
    """
    row = _row(path, problem_id)
    answer = row["majority_vote_extracted_answer"]
    gold = row.get("gold_answer")
    right = row.get("majority_vote_is_correct")
    said = "no answer" if answer is None else f"[bold]{escape(str(answer))}[/]"
    if right is not None and right == right and gold is not None:
        said += " [green]right[/]" if right else f" [red]wrong[/], gold {escape(str(gold))}"
    cost = row.get("total_cost_usd")
    cost_text = "cost unknown" if cost is None or cost != cost else f"{cost:.3g} USD"
    tree = Tree(f"[bold]{escape(problem_id)}[/]  {said}  {row['status']}, {cost_text}")
    text = str(row.get("problem") or "").strip()
    if text:
        tree.add(f"[dim]{escape(text if len(text) < 400 else text[:399] + '…')}[/]")
    if row.get("route"):
        tree.add(f"route {escape(str(row['route']))}")
    for each in json.loads(row.get("scoring") or "[]"):
        paid = "cost unknown" if each["cost_usd"] is None else f"{float(each['cost_usd']):.3g} USD"
        read = "" if each["tokens"] is None else f"{each['tokens']} tokens read by {escape(str(each['model']))}, "
        tree.add(f"score of {escape(each['score'])}: {read}{paid}")
    for number, tier in enumerate(json.loads(row["trace"]), start=1):
        tree.add(_tier(number, tier))
    if row.get("notes"):
        tree.add(f"notes: {escape(str(row['notes']))}")
    console.print(tree)


def _tier(number: int, tier: dict[str, Any]) -> Tree:
    owner = "  [green]owns the answer[/]" if tier["decided"] else ""
    cost = "cost unknown" if tier["cost_usd"] is None else f"{float(tier['cost_usd']):.3g} USD"
    saved = f", {tier['saved']} saved" if tier["saved"] else ""
    cancelled = f", {tier['cancelled']} cancelled under way" if tier["cancelled"] else ""
    head = f"tier {number}: [bold]{escape(tier['model'])}[/] k={tier['k']} t={tier['temperature']:g}"
    broken_off = f", {tier['broken_off']} tries broken off" if tier.get("broken_off") else ""
    tree = Tree(f"{head}, {tier['drawn']} drawn{saved}{cancelled}{broken_off}, {cost}{owner}")
    for look in tier["looks"]:
        votes = ", ".join(f"{escape(answer)}: {n:g}" for answer, n in look["votes"]) or "none"
        abstained = f", {look['abstained']:g} abstained" if look["abstained"] else ""
        tie = ", a tie" if look["tie"] and not look["undrawn"] else ""
        undrawn = f", {look['undrawn']:g} undrawn" if look["undrawn"] else ""
        branch = tree.add(f"votes of {look['seats']:g}: {votes}{abstained}{undrawn}{tie}")
        sure = "unknown" if look["confidence"] is None else f"{look['source']} {look['confidence']:.3f}"
        threshold = "" if look["threshold"] is None else f", threshold {look['threshold']:g}"
        branch.add(f"confidence {sure}{threshold}")
        branch.add(f"[bold]{look['decision']}[/]: {escape(look['reason'])}")
    return tree


def _row(path: Path, problem_id: str) -> dict[str, Any]:
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise TableError(f"{path} is not there; give answers.parquet of a run") from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as a result table: {error}; give answers.parquet of a run") from error
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise TableError(f"{path} is no result table: it lacks {', '.join(missing)}; give answers.parquet of a run")
    found = table[table["idx"].astype(str) == problem_id]
    if found.empty:
        ids = table["idx"].astype(str)
        raise TableError(
            f"{path} has no problem {problem_id!r}; it has {len(ids)} from {ids.iloc[0]!r} to "
            f"{ids.iloc[-1]!r}{nearest(problem_id, ids)}"
        )
    return {str(name): None if value != value else value for name, value in found.iloc[0].items()}
