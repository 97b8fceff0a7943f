"""Logs for other tools: a store's samples as inspect_ai and lm-evaluation-harness write theirs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from escalade.errors import SettingError, TableError
from escalade.pool import Pool
from escalade.samples.foreign import Messages, Settings, count_of, number_of, part
from escalade.samples.harness_logs import harness_lines
from escalade.samples.inspect_logs import inspect_log
from escalade.samples.store import Question, Stored

FORMATS = ("inspect", "lm-eval")


def write_logs(
    samples: Iterable[Stored],
    questions: Mapping[str, Question],
    folder: Path,
    form: str,
    created: str,
    pool: Pool | None = None,
) -> list[Path]:
    """Write a log for each model and set of parameters; return their paths.

    Args:
        samples: of a store.
        questions: the texts of problems, by fingerprint.
        folder: for the logs; lm-eval has a folder in it for each model.
        form: inspect or lm-eval.
        created: the time, ISO 8601 with the zone.
        pool: where its prompt is the one that samples were drawn with, the messages are written, too.

    Raises:
        SettingError: no such form. TableError: the text of a problem is not known.
    """
    if form not in FORMATS:
        raise SettingError(f"--format is {form!r}: give {' or '.join(FORMATS)}, or leave it out and name a file")
    sets: dict[tuple[str, str, str], list[Stored]] = {}
    for sample in samples:
        if sample.key.problem not in questions:
            raise TableError(
                f"the text of problem {sample.problem_id!r} is not in the store, and a log needs it: "
                "give the problems with --problems FILE"
            )
        sets.setdefault((sample.model_name, sample.key.model, sample.key.params), []).append(sample)
    written: list[Path] = []
    for (name, model, params), drawn in sets.items():
        said = _said(params)
        messages = _messages(drawn, questions, said, pool)
        settings = _settings(said, drawn[0].temperature)
        label = f"t{drawn[0].temperature:g}-{hashlib.sha256(f'{model} {params}'.encode()).hexdigest()[:8]}"
        safe, time = re.sub(r"[^\w.-]+", "__", name), re.sub(r"[:+]", "-", created)
        if form == "inspect":
            log = inspect_log(drawn, questions, messages, settings, created)
            written.append(_write(folder / f"{time}_{safe}_{label}.json", json.dumps(log, indent=1)))
        else:
            lines = harness_lines(drawn, questions, messages, settings)
            date = f"{time}-{label}"
            body = "".join(json.dumps(line) + "\n" for line in lines)
            written.append(_write(folder / safe / f"samples_escalade_{date}.jsonl", body))
            _write(folder / safe / f"results_{date}.json", json.dumps({"model_name": name, "date": created}))
    return written


def _said(params: str) -> Any:
    try:
        return json.loads(params)
    except (ValueError, RecursionError):
        return None


def _settings(said: Any, temperature: float) -> Settings:
    stop = part(said, "stop", default=[])
    return Settings(
        temperature,
        count_of(part(said, "max_tokens")),
        number_of(part(said, "top_p")),
        count_of(part(said, "top_k")),
        tuple(map(str, stop)) if isinstance(stop, list) else (),
    )


def _messages(
    drawn: Iterable[Stored], questions: Mapping[str, Question], said: Any, pool: Pool | None
) -> dict[str, Messages]:
    """What was sent, where the pool's prompt has the fingerprint of the one that samples were drawn with."""
    found: dict[str, Messages] = {}
    for sample in drawn:
        if pool is None or sample.model_name not in pool:
            continue
        prompt = pool.prompt_of(pool[sample.model_name])
        if prompt.fingerprint == part(said, "prompt"):
            sent = prompt.messages(questions[sample.key.problem].text)
            found[sample.key.problem] = tuple((message["role"], message["content"]) for message in sent)
    return found


def _write(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(body, encoding="utf-8")
    partial.replace(path)
    return path
