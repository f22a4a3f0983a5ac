"""Histories: what clients asked and saw, account by account and merchant by merchant.

The checker of histories (`bench.simulator.serializability`) judges them. One thing in them no
client asked for: a hold that ends because its time is over gives money back. When that was is read
from the durable state, as the span of the batch in which it happened.
"""

from collections import defaultdict
from math import inf
from typing import Any, Literal

from msgspec import Struct

from actors import commands
from actors.answers import AuthorizationView, OperationView, Refused
from actors.kinds import ACCOUNT, MERCHANT
from actors.refusal import Refusal
from bench.simulator import serializability
from bench.simulator.client import MERCHANTS, Asked
from bench.simulator.serializability import Operation, check
from bench.simulator.world import World
from engine.node import Node
from gateway.lookup import state_of


class Reading(Struct, frozen=True):
    """What somebody read of an account or a merchant at one instant."""

    number: str
    at: float
    posted_minor: int
    held_minor: int

    @classmethod
    def of(cls, node: Node, number: str, at: float) -> "Reading":
        """Read, as the gateway does, what is durable."""
        kind = MERCHANT if number.startswith("M") else ACCOUNT
        state = state_of(node, kind, number)
        return cls(number, at, state.posted_minor, getattr(state, "held_minor", 0))


def check_histories(world: World, readings: list[Reading]) -> None:
    """Check the histories of all accounts and merchants; to be called when all has ended."""
    histories = _Histories(world.checkers.records)
    for asked in world.everything:
        histories.add(asked)
    for end in world.checkers.hold_ends:
        histories.hold_ended(end.account.partition("/")[2], end.name, end.began, end.ended)
    for number, reading in enumerate(readings):
        read = Operation(
            f"read-{number}",
            "read",
            reading.posted_minor,
            reading.at,
            reading.at,
            held_minor=reading.held_minor,
        )
        histories.of[reading.number].append(read)
    for owner, history in sorted(histories.of.items()):
        merchant = owner in MERCHANTS
        rules = serializability.MERCHANT if merchant else serializability.ACCOUNT
        verdict = check(history, rules)
        if verdict.ok is False:
            world.fail("serializability", f"{owner}: {verdict.reason}")
        elif verdict.ok is None:
            world.undecided += 1
            world.trace.note("undecided", owner)


_SHORT = (Refusal.INSUFFICIENT_FUNDS, Refusal.MERCHANT_BALANCE_INSUFFICIENT)
_Outcome = Literal["OK", "SHORT", "EXCEEDS", "NOTHING", "UNKNOWN"]


class _Histories:
    """Operations by the account or merchant that they are about.

    Args:
        records: every durable record at the end.
    """

    def __init__(self, records: dict[tuple[str, str, str], Any]) -> None:
        self.of: dict[str, list[Operation]] = defaultdict(list)
        self._records = records
        self._released: set[str] = set()

    def add(self, asked: Asked) -> None:
        """Add what a client asked to the histories of those whom it concerns."""
        answer = asked.outcome
        if answer is None:
            return
        outcome = _outcome(answer)
        if outcome == "NOTHING":
            return
        command: Any = asked.command
        match command:
            case commands.FundAccount():
                self._note(asked, command.account_no, "credit", command.amount_minor, outcome)
            case commands.WithdrawFunds():
                self._note(asked, command.account_no, "debit", command.amount_minor, outcome)
            case commands.CreateTransfer():
                self._note(asked, command.account_no, "debit", command.amount_minor, outcome)
                if outcome == "OK":
                    self._note(asked, command.to, "credit", command.amount_minor, outcome)
            case commands.CreatePayment():
                self._note(asked, command.payer, "debit", command.amount_minor, outcome)
                if outcome == "OK":
                    self._paid(asked, command.order_no, command.amount_minor, answer.fee_minor)
            case commands.CreateAuthorization():
                if outcome == "SHORT" or isinstance(answer, AuthorizationView):
                    self._note(asked, command.payer, "hold", command.amount_minor, outcome)
            case commands.RefundPayment():
                self._refund(asked, "p", command.order_no, outcome)
            case commands.RefundAuthorization():
                self._refund(asked, "z", command.hold_no, outcome)
            case commands.ReversePayment():
                self._reversal(asked, command, outcome)
            case _:
                self._operation(asked, command, answer, outcome)

    def hold_ended(self, account: str, name: str, began: float, ended: float) -> None:
        """Add what a hold gave back because its time was over, if that is how it ended."""
        hold = self._records[f"account/{account}", "h", name]
        rest = hold.amount_minor - hold.captured_minor
        by_itself = hold.state == "EXPIRED" or (
            hold.state == "CAPTURED" and name not in self._released
        )
        if rest > 0 and by_itself:
            expiry = Operation(f"expiry-{name}", "release", rest, began, ended)
            self.of[account].append(expiry)

    def _note(
        self,
        asked: Asked,
        number: str,
        kind: str,
        amount_minor: int,
        outcome: _Outcome,
        **more: Any,
    ) -> None:
        if number.startswith("M") and number not in MERCHANTS:
            return
        ended = inf if outcome == "UNKNOWN" else asked.ended
        name = f"{asked.name}@{asked.step}"
        self.of[number].append(
            Operation(name, kind, amount_minor, asked.began, ended, outcome, **more)
        )

    def _paid(self, asked: Asked, original: str, amount_minor: int, fee: int) -> None:
        merchant = asked.address.partition("/")[2]
        more = {"payment": original, "fee_minor": fee}
        self._note(asked, merchant, "payment", amount_minor, "OK", **more)

    def _refund(self, asked: Asked, tag: str, number: str, outcome: _Outcome) -> None:
        command: Any = asked.command
        amount, merchant = command.amount_minor, command.merchant_no
        payment = number if tag == "p" else f"hold/{number}"
        self._note(asked, merchant, "refund", amount, outcome, payment=payment)
        if outcome in ("OK", "UNKNOWN"):
            payer = self._records[asked.address, tag, number].payer
            self._note(asked, payer, "credit", amount, outcome)

    def _reversal(self, asked: Asked, command: Any, outcome: _Outcome) -> None:
        payment = self._records[asked.address, "p", command.order_no]
        more = {"payment": command.order_no, "fee_minor": payment.fee_minor}
        amount = payment.amount_minor
        self._note(asked, command.merchant_no, "reversal", amount, outcome, **more)
        if outcome == "OK":
            self._note(asked, payment.payer, "credit", amount, outcome)

    def _operation(self, asked: Asked, command: Any, answer: Any, outcome: _Outcome) -> None:
        payer = self._records[asked.address, "z", command.hold_no].payer
        amount = getattr(command, "amount_minor", 0)
        if outcome != "OK":
            if outcome == "SHORT" and isinstance(command, commands.IncrementAuthorization):
                self._note(asked, payer, "hold", amount, outcome)
            return
        assert isinstance(answer, OperationView)
        if isinstance(command, commands.IncrementAuthorization):
            self._note(asked, payer, "hold", amount, outcome)
        elif isinstance(command, commands.CaptureAuthorization):
            self._note(asked, payer, "capture", amount, outcome, held_minor=amount)
            self._paid(asked, f"hold/{command.hold_no}", amount, answer.fee_minor)
        else:
            assert answer.hold_amount_minor is not None
            assert answer.hold_captured_minor is not None
            rest = answer.hold_amount_minor - answer.hold_captured_minor
            self._released.add(f"{command.merchant_no}/{command.hold_no}")
            self._note(asked, payer, "release", rest, outcome)


def _outcome(answer: Any) -> _Outcome:
    if isinstance(answer, Refused):
        if answer.code in _SHORT:
            return "SHORT"
        return "EXCEEDS" if answer.code is Refusal.REFUND_EXCEEDS_REMAINING else "NOTHING"
    # A refund that waits may still come to something, or never.
    return "UNKNOWN" if answer.state == "PENDING_FUNDS" else "OK"
