"""The published strategies on their published measurements: docs/recorded-results.md, and how long it takes.

`python -m benchmarks.recorded DATA [--write]` makes the page. DATA is the folder of recorded data, else ESCALADE_DATA
names it: counts of right samples, majorities, score files, and the aggregates that the strategies' authors printed.
Nothing of it is copied but aggregates.

    measured.py    what is measured
    urns.py        modelled: which answers the wrong samples gave
    ladder.py      modelled: 72B's answers, and costs
    odds.py        what comes of a tier by the live machine, exactly, over all draws
    pooled.py      what comes of a cascade by the published executor's rule
    answering.py   routes on all problems, by either rule
    verdicts.py    a route beside always_7B and beside random mixes
    account.py     all strategies of a data set
    references.py  best pairs, oracle, what the record says of 72B
    results.py     the sections of one data set
    checks.py      the models against the record, the probes
    page.py        the page; markdown.py: how numbers are written
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks import Figure


def main() -> list[Figure]:
    from benchmarks.recorded.page import page

    data = os.environ.get("ESCALADE_DATA")
    if not data:
        print("recorded: needs the folder of recorded data: set ESCALADE_DATA", file=sys.stderr)
        return []
    start = time.perf_counter()
    text = page(Path(data))
    took = time.perf_counter() - start
    return [Figure("the page of recorded results", took, None, None, "s", text.count("\n"))]
