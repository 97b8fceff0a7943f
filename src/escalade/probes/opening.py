"""Opening what a probe is trained on or judged by: labels, the pool they were drawn in, groups and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from escalade.errors import SettingError, nearest
from escalade.evaluation.groups import groups_in, groups_of
from escalade.evaluation.sources import SHIPPED, Opened, open_bank
from escalade.pool import Pool, load_pool
from escalade.probes.labels import MAJORITY, RATE, SUCCESSES, Labels, labels_of, read_labels
from escalade.probes.making import Grouped
from escalade.probes.probe import Probe
from escalade.probes.reading import Source
from escalade.problems import Problem, read_problems, read_table, shipped_problems

POOL = "embedded"
"""Where none is named, and the labels bring none."""


@dataclass(frozen=True)
class Request:
    """Which labels are asked for."""

    labels: str
    problems: str | None = None
    pool: str | None = None
    model: str | None = None
    temperature: float | None = None
    k: int | None = None
    group: str | None = None


class Wanted(NamedTuple):
    """Which features are asked for."""

    features: str
    reads: str | None
    reader: str | None
    layers: str | None
    positions: int
    encoder: str | None
    cache: Path


class Known(NamedTuple):
    """Labels that were read, and what came with them."""

    labels: Labels
    pool: Pool
    grouped: Grouped
    notes: tuple[str, ...] = ()
    opened: Opened | None = None
    """The recorded samples, where labels are made of these."""
    sampled: tuple[str, ...] = ()
    """Aliases of the models that they are of."""


def open_labels(request: Request, of: Probe | None = None) -> Known:
    """Return the labels that a request names: of the model of a probe, where there is one.

    Raises:
        InputError: the labels cannot be read, are of other models, or lack what is asked of them.

    Example:
        >>> known = open_labels(Request("shipped", model="0.5B"))
        >>> len(known.labels), known.labels.k, known.sampled
        (60, 8, ('135M', '0.5B', '1.5B'))
    """
    table = _table_of_labels(request.labels)
    if table is not None:
        pool = load_pool(request.pool or POOL)
        if request.problems is None:
            raise SettingError(f"labels {request.labels} have no texts of problems: give --problems FILE")
        asked = problems_of(request.problems, pool)
        alias = _alias(request, of, pool, pool.aliases)
        temperature = (
            request.temperature if request.temperature is not None else 0.7 if of is None else of.about.temperature
        )
        labels = read_labels(table, asked, alias, temperature=temperature, k=request.k)
        return Known(labels, pool, _grouped(request, asked))
    opened = open_bank(request.labels, request.problems, pool=request.pool)
    pool = opened.bank.pool
    sampled = tuple(model.alias for model in pool.models if _sampled(opened, model.alias))
    alias = _alias(request, of, pool, sampled)
    labels = labels_of(opened.bank, alias, request.temperature)
    return Known(labels, pool, _grouped(request, labels.problems), opened.notes, opened, sampled)


def _table_of_labels(spec: str) -> Path | None:
    """The file, where it is a table of labels and no lot of samples."""
    path = Path(spec)
    if not path.is_file() or path.suffix not in (".jsonl", ".ndjson", ".json", ".csv", ".parquet"):
        return None
    columns = set(map(str, read_table(path).columns))
    named = bool(columns & {SUCCESSES, RATE, *MAJORITY})
    return path if named and "sample_index" not in columns else None


def _sampled(opened: Opened, alias: str) -> bool:
    model = opened.bank.pool[alias]
    return any(name in (model.alias, model.name) for _, name in opened.bank.rows)


def _alias(request: Request, of: Probe | None, pool: Pool, there: Sequence[str]) -> str:
    asked, place = request.model, request.labels
    if of is not None:
        named = next((model.alias for model in pool.models if model.name == of.about.model.name), None)
        if named is None or named not in there:
            raise SettingError(
                f"probe {of.about.name!r} is of {of.about.model.name}: {place} has no labels of it, but of "
                f"{', '.join(there) or 'no model'}"
            )
        return named
    if asked is not None:
        if asked not in pool:
            nameless = request.pool is None and all(model.engine == "replay" for model in pool.models)
            remedy = "; give the pool that the samples were drawn with (--pool)" if nameless else ""
            raise SettingError(f"--model: {pool.unknown(asked)}{remedy}")
        if pool[asked].alias not in there:
            raise SettingError(f"--model {asked}: {place} has no samples of it, but of {', '.join(there)}")
        return pool[asked].alias
    if len(there) != 1:
        raise SettingError(
            f"{place} has labels of {', '.join(there) or 'no model'}: say whose success is predicted (--model ALIAS)"
        )
    return there[0]


def _grouped(request: Request, problems: Sequence[Problem]) -> Grouped:
    if request.group is None:
        return Grouped(*groups_of(problems))
    if request.problems is None:
        raise SettingError(f"--group {request.group}: it is a column of the problems' file; give --problems FILE")
    found = groups_in(request.problems, request.group, problems)
    return Grouped(found, f"{len(problems)} problems in {len(set(found))} groups by column {request.group}")


def open_source(wanted: Wanted, pool: Pool, alias: str) -> Source:
    """Return what features are read from; of hidden states those of the model `alias`, where no other is named.

    Raises:
        SettingError: options that do not go together, or an unknown model.
    """
    kinds = ("text", "hidden", "embedding")
    if wanted.features not in kinds:
        raise SettingError(
            f"--features is {wanted.features!r}: give {', '.join(kinds)}{nearest(wanted.features, kinds)}"
        )
    if (wanted.encoder is not None) != (wanted.features == "embedding"):
        raise SettingError("--encoder and --features embedding go together: give both, or neither")
    if wanted.features != "hidden":
        for option, value in (("--reads", wanted.reads), ("--reader", wanted.reader), ("--layers", wanted.layers)):
            if value is not None:
                raise SettingError(f"{option} is of hidden states: give --features hidden, or leave it out")
    if wanted.features == "embedding":
        return Source(encoder=wanted.encoder, cache=wanted.cache)
    if wanted.features == "text":
        return Source()
    name = wanted.reads or alias
    if name not in pool:
        raise SettingError(f"--reads: {pool.unknown(name)}")
    layers = None
    if wanted.layers is not None:
        words = [word.strip() for word in wanted.layers.split(",")]
        if not all(word.isdecimal() for word in words):
            raise SettingError(f"--layers is {wanted.layers!r}: give numbers, comma separated, as 12,18,24")
        layers = tuple(sorted({int(word) for word in words}))
    return Source(pool[name], None, wanted.reader, layers, wanted.positions, wanted.cache)


def problems_of(source: str, pool: Pool) -> list[Problem]:
    """Return the problems of a file, or those that ship with the package."""
    return read_problems(shipped_problems() if source == SHIPPED else source, answer_kind=pool.answer_kind)
