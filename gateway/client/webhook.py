"""Webhooks as a merchant's server takes them: the bank's, and of this merchant? No I/O here.

A webhook is signed as a request of the bank's to the URL that the merchant has set (RFC 9421, the
profile of docs/SIGNATURES.md), so host, path and query are known beforehand, whatever a proxy has
made of them. Any merchant may have its own events sent to that URL, signed as well, so whose they
are is looked at too. A webhook may come more than once: `event_id` tells.
"""

import time
from collections.abc import Mapping

import msgspec
from httpx2 import URL

from actors.answers import WebhookChallenge, WebhookEvent
from gateway.client.errors import UntrustedWebhookError
from gateway.client.trust import Trust
from gateway.signatures.error import SignatureError
from gateway.signatures.profile import read_request, verify_request

_decode = msgspec.json.Decoder(WebhookEvent).decode
_decode_challenge = msgspec.json.Decoder(WebhookChallenge).decode


class WebhookVerifier:
    """Tells the bank's webhooks to one URL from anybody else's.

    Args:
        url: as the bank has it: `url` of what setting it was answered.
        trust: the bank's keys, which `Client.webhooks` has fetched; or a `Trust` of the root's PEM
            that has learned (`trust.learn`) what `GET /v1/signing-certificates` answers.
        merchant_no: whose events are believed; those of others are not.
    """

    def __init__(self, url: str, trust: Trust, merchant_no: str) -> None:
        parsed = URL(url)
        self._scheme = parsed.scheme
        self._authority = parsed.netloc.decode("ascii")
        path, _, query = parsed.raw_path.decode("ascii").partition("?")
        self._path, self._query = path, query
        self._trust = trust
        self._merchant_no = merchant_no

    def verify(
        self, headers: Mapping[str, str], body: bytes, *, now: float | None = None
    ) -> WebhookEvent:
        """Return what a webhook says, if the bank has signed it, to this URL and not long ago.

        It is of an event of the merchant's own then.

        Args:
            headers: of the request; names in whatever case.
            body: as it came.
            now: seconds since 1970, if it is not now.

        Raises:
            UntrustedWebhookError: it is not the bank's, or of another merchant.
        """
        self._check(headers, body, now)
        try:
            told = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UntrustedWebhookError(f"it is no event: {error}") from None
        self._check_merchant(told.merchant_no)
        return told

    def challenge(
        self, headers: Mapping[str, str], body: bytes, *, now: float | None = None
    ) -> str | None:
        """Return what a challenge of the bank's is to be answered with; None for what is none.

        The bank sends one before a new URL is set: who answers it agrees to be sent the events.
        The arguments are those of `verify`.

        Raises:
            UntrustedWebhookError: it is not the bank's, or another merchant wants its events here.
        """
        try:
            asked = _decode_challenge(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        self._check(headers, body, now)
        self._check_merchant(asked.merchant_no)
        return asked.challenge

    def _check_merchant(self, merchant_no: str) -> None:
        if merchant_no != self._merchant_no:
            raise UntrustedWebhookError(f"it is of the merchant {merchant_no}")

    def _check(self, headers: Mapping[str, str], body: bytes, now: float | None) -> None:
        """Check that the bank has signed it, to this URL and not long ago.

        Raises:
            UntrustedWebhookError: see there.
        """
        now = time.time() if now is None else now
        named = {name.lower(): value for name, value in headers.items()}
        try:
            signature = read_request(named.get("signature-input"), named.get("signature"))
            key = self._trust.key(signature.keyid, now)
            if key is None:
                detail = f"no key of the bank's is known by the name of {signature.keyid}"
                raise UntrustedWebhookError(detail, unknown_key=True)
            verify_request(
                key,
                signature,
                method="POST",
                authority=self._authority,
                path=self._path,
                query=self._query,
                content_digest=named.get("content-digest"),
                body=body,
                now=now,
                scheme=self._scheme,
            )
        except SignatureError as error:
            raise UntrustedWebhookError(f"it is not the bank's: {error}") from None
