"""Who may do what at a counter where everything is signed, and what the others are told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace

from gateway import gate
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.certificates import certificate_of
from gateway.counter import Request
from gateway.desk import Desk
from gateway.signatures.keys import PrivateKey, PublicKey
from gateway.signatures.profile import read_response, verify_response
from storage.errors import CorruptRowError
from tests.gateway.desk_client import payment
from tests.gateway.signed_desk import SignedDesk, Signer, code_of, open_signed_desk

PAYMENT = msgspec.json.encode({k: v for k, v in payment("O1").items() if k != "command"})


def _without(request: Request, *names: str) -> Request:
    headers = {name: value for name, value in request.headers.items() if name not in names}
    return replace(request, headers=headers)


def _with(request: Request, **headers: str) -> Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(request, headers={**request.headers, **given})


WRONG: dict[str, tuple[Callable[[SignedDesk, Signer], Request], str]] = {
    "no signature": (
        lambda desk, m1: _without(desk.signed(m1, "POST", "/v1/payments", PAYMENT), "signature"),
        "SIGNATURE_MISSING",
    ),
    "no signature input": (
        lambda desk, m1: _without(
            desk.signed(m1, "POST", "/v1/payments", PAYMENT), "signature-input"
        ),
        "SIGNATURE_MISSING",
    ),
    "no digest": (
        lambda desk, m1: _without(
            desk.signed(m1, "POST", "/v1/payments", PAYMENT), "content-digest"
        ),
        "SIGNATURE_MISSING",
    ),
    "other form": (
        lambda desk, m1: _with(
            desk.signed(m1, "POST", "/v1/payments", PAYMENT),
            signature_input='sig1=("@method");created=1',
        ),
        "SIGNATURE_MALFORMED",
    ),
    "other body": (
        lambda desk, m1: replace(
            desk.signed(m1, "POST", "/v1/payments", PAYMENT), body=PAYMENT.replace(b"100", b"900")
        ),
        "DIGEST_MISMATCH",
    ),
    "other path": (
        lambda desk, m1: replace(
            desk.signed(m1, "POST", "/v1/refunds", PAYMENT), path="/v1/payments"
        ),
        "SIGNATURE_WRONG",
    ),
    "other method": (
        lambda desk, m1: replace(desk.signed(m1, "GET", "/v1/payments", PAYMENT), method="POST"),
        "SIGNATURE_WRONG",
    ),
    "other query": (
        lambda desk, m1: replace(
            desk.signed(m1, "POST", "/v1/payments", PAYMENT), query=b"limit=1"
        ),
        "SIGNATURE_WRONG",
    ),
    "other host": (
        lambda desk, m1: _with(
            desk.signed(m1, "POST", "/v1/payments", PAYMENT), host="other.example"
        ),
        "SIGNATURE_WRONG",
    ),
    "too old": (
        lambda desk, m1: desk.signed(
            m1, "POST", "/v1/payments", PAYMENT, created=int(desk.now_s) - 301
        ),
        "SIGNATURE_OLD",
    ),
    "from the future": (
        lambda desk, m1: desk.signed(
            m1, "POST", "/v1/payments", PAYMENT, created=int(desk.now_s) + 301
        ),
        "SIGNATURE_OLD",
    ),
    "unknown certificate": (
        lambda desk, m1: desk.signed(Signer(m1.key, "abc123"), "POST", "/v1/payments", PAYMENT),
        "SIGNER_UNKNOWN",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_signature_is_refused_and_nothing_happens(case: str, tmp_path: Path) -> None:
    make, code = WRONG[case]
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        response = await desk.send(make(desk, m1))
        assert code_of(response) == (401, code)
        assert "accept-signature" in response.headers
        assert (await desk.client.get("/v1/payments/M1/O1"))[0] == 404


@pytest.mark.parametrize("alg", ["ed25519", "ecdsa-p256-sha256", "rsa-pss-sha512"])
async def test_signed_payment_is_paid_and_its_answer_signed_for_it(
    alg: str, tmp_path: Path
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1", alg=alg)
        request = desk.signed(m1, "POST", "/v1/payments", PAYMENT)
        response = await desk.send(request)
        assert response.status == 201
        signed = read_response(response.headers["signature-input"], response.headers["signature"])
        assert signed.bound
        assert signed.keyid == desk.keys.signing.keyid
        verify_response(
            PublicKey(desk.keys.signing.key.public_key()),
            signed,
            status=response.status,
            content_digest=response.headers["content-digest"],
            body=response.body,
            request_signature=request.headers["signature"],
            now=desk.now_s,
        )


async def test_repeated_nonce_is_refused_though_the_number_would_be_answered(
    tmp_path: Path,
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        request = desk.signed(m1, "POST", "/v1/payments", PAYMENT)
        assert (await desk.send(request)).status == 201
        assert code_of(await desk.send(request)) == (401, "NONCE_USED")
        again = await desk.send(desk.signed(m1, "POST", "/v1/payments", PAYMENT))
        assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")


async def test_repeated_read_is_refused(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        request = desk.signed(m1, "GET", "/v1/merchants/M1")
        assert (await desk.send(request)).status == 200
        assert code_of(await desk.send(request)) == (401, "NONCE_USED")


async def test_read_signed_before_the_start_is_refused(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        started_s = desk.client.node.marks.started_s
        request = desk.signed(m1, "GET", "/v1/merchants/M1", created=started_s)
        assert code_of(await desk.send(request)) == (401, "SIGNED_BEFORE_START")
        command = desk.signed(m1, "POST", "/v1/payments", PAYMENT, created=started_s)
        assert (await desk.send(command)).status == 201


async def test_nonce_is_not_spent_by_who_has_not_the_key(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1, other = await desk.merchant("M1"), await desk.merchant("M1", "K2")
        forged = desk.signed(
            Signer(other.key, m1.keyid), "POST", "/v1/payments", PAYMENT, nonce="n" * 16
        )
        assert code_of(await desk.send(forged)) == (401, "SIGNATURE_WRONG")
        good = desk.signed(m1, "POST", "/v1/payments", PAYMENT, nonce="n" * 16)
        assert (await desk.send(good)).status == 201


async def test_revoked_certificate_is_worth_nothing_from_the_next_request_on(
    tmp_path: Path,
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1, core = await desk.merchant("M1"), await desk.bank()
        assert (await desk.ask(m1, "GET", "/v1/merchants/M1"))[0] == 200
        path = f"/v1/merchants/M1/certificates/{m1.keyid}/revoke"
        assert (await desk.ask(core, "POST", path, {"reason": "keyCompromise"}))[0] == 200
        refused = await desk.send(desk.signed(m1, "GET", "/v1/merchants/M1"))
        assert code_of(refused) == (401, "SIGNER_REVOKED")


async def test_certificate_counts_only_while_it_is_valid(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        now_s = desk.now_s
        for moved_s in (-86_400, 3 * 365 * 86_400):
            desk.now_s = now_s + moved_s
            refused = await desk.send(desk.signed(m1, "POST", "/v1/payments", PAYMENT))
            assert code_of(refused) == (401, "SIGNER_NOT_VALID")


async def test_renewed_certificate_is_valid_beside_the_new_one_for_fifteen_days(
    tmp_path: Path,
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        old = await desk.merchant("M1")
        before = certificate_of(desk.client.node, old.keyid)
        renewal = await _renew(desk, old)
        with trio.fail_after(5):
            # On another shard the certificate hears of it a moment after the answer.
            while True:
                if certificate_of(desk.client.node, old.keyid) != before:
                    break
                await trio.sleep(0.001)
        for days, certificate, status in (
            (0, old, 200),
            (0, renewal, 200),
            (14.9, old, 200),
            (15.1, old, 401),
            (15.1, renewal, 200),
        ):
            begun = desk.now_s
            desk.now_s += days * 86_400
            assert (await desk.ask(certificate, "GET", "/v1/merchants/M1"))[0] == status
            desk.now_s = begun
            desk.client.node.marks.floor_s = int(begun) - 300


async def _renew(desk: SignedDesk, old: Signer) -> Signer:
    key = new_key("ed25519")
    body = {
        "certificate_no": "K2",
        "csr": body_of(new_csr(key, "M1")),
        "renews": old.keyid,
    }
    status, view = await desk.ask(old, "POST", "/v1/merchants/M1/certificates", body)
    assert status == 201, view
    assert view["pem"].startswith("-----BEGIN CERTIFICATE-----")
    return Signer(PrivateKey(key), view["serial"])


async def test_merchant_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path, rate_per_s=2) as desk:
        m1 = await desk.merchant("M1")
        answers = [await desk.send(desk.signed(m1, "GET", "/v1/merchants/M1")) for _ in range(3)]
        assert [each.status for each in answers] == [200, 200, 429]
        assert [each.headers["ratelimit"] for each in answers] == [
            '"merchant";r=1;t=1',
            '"merchant";r=0;t=1',
            '"merchant";r=0;t=1',
        ]
        assert code_of(answers[2]) == (429, "RATE_LIMITED")
        assert answers[2].headers["retry-after"] == "1"
        # Who comes back too soon is left unheard for a while (`gateway.patience`).
        assert [each.busy_s for each in answers] == [None, None, 1]
        desk.now_s += 1
        assert (await desk.ask(m1, "GET", "/v1/merchants/M1"))[0] == 200


async def test_answer_to_a_stranger_is_signed_but_bound_to_no_request(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        response = await desk.send(Request("GET", "/v1/node", b"", {}, b""))
        assert code_of(response) == (401, "SIGNATURE_MISSING")
        signed = read_response(response.headers["signature-input"], response.headers["signature"])
        assert not signed.bound
        same = await desk.send(Request("GET", "/v1/node", b"", {}, b""))
        assert same.headers["signature"] == response.headers["signature"]


async def test_what_is_public_needs_no_signature(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        for path in ("/v1/health", "/v1/errors", "/openapi.json", "/docs", "/v1/crl"):
            response = await desk.send(Request("GET", path, b"", {}, b""))
            assert response.status == 200, path
        answer = await desk.send(Request("GET", "/v1/signing-certificates", b"", {}, b""))
        listed: Any = msgspec.json.decode(answer.body)
        assert [each["serial"] for each in listed["items"]] == [desk.keys.signing.keyid]


@pytest.mark.parametrize(
    ("scheme", "host", "status"),
    [
        ("http", "pay.example:80", 200),
        ("https", "pay.example:443", 200),
        ("https", "PAY.example", 200),
        ("http", "pay.example:443", 401),
        ("https", "pay.example:80", 401),
    ],
)
async def test_own_port_of_the_scheme_may_stand_in_host(
    scheme: str, host: str, status: int, tmp_path: Path
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        request = _with(desk.signed(m1, "GET", "/v1/merchants/M1", scheme=scheme), host=host)
        assert (await desk.send(replace(request, scheme=scheme))).status == status


async def test_nonce_is_the_signers_own_and_goes_with_its_second(tmp_path: Path) -> None:
    """A repeated request has the same of all three; another signer's nonce is nobody's affair."""
    async with open_signed_desk(tmp_path) as desk:
        m1, other = await desk.merchant("M1"), await desk.merchant("M1", "K2")
        path, nonce, now_s = "/v1/merchants/M1", "n" * 16, int(desk.now_s)
        for signer, created, method, status in (
            (m1, now_s, "GET", 200),
            (other, now_s, "GET", 200),
            (m1, now_s - 1, "GET", 200),
            (m1, now_s, "HEAD", 401),  # something else, under a nonce that was used
            (m1, now_s, "GET", 401),
        ):
            request = desk.signed(signer, method, path, nonce=nonce, created=created)
            assert (await desk.send(request)).status == status


async def test_nonce_is_spent_by_what_is_refused_later(tmp_path: Path) -> None:
    """Whoever has seen a request can only have it carried out once, as it is, or not at all."""
    async with open_signed_desk(tmp_path, rate_per_s=1) as desk:
        m1 = await desk.merchant("M1")
        wrong = desk.signed(m1, "POST", "/v1/payments", b"{}")
        assert code_of(await desk.send(wrong)) == (422, "INVALID_REQUEST")
        assert code_of(await desk.send(wrong)) == (401, "NONCE_USED")
        late = desk.signed(m1, "POST", "/v1/payments", PAYMENT)
        assert code_of(await desk.send(late)) == (429, "RATE_LIMITED")
        desk.now_s += 1
        assert code_of(await desk.send(late)) == (401, "NONCE_USED")
        assert (await desk.send(desk.signed(m1, "POST", "/v1/payments", PAYMENT))).status == 201


async def test_answer_to_a_stranger_is_signed_anew_in_another_second(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        stranger = Request("GET", "/v1/node", b"", {}, b"")
        first = await desk.send(stranger)
        desk.now_s += 1
        second = await desk.send(stranger)
        assert first.headers["signature-input"] != second.headers["signature-input"]
        signed = read_response(second.headers["signature-input"], second.headers["signature"])
        assert signed.created == int(desk.now_s)


async def test_answers_to_strangers_are_each_signed_as_they_are(tmp_path: Path) -> None:
    """Those of one second are remembered; none is taken for another by status or by body."""
    async with open_signed_desk(tmp_path) as desk:
        bank = PublicKey(desk.keys.signing.key.public_key())
        for _ in range(2):
            for status, body in ((401, b"a"), (404, b"a"), (401, b"b")):
                headers = desk.gate.sign(status, body, None)
                verify_response(
                    bank,
                    read_response(headers["signature-input"], headers["signature"]),
                    status=status,
                    content_digest=headers["content-digest"],
                    body=body,
                    request_signature=None,
                    now=desk.now_s,
                )


async def test_what_the_gate_remembers_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "KEYS_MAX", 2)
    monkeypatch.setattr(gate, "UNBOUND_MAX", 2)
    async with open_signed_desk(tmp_path) as desk:
        for n in range(5):
            signer = await desk.merchant("M1", f"K{n}")
            desk.gate.identify(desk.signed(signer, "GET", "/v1/merchants/M1"), commands=False)
            desk.gate.sign(404, b"%d" % n, None)
            assert desk.gate.remembered[0] == (1, 2, 1, 2, 1)[n]
            assert desk.gate.remembered[1] == (1, 2, 1, 2, 1)[n]
        before = desk.gate.remembered
        desk.gate.sign(200, bytes(gate.UNBOUND_BYTES + 1), None)
        assert desk.gate.remembered == before


async def test_full_node_says_so_before_it_looks_at_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        monkeypatch.setattr(desk.client.node, "full", lambda: True)
        request = desk.signed(m1, "POST", "/v1/payments", PAYMENT)
        assert code_of(await desk.send(_without(request, "signature"))) == (503, "NODE_BUSY")
        busy = await desk.send(request)
        assert (*code_of(busy), busy.busy_s) == (503, "NODE_BUSY", 1)
        assert (await desk.ask(m1, "GET", "/v1/merchants/M1"))[0] == 200
        monkeypatch.undo()
        # The nonce was not looked at either.
        assert (await desk.send(request)).status == 201


@pytest.mark.parametrize("holder", ["account/A1", "merchant/", "bank/other", ""])
async def test_holder_that_is_neither_bank_nor_merchant_is_not_taken_for_the_bank(
    holder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        read = gate.Gate._certificate

        def of_another(self: gate.Gate, keyid: str) -> Any:
            certificate, key = read(self, keyid)
            return replace(certificate, holder=holder), key

        monkeypatch.setattr(gate.Gate, "_certificate", of_another)
        assert (await desk.send(desk.signed(m1, "GET", "/v1/node"))).status == 500


async def test_answer_to_head_is_signed_over_no_body(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        for path, status in (("/v1/merchants/M1", 200), ("/v1/merchants/M2", 404)):
            request = desk.signed(m1, "HEAD", path)
            response = await desk.send(request)
            assert response.status == status
            verify_response(
                PublicKey(desk.keys.signing.key.public_key()),
                read_response(response.headers["signature-input"], response.headers["signature"]),
                status=status,
                content_digest=response.headers["content-digest"],
                body=b"",
                request_signature=request.headers["signature"],
                now=desk.now_s,
            )


async def test_signature_for_get_is_none_for_head(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        request = desk.signed(m1, "GET", "/v1/merchants/M1")
        swapped = replace(request, method="HEAD")
        assert (await desk.send(swapped)).status == 401
        assert (await desk.send(request)).status == 200


async def test_certificate_that_cannot_be_read_ends_the_node_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1 = await desk.merchant("M1")
        failed: list[Exception] = []

        def unreadable(self: gate.Gate, keyid: str) -> Any:
            raise CorruptRowError("actors", keyid.encode(), "its checksum is another one")

        monkeypatch.setattr(gate.Gate, "_certificate", unreadable)
        monkeypatch.setattr(Desk, "fail", lambda _, error: failed.append(error))
        request = desk.signed(m1, "POST", "/v1/payments", PAYMENT)
        place = desk.counter.place(request.method, request.path)
        assert desk.counter.wants_body(place, request.headers)
        assert code_of(await desk.send(request)) == (500, "INTERNAL")
        assert [type(each) for each in failed] == [CorruptRowError]
