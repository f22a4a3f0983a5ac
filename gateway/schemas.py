"""The schemas of the API's description: JSON Schema 2020-12 of the Structs that the rows name.

msgspec makes them (`schema_components`); here they get what it cannot know: descriptions from
docstrings, the states of state machines, what names tell by their endings, and patterns as other
people's tools read them. Shared schemas are components, and every reference is to one of these.
"""

import re
from collections.abc import Mapping, Sequence
from inspect import isclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from actors import answers, states
from gateway.endpoint import Endpoint, numbers_in
from gateway.errors import Problem
from gateway.handlers.commands import CommandList
from gateway.series import ClockView

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"

_STATES: Final[Mapping[type[Struct], states.Machine]] = {
    answers.AccountView: states.ACCOUNT,
    answers.AgreementView: states.AGREEMENT,
    answers.AgreementChangeView: states.CHANGE,
    answers.LimitsChangeView: states.CHANGE,
    answers.FreezeView: states.FREEZE,
    answers.UnfreezeView: states.CHANGE,
    answers.TransferView: states.TRANSFER,
    answers.MerchantView: states.MERCHANT,
    answers.PaymentView: states.PAYMENT,
    answers.AuthorizationView: states.AUTHORIZATION,
    answers.OperationView: states.OPERATION,
    answers.RefundView: states.REFUND,
    answers.RemedyView: states.REMEDY,
}
"""Answers whose `state` or `status` is one of a state machine's."""

_FORMATS: Final = {"_at": "date-time", "_date": "date"}
"""How a field of an answer ends → its format: units stand last in names."""

_MORE: Final[Mapping[str, Json]] = {
    "CreateRefundBody": {"oneOf": [{"required": ["order_no"]}, {"required": ["hold_no"]}]},
}
"""Schema → what holds for several of its members at once."""

_FIELD: Final = r"^ *([a-z_, ]+): ((?:.|\n(?! *[a-z_, ]+: ))+)"
"""One entry of a docstring's section of attributes; several may share a text."""


def reference(name: str) -> str:
    """Return what refers to the component of that name."""
    return _REF.format(name=name)


def plain(doc: str) -> str:
    """Return a docstring's paragraphs, a line each; tables are for readers of the code."""
    doc = re.sub(r"\bNone\b", "null", doc.strip())
    paragraphs = [" ".join(each.split()) for each in re.split(r"\n\s*\n", doc)]
    return "\n\n".join(each for each in paragraphs if not each.startswith("==="))


class Schemas:
    """Schemas of all types that the handler table names; shared ones are components.

    Attributes:
        components: name → schema.
    """

    def __init__(self, rows: Sequence[Endpoint]) -> None:
        outcomes = {row.answers: None for row in rows if row.takes_slots and isclass(row.body)}
        types: list[Any] = [Problem, ClockView]
        for row in rows:
            types += [each for each in (row.answers, row.body) if each is not None]
            types += [field.type for field in _asked(row)]
        schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
        self.components = {
            schema_name(name): tidied_schema(each) for name, each in components.items()
        }
        self._schemas = {
            _key(type_): tidied_schema(each) for type_, each in zip(types, schemas, strict=True)
        }
        for name, more in _MORE.items():
            self.components[name].update(more)
        for view, machine in _STATES.items():
            properties = self.components[view.__name__]["properties"]
            field = "state" if "state" in properties else "status"
            properties[field]["enum"] = list(machine.states)
        bodies = [self.of(each) for each in (*outcomes, ClockView, Problem)]
        self.components["Item"]["properties"]["body"] = {"anyOf": bodies}
        array = self.of(CommandList)
        self.components["Command"] = {
            "title": "Command",
            "description": "Any command; `command` says which.",
            **array["items"],
        }
        array["items"] = {"$ref": reference("Command")}

    def of(self, type_: Any) -> Json:
        """Return the schema of a type that a row names, or a reference to it."""
        found: Json = self._schemas[_key(type_)]
        return found

    def parameters(self, row: Endpoint) -> list[Json]:
        """Return the parameters of an endpoint, those of the path first."""
        in_path = numbers_in(row.path)
        found = []
        for field in _asked(row):
            schema = without_null(self.of(field.type))
            if field.default not in {msgspec.NODEFAULT, UNSET, None}:
                schema["default"] = field.default
            parameter: Json = {
                "name": field.encode_name,
                "in": "path" if field.name in in_path else "query",
                "schema": schema,
            }
            if "description" in schema:
                parameter["description"] = schema.pop("description")
            if field.required:
                parameter["required"] = True
            found.append(parameter)
        found.sort(key=lambda each: each["in"] != "path")
        if row.body is not None:
            found.append({"$ref": "#/components/parameters/Request-Timeout-S"})
        return found

    def wants_body(self, row: Endpoint) -> bool:
        """Return whether a request without a body is refused."""
        in_path = numbers_in(row.path)
        fields = msgspec.structs.fields(row.request)
        single = isclass(row.body)
        return not single or any(each.required for each in fields if each.name not in in_path)


def _asked(row: Endpoint) -> list[msgspec.structs.FieldInfo]:
    """Return the fields that path and query give."""
    in_path = numbers_in(row.path)
    fields = msgspec.structs.fields(row.request)
    return [field for field in fields if row.body is None or field.name in in_path]


def _key(type_: Any) -> Any:
    # Annotated types of equal arguments are equal; the patterns in them are what counts.
    return type_ if isclass(type_) else repr(type_)


def schema_name(name: str) -> str:
    """Return a component's name; a page is named by what it is a page of."""
    return re.sub(r"^Page_(.+?)(?:View)?_$", r"\1Page", name)


def tidied_schema(schema: Any) -> Any:
    """Return a schema of msgspec's as other people's tools read it."""
    if isinstance(schema, list):
        return [tidied_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {key: tidied_schema(value) for key, value in schema.items()}
    if isinstance(tidied.get("$ref"), str):
        start, slash, name = tidied["$ref"].rpartition("/")
        tidied["$ref"] = start + slash + schema_name(name)
    if isinstance(tidied.get("pattern"), str):
        # In JSON Schema `$` is the end and nothing else, and no text has half a surrogate pair.
        tidied["pattern"] = tidied["pattern"].replace(r"(?!\n)", "").replace(r"\ud800-\udfff", "")
    values = tidied.get("enum")
    if isinstance(values, list) and all(isinstance(each, str) for each in values):
        tidied["type"] = "string"
    if isinstance(tidied.get("title"), str):
        tidied["title"] = schema_name(re.sub(r"[^A-Za-z0-9]", "_", tidied["title"]))
    properties = tidied.get("properties")
    if isinstance(properties, dict):
        tidied["description"], fields = _described(tidied.get("description", ""))
        for name, property_ in properties.items():
            _describe(name, property_, fields.get(name))
    elif isinstance(tidied.get("description"), str):
        tidied["description"] = _sentence(plain(tidied["description"]))
    return tidied


def _describe(name: str, schema: Json, text: str | None) -> None:
    """Say of a field what its Struct's docstring does, and what its name tells."""
    if text is not None:
        schema["description"] = text
    if name.endswith("_minor"):
        schema.setdefault("description", "In minor units of the currency.")
    for ending, format_ in _FORMATS.items():
        for each in (schema, *schema.get("anyOf", ())):
            if name.endswith(ending) and each.get("type") == "string" and "pattern" not in each:
                each.setdefault("format", format_)


def _described(doc: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the whole, and of each attribute."""
    about, _, attributes = doc.partition("Attributes:\n")
    fields = {}
    for names, text in re.findall(_FIELD, attributes, re.MULTILINE):
        for name in names.split(","):
            fields[name.strip()] = _sentence(plain(text))
    return plain(about), fields


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].removesuffix(".") + "."


def without_null(schema: Json) -> Json:
    """Return the schema of a parameter: what is not given is not null."""
    found = dict(schema)
    given = [each for each in found.get("anyOf", ()) if each != {"type": "null"}]
    if len(given) == 1:
        del found["anyOf"]
        found = {**found, **given[0]}
    return found
