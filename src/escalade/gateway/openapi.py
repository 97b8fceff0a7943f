"""The OpenAPI document: what the gateway takes and gives, made of the very models that read bodies."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic.json_schema import models_json_schema

from escalade import __version__
from escalade.gateway.bodies import ChatBody, CompletionBody

_ERRORS = {
    "400": "The request cannot be understood, or a field of it cannot be honoured.",
    "401": "No API key, or an unknown one.",
    "402": "The request's own budget was used up before there was an answer.",
    "403": "The key is no observer's.",
    "404": "No such model.",
    "408": "The body came too slowly, or the request's own deadline passed before there was an answer.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "421": "The request is for another host.",
    "429": "Too many requests, or a key's budget is used up; Retry-After says when to try again.",
    "502": "An engine failed.",
    "503": "An engine or the store is down; Retry-After says when to try again.",
    "504": "The server's limit of time passed before there was an answer.",
}
_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": _TEXT, "type": _TEXT, "param": {"type": ["string", "null"]}, "code": _TEXT},
        }
    },
}
_COUNT = {"type": "integer", "minimum": 0}
_USAGE = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
}
_RECEIPT = {
    "type": "object",
    "description": "The receipt: route, tiers, ballots, confidence, decision, cost. Off by X-Escalade-Receipt: off.",
    "required": ["id", "route", "status", "tiers", "cost_usd"],
    "properties": {"id": _TEXT, "route": _TEXT, "status": _TEXT, "cost_usd": {"type": ["string", "null"]}},
}


def document(*, keyed: bool) -> dict[str, Any]:
    """Return the document; `keyed` says whether API keys are asked for."""
    found = _document()
    return found | {"security": [{"key": []}]} if keyed else found


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    _, schemas = models_json_schema(
        [(ChatBody, "validation"), (CompletionBody, "validation")], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "escalade",
            "version": __version__,
            "description": "An OpenAI-compatible server in which a routing string is a model name.",
        },
        "paths": {
            "/v1/chat/completions": _post("chat", "ChatBody", "Answer the last user message of a conversation."),
            "/v1/completions": _post("complete", "CompletionBody", "Answer a prompt."),
            "/v1/models": _get(
                "models", "What is served: models, the pool's route, policies, strategies.", "401", "421"
            ),
            "/v1/models/{name}": _get("model", "One of them.", "401", "404", "421")
            | {"parameters": [{"name": "name", "in": "path", "required": True, "schema": {**_TEXT, "minLength": 1}}]},
            "/health": _get("health", "The process is alive.", secured=False),
            "/ready": _get("ready", "Requests are taken, and an engine at least is there.", "503", secured=False),
            "/metrics": _get("metrics", "Counters, for Prometheus.", "401", "403", "421", kind="text/plain"),
            "/live": _get("live", "What the page shows.", "401", "421"),
            "/openapi.json": _get("openapi", "This document.", secured=False),
            "/": _get("page", "The page.", kind="text/html", secured=False),
        },
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR, "Receipt": _RECEIPT, "Usage": _USAGE},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(name: str, body: str, summary: str) -> dict[str, Any]:
    whole = {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices", "usage"],
        "properties": {
            "id": _TEXT,
            "object": _TEXT,
            "created": {"type": "integer"},
            "model": _TEXT,
            "choices": {"type": "array", "items": {"type": "object", "required": ["index", "finish_reason"]}},
            "usage": {"$ref": "#/components/schemas/Usage"},
            "escalade": {"$ref": "#/components/schemas/Receipt"},
        },
    }
    stream = {"schema": {"type": "string", "description": "Server-sent events, the last of which is [DONE]."}}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": [
                {"name": "X-Escalade-Receipt", "in": "header", "schema": {"type": "string", "enum": ["on", "off"]}}
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
            },
            "responses": {
                "200": {
                    "description": "The answer.",
                    "content": {"application/json": {"schema": whole}, "text/event-stream": stream},
                },
                **{code: _error(code) for code in _ERRORS},
            },
        }
    }


def _get(name: str, summary: str, *errors: str, kind: str = "application/json", secured: bool = True) -> dict[str, Any]:
    schema = {"type": "object"} if kind == "application/json" else _TEXT
    answers = {"200": {"description": summary, "content": {kind: {"schema": schema}}}}
    for code in errors:
        # What is not ready says so in the shape of what is.
        answers[code] = answers["200"] if name == "ready" else _error(code)
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers}
    if not secured:
        operation["security"] = []
    return {"get": operation}


def _error(code: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": _ERRORS[code], "content": {"application/json": {"schema": schema}}}
