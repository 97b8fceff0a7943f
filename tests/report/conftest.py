"""Folders that runs wrote, of recorded samples that ship with escalade; and one as `escalade compare` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import escalade

CASCADE = "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"
VOTE = "mv_1.5B_k4_t0.7"
HOSTILE = '<script>window.owned=1</script>"\' onmouseover="window.owned=1" x=\''


@pytest.fixture(scope="session")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return escalade.run(engine="replay:shipped", route=CASCADE).write(tmp_path_factory.mktemp("runs") / "cascade")


@pytest.fixture(scope="session")
def vote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = escalade.run(engine="replay:shipped", route=VOTE, stop="none", limit=40)
    return results.write(tmp_path_factory.mktemp("runs") / "vote")


@pytest.fixture(scope="session")
def hostile(cascade: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cascade's run, with a payload in every text that a model or a file of problems could bring."""
    folder = tmp_path_factory.mktemp("hostile")
    table = pd.read_parquet(cascade / "answers.parquet")
    for column in ("problem", "gold_answer", "majority_vote_extracted_answer", "notes", "decided_by", "route"):
        table[column] = HOSTILE + table[column].astype(str)
    traces = []
    for text in table["trace"]:
        trace = json.loads(text)
        for tier in trace:
            tier["model"] = HOSTILE + tier["model"]
            for look in tier["looks"]:
                look["votes"] = [[HOSTILE + answer, n] for answer, n in look["votes"]]
                look["reason"] = HOSTILE + look["reason"]
        traces.append(json.dumps(trace))
    table["trace"] = traces
    table["idx"] = HOSTILE + table["idx"]
    table.to_parquet(folder / "answers.parquet")
    samples = pd.read_parquet(cascade / "samples.parquet")
    samples["problem_id"] = HOSTILE + samples["problem_id"]
    samples.to_parquet(folder / "samples.parquet")
    summary = json.loads((cascade / "summary.json").read_text(encoding="utf-8"))
    summary |= {"route": HOSTILE + summary["route"], HOSTILE: HOSTILE}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def larger(folder: Path, times: int, target: Path, cost: float) -> Path:
    """The problems of a run many times over, every cost multiplied: a run that is as good at another price."""
    table = pd.read_parquet(folder / "answers.parquet")
    traces = []
    for text in table["trace"]:
        trace = json.loads(text)
        for tier in trace:
            tier["cost_usd"] = str(float(tier["cost_usd"]) * cost)
        traces.append(json.dumps(trace))
    table["trace"] = traces
    copies = [table.assign(idx=table["idx"] + f"-{n}") for n in range(times)]
    target.mkdir()
    pd.concat(copies).to_parquet(target / "answers.parquet")
    samples = pd.read_parquet(folder / "samples.parquet")
    drawn = [samples.assign(problem_id=samples["problem_id"] + f"-{n}") for n in range(times)]
    pd.concat(drawn).to_parquet(target / "samples.parquet")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    summary |= {key: summary[key] * times for key in ("problems", "graded", "correct")}
    (target / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return target


def point(name: str, kind: str, accuracy: float, cost: float, **more: Any) -> dict[str, Any]:
    """A row of comparison.parquet."""
    tier = {
        "model": "1.5B",
        "k": 4,
        "temperature": 0.7,
        "reached": 1.0,
        "decided": 1.0,
        "samples": 3.2,
        "cost_usd": cost,
    }
    row = {
        "name": name,
        "kind": kind,
        "route": name if kind == "route" else None,
        "target": None if kind == "reference" else 0.9,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.03,
        "accuracy_high": accuracy + 0.03,
        "cost_usd": cost,
        "cost_low": cost * 0.9,
        "cost_high": cost * 1.1,
        "tokens": 400.0,
        "samples": 3.2,
        "difference": accuracy - 0.8,
        "difference_low": accuracy - 0.82,
        "difference_high": accuracy - 0.78,
        "p_value": 0.04,
        "cost_ratio": cost / 4e-4,
        "cost_ratio_low": cost / 4.4e-4,
        "cost_ratio_high": cost / 3.6e-4,
        "non_inferior": accuracy - 0.82 > -0.01,
        "exact": True,
        "on_frontier": False,
        "escalated": 0.25,
        "tiers": json.dumps([tier]),
    }
    return row | more


def write_comparison(folder: Path, points: list[dict[str, Any]], **facts: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(points).to_parquet(folder / "comparison.parquet")
    told = {
        "problems": 1319,
        "source": "recorded.parquet",
        "pool": "ladder",
        "reference": "7B greedy",
        "margin": 0.01,
        "verdict": "mv_1.5B_k4_t0.7 is shown to be no worse than 7B greedy and costs 0.25 times as much (in-sample).",
        "fingerprints": {"data": "sha256:0123"},
        "escalade": "0.1.0",
    }
    (folder / "comparison.json").write_text(json.dumps(told | facts), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(
        tmp_path_factory.mktemp("comparison") / "all",
        [
            point("mv_1.5B_k4_t0.7", "route", 0.82, 1e-4, on_frontier=True),
            point("7B greedy", "reference", 0.80, 4e-4),
            point("dear", "strategy", 0.85, 8e-4, on_frontier=True),
            point("worse", "strategy", 0.70, 2e-4, exact=False),
            point("1.5B greedy", "reference", 0.60, 5e-5, on_frontier=True),
        ],
    )
