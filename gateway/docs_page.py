"""The page for people who read the API's description: plain HTML made from the document.

It has no script, asks nobody else for anything, and its one style sheet is part of it, allowed by
its hash (CSP 3, section 6.7.3). Everything that it says comes from the document, so whatever is
described is shown; all text is escaped, though none of it comes from callers.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

_STYLE: Final = (Path(__file__).parent / "static/docs.css").read_text("utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The page's Content-Security-Policy."""


def docs_page(document: Json) -> str:
    """Return the page that shows an OpenAPI document, all of it.

    Args:
        document: as `gateway.openapi.document` makes it.
    """
    info = document["info"]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    schemes = document["components"]["securitySchemes"]
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
            f'<nav><a href="#top"><b>{escape(info["title"])}</b></a> ',
            f'<span class="faint">{escape(info["version"])}</span>',
            *(_contents(tag, operations) for tag in document["tags"]),
            '<h2><a href="#signatures">Signatures</a></h2><h2><a href="#schemas">Schemas</a></h2>',
            f'</nav><main id="top"><h1>{escape(info["title"])} API</h1>',
            _prose(info["description"]),
            '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>',
            *(_section(document, tag, operations) for tag in document["tags"]),
            '<h2 id="signatures">Signatures</h2>',
            *(_scheme(name, scheme) for name, scheme in schemes.items()),
            '<h2 id="schemas">Schemas</h2>',
            *(_schema(name, schema) for name, schema in schemas.items()),
            "</main></html>",
        )
    )


def _of(tag: Json, operations: list[tuple[str, str, Json]]) -> Iterator[tuple[str, str, Json]]:
    return (each for each in operations if tag["name"] in each[2]["tags"])


def _contents(tag: Json, operations: list[tuple[str, str, Json]]) -> str:
    items = "".join(
        f'<li><a href="#{operation["operationId"]}">{escape(operation["operationId"])}</a></li>'
        for _, _, operation in _of(tag, operations)
    )
    return f"<h2>{escape(tag['name'].capitalize())}</h2><ul>{items}</ul>"


def _section(document: Json, tag: Json, operations: list[tuple[str, str, Json]]) -> str:
    shown = "".join(_operation(document, *each) for each in _of(tag, operations))
    title = escape(tag["name"].capitalize())
    return f"<section><h2>{title}</h2>{_prose(tag['description'])}{shown}</section>"


def _operation(document: Json, method: str, path: str, operation: Json) -> str:
    method = method.upper()
    parts = [
        f'<article id="{operation["operationId"]}"><header><h3><span class="{method}">{method}',
        f'</span> <code>{escape(path)}</code></h3><code class="faint">',
        f"{escape(operation['operationId'])}</code></header><div>",
        _prose(operation["description"]),
    ]
    parameters = [_resolved(document, each) for each in operation["parameters"]]
    if parameters:
        rows = (
            (each["name"], each["schema"], each.get("description", ""), each.get("required"))
            for each in parameters
        )
        parts.append(f"<h4>Parameters</h4>{_fields(rows)}")
    if "requestBody" in operation:
        body = operation["requestBody"]
        parts += [_content(document, f"Body{_optional(body)}", body["content"], opened=True)]
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            parts.append(_content(document, f"Answer {status}", response["content"]))
        elif status.startswith("1"):
            parts.append(f"<h4>Answer {status}: {escape(response['description'])}</h4>")
    parts += [_problems(document, operation["responses"]), "</div></article>"]
    return "".join(parts)


def _optional(body: Json) -> str:
    return "" if body["required"] else ", which may be left out"


def _content(document: Json, title: str, content: Json, *, opened: bool = False) -> str:
    """Show what a body looks like; one with a name is shown in place, its parts by reference."""
    parts = []
    for media_type, each in content.items():
        schema = each["schema"]
        whole = _resolved(document, schema)
        parts.append(f"<h4>{escape(title)}: {escape(media_type)}</h4><p>{_type(schema)}</p>")
        if opened and whole.get("properties"):
            parts.append(_properties(whole))
    return "".join(parts)


def _problems(document: Json, responses: Json) -> str:
    rows = []
    for status, response in responses.items():
        if not status.startswith(("1", "2")):
            text = _inline(_resolved(document, response)["description"]).replace("\n", "<br>")
            text = re.sub(r"(^|<br>)- ", r"\1", text)
            rows.append(f'<tr><td class="bad">{status}</td><td colspan="2">{text}</td></tr>')
    count = f"{len(rows)} other answers"
    return f"<details><summary>{count}</summary><table>{''.join(rows)}</table></details>"


def _scheme(name: str, scheme: Json) -> str:
    return (
        f'<article id="signature-{name}"><header><h3>{escape(name.capitalize())}</h3></header>'
        f"<div>{_prose(scheme['description'])}</div></article>"
    )


def _schema(name: str, schema: Json) -> str:
    shown = _properties(schema) if schema.get("properties") else f"<p>{_type(schema)}</p>"
    return (
        f'<article id="schema-{name}"><header><h3><code>{escape(name)}</code></h3></header>'
        f"<div>{_prose(schema.get('description', ''))}{shown}</div></article>"
    )


def _properties(schema: Json) -> str:
    required = schema.get("required", ())
    return _fields(
        (name, each, each.get("description", ""), name in required)
        for name, each in schema["properties"].items()
    )


def _fields(rows: Iterable[tuple[str, Json, str, bool | None]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td>"
        f"<td>{'' if required else 'Optional. '}{_inline(text)}</td></tr>"
        for name, schema, text, required in rows
    )
    return f"<table>{cells}</table>"


def _type(schema: Json) -> str:
    """Return a schema in a line: a name to follow, or a type and its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{name}"><code>{escape(name)}</code></a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    type_ = str(schema.get("type", "anything"))
    if type_ == "array":
        return f"array of {_type(schema.get('items', {}))}{_bounds(schema)}"
    if schema.get("additionalProperties"):
        return f"object of {_type(schema['additionalProperties'])}{_bounds(schema)}"
    return f"{escape(schema.get('format', type_))}{_bounds(schema)}"


_BOUNDS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "&gt; {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {}",
    "maxProperties": "at most {}",
    "default": "default {}",
}


def _bounds(schema: Json) -> str:
    found = [
        form.format(escape(f"{schema[key]:,}" if type(schema[key]) is int else str(schema[key])))
        for key, form in _BOUNDS.items()
        if key in schema and schema[key] is not None
    ]
    if "pattern" in schema:
        found.append(f"<code>{escape(schema['pattern'])}</code>")
    return f' <span class="faint">{", ".join(found)}</span>' if found else ""


def _resolved(document: Json, part: Json) -> Json:
    found: Any = part
    while "$ref" in found:
        steps = found["$ref"].removeprefix("#/").split("/")
        found = document
        for step in steps:
            found = found[step]
    assert isinstance(found, dict)
    return found


def _prose(text: str) -> str:
    paragraphs = (each for each in text.split("\n\n") if each)
    return "".join(f"<p>{_inline(each)}</p>" for each in paragraphs)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
