"""What Schemathesis is told about this API beyond its description (`schemathesis.toml` names it).

It is loaded by the process `schemathesis`, not by pytest. Requests are signed here as a system of
the bank's, which may ask for everything: at the very last, so over what is really sent. Those that
are to show that nobody is heard without a signature (the check `ignored_auth`) have none. Key,
certificate and two serials to revoke are in the environment.
"""

import json
import os
import re
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import RejectedPositiveData

from gateway.ca.csr import body_of, new_csr, new_key
from gateway.client import Identity
from gateway.signatures.profile import sign_request

_UNSAYABLE = re.compile(
    "|".join(
        (
            "the cursor is not one of ours",
            "the cursor is not of this list",
            "`from` and `to` take `order=time`",
            "`last` is not before `first`, and no more than 199 behind it",
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

_EXAMPLES: dict[str, Any] = {
    "to": "00",
    "amount_minor": 1,
    "currency": "AAA",
    "method": "transfer",
    "business_date": "2026-01-05",
    "url": "https://shop.invalid/",
    "sequence": 1,
    "first": 1,
    "last": 1,
    "csr": body_of(new_csr(new_key(), "0")),
}
"""What to ask for first, so that every endpoint is met where it has something to say; whatever is
not here is a number, and each is "0"."""
_APPLICANT = {"merchant_no": "1"}
_OWN: dict[str, dict[str, Any]] = {
    "apply_merchant": _APPLICANT,
    "amend_merchant": _APPLICANT,
    "submit_merchant": _APPLICANT,
    "approve_merchant": _APPLICANT,
    "sign_merchant": _APPLICANT,
    "get_profile": _APPLICANT,
    "revoke_certificate": {"serial": os.environ["PIAOHAO_API_SERIAL"]},
    "revoke_bank_certificate": {"serial": os.environ["PIAOHAO_API_BANK_SERIAL"]},
}
"""The same, for one operation alone."""
_BESIDE = {"create_refund": ["hold_no"]}
"""What is wanted beside the members that are required."""


class Signature(AuthBase):
    """Signs each request anew; one that is sent a second time has another nonce."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        assert request.method is not None
        assert request.url is not None
        url = urlsplit(request.url)
        body = request.body or b""
        assert isinstance(body, bytes | str)
        headers = sign_request(
            self._identity.key,
            self._identity.keyid,
            method=request.method,
            authority=url.netloc,
            path=url.path,
            query=url.query,
            body=body if isinstance(body, bytes) else body.encode(),
            created=int(time.time()),
            nonce=secrets.token_urlsafe(18),
            scheme=url.scheme,
        )
        request.headers.update(headers)
        return request


schemathesis.auth.set_from_requests(  # type: ignore[attr-defined]
    Signature(
        Identity.read(
            key=os.environ["PIAOHAO_API_KEY"], certificate=os.environ["PIAOHAO_API_CERTIFICATE"]
        )
    )
)


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Say what is there to be asked for."""
    schemas = raw_schema["components"]["schemas"]
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            name = operation["operationId"]
            if name == "cancel_agreement":
                continue  # others need it
            examples = _EXAMPLES | _OWN.get(name, {})
            for parameter in operation["parameters"]:
                if parameter.get("required"):
                    parameter["example"] = examples.get(parameter["name"], "0")
            if "requestBody" in operation:
                (content,) = operation["requestBody"]["content"].values()
                schema = schemas.get(content["schema"].get("$ref", "").rpartition("/")[2])
                if schema is not None:
                    wanted = [*schema["required"], *_BESIDE.get(name, ())]
                    content["example"] = {each: examples.get(each, "0") for each in wanted}


@schemathesis.check
def signature_is_taken(
    context: schemathesis.CheckContext, response: Response, case: "Case[Any]"
) -> None:
    """401 is in the description, so what is signed and answered with it would pass unnoticed."""
    if response.status_code == 401 and "Signature-Input" in response.request.headers:
        raise AssertionError(response.text)


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
