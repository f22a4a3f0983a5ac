"""The revocation list: what is on it, how its numbers rise, and that no flood of requests pays."""

import threading
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import trio
import trio.testing
from cryptography import x509

from actors.commands import RevocationReason
from gateway.ca.authority import Authority
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.ca.errors import IssueError, IssueReason
from gateway.counter import Request
from gateway.revocation_list import KEPT_S, REASONS, RevocationList
from tests.gateway.signed_desk import SignedDesk, Signer, code_of, open_signed_desk

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

DAY_S = 86_400


async def _revoke(desk: SignedDesk, signer: Signer, path: str, reason: str) -> None:
    path = f"{path}/{signer.keyid}/revoke"
    core = await desk.bank(f"for-{signer.keyid}")
    status, view = await desk.ask(core, "POST", path, {"reason": reason})
    assert status == 200, view


async def _list(desk: SignedDesk, made: RevocationList) -> x509.CertificateRevocationList:
    crl = x509.load_der_x509_crl(await made.newest())
    assert crl.is_signature_valid(desk.keys.issuing.private_key.public_key())
    return crl


def _number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


async def test_list_has_what_merchants_and_the_bank_had_revoked_and_nothing_else(
    tmp_path: Path,
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1, core = await desk.merchant("M1"), await desk.bank()
        kept = await desk.merchant("M1", "K2")
        await _revoke(desk, m1, "/v1/merchants/M1/certificates", "keyCompromise")
        await _revoke(desk, core, "/v1/bank/certificates", "unspecified")
        answer = await desk.send(Request("GET", "/v1/crl", b"", {}, b""))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/pkix-crl")
        crl = x509.load_der_x509_crl(answer.body)
        assert {f"{each.serial_number:x}" for each in crl} == {m1.keyid, core.keyid}
        assert crl.get_revoked_certificate_by_serial_number(int(kept.keyid, 16)) is None
        entry = crl.get_revoked_certificate_by_serial_number(int(m1.keyid, 16))
        assert entry is not None
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert reason is x509.ReasonFlags.key_compromise


async def test_list_is_made_anew_after_a_minute_with_a_higher_number(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        made = RevocationList(desk.client.node, desk.keys.issuing, lambda: desk.now_s)
        m1 = await desk.merchant("M1")
        desk.now_s += DAY_S
        first = await _list(desk, made)
        await _revoke(desk, m1, "/v1/merchants/M1/certificates", "superseded")
        desk.now_s += KEPT_S - 1
        assert await _list(desk, made) == first
        desk.now_s += 1
        second = await _list(desk, made)
        assert (len(first), len(second)) == (0, 1)
        desk.now_s -= DAY_S // 24  # a clock that is set back
        third = await _list(desk, made)
        assert _number(first) < _number(second) < _number(third)
        later = RevocationList(desk.client.node, desk.keys.issuing, lambda: desk.now_s + DAY_S)
        assert _number(await _list(desk, later)) > _number(third)


async def test_list_forgets_what_has_expired_by_itself(tmp_path: Path) -> None:
    """Not before: a certificate that was renewed is good for others until it expires."""
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        await _revoke(desk, m1, "/v1/merchants/M1/certificates", "superseded")
        now_s = desk.now_s
        for days, entries in ((729, 1), (732, 0)):
            desk.now_s = now_s + days * DAY_S
            made = RevocationList(desk.client.node, desk.keys.issuing, lambda: desk.now_s)
            assert len(await _list(desk, made)) == entries


async def test_one_list_is_made_for_all_who_ask_and_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, threads = threading.get_ident(), []
    may_go_on = threading.Event()
    make_crl = Authority.make_crl

    def slow(*args: Any, **how: Any) -> Any:
        threads.append(threading.get_ident())
        assert may_go_on.wait(20)
        return make_crl(*args, **how)

    monkeypatch.setattr(Authority, "make_crl", slow)
    async with open_signed_desk(tmp_path) as desk:
        made = RevocationList(desk.client.node, desk.keys.issuing)
        lists: list[bytes] = []

        async def ask() -> None:
            lists.append(await made.newest())

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            # The node serves others while the list is being made.
            assert (await desk.client.get("/v1/health"))[0] == 200
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert lists == []
            may_go_on.set()
        assert len(threads) == len(set(lists)) == 1
        assert threads != [loop]


def test_every_reason_that_a_command_may_give_is_known() -> None:
    assert REASONS.keys() == {*get_args(RevocationReason)}


async def test_issuing_ca_that_has_ended_is_none_and_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        core = await desk.bank()

        def ended(self: Authority, now: datetime) -> None:
            raise IssueError(IssueReason.ISSUER_NOT_VALID, "its certificate has ended")

        monkeypatch.setattr(Authority, "_check_valid", ended)
        answer = await desk.send(Request("GET", "/v1/crl", b"", {}, b""))
        assert code_of(answer)[1] == "NO_CERTIFICATE_AUTHORITY"
        body = {"certificate_no": "K2", "csr": body_of(new_csr(new_key(), "K2"))}
        _, problem = await desk.ask(core, "POST", "/v1/bank/certificates", body)
        assert problem["code"] == "NO_CERTIFICATE_AUTHORITY"
