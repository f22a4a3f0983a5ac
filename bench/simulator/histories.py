"""Histories: what clients asked and saw, account by account and merchant by merchant.

The checker of histories (`bench.simulator.serializability`) judges them. One thing in them no
client asked for: a hold that ends because its time is over gives money back. When that was is read
from the durable state, as the span of the batch in which it happened. A command that came to
nothing as an operator discarded a message of it may have moved money there and back.

A busy history has too many orders to try. The moments at which effects became durable are a guess
at one that explains it: if the guess is right nothing has to be searched for, and if it is wrong it
has no weight, as the history is judged again by what clients know alone.
"""

from collections import defaultdict
from math import inf
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors import commands
from actors.answers import AuthorizationView, OperationView, Refused
from actors.kinds import ACCOUNT, MERCHANT
from actors.refusal import Refusal
from bench.simulator import serializability
from bench.simulator.checkers.records import HoldEnd
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
        # What is frozen is set aside like what is held.
        held = getattr(state, "held_minor", 0) + getattr(state, "frozen_minor", 0)
        return cls(number, at, state.posted_minor, held)


def check_histories(world: World, readings: list[Reading]) -> None:
    """Check the histories of all accounts and merchants; to be called when all has ended."""
    histories = _Histories(world.checkers.records, world.checkers.moments)
    for asked in _merged(world.everything):
        histories.add(asked)
    for end in world.checkers.hold_ends:
        histories.hold_ended(end)
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
        if check([histories.guess(each) for each in history], rules, limit=GUESS_LIMIT).ok:
            continue
        verdict = check(history, rules, limit=LIMIT)
        world.trace.note("searched", owner, verdict.ok)
        if verdict.ok is False:
            world.fail("serializability", f"{owner}: {verdict.reason}")
        elif verdict.ok is None:
            world.undecided += 1


def _merged(everything: list[Asked]) -> list[Asked]:
    """Return what was asked, each command once: with the same number and the same content it is
    the same command, whoever thought of it."""
    merged: dict[tuple[str, str, str, bytes], Asked] = {}
    for asked in everything:
        key = (asked.address, asked.tag, asked.name, commands.content(asked.command))
        first = merged.setdefault(key, asked)
        if first is not asked:
            told = first if first.ended <= asked.ended else asked
            began = min(first.began, asked.began)
            merged[key] = replace(told, began=began)
    return list(merged.values())


LIMIT: Final = 300_000
GUESS_LIMIT: Final = 30_000
_SHORT: Final = (Refusal.INSUFFICIENT_FUNDS, Refusal.MERCHANT_BALANCE_INSUFFICIENT)
_Outcome = Literal["OK", "SHORT", "EXCEEDS", "NOTHING", "UNKNOWN"]


class _Histories:
    """Operations by the account or merchant that they are about.

    Args:
        records: every durable record at the end.
        moments: see `Checkers.moments`.
    """

    def __init__(
        self,
        records: dict[tuple[str, str, str], Any],
        moments: dict[tuple[str, str], list[float]],
    ) -> None:
        self.of: dict[str, list[Operation]] = defaultdict(list)
        self._records = records
        self._moments = moments
        self._guesses: dict[Operation, float] = {}
        self._released_by: dict[str, Operation] = {}

    def guess(self, operation: Operation) -> Operation:
        """Return an operation with the moment at which its effect became durable, if known."""
        at = self._guesses.get(operation)
        if at is None or not operation.began <= at <= operation.ended:
            return operation
        return replace(operation, began=at, ended=at)

    def add(self, asked: Asked) -> None:
        """Add what a client asked to the histories of those whom it concerns."""
        answer = asked.outcome
        if answer is None:
            return
        if isinstance(answer, Refused) and answer.code is Refusal.MESSAGE_DISCARDED:
            self._given_up(asked)
            return
        outcome = _outcome(answer)
        if outcome == "NOTHING":
            return
        command: Any = asked.command
        match command:
            case commands.FundAccount():
                amount, account = command.amount_minor, command.account_no
                reference = f"funding/{account}/{command.funding_no}"
                self._note(asked, account, "credit", amount, outcome, reference)
            case commands.WithdrawFunds():
                amount, account = command.amount_minor, command.account_no
                reference = f"withdrawal/{account}/{command.withdrawal_no}"
                self._note(asked, account, "debit", amount, outcome, reference)
            case commands.CreateTransfer():
                amount, account = command.amount_minor, command.account_no
                reference = f"transfer/{account}/{command.transfer_no}"
                self._note(asked, account, "debit", amount, outcome, reference)
                if outcome == "OK":
                    self._note(asked, command.to, "credit", amount, outcome, reference)
            case commands.CreatePayment():
                amount, order = command.amount_minor, command.order_no
                reference = f"payment/{command.merchant_no}/{order}"
                self._note(asked, command.payer, "debit", amount, outcome, reference)
                if outcome == "OK":
                    self._paid(asked, order, amount, answer.fee_minor, reference)
            case commands.CreateAuthorization():
                if outcome == "SHORT" or isinstance(answer, AuthorizationView):
                    amount, reference = command.amount_minor, f"hold/{_hold(command)}"
                    self._note(asked, command.payer, "hold", amount, outcome, reference)
            case commands.FreezeAmount():
                self._note(asked, command.account_no, "hold", command.amount_minor, outcome)
            case commands.UnfreezeAmount():
                self._note(asked, command.account_no, "release", answer.amount_minor, outcome)
            case commands.RedirectRefund():
                if outcome == "OK":
                    reference = f"refund/{command.merchant_no}/{command.refund_no}"
                    amount, account = answer.amount_minor, command.account_no
                    self._note(asked, account, "credit", amount, outcome, reference)
            case (
                commands.CloseRefund()
                | commands.SignAgreement()
                | commands.ChangeAgreement()
                | commands.CancelAgreement()
                | commands.SetAccountLimits()
                | commands.RegisterCertificate()
            ):
                pass  # What they change, no history follows.
            case commands.RefundPayment():
                self._refund(asked, "p", command.order_no, outcome)
            case commands.RefundAuthorization():
                self._refund(asked, "z", command.hold_no, outcome)
            case commands.ReversePayment():
                self._reversal(asked, command, outcome)
            case _:
                self._operation(asked, command, answer, outcome)

    def hold_ended(self, end: HoldEnd) -> None:
        """Add what a hold gave back, unless somebody asked for it: its time was over, or the hold,
        or what was captured of it, has come to nothing."""
        if end.name in self._released_by:
            self._guesses[self._released_by[end.name]] = end.ended
        elif end.rest_minor > 0:
            account = end.account.partition("/")[2]
            name = f"expiry-{end.name}"
            expiry = Operation(name, "release", end.rest_minor, end.began, end.ended)
            self.of[account].append(expiry)
            self._guesses[expiry] = end.ended

    def _given_up(self, asked: Asked) -> None:
        """Add what was done and undone again of a command that came to nothing, as one of its
        messages was discarded; whether and when it was, the journal says."""
        command: Any = asked.command
        match command:
            case commands.CreatePayment():
                paid, amount = f"{command.merchant_no}/{command.order_no}", command.amount_minor
                self._happened(asked, command.payer, "debit", amount, f"payment/{paid}")
                self._happened(asked, command.payer, "credit", amount, f"unpaid/{paid}")
            case commands.CreateAuthorization():
                reference = f"hold/{_hold(command)}"
                self._happened(asked, command.payer, "hold", command.amount_minor, reference)
            case commands.CaptureAuthorization():
                payer = self._records[asked.address, "z", command.hold_no].payer
                amount, captured = command.amount_minor, f"{_hold(command)}/{command.capture_no}"
                for sign, what in ((1, "capture"), (-1, "uncaptured")):
                    taken, reference = sign * amount, f"{what}/{captured}"
                    self._happened(asked, payer, "capture", taken, reference, taken)
            case commands.IncrementAuthorization():
                payer = self._records[asked.address, "z", command.hold_no].payer
                for kind in ("hold", "release"):
                    self._note(asked, payer, kind, command.amount_minor, "UNKNOWN")
            case commands.WithdrawFunds():
                account = command.account_no
                reference = f"withdrawal/{account}/{command.withdrawal_no}"
                self._there_and_back(asked, account, ("debit", "credit"), reference)
            case commands.CreateTransfer():
                account = command.account_no
                reference = f"transfer/{account}/{command.transfer_no}"
                self._there_and_back(asked, account, ("debit", "credit"), reference)
            case commands.RefundPayment():
                self._returned(asked, command.order_no)
            case commands.RefundAuthorization():
                self._returned(asked, f"hold/{command.hold_no}")
            case commands.RedirectRefund():
                amount = self._records[asked.address, "r", command.refund_no].amount_minor
                for kind in ("debit", "credit"):
                    self._note(asked, command.merchant_no, kind, amount, "UNKNOWN")
            case commands.ReversePayment():
                payment = self._records[asked.address, "p", command.order_no]
                for sign in (1, -1):
                    fee = {"payment": command.order_no, "fee_minor": sign * payment.fee_minor}
                    amount, merchant = sign * payment.amount_minor, command.merchant_no
                    self._note(asked, merchant, "reversal", amount, "UNKNOWN", **fee)

    def _returned(self, asked: Asked, payment: str) -> None:
        """Add a refund that came back to the merchant."""
        command: Any = asked.command
        reference = f"refund/{command.merchant_no}/{command.refund_no}"
        ways = ("refund", "restore")
        self._there_and_back(asked, command.merchant_no, ways, reference, payment)

    def _there_and_back(
        self, asked: Asked, number: str, ways: tuple[str, str], reference: str, payment: str = ""
    ) -> None:
        """Add money that has left and come back; by when, the two postings say, if it is no more
        of them."""
        command: Any = asked.command
        ledger = f"merchant/{number}/receivable" if number in MERCHANTS else number
        moments = self._moments.get((ledger, reference), ())
        if len(moments) != 2:
            for kind in ways:
                amount = command.amount_minor
                self._note(asked, number, kind, amount, "UNKNOWN", payment=payment)
            return
        for kind, at in zip(ways, moments, strict=True):
            name, amount = f"{asked.name}@{asked.step} {kind}", command.amount_minor
            operation = Operation(name, kind, amount, asked.began, at, payment=payment)
            self.of[number].append(operation)
            self._guesses[operation] = at

    def _happened(
        self,
        asked: Asked,
        number: str,
        kind: str,
        amount_minor: int,
        reference: str,
        held_minor: int = 0,
    ) -> None:
        """Add what an account has done, if it has: by when it was durable."""
        for at in self._moments.get((number, reference), ()):
            name = f"{asked.name}@{asked.step} {reference}"
            operation = Operation(name, kind, amount_minor, asked.began, at, held_minor=held_minor)
            self.of[number].append(operation)
            self._guesses[operation] = at

    def _note(
        self,
        asked: Asked,
        number: str,
        kind: str,
        amount_minor: int,
        outcome: _Outcome,
        reference: str = "",
        **more: Any,
    ) -> Operation | None:
        if number.startswith("M") and number not in MERCHANTS:
            return None
        ended = inf if outcome == "UNKNOWN" else asked.ended
        name = f"{asked.name}@{asked.step}"
        operation = Operation(name, kind, amount_minor, asked.began, ended, outcome, **more)
        self.of[number].append(operation)
        ledger = f"merchant/{number}/receivable" if number in MERCHANTS else number
        moments = self._moments.get((ledger, reference), ())
        if len(moments) == 1 and outcome == "OK":
            self._guesses[operation] = moments[0]
        return operation

    def _paid(
        self, asked: Asked, original: str, amount_minor: int, fee: int, reference: str
    ) -> None:
        merchant = asked.address.partition("/")[2]
        more = {"payment": original, "fee_minor": fee}
        self._note(asked, merchant, "payment", amount_minor, "OK", reference, **more)

    def _refund(self, asked: Asked, tag: str, number: str, outcome: _Outcome) -> None:
        command: Any = asked.command
        amount, merchant = command.amount_minor, command.merchant_no
        payment = number if tag == "p" else f"hold/{number}"
        reference = f"refund/{merchant}/{command.refund_no}"
        self._note(asked, merchant, "refund", amount, outcome, reference, payment=payment)
        if outcome in ("OK", "UNKNOWN"):
            payer = self._records[asked.address, tag, number].payer
            self._note(asked, payer, "credit", amount, outcome, reference)

    def _reversal(self, asked: Asked, command: Any, outcome: _Outcome) -> None:
        payment = self._records[asked.address, "p", command.order_no]
        more = {"payment": command.order_no, "fee_minor": payment.fee_minor}
        amount = payment.amount_minor
        reference = f"reversal/{command.merchant_no}/{command.order_no}"
        self._note(asked, command.merchant_no, "reversal", amount, outcome, reference, **more)
        if outcome == "OK":
            self._note(asked, payment.payer, "credit", amount, outcome, reference)

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
            reference = f"capture/{_hold(command)}/{command.capture_no}"
            self._note(asked, payer, "capture", amount, outcome, reference, held_minor=amount)
            self._paid(asked, f"hold/{command.hold_no}", amount, answer.fee_minor, reference)
        else:
            assert answer.hold_amount_minor is not None
            assert answer.hold_captured_minor is not None
            rest = answer.hold_amount_minor - answer.hold_captured_minor
            released = self._note(asked, payer, "release", rest, outcome)
            assert released is not None
            self._released_by[_hold(command)] = released


def _hold(command: Any) -> str:
    return f"{command.merchant_no}/{command.hold_no}"


def _outcome(answer: Any) -> _Outcome:
    if isinstance(answer, Refused):
        if answer.code in _SHORT:
            return "SHORT"
        return "EXCEEDS" if answer.code is Refusal.REFUND_EXCEEDS_REMAINING else "NOTHING"
    if getattr(answer, "state", "") == "ABNORMAL":
        return "NOTHING"  # The merchant has the money again.
    # A refund that waits may still come to something, or never.
    return "UNKNOWN" if getattr(answer, "state", "") == "PENDING_FUNDS" else "OK"
