"""Describes routes and the shapes of their bodies as an OpenAPI document.

All of it comes from the routes themselves and their pydantic models. A docstring is the description of its field.
"""

import ast
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from guard_server import __version__
from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import ApiError, ErrorReply, WrongKey

_REF = "#/components/schemas/{model}"


def document(groups: Mapping[str, Sequence[DescribedRoute]]) -> dict[str, Any]:
    """The description as OpenAPI 3.1 has it.

    Args:
        groups: routes, by the servers that offer them.
    """
    routes = [route for group in groups.values() for route in group]
    used: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ErrorReply, "serialization")]
    for route in routes:
        used += [(reply, "serialization") for reply in route.replies]
        used += [(route.request, "validation")] if route.request else []
    refs, schema = models_json_schema(list(dict.fromkeys(used)), ref_template=_REF)
    schemas = schema["$defs"]
    for model, _ in used:
        for each in _with_its_parts(model):
            _describe(each, schemas.get(each.__name__, {}))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for servers, group in groups.items():
        for route in group:
            paths[route.path][route.method.lower()] = _operation(route, servers, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Qwen3Guard for Open WebUI: moderation routes",
            "version": __version__,
            "description": "In addition to what vLLM's server has itself. docs/api.md and docs/guard-stream.md explain "
            "the routes.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "If the server has a key."}
            },
        },
    }


def _operation(route: DescribedRoute, servers: str, refs: dict[Any, Any]) -> dict[str, Any]:
    replies = [refs[reply, "serialization"] for reply in route.replies]
    ok = _json_body(replies[0] if len(replies) == 1 else {"anyOf": replies})
    responses = {"200": {"description": "OK"} | ok}
    codes: dict[HTTPStatus, list[str]] = defaultdict(list)
    errors: tuple[type[ApiError], ...] = route.errors if route.is_open else (*route.errors, WrongKey)
    for error in errors:
        codes[error.status].append(error.code)
    for status, names in sorted(codes.items()):
        described = {"description": f"`{'` or `'.join(names)}`"}
        responses[str(int(status))] = described | _json_body(refs[ErrorReply, "serialization"])
    found: dict[str, Any] = {"summary": route.summary, "description": f"Offered by {servers}. {route.note}".strip()}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "schema": {"type": "string", "enum": list(values), "default": values[0]}}
        for name, values in route.query
    ]
    if "{id}" in route.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if route.is_open:
        found["security"] = []
    if parameters:
        found["parameters"] = parameters
    if route.request:
        found["requestBody"] = {"required": True} | _json_body(refs[route.request, "validation"])
    return found | {"responses": responses}


def _json_body(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _with_its_parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`model`, what it inherits from, and the models of its fields."""
    yield model
    for field in model.model_fields.values():
        for part in _models_in(field.annotation):
            yield from _with_its_parts(part)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _describe(model: type[BaseModel], schema: dict[str, Any]) -> None:
    """Put the docstrings of its fields into its schema."""
    for each in reversed(model.__mro__):
        if not issubclass(each, BaseModel) or each is BaseModel or issubclass(each, Enum):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            said = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else None
            if isinstance(said, str) and field.target.id in schema.get("properties", {}):
                schema["properties"][field.target.id]["description"] = inspect.cleandoc(said)
