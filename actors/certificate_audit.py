"""The audit of certificates: a certificate, its holder's registration and roster say the same.

Part of `actors.audit`, with the same rules: rows come in any order, each once, and memory is taken
by what one side has told and the other has not yet. A certificate to or from which a message is on
its way may differ from its registration.
"""

from collections.abc import Iterator

from actors.certificate import Certificate
from actors.registration import Named, Registered, Roster
from actors.tally import Tally, Violation

_Figures = tuple[int | str, ...]


class CertificateAudit:
    """Compares certificates with their holders' records.

    Args:
        in_flight: (address, "") of every certificate that a message goes to or comes from; complete
            before the first row is told.
    """

    def __init__(self, in_flight: set[tuple[str, str]]) -> None:
        self._in_flight = in_flight
        self._serials = Tally("certificate", "records", "registrations by their serials")
        self._sides: dict[str, tuple[str, _Figures]] = {}
        self._live: dict[tuple[str, str], tuple[str, int]] = {}
        self._rosters: dict[str, int] = {}

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
        yield from self._agree(address, address, "actors", figures)

    def registered(
        self, holder: str, name: str, registered: Registered, key: str
    ) -> Iterator[Violation]:
        """Take a holder's registration."""
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
            yield from self._agree(f"certificate/{registered.serial}", key, "records", figures)

    def named(self, holder: str, serial: str, named: Named) -> Iterator[Violation]:
        """Take what a holder knows a serial by."""
        self._serials.take(f"{holder} {serial} {named.certificate_no}", 1)
        yield from ()

    def roster(self, holder: str, roster: Roster) -> Iterator[Violation]:
        """Take what a holder says is valid."""
        self._rosters[holder] = roster.at_ns
        for name, ends_ns in roster.live:
            yield from self._lives(holder, name, "roster", ends_ns)

    def left(self) -> Iterator[Violation]:
        """Yield what only one side knows; a roster may have forgotten what had ended."""
        for certificate, (key, _) in self._sides.items():
            if (certificate, "") not in self._in_flight:
                yield Violation("certificate", "actors", key, "has no other side")
        for (holder, name), (side, ends_ns) in self._live.items():
            if side == "roster" or ends_ns > self._rosters.get(holder, 0):
                detail = f"only the {side} says that it is valid until {ends_ns}"
                yield Violation("live-certificates", "records", f"{holder} {name}", detail)
        yield from self._serials.left()

    def _agree(
        self, certificate: str, key: str, table: str, figures: _Figures
    ) -> Iterator[Violation]:
        other = self._sides.pop(certificate, None)
        if other is None:
            self._sides[certificate] = (key, figures)
        elif other[1] != figures and (certificate, "") not in self._in_flight:
            detail = f"{figures}, but {other[0]} says {other[1]}"
            yield Violation("certificate", table, key, detail)

    def _lives(self, holder: str, name: str, side: str, ends_ns: int) -> Iterator[Violation]:
        other = self._live.pop((holder, name), None)
        if other is None:
            self._live[holder, name] = (side, ends_ns)
        elif other[0] == side or other[1] != ends_ns:
            detail = f"{side} says {ends_ns}, {other[0]} {other[1]}"
            yield Violation("live-certificates", "records", f"{holder} {name}", detail)
