"""The OpenAPI document of the API, from the functions and records behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_origin

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results.web.api.docstrings import text_of
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint, Parameter
from cadasta.workertoolbox.results.web.api.schemas import Schema, Schemas
from cadasta.workertoolbox.results.web.problems import Problem
from cadasta.workertoolbox.results.web.site import VERSION

_TEXT = """\
What the database knows about the tasks of a Celery fleet. Nothing can be changed.

The objects are those that the commands print with `--json`. Instants are in ISO 8601
with a time zone, durations in seconds. Times without an offset in parameters are in
UTC. An error is a problem document (RFC 9457) whose `detail` says what to change.
"""

#: What the statuses of errors mean.
_ERRORS = {
    400: "A parameter is unknown or malformed",
    401: "The app needs a login, and the token is missing or wrong",
    404: "Nothing has this id",
    429: "Too many wrong tokens came from this address",
    503: "The database cannot be reached, or its tables are too old",
    504: "The database needed too long; the request must be narrower",
}


def make_document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of endpoints, without the address of a server."""
    schemas = Schemas()
    paths = {each.path: {"get": _operation(each, schemas)} for each in endpoints}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "workertoolbox",
            "description": _TEXT,
            "version": VERSION,
            "license": {"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
        },
        "paths": paths,
        # Whether the app needs a login is not known here.
        "security": [{}, {"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(schemas.components.items())),
            "responses": {
                str(status): _response(
                    text, schemas.of(Problem), "application/problem+json"
                )
                for status, text in _ERRORS.items()
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: Schemas) -> Schema:
    summary, _, text = text_of(endpoint.function).partition("\n\n")
    parameters = endpoint.parameters.values()
    statuses = [s for s in _ERRORS if s != 404 or any(p.in_path for p in parameters)]
    answer = _response(summary, _answer(endpoint.returns, schemas), "application/json")
    return {
        "operationId": endpoint.name,
        "summary": summary,
        **({"description": text} if text else {}),
        "parameters": [_parameter(each) for each in parameters],
        "responses": {
            "200": answer,
            **{str(s): {"$ref": f"#/components/responses/{s}"} for s in statuses},
        },
    }


def _answer(returns: Any, schemas: Schemas) -> Schema:
    if get_origin(returns) is None and issubclass(returns, JsonRecord):
        return schemas.of(returns)
    items = schemas.of(returns)
    return {"type": "object", "required": ["items"], "properties": {"items": items}}


def _parameter(parameter: Parameter) -> Schema:
    schema: Mapping[str, Any] = parameter.kind.schema()
    is_optional = parameter.default is not None and not parameter.in_path
    return {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "query",
        "required": parameter.in_path,
        "description": parameter.text,
        "schema": {
            **schema,
            **({"default": parameter.default} if is_optional else {}),
        },
    }


def _response(text: str, schema: Schema, media_type: str) -> Schema:
    return {"description": text, "content": {media_type: {"schema": schema}}}
