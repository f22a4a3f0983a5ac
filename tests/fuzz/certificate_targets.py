"""Targets of certificates: requests for one, in PEM and as a body has it, and the bank's list.

`csr` accepts only what proves possession of its key. `trust` is a client that reads what some
server says is the bank's list: it learns what its pinned root vouches for, and never fails.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.ca.csr import Request, read_body, read_csr
from gateway.ca.errors import CsrError
from gateway.client.trust import Trust
from tests.fuzz.target import CORPUS, Target


def _from_text(data: bytes) -> Request:
    return read_body(data.decode("latin-1"))


def _csr(data: bytes) -> None:
    for read in (read_csr, _from_text):
        try:
            request = read(data)
        except CsrError:
            continue
        written = request.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert written == request.spki


CSR: Final = Target(
    "csr",
    _csr,
    (),  # what is in the corpus: keys of three kinds, in PEM and as base64
    (
        *(b"-----BEGIN CERTIFICATE REQUEST-----\n", b"-----END CERTIFICATE REQUEST-----", b"NEW "),
        *(b"-----BEGIN PRIVATE KEY-----", b"=", b"==", b"\n", b"\r\n", b"AAAA", b"MIIB", b"//8="),
    ),
)

_BANK: Final = sorted((CORPUS / "trust").glob("*.pem"))
"""A bank's issuing and message certificate, and its root."""
_ROOT: Final = next(each for each in _BANK if each.name == "root.pem").read_bytes()
_NOW: Final = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


def _trust(data: bytes) -> None:
    """What a server answers where the list is wanted: as it is, and as the PEMs of a list."""
    trust = Trust(_ROOT)
    text = data.decode("latin-1")
    ours = [each.read_text("ascii") for each in _BANK]
    for answer in (
        data,
        msgspec.json.encode({"items": [{"pem": text}], "issuing_pem": text}),
        msgspec.json.encode({"items": [{"pem": each} for each in ours], "issuing_pem": text}),
        msgspec.json.encode({"items": [{"pem": text}], "issuing_pem": "\n".join(ours)}),
    ):
        trust.learn(answer, _NOW)
    assert trust.key("dead", _NOW) is None


TRUST: Final = Target(
    "trust",
    _trust,
    (b'{"items":[{"pem":"a"}],"issuing_pem":"b"}', b'{"items":[],"issuing_pem":"\\ud800"}'),
    (
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        b"=",
        b"\n",
        b"AAAA",
        b"MII",
    ),
)
