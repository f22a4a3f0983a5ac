"""A merchant's server believes what the bank has signed for its URL, and nothing else."""

import time
from datetime import UTC, datetime

import msgspec
import pytest

from actors.answers import EventView, WebhookChallenge, WebhookEvent
from gateway.client import Trust, UntrustedWebhookError, WebhookVerifier
from gateway.signatures.profile import sign_request
from tests.gateway.client.bank import Bank

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

URL = "https://shop.example:8443/hook?shop=1"
NOW = time.time()
EVENT = WebhookEvent(
    event_id="M1/7",
    merchant_no="M1",
    event=EventView(
        sequence=7,
        type="payment.succeeded",
        number="O1",
        original_kind=None,
        original=None,
        amount_minor=100,
        currency="USD",
        fee_minor=1,
        state="SUCCEEDED",
        code=None,
        hold_amount_minor=None,
        hold_captured_minor=None,
        expires_at=None,
        business_date="2026-01-05",
        occurred_at="2026-01-05T08:00:00.000Z",
    ),
)
BODY = msgspec.json.encode(EVENT)


def _bank() -> Bank:
    return Bank(now=datetime.fromtimestamp(NOW - 60, UTC))


def _verifier(bank: Bank, url: str = URL) -> WebhookVerifier:
    trust = Trust(bank.root_pem)
    trust.learn(bank.listed(), NOW)
    return WebhookVerifier(url, trust, "M1")


def _signed(bank: Bank, body: bytes = BODY, created: float = NOW) -> dict[str, str]:
    return sign_request(
        bank.key,
        bank.keyid,
        method="POST",
        authority="shop.example:8443",
        path="/hook",
        query="shop=1",
        body=body,
        created=int(created),
        nonce="a" * 22,
    )


def test_webhook_of_the_bank_is_believed_whatever_the_case_of_its_headers() -> None:
    bank = _bank()
    headers = {name.title(): value for name, value in _signed(bank).items()}
    assert _verifier(bank).verify(headers, BODY, now=NOW) == EVENT


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/hook?shop=1", "https://shop.example:8443/hook",
     "https://shop.example:8443/other?shop=1", "https://other.example:8443/hook?shop=1"],
)  # fmt: skip
def test_webhook_to_another_url_is_not_believed(url: str) -> None:
    bank = _bank()
    with pytest.raises(UntrustedWebhookError) as raised:
        _verifier(bank, url).verify(_signed(bank), BODY, now=NOW)
    assert not raised.value.unknown_key


def test_webhook_that_was_changed_is_old_or_unsigned_is_not_believed() -> None:
    bank = _bank()
    verifier = _verifier(bank)
    signed = _signed(bank)
    changed = BODY.replace(b'"amount_minor":100', b'"amount_minor":999')
    for headers, body, now in (
        (signed, changed, NOW),
        (signed, BODY, NOW + 400),
        ({}, BODY, NOW),
        ({**signed, "signature": ""}, BODY, NOW),
        ({**signed, "content-digest": ""}, BODY, NOW),
    ):
        with pytest.raises(UntrustedWebhookError):
            verifier.verify(headers, body, now=now)


def test_webhook_of_a_key_that_the_bank_made_later_says_so() -> None:
    bank = _bank()
    verifier = _verifier(bank)
    bank.new_signer()
    with pytest.raises(UntrustedWebhookError) as raised:
        verifier.verify(_signed(bank), BODY, now=NOW)
    assert raised.value.unknown_key
    assert _verifier(bank).verify(_signed(bank), BODY, now=NOW) == EVENT


def test_merchant_and_another_bank_cannot_send_webhooks() -> None:
    bank, other = _bank(), _bank()
    merchant = bank.certify("M2")
    other.key, other.keyid = merchant.key, merchant.keyid
    for forger in (other, _bank()):
        with pytest.raises(UntrustedWebhookError):
            _verifier(bank).verify(_signed(forger), BODY, now=NOW)


def test_signed_text_that_is_no_event_is_refused() -> None:
    bank = _bank()
    with pytest.raises(UntrustedWebhookError, match="no event"):
        _verifier(bank).verify(_signed(bank, b"[]"), b"[]", now=NOW)


def test_event_of_another_merchant_who_has_it_sent_here_is_not_believed() -> None:
    """M2 pays a cent for its own order O1 and names M1's URL: the signature is good."""
    bank = _bank()
    body = BODY.replace(b"M1", b"M2")
    with pytest.raises(UntrustedWebhookError, match="M2"):
        _verifier(bank).verify(_signed(bank, body), body, now=NOW)


CHALLENGE = WebhookChallenge(merchant_no="M1", challenge="guess-me")


def test_text_of_a_stranger_that_is_not_utf_8_is_no_challenge() -> None:
    """Whoever posts bytes to a merchant's server does not have it fail: nothing is signed yet."""
    body = msgspec.json.encode(CHALLENGE).replace(b"M1", b"\xff")
    verifier = _verifier(_bank())
    assert verifier.challenge({}, body, now=NOW) is None
    with pytest.raises(UntrustedWebhookError):
        verifier.verify({}, body, now=NOW)


def test_challenge_of_the_banks_is_answered_with_what_it_asks_for() -> None:
    """What is none is nobody's challenge, and is left to `verify`."""
    bank = _bank()
    verifier = _verifier(bank)
    body = msgspec.json.encode(CHALLENGE)
    assert verifier.challenge(_signed(bank, body), body, now=NOW) == "guess-me"
    assert verifier.challenge(_signed(bank), BODY, now=NOW) is None
    with pytest.raises(UntrustedWebhookError, match="no event"):
        verifier.verify(_signed(bank, body), body, now=NOW)


def test_challenge_that_another_merchant_or_a_stranger_has_sent_here_is_not_answered() -> None:
    """To answer would be to agree that the bank sends that merchant's events to this server."""
    bank = _bank()
    verifier = _verifier(bank)
    body = msgspec.json.encode(msgspec.structs.replace(CHALLENGE, merchant_no="M2"))
    with pytest.raises(UntrustedWebhookError, match="M2"):
        verifier.challenge(_signed(bank, body), body, now=NOW)
    own = msgspec.json.encode(CHALLENGE)
    for headers in ({}, _signed(bank, body), _signed(_bank(), own)):
        with pytest.raises(UntrustedWebhookError):
            verifier.challenge(headers, own, now=NOW)
