"""The published entry points: routing strings parsed, strategies executed, routed tables answered.

python router_code/execute_strategies.py --dry-run --probing-dataset gneubig_aime-1983-2024 \\
    --datasets openai_gsm8k DigitalLearningGmbH_MATH-lighteval

Exit code: 0 where every data set and strategy was done; 2 where one was not (it is named, the others are done) or
none can be (a wrong setting); 130 where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from escalade.errors import EscaladeError
from escalade.pool import Pool, load_pool
from escalade.routes import is_cascade_marker, parse_route

if TYPE_CHECKING:
    import pandas as pd

    from escalade.engines.base import Engine
    from escalade.published.runs import Runs

__all__ = ["execute_routing_strategies", "is_cascade_marker", "parse_cascade_marker", "run_routed_vllm_inference"]

PROBING = "DigitalLearningGmbH_MATH-lighteval"


def parse_cascade_marker(marker: str, pool: str | Pool = "qwen2.5-math") -> list[tuple[str, int, float]]:
    """Return (full model name, k, temperature) of each tier as written; [] for a string that is no cascade.

    Raises:
        RouteError: a cascade that is malformed.

    Example:
        >>> parse_cascade_marker("mv_cascade_7B_k5_t0.7_72B_k1_t0.0")
        [('Qwen/Qwen2.5-Math-7B-Instruct', 5, 0.7), ('Qwen/Qwen2.5-Math-72B-Instruct', 1, 0.0)]
    """
    if marker.split("_")[:2] not in (["mv", "cascade"], ["mv", "entropy"]):
        return []
    models = pool if isinstance(pool, Pool) else load_pool(pool)
    return [(models[tier.model].name, tier.k, tier.temperature) for tier in parse_route(marker, models).tiers]


def execute_routing_strategies(
    labelled_datasets: Sequence[str] | None = None,
    probing_dataset: str = PROBING,
    probe_k: int | None = 1,
    probe_temp: float | None = 0.0,
    target_confidence: float = 0.90,
    max_tokens: int | None = None,
    batch_size_by_model: Mapping[str, int] | None = None,
    save_base_dir: str | Path | None = None,
    dry_run: bool = False,
    data_path: str | Path | None = None,
    *,
    strategies: Sequence[str] | None = None,
    engine: str | Engine | None = None,
    pool: str | Path | Pool | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Runs:
    """Route data sets by every strategy, and answer them unless `dry_run`; see `escalade.published.runs`.

    `probe_k` and `probe_temp` say which scores; None takes those that are there.

    Returns data set -> strategy -> table; what could not be done is in the `failures` of what is returned.
    """
    from escalade.published.runs import run_strategies

    return run_strategies(
        labelled_datasets,
        probing_dataset,
        data=data_path,
        save=save_base_dir,
        names=strategies,
        target=target_confidence,
        dry_run=dry_run,
        engine=engine,
        pool=pool,
        seed=seed,
        limit=limit,
        max_tokens=max_tokens,
        slots=batch_size_by_model,
        probe_k=probe_k,
        probe_temp=probe_temp,
    )


def run_routed_vllm_inference(
    df: pd.DataFrame,
    *,
    route_col: str = "route_to",
    prompt_col: str = "problem",
    out_text_col: str = "routed_response_text",
    out_model_col: str = "response_model",
    prompt_text_col: str = "prompt_text",
    input_num_tokens_col: str = "input_num_tokens",
    out_tok_col: str = "response_num_tokens",
    out_latency_col: str = "response_latency_s",
    out_err_col: str = "response_error",
    input_cost_col: str = "input_cost_usd",
    output_cost_col: str = "output_cost_usd",
    total_cost_col: str = "total_cost_usd",
    gt_col: str = "original_solution",
    pricing_config: Mapping[str, Any] | None = None,
    max_tokens: int | None = None,
    batch_size_by_model: Mapping[str, int] | None = None,
    checkpoint_path: str | Path | None = None,
    model_run_cfgs: Mapping[str, Any] | None = None,
    n_col: str = "sc_n",
    temperature_col: str = "sc_temp",
    majority_vote: bool = True,
    extract_answer_fn: Callable[[str], Any] | None = None,
    store_all_samples_col: str | None = "generated_solutions",
    charge_input_per_sample: bool | None = None,
    cascade_tiers_col: str = "cascade_tiers",
    target_confidence: float = 0.90,
    allow_escalation: bool = True,
    engine: str | Engine | None = None,
    pool: str | Path | Pool | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a copy of a routed table with its unanswered rows answered; see `escalade.published.answering`.

    `checkpoint_path` is the file that keeps every sample: called again with it, nothing is generated twice. All
    samples of the tier that decided stand in `store_all_samples_col` as a JSON list.
    """
    from escalade.published.answering import answer_table
    from escalade.published.table import Columns

    columns = Columns(
        route=route_col,
        prompt=prompt_col,
        gold=gt_col,
        n=n_col,
        temperature=temperature_col,
        tiers=cascade_tiers_col,
        text=out_text_col,
        model=out_model_col,
        prompt_text=prompt_text_col,
        input_tokens=input_num_tokens_col,
        output_tokens=out_tok_col,
        latency=out_latency_col,
        error=out_err_col,
        input_cost=input_cost_col,
        output_cost=output_cost_col,
        total_cost=total_cost_col,
        samples=store_all_samples_col,
    )
    return answer_table(
        df,
        columns,
        engine=engine,
        pool=pool,
        prices=pricing_config,
        billing=None if charge_input_per_sample is None else "each" if charge_input_per_sample else "once",
        max_tokens=max_tokens,
        slots=batch_size_by_model,
        options=model_run_cfgs,
        store=checkpoint_path,
        extract=extract_answer_fn,
        target=target_confidence,
        votes=majority_vote,
        escalate=allow_escalation,
        seed=seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the published command line; return its exit code."""
    parser = argparse.ArgumentParser(description="Route data sets by strategies, and answer them unless --dry-run.")
    parser.add_argument("--dry-run", action="store_true", help="write and show the routes, answer nothing")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="default: all that the probe has scored")
    parser.add_argument("--probing-dataset", default=PROBING, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--target-conf", type=float, default=0.90, metavar="T", help="default: %(default)s")
    parser.add_argument("--data-path", metavar="DIR", help="folder of {probing}_probe/{dataset}/...; default: data")
    parser.add_argument("--probe-k", type=int, metavar="K", help="of the scores' samples; default: what is there")
    parser.add_argument("--probe-temp", type=float, metavar="T", help="of the scores' samples; default: what is there")
    parser.add_argument("--save-dir", metavar="DIR", help="where the tables go; default: runs")
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help="names, or file.py:name; default: all")
    parser.add_argument("--engine", help="answers in the place of the pool's engines, e.g. replay:FILE")
    parser.add_argument("--pool", help="a pool's name or file; default: the published pool")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="of a sample; default: the pool's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, metavar="N", help="take only so many problems of each data set")
    given = parser.parse_args(arguments)
    try:
        runs = execute_routing_strategies(
            given.datasets,
            given.probing_dataset,
            given.probe_k,
            given.probe_temp,
            target_confidence=given.target_conf,
            max_tokens=given.max_tokens,
            save_base_dir=given.save_dir,
            dry_run=given.dry_run,
            data_path=given.data_path,
            strategies=given.strategies,
            engine=given.engine,
            pool=given.pool,
            seed=given.seed,
            limit=given.limit,
        )
    except EscaladeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; every sample drawn is kept: the same command goes on from there", file=sys.stderr)
        return 130
    for line in runs.failures:
        print(f"not done: {line}", file=sys.stderr)
    return 2 if runs.failures else 0


if __name__ == "__main__":
    sys.exit(main())
