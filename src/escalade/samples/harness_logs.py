"""Samples of lm-evaluation-harness (`--log_samples`): `samples_TASK_DATE.jsonl`, with `results_DATE.json` beside them.

What is read of a line: `doc_id`, `doc`, `target`, `arguments` (prompt and generation settings), `resps` (a list of a
problem's generations, within a list of requests) and `filter`; of the results `model_name`. A problem has a line per
filter, all with the same generations. https://github.com/EleutherAI/lm-evaluation-harness
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from escalade.errors import TableError
from escalade.samples.foreign import (
    SEED,
    Foreign,
    Messages,
    Settings,
    Skipped,
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

TOOL = "lm-eval"
_QUESTION = ("question", "problem", "query", "prompt", "input")
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def is_harness_log(path: Path) -> bool:
    """Whether a file is of JSON lines that have the fields of lm-eval."""
    if path.suffix != ".jsonl":
        return False
    with path.open("rb") as lines:
        first = lines.readline(1 << 24)
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"doc_id", "arguments", "resps"} <= set(record)


def read_harness(path: Path) -> Iterator[Foreign | Skipped]:
    """Read the generations of a file of samples; of a line that repeats another's under a further filter, say so.

    Raises:
        TableError: the file is no such file; a line holds likelihoods in the place of generations.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from error
    model = _model(path)
    seen: dict[str, str] = {}
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        record = load_json(line, place)
        ident = one_text(part(record, "doc_id"))
        if ident is None:
            raise TableError(f"{place}: this is no sample of lm-eval: it lacks doc_id; is it another kind of file?")
        digest = hashlib.sha256(repr((part(record, "arguments"), part(record, "resps"))).encode("utf-8", "replace"))
        if seen.get(ident) == digest.hexdigest():
            why = f"a further filter ({part(record, 'filter')}) of generations that are there already"
            yield Skipped(f"{place} (doc_id {ident})", why)
            continue
        if ident in seen:
            raise TableError(f"{place}: doc_id {ident} stands twice, with different generations: split the file")
        seen[ident] = digest.hexdigest()
        yield from _foreign(f"{place} (doc_id {ident})", ident, record, model, path.stem)


def _foreign(place: str, ident: str, record: Any, model: str | None, run: str) -> Iterator[Foreign]:
    requests = part(record, "resps", default=[])
    prompt, given = _arguments(part(record, "arguments"))
    if not isinstance(given, dict) or not isinstance(requests, list) or len(requests) != 1:
        raise TableError(
            f"{place}: {len(requests) if isinstance(requests, list) else 0} requests, the first with {given!r:.40} for "
            "settings: only tasks that generate (output_type generate_until) have generations; leave this file out"
        )
    texts = requests[0] if isinstance(requests[0], list) else [requests[0]]
    doc = part(record, "doc")
    messages = _messages(prompt)
    question = next((doc[name] for name in _QUESTION if isinstance(part(doc, name), str)), None)
    if question is None and isinstance(prompt, str) and messages is None:
        question = prompt
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TableError(f"{place}: generation {index} is {text!r:.40}, not a text: leave this file out")
        identity = json.dumps([run, ident, index, text])
        yield Foreign(
            place=place,
            tool=TOOL,
            origin=run,
            identity=identity,
            model=model,
            problem_id=ident,
            messages=messages,
            question=question,
            gold=one_text(part(record, "target")),
            index=index,
            settings=settings_of(given),
            generation=Generation(text, finish_reason="unknown"),
            complete=False,
            seed=seed_of(part(record, SEED, index)),
        )


def _arguments(value: Any) -> tuple[Any, Any]:
    """Prompt and generation settings of the first request: as written to a file, or as they are in Python."""
    first = part(value, "gen_args_0") or part(value, 0)
    if isinstance(first, dict):
        return first.get("arg_0"), first.get("arg_1")
    return part(first, 0), part(first, 1)


def _messages(prompt: Any) -> Messages | None:
    """The messages that a chat model was sent: a list, or a JSON text of one, perhaps within a list."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt.startswith("["):
        try:
            prompt = json.loads(prompt)
        except (ValueError, RecursionError):
            return None
    return messages_of(prompt)


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return what generation settings of lm-eval say; without sampling (`do_sample` false) the temperature is 0."""
    stop = part(given, "until", default=[])
    greedy = given.get("do_sample") in (False, "false", "False")
    return Settings(
        temperature=0.0 if greedy else number_of(part(given, "temperature")),
        max_tokens=next((count for name in _LIMITS if (count := count_of(part(given, name))) is not None), None),
        top_p=number_of(part(given, "top_p")),
        top_k=count_of(part(given, "top_k")),
        stop=tuple(map(str, stop if isinstance(stop, list) else [stop])),
    )


def _model(path: Path) -> str | None:
    """The model's name, from the results that were written with the samples."""
    date = path.stem.rpartition("_")[2]
    results = path.with_name(f"results_{date}.json")
    if not date or not results.exists():
        return None
    name = part(load_json(results.read_bytes(), str(results)), "model_name")
    return name if isinstance(name, str) and name else None


def harness_lines(
    samples: Sequence[Stored],
    questions: Mapping[str, Question],
    messages: Mapping[str, Messages],
    settings: Settings,
) -> Iterator[dict[str, Any]]:
    """Give a line per problem, as lm-eval writes it, of samples of one model and one set of parameters.

    Args:
        samples: all of one model and parameters, in the order of problems and indexes.
        questions: by fingerprint of the problem.
        messages: what was sent, by fingerprint of the problem, where that is known.
        settings: what they were drawn with.
    """
    given: dict[str, Any] = {
        "until": list(settings.stop),
        "do_sample": bool(settings.temperature),
        "temperature": settings.temperature,
        "max_gen_toks": settings.max_tokens,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
    }
    given = {name: value for name, value in given.items() if value is not None}
    by_problem: dict[str, list[Stored]] = {}
    for sample in samples:
        by_problem.setdefault(sample.key.problem, []).append(sample)
    used: set[str] = set()
    for fingerprint, drawn in by_problem.items():
        ident = drawn[0].problem_id
        if ident in used:  # two texts of one id, of two data sets
            ident = f"{ident}-{fingerprint[:8]}"
        used.add(ident)
        question, sent = questions[fingerprint], messages.get(fingerprint)
        prompt = question.text
        if sent is not None:
            prompt = json.dumps([{"role": role, "content": content} for role, content in sent], ensure_ascii=False)
        doc = {"id": ident, "question": question.text, "answer": question.gold or ""}
        texts = [sample.generation.text or sample.generation.answer or "" for sample in drawn]
        yield {
            "doc_id": ident,
            "doc": doc,
            "target": question.gold or "",
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": given}},
            "resps": [texts],
            "filtered_resps": texts[:1],
            "filter": "none",
            "metrics": [],
            SEED: [sample.seed for sample in drawn],
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(prompt),
            "target_hash": _hash(question.gold or ""),
        }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
