"""What Schemathesis is told about this API beyond its description (`schemathesis.toml` names it).

It is loaded by the process `schemathesis`, not by pytest. Requests go to a node that wants no
signatures; where one does, they are to be signed here, in a hook `before_call`.
"""

import json
import re
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import RejectedPositiveData

_UNSAYABLE = re.compile(
    "|".join(
        (
            "the cursor is not one of ours",
            "the cursor is not of this list",
            "`from` and `to` take `order=time`",
        )
    )
)
"""Why a request may be refused that fits its schema: these rules no schema can say."""
_UNSAYABLE_CODES = {
    "TEXT_NOT_NFC",
    "CONTROL_CHARACTER",
    "NONCHARACTER",
    "NUMBER_NOT_INTEGER",  # to JSON Schema, 1.0 is an integer
}
"""The same, where the code says it all."""
_SOON_S = 5.0

_EXAMPLES = {
    "to": "00",
    "amount_minor": 1,
    "currency": "AAA",
    "method": "transfer",
    "business_date": "2026-01-05",
}
"""What to ask for first, so that every endpoint is met where it has something to say; whatever is
not here is a number, and each is "0"."""
_BESIDE = {"create_refund": ["hold_no"]}
"""What is wanted beside the members that are required."""


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Ask for no signature: this node would not look at it. Say what is there to be asked for."""
    schemas = raw_schema["components"]["schemas"]
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            operation["security"] = []
            if operation["operationId"] == "cancel_agreement":
                continue  # others need it
            for parameter in operation["parameters"]:
                if parameter.get("required"):
                    parameter["example"] = _example(parameter["name"])
            if "requestBody" in operation:
                (content,) = operation["requestBody"]["content"].values()
                schema = schemas.get(content["schema"].get("$ref", "").rpartition("/")[2])
                if schema is not None:
                    wanted = [*schema["required"], *_BESIDE.get(operation["operationId"], ())]
                    content["example"] = {name: _example(name) for name in wanted}


def _example(name: str) -> Any:
    return _EXAMPLES.get(name, "0")


@schemathesis.hook
def filter_failure(
    context: HookContext, failure: Failure, case: "Case[Any]", response: Response
) -> bool:
    """Keep a failure, but for what was refused, or not waited for, as it should be."""
    if isinstance(failure, RejectedPositiveData):
        problem = json.loads(response.content)
        code, detail = problem["code"], problem.get("detail", "")
        refused = code == "INVALID_REQUEST" or response.status_code in {400, 415}
        return refused and code not in _UNSAYABLE_CODES and not _UNSAYABLE.fullmatch(detail)
    if isinstance(failure, ServerError) and response.status_code == 504:
        return not _hurried(case)
    return True


def _hurried(case: "Case[Any]") -> bool:
    """Return whether it was to be answered sooner than a busy machine may manage."""
    try:
        return float(case.headers["Request-Timeout-S"]) < _SOON_S
    except (KeyError, ValueError):
        return False
