"""Answers that are not the bank's, or not to this request: none is believed, none repeated."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from gateway.ca import profile
from gateway.client import NotAcceptedError, Terms, UntrustedAnswerError
from tests.gateway.client.bank import Bank
from tests.gateway.client.front import Answer, Mishap, fronting
from tests.gateway.client.hands import KINDS, PAYMENT, hand, open_business
from tests.gateway.client.test_mishaps import problem
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard

BANK = Bank()
IDENTITY = BANK.certify("M1")
OTHER = Bank("Bank of Others")


def _richer(answer: Answer) -> None:
    answer.body = answer.body.replace(b"2599", b"9999")


def _succeeded(answer: Answer) -> None:
    answer.status = 201


def _stripped(answer: Answer) -> None:
    answer.headers.clear()


def _without(*names: str) -> Callable[[Answer], None]:
    def tampered(answer: Answer) -> None:
        for name in names:
            del answer.headers[name]

    return tampered


def _other_signature(answer: Answer) -> None:
    text = answer.headers["signature"]
    answer.headers["signature"] = text[:8] + ("A" if text[8] != "A" else "B") + text[9:]


def _other_algorithm(answer: Answer) -> None:
    text = answer.headers["signature-input"]
    answer.headers["signature-input"] = text.replace("ecdsa-p256-sha256", "ed25519")


def _unbound(answer: Answer) -> None:
    text = answer.headers["signature-input"]
    answer.headers["signature-input"] = text.replace(' "signature";req;key="sig1"', "")


def _digest_of_another(answer: Answer) -> None:
    answer.body = b'{"object":"payment","state":"SUCCEEDED"}'


TAMPERED: dict[str, Mishap] = {
    "the body": Mishap(tampered=_richer),
    "the whole body": Mishap(tampered=_digest_of_another),
    "the status of a refusal": Mishap(
        instead=problem(422, "INSUFFICIENT_FUNDS"), tampered=_succeeded
    ),
    "the signature": Mishap(tampered=_other_signature),
    "the algorithm": Mishap(tampered=_other_algorithm),
    "all that signs it": Mishap(tampered=_stripped),
    "the digest away": Mishap(tampered=_without("content-digest")),
    "the signature away": Mishap(tampered=_without("signature")),
    "the binding away": Mishap(tampered=_unbound),
    "a success that is signed for no request": Mishap(loose=True),
    "a refusal that is signed for no request": Mishap(
        instead=problem(422, "INSUFFICIENT_FUNDS"), loose=True
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_answer_that_was_tampered_with_is_never_believed(tmp_path: Path, kind: str) -> None:
    """It ends the call at once; the same command finds its outcome later."""
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand(kind, front.address, IDENTITY, BANK.root_pem) as one:
            await one.do("balance")
            for number, (name, mishap) in enumerate(TAMPERED.items()):
                front.targets.clear()
                front.mishaps.append(mishap)
                with pytest.raises(UntrustedAnswerError):
                    await one.do("pay", f"O{number}", **PAYMENT)
                assert front.targets == ["POST /v1/payments"], name
                assert (await one.do("pay", f"O{number}", **PAYMENT)).state == "SUCCEEDED"
            assert len(await one.do("payments")) == len(TAMPERED)


async def test_answers_to_two_requests_cannot_be_swapped(tmp_path: Path) -> None:
    """Neither another's, nor an older one to the very same question."""
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, IDENTITY, BANK.root_pem) as one:
            await one.do("pay", "O1", **PAYMENT)
            await one.do("pay", "O2", **PAYMENT | {"amount_minor": 1})
            for number in ("O1", "O2"):
                await one.do("get_payment", number)
                first = msgspec.structs.replace(front.answered[-1])

                def swapped(answer: Answer, first: Answer = first) -> None:
                    answer.headers, answer.body = first.headers, first.body

                front.mishaps.append(Mishap(tampered=swapped))
                with pytest.raises(UntrustedAnswerError, match="this response"):
                    await one.do("get_payment", "O2")


async def test_unknown_key_is_fetched_once_and_then_believed(tmp_path: Path) -> None:
    """The bank may begin to sign with another key at any time."""
    bank = Bank()
    identity = bank.certify("M1")
    async with serving(tmp_path) as node, fronting(node.address, bank, identity) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, identity, bank.root_pem) as one:
            asked = "GET /v1/signing-certificates"
            await one.do("balance")
            await one.do("balance")
            assert front.targets.count(asked) == 1
            bank.new_signer()
            await one.do("balance")
            await one.do("balance")
            assert front.targets.count(asked) == 2
            # A key that the bank does not vouch for is asked for once more, and not believed.
            bank.new_signer()
            front.listed = bank.listed(*bank.signers[:-1])
            with pytest.raises(UntrustedAnswerError, match="a key that is not the bank's"):
                await one.do("balance")
            assert front.targets.count(asked) == 3


async def test_merchant_cannot_sign_for_the_bank(tmp_path: Path) -> None:
    """Its certificate comes from the same CA, and even stands in the list."""
    bank = Bank()
    identity, thief = bank.certify("M1"), bank.certify("M2")
    async with serving(tmp_path) as node, fronting(node.address, bank, identity) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, identity, bank.root_pem) as one:
            bank.key, bank.keyid = thief.key, thief.keyid
            front.listed = bank.listed(*bank.signers, thief.certificate)
            with pytest.raises(UntrustedAnswerError, match="a key that is not the bank's"):
                await one.do("balance")


async def test_other_bank_is_not_believed(tmp_path: Path) -> None:
    """Whatever it lists: the root is pinned."""
    async with serving(tmp_path) as node, fronting(node.address, OTHER, IDENTITY) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, IDENTITY, BANK.root_pem) as one:
            with pytest.raises(UntrustedAnswerError, match="a key that is not the bank's"):
                await one.do("balance")
            assert profile.keyid(OTHER.signers[0]) == OTHER.keyid


@pytest.mark.parametrize("kind", KINDS)
async def test_stranger_by_its_tls_certificate_is_not_asked_a_second_time(
    tmp_path: Path, kind: str
) -> None:
    """Patience would be of no use: the error comes at once, and nothing was sent."""
    terms = Terms(patience_s=60)
    async with (
        serving(tmp_path / "bank") as node,
        fronting(node.address, OTHER, IDENTITY, tls=OTHER.tls(tmp_path)) as front,
        hand(kind, front.address, IDENTITY, BANK.root_pem, terms) as one,
    ):
        with pytest.raises(UntrustedAnswerError, match=r"not the bank: .* issuer certificate"):
            with trio.fail_after(30):
                await one.do("pay", "O1", **PAYMENT)
        assert front.targets == []


async def test_request_that_the_bank_did_not_accept_is_no_proof(tmp_path: Path) -> None:
    """A 401 answers no particular request: it is told, and not taken for the command's outcome."""
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, IDENTITY, BANK.root_pem) as one:
            front.mishaps.append(Mishap(instead=problem(401, "NONCE_USED"), loose=True))
            with pytest.raises(NotAcceptedError) as caught:
                await one.do("pay", "O1", **PAYMENT)
            assert (caught.value.status, caught.value.code) == (401, "NONCE_USED")
