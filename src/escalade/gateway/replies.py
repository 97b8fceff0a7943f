"""Replies: what is sent back, as plain values in the shapes of OpenAI's API, and the receipt beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from escalade.cascade.outcome import Look, Outcome, Status
from escalade.climb import Answered
from escalade.errors import RequestError
from escalade.gateway.bodies import ChatBody
from escalade.gateway.gateway import Exchange
from escalade.rows import trace, winning_sample
from escalade.samples.sample import Sample

PIECE = 48
"""Characters of a piece of a streamed text, at least; it ends behind a word."""
_TYPES = {401: "authentication_error", 404: "not_found_error", 413: "invalid_request_error", 429: "rate_limit_error"}


def error_body(error: RequestError) -> dict[str, Any]:
    """Return an error as clients of OpenAI's API read it."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}


def chosen(exchange: Exchange, item: Answered) -> list[Sample]:
    """Return the samples whose texts are the choices: the winning one, or each that was asked for.

    Where no answer was found in any sample, the first one of the last tier stands for what was said.
    """
    if exchange.plan.task.own.choices > 1:
        return list(item.tiers[0].samples) if item.tiers else []
    winner = winning_sample(item)
    if winner is None:
        winner = next((use.samples[0] for use in reversed(item.tiers) if use.samples), None)
    return [] if winner is None else [winner]


def reply(exchange: Exchange, item: Answered, created: int, *, receipt: bool) -> dict[str, Any]:
    """Return the whole body of a reply that is not streamed."""
    chat = isinstance(exchange.body, ChatBody)
    choices = []
    for index, sample in enumerate(chosen(exchange, item)):
        text = sample.generation.text or ""
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if chat else {"text": text}
        choices.append({"index": index, **said, "logprobs": None, "finish_reason": _finish(sample)})
    body = {**_head(exchange, created, chunk=False), "choices": choices, "usage": usage(item)}
    return body | {"escalade": receipt_of(exchange, item)} if receipt else body


def chunks(exchange: Exchange, item: Answered, created: int, *, receipt: bool) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a stream, from the first with text on; the receipt is in the last one that has a choice."""
    chat = isinstance(exchange.body, ChatBody)
    head = _head(exchange, created, chunk=True)
    samples = chosen(exchange, item)
    for index, sample in enumerate(samples):
        for number, piece in enumerate(pieces(sample.generation.text or "")):
            role = {"role": "assistant"} if number == 0 else {}
            part = {"delta": {**role, "content": piece}} if chat else {"text": piece}
            yield {**head, "choices": [{"index": index, **part, "logprobs": None, "finish_reason": None}]}
    for index, sample in enumerate(samples):
        said: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        last = {**head, "choices": [{"index": index, **said, "logprobs": None, "finish_reason": _finish(sample)}]}
        if receipt and index == len(samples) - 1:
            last["escalade"] = receipt_of(exchange, item)
        yield last
    options = exchange.body.stream_options
    if options is not None and options.include_usage:
        yield {**head, "choices": [], "usage": usage(item)}


def progress(exchange: Exchange, tiers: Sequence[Mapping[str, Any]], created: int) -> dict[str, Any]:
    """Return a chunk without choices that says how a request climbs."""
    facts = {"object": "progress", "id": exchange.id, "route": str(exchange.plan.route), "tiers": list(tiers)}
    return {**_head(exchange, created, chunk=True), "choices": [], "escalade": facts}


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces that end behind a word; one empty piece where there is nothing.

    Example:
        >>> [len(piece) for piece in pieces("word " * 20)], list(pieces(""))
        ([50, 50], [''])
    """
    start = 0
    while len(text) - start > PIECE:
        end = next((at for at in range(start + PIECE, len(text)) if text[at - 1].isspace()), len(text))
        yield text[start:end]
        start = end
    if start < len(text) or not text:
        yield text[start:]


def usage(item: Answered) -> dict[str, Any]:
    """Return the tokens of all tiers: of samples, of cancelled requests and of those that broke off."""
    usages = [each for use in item.tiers for each in use.usages]
    reasoning = sum(s.generation.reasoning_tokens or 0 for use in item.tiers for s in use.samples)
    prompt, completion = (sum(each.prompt or 0 for each in usages), sum(each.completion or 0 for each in usages))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(each.cached or 0 for each in usages)},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def receipt_of(exchange: Exchange, item: Answered) -> dict[str, Any]:
    """Return the receipt: who decided, how sure, by which votes, and what it cost."""
    outcome, dish = item.outcome, exchange.plan.dish
    owner = outcome.decided_by
    look = _deciding(outcome)
    return {
        "object": "receipt",
        "id": exchange.id,
        "model": exchange.body.model,
        "route": str(item.route),
        "executed": None if item.executed is None else str(item.executed),
        "status": outcome.status.value,
        "answer": outcome.answer,
        "decided_by": None if owner is None else item.tiers[owner].tier.model,
        "confidence": outcome.confidence,
        "decision": None if look is None else look.decision.value,
        "reason": None if look is None else look.reason,
        "tiers_executed": len(item.tiers),
        "tiers": trace(item),
        "samples": {"used": sum(len(use.samples) for use in item.tiers), "new": item.fresh},
        "cost_usd": _usd(item.cost.usd),
        "new_cost_usd": _usd(item.fresh_cost.usd),
        "charged_usd": _usd(exchange.used.charged) if exchange.ticket.key is not None else None,
        "scoring_cost_usd": _usd(item.scoring_cost.usd),
        "scores": dict(item.problem.scores),
        "seconds": exchange.seconds,
        "policy": None if dish is None else dish.name,
        "certificate": None if dish is None else dish.certificate,
        "mismatches": [] if dish is None else list(dish.mismatches),
        "notes": list(outcome.notes),
    }


def _deciding(outcome: Outcome) -> Look | None:
    """The look that ended the problem: the last one there was; of a fall-back, the last of the tier that answers."""
    traces = outcome.tiers
    if outcome.status is Status.FALLBACK and outcome.decided_by is not None:
        traces = traces[: outcome.decided_by + 1]
    return next((trace.looks[-1] for trace in reversed(traces) if trace.looks), None)


def receipt_headers(exchange: Exchange, item: Answered) -> dict[str, str]:
    """Return the receipt's headline as headers."""
    outcome, dish = item.outcome, exchange.plan.dish
    owner = outcome.decided_by
    found = {
        "route": str(item.route),
        "status": outcome.status.value,
        "tiers": str(len(item.tiers)),
        "decided-by": None if owner is None else item.tiers[owner].tier.model,
        "confidence": None if outcome.confidence is None else f"{outcome.confidence:.6g}",
        "cost-usd": _usd(item.cost.usd),
        "certificate": None if dish is None else dish.certificate,
    }
    return {f"x-escalade-{name}": value for name, value in found.items() if value is not None}


def event_line(body: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + json_bytes(body) + b"\n\n"


def json_bytes(body: Any) -> bytes:
    """Return JSON in UTF-8; half a surrogate pair, as a model cut off within a sign may give, is escaped."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def _head(exchange: Exchange, created: int, *, chunk: bool) -> dict[str, Any]:
    if isinstance(exchange.body, ChatBody):
        kind = "chat.completion.chunk" if chunk else "chat.completion"
    else:
        kind = "text_completion"
    return {"id": exchange.id, "object": kind, "created": created, "model": exchange.body.model}


def _finish(sample: Sample) -> str:
    return "length" if sample.generation.finish_reason == "length" else "stop"


def _usd(amount: Any) -> str | None:
    return None if amount is None else f"{amount:f}"
