"""Traces, received as a collector would: over HTTP, in OpenTelemetry's protocol."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from escalade.gateway.gateway import Watcher
from escalade.gateway.tracing import Tracing
from escalade.testing import ScriptedEngine, answering, pool_of
from tests.gateway.served import CHAT, asking, served

POOL = pool_of("S", "L", prices=["1", "10"], max_tokens=20)
ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(HTTPServer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *said: object) -> None:
        """Nothing to say."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def values(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_request_is_a_span_below_its_caller_and_its_samples_are_spans_below_it(collector: Collector) -> None:
    engine = ScriptedEngine(answering({"S": ["1", "2", "3"], "L": ["391"]}))

    async def go(tracing: Watcher) -> None:
        async with served(POOL, engine, watchers=[tracing]) as server:
            body = asking("mv_cascade_S_k3_t0.7_L_k1_t0.0", "How many swans?")
            reply = await server.client.post(CHAT, json=body, headers={"traceparent": ABOVE})
            assert reply.status_code == 200

    with Tracing(f"http://127.0.0.1:{collector.server_port}/v1/traces") as tracing:
        asyncio.run(go(tracing))
    (root,) = [span for span in collector.spans if span.name.startswith("chat")]
    samples = [span for span in collector.spans if span.name.startswith("sample")]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == tuple(ABOVE.split("-")[1:3])
    assert {span.parent_span_id for span in samples} == {root.span_id}
    assert {span.name for span in samples} == {"sample S", "sample L"}
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano for span in samples)
    facts = values(root)
    assert facts["gen_ai.request.model"] == "mv_cascade_S_k3_t0.7_L_k1_t0.0"
    assert (facts["gen_ai.response.model"], facts["escalade.status"], facts["escalade.tiers"]) == ("L", "last_tier", 2)
    assert facts["gen_ai.usage.output_tokens"] == sum(values(span)["gen_ai.usage.output_tokens"] for span in samples)
    assert "swans" not in str(collector.spans)


def test_what_fails_is_an_error_and_a_collector_that_is_not_there_stops_nobody(collector: Collector) -> None:
    collector.server_close()
    engine = ScriptedEngine(answering({"S": ["1"]}))

    async def go(tracing: Watcher) -> None:
        async with served(POOL, engine, watchers=[tracing]) as server:
            assert (await server.chat("S")).status_code == 200
            assert (await server.chat("L")).status_code == 502

    with Tracing(f"http://127.0.0.1:{collector.server_port}/v1/traces") as tracing:
        asyncio.run(go(tracing))
