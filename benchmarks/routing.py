"""Routing a million rows: every strategy, and the expansion of its routes into the routing columns.

The peer goes row by row: `df.apply(axis=1)` of a scalar rule, then a parse of each row's string. It is
timed on 20,000 rows and scaled up linearly. All runs in a child process, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from benchmarks import Figure

ROWS = 1_000_000
PEER_ROWS = 20_000
SEED = 20250104


def main() -> list[Figure]:
    child = subprocess.run([sys.executable, "-m", "benchmarks.routing"], check=True, capture_output=True, text=True)
    return [Figure(**json.loads(line)) for line in child.stdout.splitlines()]


def measure() -> list[Figure]:
    import numpy as np

    from escalade.routing import expand
    from escalade.scores import Scores
    from escalade.strategies import strategies

    generator = np.random.default_rng(SEED)
    scores = Scores({"1.5B": generator.random(ROWS), "7B": generator.random(ROWS)})
    expand(strategies()[0].routes(Scores({}, range(10))))  # imports and the pool's file, once
    took: dict[str, float] = {}
    for strategy in strategies():
        start = time.perf_counter()
        table = expand(strategy.routes(scores, target=0.9))
        took[strategy.name] = time.perf_counter() - start
        assert len(table) == ROWS
        del table
    # Read before the peer runs: the figure is ours. Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    peers = {name: _loop(scores, rule) for name, rule in _RULES.items()}
    slowest = max(took, key=lambda name: took[name])
    scaled = f"peer: row by row on {PEER_ROWS:,} rows, scaled up linearly"
    # The quickest of the peers stands beside the slowest of ours, so the ratio is the least favourable one.
    rival = min(peers.values())
    figures = [
        Figure(
            f"slowest strategy ({slowest}) and its expansion; the quickest {scaled}",
            took[slowest],
            rival,
            rival / took[slowest],
            "s",
            ROWS,
        ),
        Figure("peak memory of all strategies in one process", peak / 1e9, None, None, "GB", ROWS),
    ]
    for name, seconds in took.items():
        peer = peers.get(name)
        label = f"{name}; {scaled}" if peer is not None else name
        figures.append(Figure(label, seconds, peer, None if peer is None else peer / seconds, "s", ROWS))
    return figures


def _cascade(p1: float, p7: float) -> str:
    if p1 >= 0.9:
        return "1.5B"
    return "7B" if p7 >= 0.9 else "72B"


def _adaptive_k(p1: float, p7: float) -> str:
    if p1 >= 0.85:
        return "mv_1.5B_k1_t0.0"
    k = min(max(math.floor(8 * (1 - p1)), 1), 8)
    t = 0.0 if k == 1 else 0.7
    return f"mv_cascade_1.5B_k{k}_t{t}_7B_k{k}_t{t}_72B_k1_t0.0"


_RULES: dict[str, Callable[[float, float], str]] = {"cascade": _cascade, "adaptive_k_sampling": _adaptive_k}


def _loop(scores: object, rule: Callable[[float, float], str]) -> float:
    import pandas as pd

    from escalade.pool import load_pool
    from escalade.routes import executed, parse_route
    from escalade.scores import Scores

    assert isinstance(scores, Scores)
    pool = load_pool("qwen2.5-math")
    table = pd.DataFrame({alias: values[:PEER_ROWS] for alias, values in scores.columns.items()})

    def expanded(text: str) -> tuple[object, ...]:
        route = executed(parse_route(text, pool), pool).route
        tiers = [(pool[tier.model].name, tier.k, tier.temperature) for tier in route.tiers]
        many = tiers if route.is_cascade else None
        return (tiers[0][0], not many, bool(many), many, *tiers[0][1:])

    start = time.perf_counter()
    routes = table.apply(lambda row: rule(row["1.5B"], row["7B"]), axis=1)
    columns = pd.DataFrame([expanded(text) for text in routes])
    assert len(columns) == PEER_ROWS
    return (time.perf_counter() - start) * ROWS / PEER_ROWS


if __name__ == "__main__":
    for figure in measure():
        print(json.dumps(asdict(figure)))
