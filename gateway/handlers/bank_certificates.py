"""Certificates of the bank's own: those with which its systems act, and those that it signs with.

The former are the bank's affair. The latter are public, as are its CA's and the list of what was
revoked: with them anybody can check what the bank has signed.
"""

from typing import Final

from msgspec import Struct

from actors.answers import CertificateView
from actors.commands import (
    BANK,
    Number,
    RegisterBankCertificate,
    RevokeBankCertificate,
)
from actors.refusable import REFUSALS
from actors.registration import view_registration
from gateway.answer import Answer
from gateway.ca import profile
from gateway.ca.bank_keys import BankKeys, pem
from gateway.ca.errors import IssueError
from gateway.certificates import certificates_page, registered_of
from gateway.certification import CertifyBank, certify_bank
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode, RequestError
from gateway.handlers.node import Nothing
from gateway.lookup import Cursor, Limit, Page, found
from gateway.revocation_list import KEPT_S


class BankCertificateKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which certificate, by the bank's own number."""

    certificate_no: Number


class BankCertificateList(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificates of the bank's systems and operators, in the order of their numbers."""

    limit: Limit = 10
    cursor: Cursor | None = None


class SigningCertificate(Struct, frozen=True):
    """A certificate whose key signs, or has signed, the bank's answers and webhooks."""

    serial: str
    pem: str


class SigningCertificates(Struct, frozen=True, tag_field="object", tag="signing_certificates"):
    """All of them, the newest first, and the issuing CA's, which has signed them."""

    items: list[SigningCertificate]
    issuing_pem: str


async def get_bank_certificate(desk: Desk, caller: Caller, key: BankCertificateKey) -> Answer:
    """Return a certificate of the bank's own, and itself as PEM."""
    number = key.certificate_no
    registered = registered_of(desk.node, BANK, number)
    view = None
    if registered is not None:
        view = view_registration(None, number, registered, pem=True)
    return found(view, RequestCode.NO_SUCH_CERTIFICATE)


async def list_bank_certificates(desk: Desk, caller: Caller, asked: BankCertificateList) -> Answer:
    """Return one page of the certificates of the bank's systems and operators."""
    return certificates_page(desk.node, BANK, asked.limit, asked.cursor, pem=False)


async def revoke_bank_certificate(
    desk: Desk, caller: Caller, command: RevokeBankCertificate
) -> Answer:
    """Revoke a certificate of the bank's own for ever; it counts from the next request on."""
    return await desk.execute(caller, command)


async def list_signing_certificates(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
    """Return the certificates of the keys that sign, or have signed, the bank's answers."""
    keys = _keys(desk)
    items = [
        SigningCertificate(profile.keyid(each), pem(each).decode())
        for each in keys.signing_certificates
    ]
    return Answer(200, SigningCertificates(items, pem(keys.issuing.certificate).decode()))


async def get_crl(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
    """Return the list of the certificates that were revoked (RFC 5280), signed by the issuing CA.

    The node itself does not rely on it: there a revocation counts at once.
    """
    if desk.crl is None:
        raise RequestError(RequestCode.NO_CERTIFICATE_AUTHORITY)
    try:
        newest = await desk.crl.newest()
    except IssueError as error:
        raise RequestError(RequestCode.NO_CERTIFICATE_AUTHORITY, str(error)) from None
    headers = {
        "content-type": "application/pkix-crl",
        "cache-control": f"public, max-age={KEPT_S}",
        "x-content-type-options": "nosniff",
    }
    return Answer(200, newest, own=headers)


def _keys(desk: Desk) -> BankKeys:
    if desk.keys is None:
        raise RequestError(RequestCode.NO_CERTIFICATE_AUTHORITY)
    return desk.keys


_CERTIFICATES: Final = "/v1/bank/certificates"

ENDPOINTS: Final = (
    act(
        _CERTIFICATES,
        CertifyBank,
        certify_bank,
        "bank",
        CertificateView,
        *REFUSALS[RegisterBankCertificate],
        RequestCode.CSR_REFUSED,
        RequestCode.NO_CERTIFICATE_AUTHORITY,
    ),
    read(_CERTIFICATES, BankCertificateList, list_bank_certificates, "bank", Page[CertificateView]),
    read(
        f"{_CERTIFICATES}/{{certificate_no}}",
        BankCertificateKey,
        get_bank_certificate,
        "bank",
        CertificateView,
        RequestCode.NO_SUCH_CERTIFICATE,
    ),
    act(
        f"{_CERTIFICATES}/{{serial}}/revoke",
        RevokeBankCertificate,
        revoke_bank_certificate,
        "bank",
        CertificateView,
    ),
    read(
        "/v1/signing-certificates",
        Nothing,
        list_signing_certificates,
        "anyone",
        SigningCertificates,
        RequestCode.NO_CERTIFICATE_AUTHORITY,
    ),
    read(
        "/v1/crl",
        Nothing,
        get_crl,
        "anyone",
        bytes,
        RequestCode.NO_CERTIFICATE_AUTHORITY,
        media_type="application/pkix-crl",
    ),
)
