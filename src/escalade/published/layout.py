"""The published layout: scores of several data sets in, one routing and one answer table per strategy out.

{data}/{probing}_probe/{dataset}/{model name with / as -}_maxlen_{L}_k_{K}_temp_{T}/scored.parquet
{save}/{probing}_probe/{dataset}_routed/routing_{strategy}_conf{T}.parquet
{save}/{probing}_probe/{dataset}_routed/answered_{strategy}_conf{T}.parquet
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from escalade.engines.base import Engine
from escalade.engines.replay import open_recording
from escalade.errors import ScoreError, SettingError, TableError
from escalade.pool import Pool, load_pool
from escalade.problems import SCORING
from escalade.routing import read_routing, routing_table, write_routing
from escalade.scores import Published, read_published
from escalade.scoring import cost_of
from escalade.strategies import Strategy, get_strategy, load_strategy, strategies

DATA = ("data", "data/scored", "will_replication/probe_results/DATA/Labelled_SR")
"""Where the folder of scores is looked for, from the current folder, when none is named."""
SAVE = "runs"
_PROBE = "_probe"


@dataclass(frozen=True)
class Layout:
    """Where the tables of one probe stand.

    Example:
        >>> layout = Layout(Path("data"), Path("runs"), "openai/gsm8k")
        >>> layout.routing("opencompass/AIME2025", "cascade", 0.9).as_posix()
        'runs/openai_gsm8k_probe/opencompass_AIME2025_routed/routing_cascade_conf0.9.parquet'
    """

    data: Path
    save: Path
    probing: str

    def routing(self, dataset: str, strategy: str, target: float) -> Path:
        """Where the routing table of a strategy is written."""
        return self._folder(dataset) / f"routing_{strategy}_conf{float(target)}.parquet"

    def answered(self, dataset: str, strategy: str, target: float) -> Path:
        """Where the answers of a strategy are written."""
        return self._folder(dataset) / f"answered_{strategy}_conf{float(target)}.parquet"

    @property
    def store(self) -> Path:
        """Where every sample is kept, so that strategies share them and none is paid for twice."""
        return self.save / f"{folder_name(self.probing)}{_PROBE}" / "samples.sqlite"

    def datasets(self) -> list[str]:
        """The data sets that this probe has scored."""
        folder = self.data / f"{folder_name(self.probing)}{_PROBE}"
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def _folder(self, dataset: str) -> Path:
        return self.save / f"{folder_name(self.probing)}{_PROBE}" / f"{folder_name(dataset)}_routed"


def folder_name(dataset: str) -> str:
    """Return a data set's name as folders have it: openai/gsm8k is openai_gsm8k."""
    return dataset.replace("/", "_")


def find_data(path: str | Path | None) -> Path:
    """Return the folder of scores: as named, else the first of the usual places that holds a `*_probe` folder.

    The usual places are those of `DATA`, then the folder that ESCALADE_DATA names and its `scored`.

    Raises:
        ScoreError: there is none; says where it was looked for.
    """
    named = os.environ.get("ESCALADE_DATA")
    places = [Path(path)] if path is not None else [Path(place) for place in DATA]
    if path is None and named:
        places += [Path(named), Path(named) / "scored"]
    for place in places:
        if place.is_dir() and any(entry.name.endswith(_PROBE) for entry in place.iterdir()):
            return place
    looked = ", ".join(f"{place.resolve()} ({'no *_probe in it' if place.is_dir() else 'absent'})" for place in places)
    raise ScoreError(
        f"no folder of scores ({{probing}}_probe/{{dataset}}/...): looked at {looked}; name it: --data-path"
    )


def pool_of(pool: str | Path | Pool | None, engine: str | Engine | None) -> Pool:
    """Return the pool: as given, else the one a replayed recording carries, else the published one."""
    if isinstance(pool, Pool):
        return pool
    if pool is not None:
        return load_pool(pool)
    if isinstance(engine, str) and engine.startswith("replay:"):
        carried = open_recording(engine.partition(":")[2]).pool
        if carried is not None:
            return carried
    return load_pool("qwen2.5-math")


def find_strategies(names: Sequence[str] | None) -> list[Strategy]:
    """Return the strategies of these names (or `path/to/file.py:name`); all that are registered if None.

    Raises:
        StrategyError: there is no such strategy.
    """
    if names is None:
        return strategies()
    return [load_strategy(name) if ".py:" in name else get_strategy(name) for name in names]


def read_scored(
    layout: Layout,
    dataset: str,
    pool: Pool,
    *,
    k: int | None,
    temp: float | None,
    maxlen: int | None,
    limit: int | None,
) -> Published:
    """Return the problems and scores of one data set, the first `limit` of them.

    Raises:
        ScoreError: they are not there; says what folder was looked for and what there is instead.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"limit is {limit}: give how many problems to take, at least 1")
    read = read_published(
        layout.data, folder_name(layout.probing), folder_name(dataset), pool, k=k, temp=temp, maxlen=maxlen
    )
    scores = read.scores
    if limit is None or limit >= scores.rows:
        return read
    return Published(read.problems.head(limit), scores.head(limit))


def write_routes(
    published: Published, strategy: Strategy, path: Path, *, target: float, pool: Pool, seed: int
) -> pd.DataFrame:
    """Return the routing table of a strategy, written to `path` and read back from there.

    A routing string that cannot be read fills the column `error` of its row; the others go on. Where the scores say
    what making them took, columns scoring_cost_usd_ALIAS have it: USD, exact, as text.

    Raises:
        StrategyError: the strategy cannot be used.
        TableError: a cascade's tiers did not come through.
    """
    table = routing_table(
        published.problems, published.scores, strategy, target=target, pool=pool, seed=seed, errors="keep"
    )
    if table["error"].isna().all():
        table = table.drop(columns="error")
    for alias, each in published.scores.scoring.items():
        bills = [cost_of(scoring, pool).usd for scoring in each]
        table[f"{SCORING}{alias}"] = pd.Series([None if usd is None else str(usd) for usd in bills], dtype=object)
    write_routing(table, path)
    table = read_routing(path)
    wrong = table["is_cascade"] != table["cascade_tiers"].notna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise TableError(
            f"{path}: row {row}: cascade_tiers is {table['cascade_tiers'][row]!r} for {table['route'][row]}"
        )
    return table


def broken_rows(table: pd.DataFrame) -> str | None:
    """Say how many rows of a routing table could not be read, and why the first could not; None if all could."""
    if "error" not in table:
        return None
    errors = table["error"].dropna()
    first = str(errors.iloc[0]).splitlines()[0]
    return f"{len(errors)} of {len(table)} rows cannot be routed: {first}"
