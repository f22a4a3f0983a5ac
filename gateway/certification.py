"""Certification: from a signing request (PKCS #10) to a certificate that the engine knows.

The CA signs here, outside the engine; what it has signed is registered by a command under the
caller's own number. Who asks again with the same request gets the first certificate, and what the
CA has signed meanwhile is worth nothing: a certificate that is not registered is unknown at the
gate.
"""

import hashlib
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from actors.commands import (
    Issued,
    Number,
    RegisterBankCertificate,
    RegisterCertificate,
    Serial,
)
from gateway.answer import Answer
from gateway.ca import profile
from gateway.ca.csr import read_body
from gateway.ca.errors import CsrError, IssueError
from gateway.ca.profile import Holder
from gateway.desk import Caller, Desk
from gateway.errors import RequestCode, RequestError

Csr = Annotated[
    str,
    Meta(min_length=1, max_length=16 << 10, description="PKCS #10, its DER in base64, in one line"),
]


class CertifyMerchant(Struct, frozen=True, forbid_unknown_fields=True):
    """Sign a certificate for a merchant's key.

    Attributes:
        certificate_no: the caller's own number for it.
        csr: proves the key, and nothing else of it counts.
        renews: the serial of the certificate that this one replaces: it stays valid for another
            15 days at most.
    """

    merchant_no: Number
    certificate_no: Number
    csr: Csr
    renews: Serial | None = None


class CertifyBank(Struct, frozen=True, forbid_unknown_fields=True):
    """Sign a certificate for one of the bank's own systems, or for an operator.

    Attributes:
        certificate_no: the bank's own number for it, which is the name in it too.
        csr, renews: as for a merchant's.
    """

    certificate_no: Number
    csr: Csr
    renews: Serial | None = None


async def certify_merchant(desk: Desk, caller: Caller, asked: CertifyMerchant) -> Answer:
    """Sign a certificate for a merchant's key: the first one, another one, or a renewal.

    A merchant may ask for so many in a day; the bank, on a merchant's behalf, as often as it likes.
    """
    if caller.merchant_no:
        allowance = desk.certifications.take(caller.merchant_no)
        if not allowance.passed:
            raise RequestError(
                RequestCode.CERTIFIED_TOO_OFTEN, retry_after_s=allowance.retry_after_s
            )
    request, issued = _sign(desk, asked.csr, profile.merchant(asked.merchant_no))
    command = RegisterCertificate(
        asked.merchant_no, asked.certificate_no, request, issued, asked.renews
    )
    return await desk.execute(caller, command)


async def certify_bank(desk: Desk, caller: Caller, asked: CertifyBank) -> Answer:
    """Sign a certificate for one of the bank's own systems, or for an operator."""
    request, issued = _sign(desk, asked.csr, profile.bank(asked.certificate_no))
    command = RegisterBankCertificate(asked.certificate_no, request, issued, asked.renews)
    return await desk.execute(caller, command)


def _sign(desk: Desk, csr: str, holder: Holder) -> tuple[str, Issued]:
    """Return the digest of a request, and what the CA has made of it."""
    if desk.keys is None:
        raise RequestError(RequestCode.NO_CERTIFICATE_AUTHORITY)
    try:
        request = read_body(csr)
    except CsrError as error:
        raise RequestError(RequestCode.CSR_REFUSED, str(error)) from None
    try:
        signed = desk.keys.issuing.issue(request, holder, now=datetime.now(UTC))
    except IssueError as error:
        raise RequestError(RequestCode.NO_CERTIFICATE_AUTHORITY, str(error)) from None
    # The key is all that counts of a request: signed anew with the same key it is the same one.
    return hashlib.sha256(request.spki).hexdigest(), Issued(
        serial=signed.keyid,
        alg=signed.algorithm.value,
        spki=signed.spki,
        not_before_ns=signed.not_before_ns,
        not_after_ns=signed.not_after_ns,
        certificate=signed.der,
    )
