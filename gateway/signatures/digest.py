"""Content-Digest: the digest of a body, as a header (RFC 9530, section 2).

SHA-256 and SHA-512 are made and checked; other algorithms may stand beside them and are passed
over. One text form is accepted: members separated by a comma and one space, no parameters, no
algorithm twice, base64 with its padding and nothing but zeros in the bits that it leaves over.
"""

import hashlib
import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from typing import Final, Literal

from gateway.signatures.error import Reason, SignatureError

Algorithm = Literal["sha-256", "sha-512"]

_HASHES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "sha-256": lambda body: hashlib.sha256(body).digest(),
    "sha-512": lambda body: hashlib.sha512(body).digest(),
}
_MEMBER: Final = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):")


def make_digest(body: bytes, algorithm: Algorithm = "sha-256") -> str:
    """Return the Content-Digest header of a body, which may be empty."""
    return f"{algorithm}=:{base64_of(_HASHES[algorithm](body))}:"


def check_digest(header: str | None, body: bytes) -> str:
    """Check that a Content-Digest header is there and is of this body; returns the header.

    Raises:
        SignatureError: MISSING, MALFORMED (also if no algorithm in it is known), or DIGEST.
    """
    if header is None:
        raise SignatureError(Reason.MISSING, "there is no Content-Digest")
    # What nearly everyone sends is compared as text: 1.5 µs, a good part of it for the hash.
    if header == make_digest(body):
        return header
    digests: dict[str, bytes] = {}
    for text in header.split(", "):
        member = _MEMBER.fullmatch(text)
        if member is None or member[1] in digests:
            raise SignatureError(Reason.MALFORMED, "Content-Digest does not have its form")
        digests[member[1]] = bytes_of(member[2], "Content-Digest")
    known = [algorithm for algorithm in digests if algorithm in _HASHES]
    if not known:
        raise SignatureError(Reason.MALFORMED, "Content-Digest has neither sha-256 nor sha-512")
    for algorithm in known:
        if digests[algorithm] != _HASHES[algorithm](body):
            raise SignatureError(Reason.DIGEST, f"the body's {algorithm} digest is another one")
    return header


def base64_of(raw: bytes) -> str:
    """Return the one base64 text of some bytes, with padding."""
    return b2a_base64(raw, newline=False).decode("ascii")


def bytes_of(base64: str, header: str) -> bytes:
    """Return the bytes of a base64 text, if it is the one text of them.

    Args:
        base64: the text.
        header: where it stands, for the error.

    Raises:
        SignatureError: MALFORMED.
    """
    try:
        raw = a2b_base64(base64, strict_mode=True)
    except (Error, ValueError):
        raw = None
    # Bits that the last character leaves over would make several texts of the same bytes.
    if raw is None or base64_of(raw) != base64:
        raise SignatureError(Reason.MALFORMED, f"{header} has base64 that is not canonical")
    return raw
