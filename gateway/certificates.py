"""Certificates as the gateway reads them: from the last commit, on every request.

So a revocation counts from the commit that holds it on, without any message or cache. What signs
and verifies is elsewhere; this is what it looks up. A certificate is found by its serial alone, and
a holder's certificates by the holder's own numbers.
"""

from collections.abc import Iterator
from functools import partial

from msgspec import Struct

from actors.certificate import Certificate, merchant_of
from actors.commands import BANK
from actors.kinds import CERTIFICATE
from actors.registration import CERTIFICATES, Registered, view_registration
from engine.node import Node
from gateway.answer import Answer
from gateway.lookup import actor_rows, record_of, records_page, state_of

_SKIP = len("00certificate/")


class Revoked(Struct, frozen=True):
    """A certificate that was revoked, and since when it would be valid."""

    serial: str
    revoked_ns: int
    reason: str
    not_before_ns: int


def certificate_of(node: Node, serial: str) -> Certificate | None:
    """Return a certificate, None where there is none of this serial.

    It may be revoked, and its time may not have come or be over: that is for the caller to see.

    Args:
        serial: in lower-case hex, as in an address (`actors.commands.Serial`).
    """
    certificate: Certificate | None = state_of(node, CERTIFICATE, serial)
    return certificate


def registered_of(node: Node, holder: str, certificate_no: str) -> Registered | None:
    """Return what a holder has registered under a number, None where that is nothing.

    Args:
        holder: `merchant/M1`, or `actors.commands.BANK`.
    """
    return record_of(node, holder, CERTIFICATES, certificate_no)


def certificates_page(
    node: Node, holder: str, limit: int, cursor: str | None, *, pem: bool
) -> Answer:
    """Return one page of a holder's certificates, in the order of their numbers.

    Args:
        holder: as for `registered_of`.
        pem: with the certificates themselves.
    """
    assert holder == BANK or merchant_of(holder)
    view = partial(view_registration, merchant_of(holder), pem=pem)
    return records_page(node, holder, CERTIFICATES, view, limit, cursor)


def revoked_certificates(node: Node) -> list[Revoked]:
    """Return every certificate that was revoked, by slot and serial: what a CRL lists.

    It looks through all certificates, and holds a view of each shard in turn meanwhile; it may
    run in any thread.
    """
    return list(_revoked(node))


def _revoked(node: Node) -> Iterator[Revoked]:
    for shard in node.shards:
        snapshot = shard.store.snapshot()
        try:
            for key, payload in actor_rows(snapshot, CERTIFICATE):
                each: Certificate = CERTIFICATE.decode_state(payload)
                if each.status == "REVOKED":
                    serial = key[_SKIP:].decode("ascii")
                    yield Revoked(serial, each.revoked_ns, each.reason, each.not_before_ns)
        finally:
            snapshot.close()
