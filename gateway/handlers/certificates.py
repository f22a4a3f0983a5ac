"""Certificates of merchants: signed by the bank's CA, looked up and revoked."""

from typing import Final, Literal

from msgspec import Struct

from actors.answers import CertificateView
from actors.commands import Number, RegisterCertificate, RevokeCertificate
from actors.refusable import REFUSALS
from actors.registration import view_registration
from gateway.answer import Answer
from gateway.certificates import certificates_page, registered_of
from gateway.certification import CertifyMerchant, certify_merchant
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.lookup import Cursor, Limit, Page, found


class CertificateKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which certificate, by its holder's number."""

    merchant_no: Number
    certificate_no: Number


class CertificateList(Struct, frozen=True, forbid_unknown_fields=True):
    """A merchant's certificates, in the order of their numbers; `include=pem` adds themselves."""

    merchant_no: Number
    limit: Limit = 10
    cursor: Cursor | None = None
    include: Literal["pem"] | None = None


async def get_certificate(desk: Desk, caller: Caller, key: CertificateKey) -> Answer:
    """Return a certificate, and itself as PEM."""
    merchant_no, number = key.merchant_no, key.certificate_no
    registered = registered_of(desk.node, f"merchant/{merchant_no}", number)
    view = None
    if registered is not None:
        view = view_registration(merchant_no, number, registered, pem=True)
    return found(view, RequestCode.NO_SUCH_CERTIFICATE)


async def list_certificates(desk: Desk, caller: Caller, asked: CertificateList) -> Answer:
    """Return one page of a merchant's certificates."""
    holder = f"merchant/{asked.merchant_no}"
    pem = asked.include == "pem"
    return certificates_page(desk.node, holder, asked.limit, asked.cursor, pem=pem)


async def revoke_certificate(desk: Desk, caller: Caller, command: RevokeCertificate) -> Answer:
    """Revoke a certificate for ever; it counts from the next request on."""
    return await desk.execute(caller, command)


_CERTIFICATES: Final = "/v1/merchants/{merchant_no}/certificates"

ENDPOINTS: Final = (
    act(
        _CERTIFICATES,
        CertifyMerchant,
        certify_merchant,
        "merchant",
        CertificateView,
        *REFUSALS[RegisterCertificate],
        RequestCode.CERTIFIED_TOO_OFTEN,
        RequestCode.CSR_REFUSED,
        RequestCode.NO_CERTIFICATE_AUTHORITY,
    ),
    read(_CERTIFICATES, CertificateList, list_certificates, "merchant", Page[CertificateView]),
    read(
        f"{_CERTIFICATES}/{{certificate_no}}",
        CertificateKey,
        get_certificate,
        "merchant",
        CertificateView,
        RequestCode.NO_SUCH_CERTIFICATE,
    ),
    act(
        f"{_CERTIFICATES}/{{serial}}/revoke",
        RevokeCertificate,
        revoke_certificate,
        "merchant",
        CertificateView,
    ),
)
