"""The audit of accounts: their figures are those of their holds, freezes, transfers and limits.

Part of `actors.audit`, with the same rules: rows come in any order, each once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from actors.account import Account
from actors.agreement import Allowance
from actors.flight_audit import FlightAudit
from actors.freeze import Freeze, Unfreeze
from actors.hold import OPEN_STATES, Hold, rest_minor
from actors.ledger_audit import LedgerAudit
from actors.limits import LimitsChange
from actors.method import METHODS, MethodLimit
from actors.money import BALANCE_MAX, share_minor
from actors.projection_audit import ProjectionAudit
from actors.signing import Agreement, AgreementChange
from actors.tally import Sides, Tally, Violation
from actors.transfer import Transfer


class AccountAudit:
    """Checks accounts and their records.

    Args:
        ledgers: their journal.
        flight: what is on its way.
        projections: what authorizations say of holds.
        timers: takes one for each open hold.
    """

    def __init__(
        self,
        ledgers: LedgerAudit,
        flight: FlightAudit,
        projections: ProjectionAudit,
        timers: Tally,
    ) -> None:
        self._ledgers = ledgers
        self._flight = flight
        self._projections = projections
        self._timers = timers
        self._held = Tally("held", "actors", "held_minor", "holds_open")
        self._out = Tally("transfers-out", "actors", "transfers_out")
        self._frozen = Tally("frozen", "actors", "frozen_minor")
        self._unfreezes = Tally("unfreezes", "records", "released")
        self._changes = Tally("agreement-changes", "records", "changes", "cancelled")
        self._in_force = Sides("agreement")
        self._limits: dict[tuple[str, str], tuple[int | None, int | None]] = {}

    def records(self) -> Mapping[type[Struct], Callable[..., Iterator[Violation]]]:
        """Return what takes each type of record: `(address, name, record, key)`."""
        return {
            Allowance: self._allowance,
            Agreement: self._agreement,
            AgreementChange: self._agreement_change,
            LimitsChange: self._limits_change,
            Freeze: self._freeze,
            Unfreeze: self._unfreeze,
            Hold: self._hold,
            Transfer: self._transfer,
        }

    def account(self, address: str, account: Account) -> Iterator[Violation]:
        """Take an account's state."""
        number = address.partition("/")[2]
        yield from self._ledgers.balance(
            number, account.posted_minor, account.posted_last, account.currency
        )
        held, frozen = account.held_minor, account.frozen_minor
        if account.kind != "clearing" and (
            held < 0 or frozen < 0 or held + frozen > account.posted_minor
        ):
            detail = f"{held} held and {frozen} frozen of {account.posted_minor}"
            yield Violation("overdraft", "actors", address, detail)
        out = account.transfers_out
        if account.status == "CLOSED" and (account.posted_minor or account.holds_open or out):
            detail = f"{account.posted_minor} in it, {account.holds_open} holds open, {out} out"
            yield Violation("closed-account", "actors", address, detail)
        self._out.add(address, out)
        self._held.add(address, held, account.holds_open)
        self._frozen.add(address, frozen)
        yield from self._methods(address, account)

    def left(self) -> Iterator[Violation]:
        """Yield what does not fit, once all rows have been told."""
        for (address, method), limits in self._limits.items():
            detail = f"{limits} of {method} were never set"
            yield Violation("account-limits", "actors", address, detail)
        yield from self._in_force.left()
        for tally in (self._held, self._out, self._frozen, self._unfreezes, self._changes):
            yield from tally.left()

    def _methods(self, address: str, account: Account) -> Iterator[Violation]:
        """Check the use by method; what was used before a limit was set may be beyond it."""
        used = account.used_minor
        if len(used) != len(METHODS) or not all(0 <= each <= BALANCE_MAX for each in used):
            yield Violation("method-limit", "actors", address, f"{used} used")
        for method, limit, each in zip(METHODS, account.limits, used, strict=False):
            if limit != MethodLimit():
                limits = (limit.payment_limit_minor, limit.daily_limit_minor)
                self._limits[address, method] = limits
            carried = limit.carried_minor if account.used_date == limit.carried_date else 0
            if limit.daily_limit_minor is not None and each > max(limit.daily_limit_minor, carried):
                detail = f"{each} used of {limit.daily_limit_minor} by {method}"
                yield Violation("method-limit", "actors", address, detail)

    def _allowance(
        self, address: str, name: str, allowance: Allowance, key: str
    ) -> Iterator[Violation]:
        limit, used = allowance.daily_limit_minor, allowance.used_minor
        carried = allowance.carried_minor if allowance.used_date == allowance.carried_date else 0
        if used < 0 or (limit is not None and used > max(limit, carried)):
            detail = f"{used} used of {limit} on {allowance.used_date}"
            yield Violation("daily-limit", "records", key, detail)
        if allowance.agreement_no:
            yield from self._force(address, allowance.agreement_no, name, allowance, key)

    def _agreement(
        self, address: str, name: str, agreement: Agreement, key: str
    ) -> Iterator[Violation]:
        self._changes.add(
            f"{address} {name}", agreement.changes, int(agreement.state == "CANCELLED")
        )
        if agreement.state == "SIGNED":
            yield from self._force(address, name, agreement.merchant_no, agreement, key)

    def _force(
        self, address: str, agreement_no: str, merchant_no: str, side: Any, key: str
    ) -> Iterator[Violation]:
        """Compare the two sides; so a payer has one valid agreement at most with a merchant."""
        says = (merchant_no, side.payment_limit_minor, side.daily_limit_minor)
        return self._in_force.tell((address, agreement_no), "records", key, says)

    def _agreement_change(
        self, address: str, name: str, change: AgreementChange, key: str
    ) -> Iterator[Violation]:
        if change.state == "SUCCEEDED":
            changed = change.kind == "change"
            self._changes.take(f"{address} {change.agreement_no}", int(changed), int(not changed))
        yield from ()

    def _freeze(self, address: str, name: str, freeze: Freeze, key: str) -> Iterator[Violation]:
        if freeze.state == "FROZEN":
            self._frozen.take(address, freeze.amount_minor)
        self._unfreezes.add(f"{address} {name}", int(freeze.state == "RELEASED"))
        yield from ()

    def _unfreeze(
        self, address: str, name: str, unfreeze: Unfreeze, key: str
    ) -> Iterator[Violation]:
        self._unfreezes.take(f"{address} {unfreeze.freeze_no}", int(unfreeze.state == "SUCCEEDED"))
        yield from ()

    def _limits_change(
        self, address: str, name: str, change: LimitsChange, key: str
    ) -> Iterator[Violation]:
        method = (address, change.method)
        limits = (change.payment_limit_minor, change.daily_limit_minor)
        if change.state == "SUCCEEDED" and self._limits.get(method) == limits:
            del self._limits[method]
        yield from ()

    def _hold(self, address: str, name: str, hold: Hold, key: str) -> Iterator[Violation]:
        if not 0 <= hold.captured_minor <= share_minor(hold.amount_minor, hold.limit_bps):
            detail = f"{hold.captured_minor} of {hold.amount_minor} at {hold.limit_bps} bps"
            yield Violation("hold-limit", "records", key, detail)
        self._held.take(address, rest_minor(hold), int(hold.state in OPEN_STATES))
        if hold.state in OPEN_STATES:
            self._timers.take(f"{address} {name}", 1, hold.expires_at_ns)
        yield from self._projections.tell(f"merchant/{hold.merchant_no}", hold.hold_no, hold, key)

    def _transfer(
        self, address: str, name: str, transfer: Transfer, key: str
    ) -> Iterator[Violation]:
        if transfer.state == "PROCESSING":
            self._out.take(address, 1)
            yield from self._flight.waits(address, name, key)
