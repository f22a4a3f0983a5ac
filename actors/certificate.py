"""Certificates: what a signed request is verified against, one actor for each serial.

A certificate knows its holder, its public key and until when it is valid. It exists because its
holder, a merchant or the bank, has registered it (`actors.registration`), and changes only when
its holder says so. Revocation is for ever. Nothing happens when its time runs out: whoever uses
one compares times, so there is no timer. The cryptography is the gateway's; here a key is bytes.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import CertificateView, instant, instant_if
from actors.messages import (
    AddCertificate,
    CertificateAdded,
    CertificateRefused,
    EndCertificate,
    WithdrawCertificate,
)
from actors.refusal import Refusal
from actors.states import CERTIFICATE, START, move
from engine.turn import Turn

MERCHANTS = "merchant/"


class Certificate(Struct, frozen=True, array_like=True, gc=False):
    """The state of a certificate actor, whose number is the serial.

    Attributes:
        holder: address of whose it is: `merchant/M1`, or `bank/main`.
        name: the holder's own number for it, its certificate_no.
        alg: the one signature algorithm that it is good for.
        spki: the public key as DER of its SubjectPublicKeyInfo.
        not_before_ns, ends_ns: when it is valid: not before the one, not from the other on.
        revoked_ns, reason: 0 and empty while it is ACTIVE.
    """

    holder: str
    name: str
    alg: str
    spki: bytes
    not_before_ns: int
    ends_ns: int
    status: Literal["ACTIVE", "REVOKED"] = "ACTIVE"
    revoked_ns: int = 0
    reason: str = ""


def add_certificate(turn: Turn[Certificate], message: AddCertificate) -> None:
    """Exist from now on, as the sender's; a serial that exists stays whose it is."""
    number = message.certificate_no
    if turn.state is not None:
        turn.tell(turn.sender, CertificateRefused(number, Refusal.CERTIFICATE_EXISTS))
        return
    certificate = Certificate(
        holder=turn.sender,
        name=number,
        alg=message.alg,
        spki=message.spki,
        not_before_ns=message.not_before_ns,
        ends_ns=message.ends_ns,
        status=move(CERTIFICATE, START, "AddCertificate", "ACTIVE"),
    )
    turn.become(certificate)
    turn.tell(turn.sender, CertificateAdded(number))


def end_certificate(turn: Turn[Certificate], message: EndCertificate) -> None:
    """End earlier: the holder has renewed it."""
    certificate = _held(turn)
    status = move(CERTIFICATE, certificate.status, "EndCertificate", certificate.status)
    turn.become(replace(certificate, status=status, ends_ns=message.ends_ns))


def withdraw_certificate(turn: Turn[Certificate], message: WithdrawCertificate) -> None:
    """Be revoked, and tell whoever asked for it; said again it is only answered."""
    certificate = _held(turn)
    if certificate.status == "ACTIVE":
        certificate = replace(
            certificate,
            status=move(CERTIFICATE, certificate.status, "WithdrawCertificate", "REVOKED"),
            revoked_ns=message.revoked_ns,
            reason=message.reason,
        )
        turn.become(certificate)
    turn.answer(view_certificate(turn.number, certificate))


def _held(turn: Turn[Certificate]) -> Certificate:
    """Return the certificate whose turn it is; only its holder has anything to say to it."""
    certificate = turn.state
    assert certificate is not None, f"{turn.address} does not exist"
    assert certificate.holder == turn.sender, f"{turn.address} is not of {turn.sender}"
    return certificate


def merchant_of(holder: str) -> str | None:
    """Return the number of the merchant that a holder is, None for the bank."""
    return holder.removeprefix(MERCHANTS) if holder.startswith(MERCHANTS) else None


def view_certificate(serial: str, certificate: Certificate) -> CertificateView:
    """Return a certificate as it stands now, without what the CA has signed."""
    return CertificateView(
        merchant_no=merchant_of(certificate.holder),
        certificate_no=certificate.name,
        serial=serial,
        alg=certificate.alg,
        state=certificate.status,
        code=None,
        not_before=instant(certificate.not_before_ns),
        ends_at=instant(certificate.ends_ns),
        revoked_at=instant_if(certificate.revoked_ns),
        reason=certificate.reason or None,
    )
