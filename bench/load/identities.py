"""Identities: by whose keys the clients of a benchmark sign, and by which they believe the bank.

They are made for one run and go from process to process over pipes; no file holds a merchant's
key. Signing and verifying are the gateway's own (`gateway.signatures`), with a fresh nonce each
time.
"""

import secrets
import time
from collections.abc import Mapping

from msgspec import Struct

from gateway.signatures.keys import PrivateKey, PublicKey
from gateway.signatures.profile import read_response, sign_request, verify_response


class Holder(Struct, frozen=True):
    """A merchant's certified key.

    Attributes:
        keyid: of its certificate.
        pem: the private key.
    """

    merchant_no: str
    keyid: str
    pem: bytes


class Known(Struct, frozen=True):
    """What a client knows: its merchants' keys, and the bank's.

    Attributes:
        bank_spki: the key that signs the bank's answers.
    """

    holders: list[Holder]
    bank_keyid: str
    bank_spki: bytes


class Signer:
    """Signs what one merchant sends to one address, and verifies what the bank answers.

    Args:
        authority: host and port, as in the Host header.
    """

    def __init__(self, holder: Holder, bank_keyid: str, bank: PublicKey, authority: str) -> None:
        self._key = PrivateKey.from_pem(holder.pem)
        self._keyid = holder.keyid
        self._bank_keyid = bank_keyid
        self._bank = bank
        self._authority = authority

    def sign(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """Return the headers that sign a request now."""
        return sign_request(
            self._key,
            self._keyid,
            method=method,
            authority=self._authority,
            path=path,
            query="",
            body=body,
            created=int(time.time()),
            nonce=secrets.token_urlsafe(16),
            scheme="http",
        )

    def check(self, status: int, headers: Mapping[str, str], body: bytes, signature: str) -> None:
        """Check that an answer is the bank's to the request with this Signature header.

        Raises:
            SignatureError: it is not.
            ValueError: it is signed with another key.
        """
        said = read_response(headers.get("signature-input"), headers.get("signature"))
        if said.keyid != self._bank_keyid:
            raise ValueError("an answer is signed with a key that is not the bank's")
        verify_response(
            self._bank,
            said,
            status=status,
            content_digest=headers.get("content-digest"),
            body=body,
            request_signature=signature if said.bound else None,
            now=time.time(),
        )


class Forger(Signer):
    """Signs wrongly: everything is there and has its form, and the signature is another's.

    Args:
        signer: whose signatures it swaps.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._last = ""

    def sign(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """Return headers in which the signature is that of the request before."""
        signed = self._signer.sign(method, path, body)
        last = self._last or self._signer.sign(method, path, body + b" ")["signature"]
        self._last = signed["signature"]
        return {**signed, "signature": last}

    def check(self, status: int, headers: Mapping[str, str], body: bytes, signature: str) -> None:
        """Check that an answer is the bank's, as `Signer.check`."""
        self._signer.check(status, headers, body, signature)
