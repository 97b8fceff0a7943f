"""Logs of inspect_ai: `.json`, and `.eval`, a zip of JSON files. Read and written without that package.

What is read of a log (version 2): `eval.model`, `eval.model_generate_config`, `plan.config`, and of each sample `id`,
`epoch`, `input`, `target`, `messages`, `output` (`choices`, `usage`, `time`), `error`, `uuid`, and the configuration of
its model event. https://inspect.aisi.org.uk/eval-logs.html
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from escalade.errors import TableError
from escalade.samples.foreign import (
    LOGPROB,
    SEED,
    Foreign,
    Messages,
    Settings,
    Skipped,
    content_of,
    count_of,
    load_json,
    messages_of,
    number_of,
    one_text,
    part,
    seed_of,
)
from escalade.samples.sample import Generation
from escalade.samples.store import Question, Stored

TOOL = "inspect_ai"
_ENDS = {"stop": "stop", "max_tokens": "length", "model_length": "length"}
"""What inspect_ai calls the ends of a generation, and what they are called here; others keep their names."""
_MOST = 1 << 29
"""Bytes of one file within a log, unpacked."""
_ZSTD = 93
"""How newer logs are packed; the standard library unpacks it from Python 3.14 on."""


def is_inspect_log(path: Path) -> bool:
    """Whether a file is named and begins like a log of inspect_ai."""
    if path.suffix == ".eval":
        return True
    with path.open("rb") as file:
        start = file.read(4096)
    return path.suffix == ".json" and b'"version"' in start and b'"eval"' in start


def read_inspect(path: Path) -> Iterator[Foreign | Skipped]:
    """Read the generations of a log; of a sample that gave none, say why.

    Raises:
        TableError: the file is no such log, or a sample is more than one request for one answer.
    """
    header, samples = _packed(path) if path.suffix == ".eval" else _plain(path)
    model = part(header, "eval", "model")
    stated = {**part(header, "eval", "model_generate_config", default={}), **part(header, "plan", "config", default={})}
    run = str(part(header, "eval", "eval_id") or part(header, "eval", "run_id") or path.name)
    task = str(part(header, "eval", "task", default=path.name))
    for row, sample in samples:
        yield _foreign(f"{path}: {row}", sample, model if isinstance(model, str) else None, stated, run, task)


def _foreign(
    place: str, sample: Any, model: str | None, stated: Mapping[str, Any], run: str, task: str
) -> Foreign | Skipped:
    ident, epoch = one_text(part(sample, "id")), count_of(part(sample, "epoch", default=1))
    if ident is None or not epoch:
        raise TableError(f"{place}: this is no sample of inspect_ai: it lacks id or epoch; is it another kind of file?")
    place = f"{place} (id {ident!r}, epoch {epoch})"
    if (why := part(sample, "error", "message")) is not None:
        return Skipped(place, f"failed: {str(why)[:120]}")
    choices = part(sample, "output", "choices", default=[])
    if not choices:
        return Skipped(place, "has no output")
    calls = [event for event in part(sample, "events", default=[]) if part(event, "event") == "model"]
    messages = part(sample, "messages", default=[])
    if len(choices) > 1 or len(calls) > 1 or part(choices, 0, "message", "tool_calls"):
        raise TableError(
            f"{place}: {len(calls)} requests with {len(choices)} choices make this sample; only one request for one "
            "answer can be imported: leave out logs of agents and tools"
        )
    text = content_of(part(choices, 0, "message", "content", default=""))
    sent = messages_of(messages[:-1]) if part(messages, len(messages) - 1, "role") == "assistant" else None
    if calls:
        stated = part(calls, 0, "config", default=stated)
    question = part(sample, "input")
    if not isinstance(question, str):
        given = messages_of(question) or ()
        users = [content for role, content in given if role == "user"]
        question = users[0] if len(users) == 1 else None
    usage = part(sample, "output", "usage", default={})
    end = part(choices, 0, "stop_reason")
    return Foreign(
        place=place,
        tool=TOOL,
        origin=task,
        identity=str(part(sample, "uuid") or f"{run} {ident} {epoch}"),
        model=model,
        problem_id=ident,
        messages=sent,
        question=question,
        gold=one_text(part(sample, "target")),
        index=epoch - 1,
        settings=settings_of(stated),
        generation=Generation(
            text=text,
            finish_reason=_ENDS.get(end, end) if isinstance(end, str) else "unknown",
            prompt_tokens=_prompt_tokens(usage),
            cached_tokens=count_of(part(usage, "input_tokens_cache_read")),
            completion_tokens=count_of(part(usage, "output_tokens")),
            reasoning_tokens=count_of(part(usage, "reasoning_tokens")),
            mean_logprob=_mean_logprob(part(choices, 0, "logprobs", "content"))
            or number_of(part(sample, "metadata", LOGPROB)),
            seconds=number_of(part(sample, "output", "time")),
        ),
        complete=isinstance(end, str) and end != "unknown",
        seed=seed_of(part(sample, "metadata", SEED)),
    )


def settings_of(config: Any) -> Settings:
    """Return what a GenerateConfig of inspect_ai says."""
    stop = part(config, "stop_seqs", default=[])
    return Settings(
        temperature=number_of(part(config, "temperature")),
        max_tokens=count_of(part(config, "max_tokens")),
        top_p=number_of(part(config, "top_p")),
        top_k=count_of(part(config, "top_k")),
        stop=tuple(map(str, stop)) if isinstance(stop, list) else (),
    )


def _prompt_tokens(usage: Any) -> int | None:
    """All tokens of the prompt: `input_tokens` has those from the cache with some providers and not with others, the
    total has them always."""
    given, total, made = (count_of(part(usage, name)) for name in ("input_tokens", "total_tokens", "output_tokens"))
    if given is None or total is None or made is None:
        return given
    return max(given, total - made)


def _mean_logprob(tokens: Any) -> float | None:
    """Nats a token."""
    if not isinstance(tokens, list) or not tokens:
        return None
    values = [number_of(part(token, "logprob")) for token in tokens]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _plain(path: Path) -> tuple[Any, Iterator[tuple[str, Any]]]:
    try:
        log = load_json(path.read_bytes(), str(path))
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from error
    samples = part(log, "samples", default=[])
    if part(log, "eval", "model") is None or not isinstance(samples, list):
        raise TableError(f"{path} is no log of inspect_ai: it has no eval.model, or no list of samples")
    return log, ((f"sample {row}", sample) for row, sample in enumerate(samples))


def _packed(path: Path) -> tuple[Any, Iterator[tuple[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise TableError(f"{path} is no log of inspect_ai: {error}") from error
    # The header is written last; a log of a run that did not end has the start only.
    head = next((name for name in ("header.json", "_journal/start.json") if name in members), None)
    if head is None:
        raise TableError(f"{path} is no log of inspect_ai: it has no header.json")
    names = [name for name in members if name.startswith("samples/") and name.endswith(".json")]

    def read(name: str) -> Any:
        return load_json(_unpacked(path, members[name]), f"{path}: {name}")

    return read(head), ((name, read(name)) for name in names)


def _unpacked(path: Path, info: zipfile.ZipInfo) -> bytes:
    place = f"{path}: {info.filename}"
    if info.file_size > _MOST:
        raise TableError(f"{place} has {info.file_size} bytes unpacked; at most {_MOST} are read")
    try:
        if info.compress_type == _ZSTD:
            with path.open("rb") as file:
                file.seek(info.header_offset)
                name_size, extra_size = struct.unpack("<26x2H", file.read(30))
                file.seek(name_size + extra_size, 1)
                packed = file.read(info.compress_size)
            body: bytes = pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read(info.file_size)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(info) as member:
                body = member.read(info.file_size)
    except (OSError, ValueError, struct.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise TableError(f"{place} cannot be unpacked: {error}") from error
    return body


def inspect_log(
    samples: Sequence[Stored],
    questions: Mapping[str, Question],
    messages: Mapping[str, Messages],
    settings: Settings,
    created: str,
) -> dict[str, Any]:
    """Return the log (version 2, JSON) of samples of one model and one set of parameters.

    Args:
        samples: all of one model and parameters.
        questions: by fingerprint of the problem.
        messages: what was sent, by fingerprint of the problem, where that is known.
        settings: what they were drawn with.
        created: ISO 8601, with the zone.
    """
    first = samples[0]
    ids = list(dict.fromkeys(sample.problem_id for sample in samples))
    config = {
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
    }
    config = {name: value for name, value in config.items() if value is not None}
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "created": created,
            "task": "escalade",
            "task_id": first.job or "escalade",
            "run_id": first.key.model,
            "dataset": {"name": "escalade", "samples": len(ids), "sample_ids": ids, "shuffled": False},
            "model": first.model_name,
            "model_generate_config": config,
            "config": {"epochs": max(sample.index for sample in samples) + 1},
        },
        "plan": {"name": "plan", "steps": [], "config": config},
        "stats": {"started_at": created, "completed_at": created},
        "samples": [
            _sample(sample, questions[sample.key.problem], messages.get(sample.key.problem)) for sample in samples
        ],
    }


def _sample(sample: Stored, question: Question, messages: Messages | None) -> dict[str, Any]:
    made = sample.generation
    answer = {"role": "assistant", "content": made.text or made.answer or "", "source": "generate"}
    prompt, completion = made.prompt_tokens, made.completion_tokens
    output: dict[str, Any] = {
        "model": sample.model_name,
        "choices": [{"message": answer, "stop_reason": "max_tokens" if made.finish_reason == "length" else "stop"}],
    }
    if prompt is not None and completion is not None:
        output["usage"] = {
            "input_tokens": prompt - (made.cached_tokens or 0),
            "output_tokens": completion,
            "total_tokens": prompt + completion,
            "input_tokens_cache_read": made.cached_tokens,
            "reasoning_tokens": made.reasoning_tokens,
        }
    if made.seconds is not None:
        output["time"] = made.seconds
    sent = [{"role": role, "content": content} for role, content in messages or ()]
    return {
        "id": sample.problem_id,
        "epoch": sample.index + 1,
        "input": question.text,
        "target": question.gold or "",
        "messages": [*sent, answer] if sent else [],
        "output": output,
        "metadata": {SEED: sample.seed, LOGPROB: made.mean_logprob},
    }
