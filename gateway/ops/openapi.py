"""The description of the ops listener, made from its table: an OpenAPI 3.1 document.

As `gateway.openapi` for the API: rows say what is asked and answered, Structs what it looks like.
What goes wrong is one response for all, problem details whose codes are listed with each row.
"""

import inspect
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.answer import JSON, PROBLEM
from gateway.endpoint import numbers_in
from gateway.errors import Problem
from gateway.ops.errors import OPS_CODES, OpsCode
from gateway.ops.row import Row
from gateway.schemas import Json, plain, schema_name, tidied_schema, without_null

_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = """\
How operators and their tools look at a running node. All but probes, and logging in, want a
session: `Authorization: Bearer TOKEN`. What is asked for in a session is in the audit log before
it is answered."""
_GUARDED: Final = (OpsCode.NO_SESSION, OpsCode.RIGHT_MISSING, OpsCode.AUDIT_UNAVAILABLE)


def document(rows: Iterable[Row], version: str) -> Json:
    """Return the description of these rows, ready to be encoded as JSON.

    Args:
        version: of the program.
    """
    rows = tuple(rows)
    types: list[Any] = [Problem]
    for row in rows:
        types += _types(row)
        types += [each for each in (row.body, row.answers) if each is not None]
    made, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = {repr(type_): tidied_schema(each) for type_, each in zip(types, made, strict=True)}
    paths: dict[str, Json] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Piaohao, operations", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {
                schema_name(name): tidied_schema(each) for name, each in sorted(components.items())
            },
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(row: Row) -> list[Any]:
    return [field.type for field in _asked(row)]


def _asked(row: Row) -> list[msgspec.structs.FieldInfo]:
    """Return the fields that path and query give."""
    in_path = numbers_in(row.path)
    fields = msgspec.structs.fields(row.request)
    return [field for field in fields if row.body is None or field.name in in_path]


def _operation(row: Row, schemas: Json) -> Json:
    about = plain(row.about)
    right = "Anyone may ask." if row.right is None else f"For roles with the right {row.right}."
    content = {"type": "string"} if row.answers is None else schemas[repr(row.answers)]
    success = {"description": "As asked.", "content": {row.media_type: {"schema": content}}}
    codes = (*(() if row.right is None else _GUARDED), *row.codes)
    told = "\n".join(f"- `{code}`: {OPS_CODES[code].title}" for code in codes)
    operation: Json = {
        "operationId": row.name,
        "summary": re.split(r"[.;:](?:\s|$)", about, maxsplit=1)[0],
        "description": f"{about}\n\n{right}",
        "security": [] if row.right is None else [{"session": []}],
        "parameters": _parameters(row, schemas),
        "responses": {
            str(row.status): success,
            **{str(status): success for status in row.also},
            "default": {
                "description": told or "The request is refused.",
                "content": {PROBLEM: {"schema": schemas[repr(Problem)]}},
            },
        },
    }
    if row.body is not None:
        required = any(each.required for each in msgspec.structs.fields(row.body))
        schema = schemas[repr(row.body)]
        operation["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
    return operation


def _parameters(row: Row, schemas: Json) -> list[Json]:
    """Return the parameters of a row, with what its request's docstring says of them."""
    in_path = numbers_in(row.path)
    doc = inspect.getdoc(row.request) or ""
    said = dict(re.findall(r"^    (\w+): (.+)$", doc, re.MULTILINE))
    found: list[Json] = []
    for field in _asked(row):
        parameter: Json = {
            "name": field.encode_name,
            "in": "path" if field.name in in_path else "query",
            "required": field.required,
            "schema": without_null(schemas[repr(field.type)]),
        }
        if field.name in said:
            parameter["description"] = said[field.name]
        found.append(parameter)
    return sorted(found, key=lambda each: str(each["in"]) != "path")
