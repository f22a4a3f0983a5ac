"""The seal: what signs a client's requests and decides whether an answer is the bank's.

Each try is signed anew, with a nonce of its own. An answer is believed if a key of the bank's
signed it, over the signature of this very request: it cannot be swapped for another's or kept
for later. Only a bank that could not verify the request answers none in particular; that passes
for a refusal, and for nothing else.
"""

from collections.abc import Mapping
from typing import Final

from gateway.client.errors import UntrustedAnswerError
from gateway.client.exchange import Came
from gateway.client.identity import Identity
from gateway.client.trust import Trust
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.profile import (
    ResponseSignature,
    read_response,
    sign_request,
    verify_response,
)

UNBOUND: Final = frozenset({400, 401, 408, 413, 421, 431, 503})
"""Statuses that the bank may give before it knows whose request it is."""


class Seal:
    """Signs as one identity, and trusts what one root vouches for.

    Args:
        scheme: `http` or `https`.
        authority: host and port, as in the Host header.
    """

    def __init__(self, identity: Identity, trust: Trust, scheme: str, authority: str) -> None:
        self.identity = identity
        self.trust = trust
        self._scheme = scheme
        self._authority = authority

    def sign(
        self, method: str, target: str, body: bytes, *, now: float, nonce: str
    ) -> dict[str, str]:
        """Return the headers that sign a request."""
        path, _, query = target.partition("?")
        return sign_request(
            self.identity.key,
            self.identity.keyid,
            method=method,
            authority=self._authority,
            path=path,
            query=query,
            body=body,
            created=int(now),
            nonce=nonce,
            scheme=self._scheme,
        )

    def read(self, answer: Came) -> ResponseSignature | None:
        """Return what an answer says of its signature, None where it has none.

        Raises:
            UntrustedAnswerError: it says something else than it should.
        """
        try:
            return read_response(
                answer.headers.get("signature-input"), answer.headers.get("signature")
            )
        except SignatureError as error:
            if error.reason is Reason.MISSING:
                return None
            raise UntrustedAnswerError(f"the answer's signature is malformed: {error}") from None

    def verify(
        self,
        answer: Came,
        signature: ResponseSignature,
        request_headers: Mapping[str, str],
        *,
        now: float,
    ) -> None:
        """Check that an answer is the bank's, to the request with these headers.

        Raises:
            UntrustedAnswerError: it is not.
        """
        key = self.trust.key(signature.keyid, now)
        if key is None:
            raise UntrustedAnswerError("the answer is signed with a key that is not the bank's")
        if not signature.bound and answer.status not in UNBOUND:
            raise UntrustedAnswerError("the answer does not say which request it answers")
        try:
            verify_response(
                key,
                signature,
                status=answer.status,
                content_digest=answer.headers.get("content-digest"),
                body=answer.body,
                request_signature=request_headers["signature"] if signature.bound else None,
                now=now,
            )
        except SignatureError as error:
            raise UntrustedAnswerError(f"the answer is not the bank's: {error}") from None
