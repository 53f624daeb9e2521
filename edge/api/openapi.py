"""The OpenAPI document: the table of operations and the shapes, written out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from edge.api.operations import OPERATIONS, PREFIX, Operation
from edge.api.shapes import Error

# Errors that every operation can answer with.
_ERRORS = {
    400: "what was asked cannot be",
    401: "the token is missing or nobody's, or not that of who is to act",
    403: "who asks may not",
    404: "there is no such channel, user or message",
    413: "the body is too large",
    429: "too often",
    503: "chat is not available at the moment; try again",
}
_CONFLICTS = {
    "addVip": {409: "there are VIPs enough", 422: "the user cannot be one, or is"},
    "removeVip": {422: "the user is none"},
    "raid": {409: "another one is under way"},
}
_VERSION = "1.0"  # of the API
_REF = "#/components/schemas/{name}"
_HEADERS = {
    name: {"description": text, "schema": {"type": "integer"}}
    for name, text in (
        ("Ratelimit-Limit", "how many there may be in the window under way"),
        ("Ratelimit-Remaining", "how many more"),
        ("Ratelimit-Reset", "when it ends, UNIX seconds"),
    )
}
_LIMITS = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}


def document(operations: Iterable[Operation] = OPERATIONS) -> dict[str, Any]:
    listed = list(operations)
    queries: set[type] = {operation.query for operation in listed if operation.query}
    others: set[type] = {Error, *(kind for operation in listed for kind in (operation.body, operation.answer) if kind)}
    kinds = sorted(queries | others, key=lambda kind: kind.__name__)
    references, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    of = dict(zip(kinds, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        query = components[operation.query.__name__] if operation.query else {}
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _described(operation, query, of)
    kept = {name: schema for name, schema in components.items() if name not in {kind.__name__ for kind in queries}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallgrass control API",
            "version": _VERSION,
            "description": "Chat for programs, in the shapes of Twitch's Helix. What a user may do here is what its "
            "slash commands may do.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": kept,
            "responses": {str(status): _error(text, of[Error]) for status, text in _ERRORS.items()},
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the user's chat token, without oauth:"}
            },
        },
    }


def _described(operation: Operation, query: dict[str, Any], of: dict[type, Any]) -> dict[str, Any]:
    required = query.get("required", ())
    done: dict[str, Any] = {"description": "done", "headers": _LIMITS}
    if operation.answer is not None:
        done["content"] = {"application/json": {"schema": of[operation.answer]}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": _given(schema)}
            for name, schema in query.get("properties", {}).items()
        ],
        "responses": {
            str(operation.status): done,
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _ERRORS},
            **{str(status): _error(text, of[Error]) for status, text in _CONFLICTS.get(operation.name, {}).items()},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": of[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _error(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}, "headers": _LIMITS}


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a parameter: absent is not null."""
    some = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return some[0] if len(some) == 1 else {name: value for name, value in schema.items() if name != "default"}
