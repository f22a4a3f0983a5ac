"""The web service that a team would write instead: FastAPI on uvicorn, with a pool of psycopg's.

It takes the same requests as ours (POST /v1/payments), checks the same signatures with the same
code, and signs its answers. The payment itself is one call of the function, or statements with row
locks. uvloop and httptools are in, access logs are out. It remembers no nonces: each would be a row
more, and the payment's number makes a request that is sent twice harmless; ours remembers them.
`python -m bench.peers.service` is one worker of it.
"""

import gc
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from msgspec import Struct
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.load.identities import Known
from bench.peers.row_locks import Asked, Outcome, pay_async
from bench.tether import report, tie_to_parent
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.keys import PrivateKey, PublicKey
from gateway.signatures.profile import read_request, sign_response, verify_request

Form = Literal["function", "row locks"]

_PAY: Final = "SELECT * FROM pay(%s, %s, %s, %s, %s)"
_JSON: Final = "application/json"
_Number = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]


class Plan(Struct, frozen=True):
    """What a worker is told.

    Attributes:
        listening: file descriptor of the socket that all workers accept from.
        pool: connections to the database.
        known: whose signatures are good; only its public keys are used.
        bank_pem: the key that answers are signed with.
    """

    listening: int
    database: str
    pool: int
    form: Form
    known: Known
    bank_pem: bytes


class Ready(Struct, frozen=True, tag_field="event", tag="ready"):
    """What a worker says once: it serves."""


class PaymentBody(BaseModel):
    """A request to pay."""

    model_config = ConfigDict(extra="forbid", strict=True)

    merchant_no: _Number
    order_no: _Number
    payer: _Number
    amount_minor: Annotated[int, Field(gt=0, le=10**15)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class PaymentAnswer(BaseModel):
    """A payment, as its merchant sees it."""

    merchant_no: str
    order_no: str
    payer: str
    amount_minor: int
    currency: str
    fee_minor: int
    refunded_minor: int
    state: str
    code: str | None
    business_date: str
    created_at: str
    settled_at: str


def make_app(plan: Plan) -> FastAPI:
    """Return the service."""
    holders = {
        each.keyid: (each.merchant_no, PrivateKey.from_pem(each.pem).public)
        for each in plan.known.holders
    }
    bank = PrivateKey.from_pem(plan.bank_pem)
    pool = AsyncConnectionPool(
        plan.database,
        min_size=plan.pool,
        max_size=plan.pool,
        open=False,
        kwargs={"autocommit": plan.form == "function"},
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=True)
        gc.collect()
        gc.freeze()
        report(Ready())
        yield
        await pool.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.post("/v1/payments")
    async def create_payment(request: Request) -> Response:
        body = await request.body()
        try:
            merchant_no, signature = _signer(request, body, holders)
        except SignatureError as error:
            return _answer(401, _problem(str(error)), None)
        try:
            asked = Asked(**dict(PaymentBody.model_validate_json(body)))
        except ValidationError:
            return _answer(400, _problem("INVALID_BODY"), signature)
        if asked.merchant_no != merchant_no:
            return _answer(403, _problem("FORBIDDEN"), signature)
        async with pool.connection() as connection:
            if plan.form == "function":
                cursor = await connection.execute(_PAY, asked, prepare=True)
                row = await cursor.fetchone()
                assert row is not None
                outcome = Outcome(*row)
            else:
                outcome = await pay_async(connection, asked)
        if outcome.why is not None:
            return _answer(422, _problem(outcome.why), signature)
        status = 201 if outcome.answer == "paid" else 200
        return _answer(status, _view(asked, outcome), signature)

    def _answer(status: int, body: bytes, request_signature: str | None) -> Response:
        headers = sign_response(
            bank,
            plan.known.bank_keyid,
            status=status,
            body=body,
            created=int(time.time()),
            request_signature=request_signature,
        )
        return Response(body, status, headers, _JSON)

    return app


def _signer(
    request: Request, body: bytes, holders: dict[str, tuple[str, PublicKey]]
) -> tuple[str, str]:
    """Return who has signed a request, and the text of its Signature header.

    Raises:
        SignatureError: nobody whom we know, or not this request.
    """
    headers = request.headers
    signature = read_request(headers.get("signature-input"), headers.get("signature"))
    holder = holders.get(signature.keyid)
    if holder is None:
        raise SignatureError(Reason.WRONG, "the signer is not known")
    verify_request(
        holder[1],
        signature,
        method=request.method,
        authority=headers.get("host", ""),
        path=request.url.path,
        query=request.url.query,
        content_digest=headers.get("content-digest"),
        body=body,
        now=time.time(),
        scheme="http",
    )
    return holder[0], signature.header


def _problem(code: str) -> bytes:
    return msgspec.json.encode({"code": code})


def _view(asked: Asked, outcome: Outcome) -> bytes:
    assert isinstance(outcome.at, datetime)
    at = outcome.at.isoformat()
    answer = PaymentAnswer(
        **asked._asdict(),
        fee_minor=outcome.fee_minor,
        refunded_minor=0,
        state="SUCCEEDED",
        code=None,
        business_date=str(outcome.day),
        created_at=at,
        settled_at=at,
    )
    return answer.model_dump_json().encode()


def main() -> None:
    """Serve until the parent ends."""
    plan = msgspec.json.decode(tie_to_parent().get(), type=Plan)
    config = uvicorn.Config(
        make_app(plan),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        backlog=1_024,
    )
    uvicorn.Server(config).run([socket.socket(fileno=plan.listening)])


if __name__ == "__main__":
    main()
