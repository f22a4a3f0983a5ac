"""Registrations: certificates as their holders know them, under the holders' own numbers.

A merchant, or the bank, registers what the CA has signed outside the engine: it binds its own
number for it, has the certificate's actor made, and keeps the signed document. Asked again with the
same request it gives the first certificate, whatever the CA has signed meanwhile. Renewed ones stay
valid for another 15 days beside the new one. A holder also knows which of its certificates are
valid, its roster, so that their number is bounded and a merchant without any does not begin.
"""

import base64
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import UNSET, Struct
from msgspec.structs import replace

from actors.answers import CertificateView, Outcome, Refused, instant, instant_if
from actors.commands import (
    BANK,
    RegisterBankCertificate,
    RegisterCertificate,
    Registration,
    RevokeBankCertificate,
    RevokeCertificate,
    request_digest,
)
from actors.merchant import Merchant
from actors.messages import (
    AddCertificate,
    CertificateAdded,
    CertificateRefused,
    EndCertificate,
    WithdrawCertificate,
)
from actors.outcome import Bound, bind, repeat, settle
from actors.refusal import Refusal
from actors.states import MERCHANT, REGISTRATION, allowed, move
from engine.kind import RecordKind
from engine.turn import Turn

LIVE_MAX: Final = {"merchant": 10, "bank": 100}
"""Kind of holder → how many of its certificates may be valid at once."""
RENEWED_NS: Final = 15 * 86_400 * 1_000_000_000
"""How long a certificate that was renewed is valid beside the new one, at most."""
SPKI_BYTES_MAX: Final = 600
CERTIFICATE_BYTES_MAX: Final = 4 << 10

ALLOWED: Final = allowed(MERCHANT, "register_certificate")
"""The statuses in which a merchant may have certificates registered."""


class Bank(Struct, frozen=True, array_like=True, gc=False):
    """The state of the one actor that holds the bank's own certificates; it makes itself.

    Attributes:
        in_flight: how many certificates of its have no outcome yet.
    """

    in_flight: int = 0


class Registered(Bound, frozen=True, array_like=True):
    """A record under the holder, named by its certificate_no.

    Attributes:
        serial: of the certificate that was registered, or was not.
        ends_ns: when it ends: `not_after_ns`, or earlier once it was renewed.
        certificate: the signed document, DER; empty where it was refused.
        renews: serial of the certificate that it replaces, empty for none.
        revoked_ns, reason: 0 and empty while it is not REVOKED.
    """

    state: Literal["PROCESSING", "ACTIVE", "REVOKED", "FAILED"]
    serial: str
    alg: str
    not_before_ns: int
    not_after_ns: int
    ends_ns: int
    certificate: bytes
    renews: str = ""
    revoked_ns: int = 0
    reason: str = ""


class Named(Struct, frozen=True, array_like=True, gc=False):
    """A record under the holder, named by a serial: the certificate_no that it is known by."""

    certificate_no: str


class Roster(Struct, frozen=True, array_like=True, gc=False):
    """The one record of a holder that says which of its certificates are valid.

    Attributes:
        at_ns: when it was written; what had ended by then is not in it any more.
        live: certificate_no and end of each that is PROCESSING or ACTIVE.
    """

    at_ns: int
    live: tuple[tuple[str, int], ...]


CERTIFICATES: Final = RecordKind("n", Registered)
SERIALS: Final = RecordKind("s", Named)
ROSTERS: Final = RecordKind("o", Roster)
ROSTER: Final = "roster"
"""Name of the one record."""


def register_certificate(turn: Turn[Merchant], command: RegisterCertificate) -> None:
    """Register a merchant's certificate.

    Refusals: MERCHANT_NOT_FOUND, NUMBER_USED, STATE_CONFLICT (not ALLOWED); then those of
    `_register`.
    """
    merchant, number = turn.state, command.certificate_no
    if merchant is None:
        turn.answer(Refused(Refusal.MERCHANT_NOT_FOUND, number))
    elif merchant.status in ALLOWED or turn.get(CERTIFICATES, number) is not None:
        _register(turn, command)
    else:
        turn.answer(Refused(Refusal.STATE_CONFLICT, number, merchant.status, ALLOWED))


def register_bank_certificate(turn: Turn[Bank], command: RegisterBankCertificate) -> None:
    """Register a certificate of the bank's own. Refusals: those of `_register`."""
    if turn.state is None:
        turn.become(Bank())
    _register(turn, command)


def _register(turn: Turn[Any], command: Registration) -> None:
    """Bind the number and have the certificate made.

    Refusals: NUMBER_USED; bound: CERTIFICATE_NOT_FOUND, CERTIFICATE_REVOKED and CERTIFICATE_ENDED
    about the one that is renewed, CERTIFICATE_LIMIT, CERTIFICATE_EXISTS.
    """
    number, issued = command.certificate_no, command.issued
    assert len(issued.spki) <= SPKI_BYTES_MAX
    assert len(issued.certificate) <= CERTIFICATE_BYTES_MAX
    content = request_digest(command)
    first = turn.get(CERTIFICATES, number)
    if first is not None:
        repeat(turn, CERTIFICATES, number, number, content, first, _outcome(turn))
        return
    live = _live(turn)
    code = _refuse(turn, command, len(live))
    registered = Registered(
        *bind(turn, content, code),
        serial=issued.serial,
        alg=issued.alg,
        not_before_ns=issued.not_before_ns,
        not_after_ns=issued.not_after_ns,
        ends_ns=issued.not_after_ns,
        certificate=b"" if code else issued.certificate,
        renews=command.renews or "",
    )
    turn.put(CERTIFICATES, number, registered)
    if code is not None:
        turn.answer(Refused(code, number))
        return
    _write_roster(turn, {**live, number: registered.ends_ns})
    _count(turn, 1)
    turn.tell(
        f"certificate/{issued.serial}",
        AddCertificate(number, issued.alg, issued.spki, issued.not_before_ns, issued.not_after_ns),
    )


def _refuse(turn: Turn[Any], command: Registration, live: int) -> Refusal | None:
    if command.renews is not None:
        _, renewed = _known(turn, command.renews)
        if renewed is None:
            return Refusal.CERTIFICATE_NOT_FOUND
        if renewed.state == "REVOKED":
            return Refusal.CERTIFICATE_REVOKED
        if renewed.ends_ns <= turn.now_ns:
            return Refusal.CERTIFICATE_ENDED
    if live >= LIVE_MAX[turn.address.partition("/")[0]]:
        return Refusal.CERTIFICATE_LIMIT
    return None


def certificate_added(turn: Turn[Any], message: CertificateAdded) -> None:
    """The certificate exists: it is ACTIVE, and the one that it renews ends in time."""
    number = message.certificate_no
    registered = _processing(turn, number)
    turn.put(SERIALS, registered.serial, Named(number))
    if registered.renews:
        _end_renewed(turn, registered.renews, registered.not_before_ns)
    _count(turn, -1)
    state = move(REGISTRATION, registered.state, "CertificateAdded", "ACTIVE")
    settle(turn, CERTIFICATES, number, registered, _outcome(turn), state=state)


def _end_renewed(turn: Turn[Any], serial: str, renewed_ns: int) -> None:
    """Let a certificate end in 15 days, unless it ends before; it may be revoked by now.

    Certificates live in the CA's time, from when the new one is valid: a domain clock may be
    years away from it.
    """
    number, renewed = _known(turn, serial)
    assert renewed is not None, f"{turn.address} has no certificate {serial}"
    ends_ns = min(renewed.ends_ns, renewed_ns + RENEWED_NS)
    if renewed.state == "ACTIVE" and ends_ns != renewed.ends_ns:
        turn.put(CERTIFICATES, number, replace(renewed, ends_ns=ends_ns))
        _write_roster(turn, {**_live(turn), number: ends_ns})
        turn.tell(f"certificate/{serial}", EndCertificate(ends_ns))


def certificate_refused(turn: Turn[Any], message: CertificateRefused) -> None:
    """The serial exists: bind the refusal, for ever. Nothing else has come of it."""
    number = message.certificate_no
    registered = _processing(turn, number)
    _write_roster(turn, {name: end for name, end in _live(turn).items() if name != number})
    _count(turn, -1)
    settle(
        turn,
        CERTIFICATES,
        number,
        registered,
        _outcome(turn),
        state=move(REGISTRATION, registered.state, "CertificateRefused", "FAILED"),
        code=message.code,
        certificate=b"",
    )


def revoke_certificate(turn: Turn[Merchant], command: RevokeCertificate) -> None:
    """Revoke a merchant's certificate, whatever the merchant's status.

    The certificate answers, once it is revoked; it counts with that commit. Whoever asks again gets
    it as it was revoked first. Refusals: MERCHANT_NOT_FOUND, CERTIFICATE_NOT_FOUND.
    """
    if turn.state is None:
        turn.answer(Refused(Refusal.MERCHANT_NOT_FOUND, command.serial))
    else:
        _revoke(turn, command.serial, command.reason, "revoke_certificate")


def revoke_bank_certificate(turn: Turn[Bank], command: RevokeBankCertificate) -> None:
    """Revoke a certificate of the bank's own. Refusals: CERTIFICATE_NOT_FOUND."""
    _revoke(turn, command.serial, command.reason, "revoke_bank_certificate")


def _revoke(turn: Turn[Any], serial: str, reason: str, cause: str) -> None:
    number, registered = _known(turn, serial)
    if registered is None:
        turn.answer(Refused(Refusal.CERTIFICATE_NOT_FOUND, serial))
        return
    if registered.state == "ACTIVE":
        state = move(REGISTRATION, registered.state, cause, "REVOKED")
        registered = replace(registered, state=state, revoked_ns=turn.now_ns, reason=reason)
        turn.put(CERTIFICATES, number, registered)
        _write_roster(turn, {name: end for name, end in _live(turn).items() if name != number})
    turn.tell(
        f"certificate/{serial}", WithdrawCertificate(registered.revoked_ns, registered.reason)
    )


def has_certificate(turn: Turn[Any]) -> bool:
    """Return whether a certificate of the holder is ACTIVE and has not ended."""
    registered = (turn.get(CERTIFICATES, number) for number in _live(turn))
    return any(each is not None and each.state == "ACTIVE" for each in registered)


def _known(turn: Turn[Any], serial: str) -> tuple[str, Registered | None]:
    """Return the certificate_no of a serial that the holder has, and its record."""
    named = turn.get(SERIALS, serial)
    if named is None:
        return "", None
    return named.certificate_no, turn.get(CERTIFICATES, named.certificate_no)


def _live(turn: Turn[Any]) -> dict[str, int]:
    """Return certificate_no and end of what is valid now, or is about to be."""
    roster = turn.get(ROSTERS, ROSTER)
    if roster is None:
        return {}
    return {number: ends_ns for number, ends_ns in roster.live if ends_ns > turn.now_ns}


def _write_roster(turn: Turn[Any], live: dict[str, int]) -> None:
    before = turn.get(ROSTERS, ROSTER)
    # On a domain clock time travels with messages: what comes later may be of an earlier time.
    at_ns = turn.now_ns if before is None else max(before.at_ns, turn.now_ns)
    turn.put(ROSTERS, ROSTER, Roster(at_ns, tuple(live.items())))


def _count(turn: Turn[Any], more: int) -> None:
    holder: Merchant | Bank | None = turn.state
    assert holder is not None, f"{turn.address} does not exist"
    turn.become(replace(holder, in_flight=holder.in_flight + more))


def _processing(turn: Turn[Any], number: str) -> Registered:
    registered = turn.get(CERTIFICATES, number)
    assert registered is not None, f"{turn.address} has no certificate {number}"
    assert registered.state == "PROCESSING", f"{number} is {registered.state}"
    return registered


def _outcome(turn: Turn[Any]) -> Callable[[str, str, Registered], Outcome]:
    return first_bank_registration if turn.address == BANK else first_registration


def view_registration(
    merchant_no: str | None, certificate_no: str, registered: Registered, *, pem: bool
) -> CertificateView:
    """Return a certificate as its holder sees it.

    Args:
        merchant_no: None for one of the bank's own.
        pem: with the certificate itself.
    """
    return CertificateView(
        merchant_no=merchant_no,
        certificate_no=certificate_no,
        serial=registered.serial,
        alg=registered.alg,
        state=registered.state,
        code=registered.code,
        not_before=instant(registered.not_before_ns),
        ends_at=instant(registered.ends_ns),
        revoked_at=instant_if(registered.revoked_ns),
        reason=registered.reason or None,
        pem=_pem(registered.certificate) if pem and registered.certificate else UNSET,
    )


def first_registration(
    merchant_no: str | None, certificate_no: str, registered: Registered
) -> Outcome:
    """Return the outcome of the registration, whether it was renewed or revoked since."""
    if registered.code is not None:
        return Refused(registered.code, certificate_no)
    first = replace(
        registered, state="ACTIVE", ends_ns=registered.not_after_ns, revoked_ns=0, reason=""
    )
    return view_registration(merchant_no, certificate_no, first, pem=True)


def first_bank_registration(_: str, certificate_no: str, registered: Registered) -> Outcome:
    """Return the same for one of the bank's own."""
    return first_registration(None, certificate_no, registered)


def _pem(der: bytes) -> str:
    """Return the textual encoding of a certificate (RFC 7468)."""
    text = base64.b64encode(der).decode("ascii")
    lines = (text[start : start + 64] for start in range(0, len(text), 64))
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))
