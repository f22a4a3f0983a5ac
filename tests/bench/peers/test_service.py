"""The web service that the gateway is compared with takes payments as ours does, signatures too."""

import http.client
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from bench.bulk import CURRENCY, OPENING_MINOR, account_no, merchant_no
from bench.load.identities import Signer
from bench.peers.books import books, check
from bench.peers.service import Form
from bench.peers.workers import Candidate, Serving, serving
from gateway.signatures.keys import PublicKey


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[str]:
    with books(server, "service", 20, 2) as database:
        yield database


class _Merchant:
    """Calls the service as its first merchant."""

    def __init__(self, service: Serving) -> None:
        known = service.known
        self._authority = f"{service.address[0]}:{service.address[1]}"
        self._connection = http.client.HTTPConnection(*service.address, timeout=10)
        bank = PublicKey.from_spki(known.bank_spki)
        self._signer = Signer(known.holders[0], known.bank_keyid, bank, self._authority)

    def close(self) -> None:
        self._connection.close()

    def pay(self, order_no: str, **other: object) -> tuple[int, str]:
        """Pay; returns the status and the state or code, once the answer's signature is good."""
        body = self.body(order_no, **other)
        headers = self._signer.sign("POST", "/v1/payments", body)
        return self.send(headers, body)

    def body(self, order_no: str, **other: object) -> bytes:
        asked = {
            "merchant_no": merchant_no(0),
            "order_no": order_no,
            "payer": account_no(4),
            "amount_minor": 250,
            "currency": CURRENCY,
        }
        return msgspec.json.encode(asked | other)

    def sign(self, body: bytes) -> dict[str, str]:
        return self._signer.sign("POST", "/v1/payments", body)

    def send(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        self._connection.request("POST", "/v1/payments", body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        names = {name.lower(): value for name, value in answer.getheaders()}
        self._signer.check(answer.status, names, said, headers.get("signature", ""))
        view = msgspec.json.decode(said)
        return answer.status, view.get("code") or view["state"]


@pytest.mark.parametrize("form", ["function", "row locks"])
async def test_service_takes_signed_payments_and_signs_its_answers(
    database: str, form: Form
) -> None:
    async with serving(database, Candidate(form, 1, 2), 2) as service:
        merchant = _Merchant(service)
        with closing(merchant):
            order = form.replace(" ", "-")
            assert merchant.pay(order) == (201, "SUCCEEDED")
            assert merchant.pay(order) == (200, "SUCCEEDED")
            assert merchant.pay(order, amount_minor=251) == (422, "NUMBER_USED")
            assert merchant.pay(f"{order}-2", amount_minor=OPENING_MINOR) == (
                422,
                "INSUFFICIENT_FUNDS",
            )
            assert merchant.pay(f"{order}-3", merchant_no=merchant_no(1)) == (403, "FORBIDDEN")
            for amount in (0, -1, 1.0, "1", True):
                assert merchant.pay(f"{order}-4", amount_minor=amount) == (400, "INVALID_BODY")
            body, signed = merchant.body(f"{order}-5"), merchant.sign(merchant.body(f"{order}-5"))
            assert merchant.send({}, body)[0] == 401
            assert merchant.send(signed, merchant.body(f"{order}-6"))[0] == 401
            assert merchant.send(signed, body) == (201, "SUCCEEDED")
    assert check(database) == []
