"""A schema fuzzer against the document that the server itself gives: no answer is a 5xx, all are as documented."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks

from escalade.testing import ScriptedEngine, answering, pool_of
from tests.gateway.served import served_apart

POOL = pool_of("S", "L", prices=["1", "10"], max_tokens=20, route="mv_cascade_S_k4_t0.7_L_k1_t0.0")
CHECKS = [checks.not_a_server_error]
ANSWERED = ("/v1/chat/completions", "/v1/completions")


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine(answering({"S": ["1", "2", "3", None], "L": ["1"]}))


@pytest.fixture(scope="module")
def schema(engine: ScriptedEngine) -> Iterator[Any]:
    with served_apart(POOL, engine) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("path", [*ANSWERED, "/v1/models", "/v1/models/{name}", "/live", "/metrics", "/health"])
def test_no_request_is_answered_with_a_5xx(schema: Any, engine: ScriptedEngine, path: str, mode: str) -> None:
    asked = path in ANSWERED
    operation = schema[path]["POST" if asked else "GET"]
    if mode == "negative" and not asked:
        pytest.skip("nothing to get wrong: it takes no body, and any name")
    before = len(engine.requests)

    @settings(
        max_examples=60 if asked else 15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def whole(case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = "auto"  # a name that is made up is mostly a 404
            if mode == "positive":  # what a document cannot say: these do not go with a cascade, and who speaks last
                for field in ("n", "temperature", "top_p", "stream_options", "max_completion_tokens", "escalade"):
                    case.body.pop(field, None)
                if "messages" in case.body:
                    case.body["messages"][-1:] = [{"role": "user", "content": "1 + 1?"}]
        reply = case.call(timeout=20)
        assert reply.status_code < 500, reply.text
        documented = operation.definition.raw["responses"]
        assert str(reply.status_code) in documented, reply.text
        case.validate_response(reply, checks=CHECKS)

    whole()
    if asked and mode == "positive":
        assert len(engine.requests) > before, "some of what the document allows is answered"
