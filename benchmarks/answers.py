"""Equality of answers beside math-verify: the same real pairs of answer and gold, each seen for the first time.

Needs the recorded generations of `math100_ladder_samples` (folder named by ESCALADE_DATA, or ../shared/data); without
them only the votes are measured. The peer does per pair what its documentation shows: parse both, verify. Ours and the
peer each run in a process of their own, one after the other.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import Figure

VOTERS, SEATS = 100_000, 8


def main() -> list[Figure]:
    figures = [Figure(f"{VOTERS:,} samples voted on in ballots of {SEATS}: {how}", seconds, None, None, "s", VOTERS)
               for how, seconds in _child("vote").items()]  # fmt: skip
    if _recorded() is None:
        print("no recorded generations: pairs are not measured (name their folder in ESCALADE_DATA)", file=sys.stderr)
        return figures
    ours, peer = _child("distinct:ours"), _child("distinct:peer")
    verdicts = list(zip(ours["verdicts"], peer["verdicts"], strict=True))
    for wanted, name in ((True, "equal"), (False, "unequal")):
        mine, theirs = (
            statistics.median(t for t, v in zip(side["seconds"], verdicts, strict=True) if v == (wanted, wanted))
            for side in (ours, peer)
        )
        count = sum(v == (wanted, wanted) for v in verdicts)
        figures.append(
            Figure(f"median of a pair both find {name}", mine * 1e6, theirs * 1e6, theirs / mine, "us", count)
        )
    mine, theirs = (sum(side["seconds"]) for side in (ours, peer))
    figures.append(Figure("all distinct pairs", mine, theirs, theirs / mine, "s", len(verdicts)))
    ours, peer = _child("all:ours"), _child("all:peer")
    mine, theirs = ours["seconds"], peer["seconds"]
    figures.append(Figure("all answers graded", mine, theirs, theirs / mine, "s", ours["answers"]))
    for name, both in (
        ("both equal", (True, True)),
        ("both different", (False, False)),
        ("equal by ours alone", (True, False)),
        ("equal by the peer alone", (False, True)),
    ):
        figures.append(Figure(f"verdicts: {name}", verdicts.count(both), None, None, "pairs", len(verdicts)))
    return figures


def _child(what: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.answers", what], check=True, stdout=subprocess.PIPE, text=True
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _recorded() -> Path | None:
    folder = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = folder / "pools" / "math100_ladder_samples.parquet"
    return path if path.exists() else None


def _pairs() -> list[tuple[str, str]]:
    import pandas as pd

    path = _recorded()
    assert path is not None
    table = pd.read_parquet(path, columns=["answer", "gold_answer"]).dropna()
    return list(zip(table["answer"].astype(str), table["gold_answer"].astype(str), strict=True))


def _distinct(decide: Callable[[str, str], bool]) -> dict[str, Any]:
    decide(r"e^{i\pi}", "-1")  # imports, processes
    verdicts: list[bool] = []
    seconds: list[float] = []
    for answer, gold in dict.fromkeys(_pairs()):
        start = time.perf_counter()
        verdicts.append(decide(answer, gold))
        seconds.append(time.perf_counter() - start)
    return {"verdicts": verdicts, "seconds": seconds}


def _all(decide: Callable[[str, str], bool]) -> dict[str, Any]:
    decide(r"e^{i\pi}", "-1")
    pairs = _pairs()
    start = time.perf_counter()
    for answer, gold in pairs:
        decide(answer, gold)
    return {"seconds": time.perf_counter() - start, "answers": len(pairs)}


def _ours() -> Callable[[str, str], bool]:
    from escalade.answers.grader import Grader
    from escalade.answers.kinds import kind_of

    math, grader = kind_of("math"), Grader()
    return lambda answer, gold: grader.right(math, math.key(answer), gold)


def _peer() -> Callable[[str, str], bool]:
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    return lambda answer, gold: bool(verify(parse(f"${gold}$"), parse(f"${answer}$")))


def _vote() -> dict[str, Any]:
    """Extraction, keys and classes of ballots: mostly agreeing votes, and votes that are all different."""
    from escalade.answers import classes
    from escalade.answers.kinds import kind_of

    math = kind_of("math")
    shapes = ("{}", "\\frac{{{}}}{{7}}", "{}\\sqrt{{2}}", "{},5 \\text{{ cm}}", "({}, 3)", "{}x+1", "{}.5")
    steps = "First we add the two numbers, then we divide by the third. " * 5

    def text(number: int, shape: int) -> str:
        return f"{steps}The result is $\\boxed{{{shapes[shape % len(shapes)].format(number)}}}$."

    took: dict[str, float] = {}
    for how, spread in (("five votes of eight agree", 3), ("every vote another", SEATS)):
        ballots = [
            [text(1000 + ballot * SEATS + max(0, seat - (SEATS - 1 - spread)), ballot) for seat in range(SEATS)]
            for ballot in range(VOTERS // SEATS)
        ]
        start = time.perf_counter()
        for ballot in ballots:
            classes([math.extract(t) for t in ballot])
        took[how] = time.perf_counter() - start
    return took


if __name__ == "__main__":
    side = {"ours": _ours, "peer": _peer}
    work, _, whose = sys.argv[1].partition(":")
    print(json.dumps(_vote() if work == "vote" else (_distinct if work == "distinct" else _all)(side[whose]())))
