"""Traces: a span for each request and, below it, one for each request to an engine, sent by OpenTelemetry's protocol.

Names of attributes are those of its conventions for generative AI. No prompt and no answer is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from escalade import __version__
from escalade.climb import Answered
from escalade.errors import SettingError
from escalade.gateway.gateway import Exchange, status_of

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise SettingError(f"traces need {error.name}: pip install 'escalade[telemetry]'") from error

_ENDS = {"sample", "cancelled", "failed"}


class Tracing:
    """Makes spans of requests and sends them; a watcher of a gateway, used as a context manager.

    Args:
        endpoint: the address that takes spans, as in http://127.0.0.1:4318/v1/traces. Nothing else is asked.
    """

    def __init__(self, endpoint: str) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise SettingError(f"--otlp is {endpoint!r}: give an address, as in http://127.0.0.1:4318/v1/traces")
        resource = Resource({"service.name": "escalade", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("escalade", __version__)
        self._requests: dict[str, Span] = {}
        self._samples: dict[tuple[Any, ...], Span] = {}

    def begun(self, exchange: Exchange) -> None:
        """A request was admitted: its span begins, below the one that its headers name."""
        above = TraceContextTextMapPropagator().extract(dict(exchange.headers))
        facts: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": exchange.body.model,
            "escalade.route": str(exchange.plan.route),
            "escalade.request": exchange.id,
        }
        name = f"chat {exchange.body.model}"
        self._requests[exchange.id] = self._tracer.start_span(name, above, SpanKind.SERVER, facts)

    def done(self, exchange: Exchange, item: Answered) -> None:
        """A request is over: its span ends."""
        span = self._requests.pop(exchange.id)
        used, outcome = exchange.used, item.outcome
        span.set_attribute("gen_ai.usage.input_tokens", used.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", used.completion_tokens)
        span.set_attribute("escalade.status", status_of(exchange, item))
        span.set_attribute("escalade.tiers", len(item.tiers))
        if outcome.decided_by is not None:
            span.set_attribute("gen_ai.response.model", item.tiers[outcome.decided_by].tier.model)
        if outcome.confidence is not None:
            span.set_attribute("escalade.confidence", outcome.confidence)
        if item.cost.usd is not None:
            span.set_attribute("escalade.cost_usd", float(item.cost.usd))
        if outcome.status.value == "error":
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """A request to an engine begins or ends."""
        if name != "sent" and name not in _ENDS:
            return
        place = facts["problem"], facts["tier"], facts["index"]
        if name == "sent":
            above = self._requests.get(facts["problem"])
            if above is not None:
                span = self._tracer.start_span(
                    f"sample {facts['model']}", set_span_in_context(above), SpanKind.CLIENT, _of_sample(facts)
                )
                self._samples[place] = span
        elif (ended := self._samples.pop(place, None)) is not None:
            if (tokens := facts.get("tokens")) is not None:
                ended.set_attribute("gen_ai.usage.output_tokens", tokens)
            if name != "sample":
                ended.set_status(Status(StatusCode.ERROR, name))
            ended.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._provider.shutdown()


def _of_sample(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "gen_ai.request.model": facts["model"],
        "escalade.tier": facts["tier"],
        "escalade.index": facts["index"],
    }
