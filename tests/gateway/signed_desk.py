"""A counter at which everything is signed: the real engine, CA and gate, and no sockets.

Its wall clock stands still until a test moves it. Merchants and the bank's systems have keys of
their own; what they send is signed as a client would.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.node import Node
from gateway.ca import ceremony
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.ca.master_key import new_master_key
from gateway.counter import Counter, Request, Response
from gateway.desk import Desk
from gateway.endpoint import Router
from gateway.gate import Gate
from gateway.rate import Rates
from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import sign_request
from gateway.table import ENDPOINTS
from tests.gateway.desk_client import Client, open_desk

HOST = "pay.example"


class Signer(Struct, frozen=True):
    """Whoever signs: a key and the serial of its certificate."""

    key: PrivateKey
    keyid: str


class SignedDesk:
    """The counter, and those who come to it.

    Attributes:
        client: the same desk without signatures, for what is beside the point.
        now_s: the wall clock.
    """

    def __init__(self, client: Client, keys: BankKeys, rate_per_s: float) -> None:
        self.client = client
        self.now_s = float(client.node.marks.started_s + 10)
        self.keys = keys
        self.gate = self._gate(client.node)
        self.rates = Rates(rate_per_s, lambda: self.now_s)
        self.counter = self._counter(client.node)

    def _gate(self, node: Node) -> Gate:
        return Gate(node, self.keys, node.marks, lambda: self.now_s)

    def _counter(self, node: Node) -> Counter:
        desk = Desk(node, keys=self.keys)
        return Counter(desk, Router(ENDPOINTS), self._gate(node), self.rates)

    async def certified(self, path: str, number: str, alg: str = "ecdsa-p256-sha256") -> Signer:
        """Have a new key certified under a number of the caller's, as an operator."""
        key = new_key(alg)
        body = {"certificate_no": number, "csr": body_of(new_csr(key, number))}
        answer = await self.counter.answer_operator("POST", path, b"", msgspec.json.encode(body))
        view = msgspec.json.decode(answer.body)
        assert answer.status == 201, view
        return Signer(PrivateKey(key), view["serial"])

    async def merchant(self, number: str, certificate_no: str = "K1", **how: Any) -> Signer:
        """Have a merchant's new key certified."""
        return await self.certified(f"/v1/merchants/{number}/certificates", certificate_no, **how)

    async def bank(self, name: str = "core") -> Signer:
        """Have a new key of one of the bank's systems certified."""
        return await self.certified("/v1/bank/certificates", name)

    def signed(
        self, signer: Signer, method: str, path: str, body: bytes = b"", **changes: Any
    ) -> Request:
        """Return a request as a client signs it.

        Args:
            changes: of what `sign_request` is given.
        """
        path, _, query = path.partition("?")
        details: dict[str, Any] = {
            "method": method,
            "authority": HOST,
            "path": path,
            "query": query,
            "body": body,
            "created": int(self.now_s),
            "nonce": secrets.token_urlsafe(18),
            "scheme": "http",
        }
        headers = sign_request(signer.key, signer.keyid, **{**details, **changes})
        kind = {"content-type": "application/json"} if body else {}
        return Request(method, path, query.encode(), {"host": HOST, **kind, **headers}, body)

    async def send(self, request: Request) -> Response:
        """Send a request as a listener hands it over."""
        return await self.counter.answer(self.counter.place(request.method, request.path), request)

    async def ask(
        self, signer: Signer, method: str, path: str, body: Any = None
    ) -> tuple[int, Any]:
        """Send something signed; returns status and body."""
        sent = b"" if body is None else msgspec.json.encode(body)
        response = await self.send(self.signed(signer, method, path, sent))
        return response.status, msgspec.json.decode(response.body)


def code_of(response: Response) -> tuple[int, str]:
    """Return status and code of a refusal."""
    body: Mapping[str, Any] = msgspec.json.decode(response.body)
    return response.status, body["code"]


def new_bank(folder: Path) -> BankKeys:
    """Make a bank's keys in a new folder."""
    master_key = new_master_key()
    ceremony.found(folder, "Example Bank", master_key, now=datetime.now(UTC))
    return BankKeys.load(folder, master_key)


@asynccontextmanager
async def open_signed_desk(
    folder: Path, rate_per_s: float = 1e6, **how: Any
) -> AsyncIterator[SignedDesk]:
    """Run a node at whose counter everything is signed, with merchant M1 and account A1."""
    async with open_desk(**how) as client:
        await client.shop()
        yield SignedDesk(client, new_bank(folder / "keys"), rate_per_s)
