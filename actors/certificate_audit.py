"""The audit of certificates: a certificate, its holder's registration and roster say the same.

Part of `actors.audit`, with the same rules: rows come in any order, each once, and memory is taken
by what one side has told and the other has not yet. A certificate to or from which a message is on
its way may differ from its registration.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from actors.certificate import Certificate
from actors.flight_audit import FlightAudit
from actors.registration import Bank, Named, Registered, Roster
from actors.tally import Sides, Tally, Violation


class CertificateAudit:
    """Compares certificates with their holders' records.

    Args:
        flight: what is on its way.
        counts: takes what holders have under way.
    """

    def __init__(self, flight: FlightAudit, counts: Tally) -> None:
        self._flight = flight
        self._counts = counts
        self._serials = Tally("certificate", "records", "registrations by their serials")
        self._sides = Sides("certificate", flight.things)
        self._live: dict[tuple[str, str], tuple[str, int]] = {}
        self._rosters: dict[str, int] = {}

    def records(self) -> Mapping[type[Struct], Callable[..., Iterator[Violation]]]:
        """Return what takes each type of record: `(address, name, record, key)`."""
        return {
            Registered: self._registered,
            Named: self._named,
            Roster: self._roster,
        }

    def bank(self, address: str, bank: Bank) -> Iterator[Violation]:
        """Take the state of the bank, a holder as merchants are."""
        self._counts.add(address, bank.in_flight, 0)
        yield from ()

    def certificate(self, address: str, certificate: Certificate) -> Iterator[Violation]:
        """Take a certificate actor's state."""
        figures = (
            certificate.holder,
            certificate.name,
            certificate.alg,
            certificate.not_before_ns,
            certificate.ends_ns,
            certificate.status,
            certificate.revoked_ns,
            certificate.reason,
        )
        return self._sides.tell((address, ""), "actors", address, figures)

    def left(self) -> Iterator[Violation]:
        """Yield what only one side knows; a roster may have forgotten what had ended."""
        yield from self._sides.left()
        for (holder, name), (side, ends_ns) in self._live.items():
            if side == "roster" or ends_ns > self._rosters.get(holder, 0):
                detail = f"only the {side} says that it is valid until {ends_ns}"
                yield Violation("live-certificates", "records", f"{holder} {name}", detail)
        yield from self._serials.left()

    def _registered(
        self, holder: str, name: str, registered: Registered, key: str
    ) -> Iterator[Violation]:
        if registered.state == "PROCESSING":
            self._counts.take(holder, 1, 0)
            yield from self._flight.waits(holder, name, key)
        if registered.state in {"PROCESSING", "ACTIVE"}:
            yield from self._lives(holder, name, "registration", registered.ends_ns)
        if registered.state in {"ACTIVE", "REVOKED"}:
            self._serials.add(f"{holder} {registered.serial} {name}", 1)
            figures = (
                holder,
                name,
                registered.alg,
                registered.not_before_ns,
                registered.ends_ns,
                registered.state,
                registered.revoked_ns,
                registered.reason,
            )
            certificate = f"certificate/{registered.serial}"
            yield from self._sides.tell((certificate, ""), "records", key, figures)

    def _named(self, holder: str, serial: str, named: Named, key: str) -> Iterator[Violation]:
        self._serials.take(f"{holder} {serial} {named.certificate_no}", 1)
        yield from ()

    def _roster(self, holder: str, _: str, roster: Roster, key: str) -> Iterator[Violation]:
        self._rosters[holder] = roster.at_ns
        for name, ends_ns in roster.live:
            yield from self._lives(holder, name, "roster", ends_ns)

    def _lives(self, holder: str, name: str, side: str, ends_ns: int) -> Iterator[Violation]:
        other = self._live.pop((holder, name), None)
        if other is None:
            self._live[holder, name] = (side, ends_ns)
        elif other[0] == side or other[1] != ends_ns:
            detail = f"{side} says {ends_ns}, {other[0]} {other[1]}"
            yield Violation("live-certificates", "records", f"{holder} {name}", detail)
