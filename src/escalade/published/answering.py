"""A routed table answered in one call: the pool adjusted, a session opened, the rows answered, the columns filled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from escalade.cascade.policy import Policy
from escalade.engines.base import Engine
from escalade.ledger import Billing
from escalade.pool import Pool
from escalade.published.layout import pool_of
from escalade.published.overrides import override
from escalade.published.session import Extract, Session
from escalade.published.table import Columns, filled, routed_job
from escalade.results import Results
from escalade.running import wait_for


def answer_table(
    table: pd.DataFrame,
    columns: Columns | None = None,
    *,
    engine: str | Engine | None = None,
    pool: str | Path | Pool | None = None,
    prices: Mapping[str, Any] | None = None,
    billing: Billing | None = None,
    options: Mapping[str, Any] | None = None,
    slots: Mapping[str, int] | None = None,
    max_tokens: int | None = None,
    store: str | Path | None = None,
    extract: Extract | None = None,
    target: float = 0.9,
    votes: bool = True,
    escalate: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a copy of a routed table with the rows answered that have no response yet.

    A row that cannot be used has its error in the column for errors and the status "error"; the others go on. All
    samples of the tier that decided stand in one column, as a JSON list of texts.

    Args:
        table: rows with a problem and a route (`escalade.published.cells` says how a row is read).
        columns: what they are called.
        engine: answers in the place of the pool's engines: a name, or an engine that is open already.
        pool: the models; that of a replayed recording, else the published pool, if None.
        prices, billing, options, slots, max_tokens: in the place of the pool's own (`escalade.published.overrides`).
        store: file that keeps every sample; nothing is paid for twice with it.
        extract: a function from a text to its answer or None, in the place of our extraction.
        target: the target confidence.
        votes: without, every tier draws one sample.
        escalate: without, only the first tier of a cascade runs.
        seed: of the run.

    Raises:
        InputError: a setting, a column or an engine cannot be used as it is.
    """
    name = engine if engine is None or isinstance(engine, str) else type(engine).__name__
    models = override(
        pool_of(pool, engine),
        engine=name,
        prices=prices,
        billing=billing,
        options=options,
        slots=slots,
        max_tokens=max_tokens,
    )
    if isinstance(engine, str):
        models = models.with_own_devices()
    columns = columns or Columns()
    policy = Policy(target=target)
    routed = routed_job(table, models, columns=columns, policy=policy, seed=seed, votes=votes, escalate=escalate)
    got: list[Results] = []

    async def work() -> None:
        async with Session(models, engine=engine, store=store, seed=seed, extract=extract) as session:
            got.append(await session.answer(routed.job))

    wait_for(work)
    out = filled(routed, got[0])
    if columns.samples is not None:
        texts = [
            json.dumps(texts, ensure_ascii=False) if isinstance(texts, list) else texts
            for texts in out[columns.samples]
        ]
        out[columns.samples] = pd.Series(texts, dtype=object).array
    return out
