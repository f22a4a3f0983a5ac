"""What was signed once is not carried out a second time, also after a restart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.ca.csr import body_of, new_csr, new_key
from tests.gateway.desk_client import new_store, open_desk, payment
from tests.gateway.signed_desk import SignedDesk, Signer, code_of, new_bank


def _body(command: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in command.items() if name != "command"}


CSR: Final = body_of(new_csr(new_key(), "M1"))
FUNDING: Final = {"funding_no": "F2", "amount_minor": 5, "currency": "USD"}

BY_MERCHANT: Final[Mapping[str, Any]] = {
    "/v1/payments": _body(payment("O1")),
    "/v1/commands": [payment("O2"), payment("O3", merchant_no="M2"), payment("O4")],
    "/v1/merchants/M1/certificates": {"certificate_no": "K9", "csr": CSR},
}
BY_BANK: Final[Mapping[str, Any]] = {
    "/v1/accounts/A1/fundings": FUNDING,
    "/v1/merchants/M1/suspend": {},
    "/v1/merchants/M1/activate": {},
    "/v1/bank/certificates": {"certificate_no": "K9", "csr": CSR},
    "/v1/day-cuts": {"business_date": "2026-01-05"},
}
"""One of each way on which a command comes to the engine."""


async def test_nothing_that_was_carried_out_is_taken_again_after_a_restart(tmp_path: Path) -> None:
    store, keys = new_store(), new_bank(tmp_path / "keys")
    async with open_desk(store=store) as client:
        await client.shop()
        desk = SignedDesk(client, keys, 1e6)
        m1, core = await desk.merchant("M1"), await desk.bank()
        sent = [
            desk.signed(signer, "POST", path, msgspec.json.encode(body))
            for signer, asked in ((m1, BY_MERCHANT), (core, BY_BANK))
            for path, body in asked.items()
        ]
        for request in sent:
            response = await desk.send(request)
            assert response.status in (200, 201), (request.path, response.body)
    store = store.reopened()
    async with open_desk(store=store) as client:
        desk = SignedDesk(client, keys, 1e6)
        before = store.last.sequence
        for request in sent:
            assert code_of(await desk.send(request)) == (401, "NONCE_USED"), request.path
        assert store.last.sequence == before


async def test_what_came_to_nothing_comes_to_nothing_again_after_a_restart(tmp_path: Path) -> None:
    """It leaves no mark, and needs none: it says the same, and nothing has changed."""
    store, keys = new_store(), new_bank(tmp_path / "keys")
    async with open_desk(store=store) as client:
        await client.shop()
        desk = SignedDesk(client, keys, 1e6)
        m1, core = await desk.merchant("M1"), await desk.bank()
        moved = [{"command": "advance_clock", "to": "2026-02-01T00:00:00Z"}]
        sent = [
            _asking(desk, m1, "/v1/commands", [payment("O3", merchant_no="M2")]),
            _asking(
                desk, m1, "/v1/merchants/M1/certificates", {"certificate_no": "K9", "csr": "A"}
            ),
            _asking(desk, m1, "/v1/accounts/A1/fundings", FUNDING),
            _asking(desk, core, "/v1/commands", []),
            _asking(desk, core, "/v1/commands", moved),
        ]
        first = [(await desk.send(request)).body for request in sent]
    store = store.reopened()
    async with open_desk(store=store) as client:
        desk = SignedDesk(client, keys, 1e6)
        now_ns, before = client.node.clock.now_ns(), await client.get("/v1/accounts/A1")
        assert [(await desk.send(request)).body for request in sent] == first
        assert client.node.clock.now_ns() == now_ns
        assert await client.get("/v1/accounts/A1") == before


def _asking(desk: SignedDesk, signer: Signer, path: str, body: Any) -> Any:
    return desk.signed(signer, "POST", path, msgspec.json.encode(body))
