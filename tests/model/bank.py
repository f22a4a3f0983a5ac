"""A small model of the bank: what the domain must do, said a second time and as plainly as can be.

It imports nothing of ours, on purpose: no handler, no constant, no type. Commands are dicts as
they come over the wire, answers are dicts as they leave, everything that exists is a dict of
figures under a readable name. There are no messages and no turns: a command is done in one go.
Where several refusals apply, the documented order of precedence decides, not the order of ifs.

Figures are never changed in place, so a copy of the bank is a copy of two flat dicts; this lets
a test try many orders of commands that ran at the same time.
"""

import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

Command = Mapping[str, Any]
Answer = dict[str, Any]
Thing = dict[str, Any]
Posting = tuple[str, int, str, str, str]
Sent = tuple[int, str]
"""A refund whose money is on its way: when it was sent, and its name."""
"""(ledger account, signed amount, currency, reference, business date)"""

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS

PRECEDENCE = (
    "MERCHANT_NOT_FOUND",
    "RESERVED_NUMBER",
    "NUMBER_USED",
    "MERCHANT_CLOSED",
    "MERCHANT_NOT_ACTIVE",
    "MERCHANT_CLOSING",
    "MERCHANT_SUSPENDED",
    "NO_SUCH_PAYMENT",
    "NO_SUCH_HOLD",
    "NO_SUCH_REFUND",
    "NO_SUCH_AGREEMENT",
    "NO_SUCH_FREEZE",
    "IN_FLIGHT",
    "PAYMENT_NOT_SUCCEEDED",
    "HOLD_EXPIRED",
    "HOLD_ALREADY_VOIDED",
    "HOLD_ALREADY_CAPTURED",
    "HOLD_PARTLY_CAPTURED",
    "STATE_CONFLICT",
    "CERTIFICATE_MISSING",
    "CERTIFICATE_NOT_FOUND",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_ENDED",
    "CERTIFICATE_LIMIT",
    "CERTIFICATE_EXISTS",
    "REVERSAL_WINDOW_PASSED",
    "REFUND_WINDOW_PASSED",
    "CAPTURE_LIMIT",
    "INCREMENT_LIMIT",
    "REFUND_COUNT_LIMIT",
    "CAPTURE_EXCEEDS_HOLD",
    "REVERSAL_NOT_FULL",
    "REFUND_EXCEEDS_REMAINING",
    "MERCHANT_BALANCE_INSUFFICIENT",
    "ACCOUNT_NOT_FOUND",
    "ACCOUNT_CLOSED",
    "ACCOUNT_FROZEN",
    "CURRENCY_MISMATCH",
    "ACCOUNT_INTERNAL",
    "SAME_ACCOUNT",
    "HOLDS_OPEN",
    "OPEN_LIABILITIES",
    "ACCOUNT_NOT_EMPTY",
    "AGREEMENT_IN_FORCE",
    "AGREEMENT_NOT_FOUND",
    "AGREEMENT_CANCELLED",
    "PAYMENT_LIMIT_EXCEEDED",
    "DAILY_LIMIT_EXCEEDED",
    "METHOD_LIMIT_EXCEEDED",
    "INSUFFICIENT_FUNDS",
    "BALANCE_LIMIT",
)

LEGAL = {
    "increment": ["HELD"],
    "capture": ["HELD", "PARTIALLY_CAPTURED"],
    "void": ["HELD"],
    "release": ["PARTIALLY_CAPTURED"],
    "reversal": ["SUCCEEDED"],
    "refund of a payment": ["SUCCEEDED"],
    "refund of an authorization": ["PARTIALLY_CAPTURED", "CAPTURED"],
    "redirect": ["ABNORMAL"],
    "closing": ["PENDING_FUNDS", "ABNORMAL"],
    "freeze": ["OPEN", "FROZEN"],
    "amend": ["DRAFT"],
    "submit": ["DRAFT", "AUDITING"],
    "approve": ["AUDITING", "TO_BE_SIGNED"],
    "reject": ["AUDITING"],
    "sign": ["TO_BE_SIGNED"],
    "activate": ["PROVISIONING", "ACTIVE", "SUSPENDED"],
    "suspend": ["ACTIVE", "SUSPENDED"],
    "close": [
        "DRAFT",
        "AUDITING",
        "TO_BE_SIGNED",
        "PROVISIONING",
        "ACTIVE",
        "SUSPENDED",
        "CLOSING",
        "CLOSED",
    ],
    "register": ["PROVISIONING", "ACTIVE", "SUSPENDED"],
    "change of an agreement": ["SIGNED"],
    "unfreeze": ["FROZEN"],
}
"""The states of the original in which something may be done to it."""

NUMBERS = {
    "create_payment": ("payment", "order_no"),
    "reverse_payment": ("reversal", "reversal_no"),
    "create_authorization": ("authorization", "hold_no"),
    "increment_authorization": ("increment", "increment_no"),
    "capture_authorization": ("capture", "capture_no"),
    "void_authorization": ("void", "void_no"),
    "release_authorization": ("release", "release_no"),
    "refund_payment": ("refund", "refund_no"),
    "refund_authorization": ("refund", "refund_no"),
    "redirect_refund": ("redirect", "redirect_no"),
    "close_refund": ("closing", "close_no"),
}
"""A merchant's commands, the number space of each, and the field with the number."""

TAKING = {
    "create_payment",
    "create_authorization",
    "increment_authorization",
    "capture_authorization",
}
"""What takes money from a payer: not for a suspended merchant."""

CERTIFICATES_MAX = 10
RENEWED_NS = 15 * DAY_NS

METHODS = ["agreement", "authorization", "transfer", "withdrawal"]

_TOO_LATE = {
    "EXPIRED": "HOLD_EXPIRED",
    "VOIDED": "HOLD_ALREADY_VOIDED",
    "CAPTURED": "HOLD_ALREADY_CAPTURED",
    "PARTIALLY_CAPTURED": "HOLD_PARTLY_CAPTURED",
}


def first_of(applies: Mapping[str, bool]) -> str | None:
    """Return the code of highest precedence among those that apply, None if none does."""
    return min((code for code, yes in applies.items() if yes), key=PRECEDENCE.index, default=None)


def refused(code: str, number: str, current: str | None = None, legal: str = "") -> Answer:
    """Return a refusal; one about a state names it, and those in which the command is legal."""
    return {
        "object": "refused",
        "code": code,
        "number": number,
        "current": current,
        "allowed": LEGAL.get(legal, []),
    }


def instant(ns: int) -> str | None:
    """Return a time as RFC 3339 with milliseconds, None for 0."""
    if not ns:
        return None
    seconds, rest = divmod(ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def is_internal(account_no: str) -> bool:
    """Return whether only an account of the bank itself may bear the number."""
    return account_no.startswith(("clearing-", "suspense-"))


class Bank:
    """Everything that exists.

    Attributes:
        things: figures by name: `account/A1`, `merchant/M1`, `agreement/A1/G1`,
            `allowance/A1/M1` (what A1 lets M1 take now), `freeze/A1/Z1`, `payment/M1/7`,
            `authorization/M1/7`, `hold/A1/M1/7`, `timer/A1/M1/7`, `capture/M1/7`, …; the timer of a
            refund that waits is `timer/M1/pending/7`; `events/M1` has all that happened at a
            merchant. A certificate is `certificate/ab`, `registered/M1/7` and `named/M1/ab`.
        bound: by the same names, the command that took the number and its first outcome.
        postings: what was posted since somebody last emptied the list.
        cut: the business dates that are closed.
    """

    def __init__(self, now_ns: int, business_date: str) -> None:
        self.now_ns = now_ns
        self.business_date = business_date
        self.things: dict[str, Thing] = {}
        self.bound: dict[str, tuple[Command, Answer]] = {}
        self.postings: list[Posting] = []
        self.cut: list[str] = []
        self._newest_ns: dict[str, int] = {}  # Of each merchant's newest event.

    def copy(self) -> "Bank":
        """Return a bank that goes its own way from here."""
        bank = Bank(self.now_ns, self.business_date)
        bank.things = dict(self.things)
        bank.bound = dict(self.bound)
        bank.postings = list(self.postings)
        bank.cut = list(self.cut)
        bank._newest_ns = dict(self._newest_ns)
        return bank

    # Commands, time and dates

    def do(self, command: Command) -> tuple[Answer, bool]:
        """Carry a command out; returns its answer, and whether that is a first outcome again."""
        kind = command["command"]
        answer: Answer | tuple[Answer, bool]
        if kind in NUMBERS:
            answer = self._ask_merchant(kind, command)
        else:
            answer = getattr(self, f"_{kind}")(command)
        self._end_closings()
        return answer if isinstance(answer, tuple) else (answer, False)

    def advance(self, to_ns: int, *, in_steps: bool = False) -> None:
        """Let time pass: holds expire, and refunds have waited long enough.

        Args:
            in_steps: the clock stops where something is due; else it goes on in one leap.
        """
        if in_steps:
            while (due_ns := min(self._due(), default=to_ns + 1)) <= to_ns:
                self.advance(due_ns)
        clock_ns = max(self.now_ns, to_ns)
        sent: list[Sent] = []
        expired: list[tuple[int, str, str, int]] = []
        # All that is due fires before anybody hears of it, or any money sent with it arrives;
        # but each at its own time, and what follows from it has that time too.
        while (first := min(self._due(), default=clock_ns + 1)) <= clock_ns:
            self.now_ns = first
            name = min(name for name in self._timers() if self.things[name]["due_ns"] == first)
            owner, of, number = name.split("/")[1:]
            if of == "pending":
                self._close(f"refund/{owner}/{number}")
                sent += self._drain(owner)
            else:
                hold = self.things[f"authorization/{of}/{number}"]
                partly = hold["captured_minor"]
                rest = hold["amount_minor"] - partly
                self._end(owner, of, number, "CAPTURED" if partly else "EXPIRED")
                expired.append((first, of, number, rest))
        for self.now_ns, merchant_no, number, rest in expired:
            self._happened(merchant_no, "authorization.expired", number, rest, hold=number)
        self._deliver(sent)
        self._end_closings()
        self.now_ns = clock_ns

    def _timers(self) -> list[str]:
        return [name for name in self.things if name.startswith("timer/")]

    def _due(self) -> list[int]:
        return [self.things[name]["due_ns"] for name in self._timers()]

    def cut_day(self, business_date: str) -> str | None:
        """Close the business date; returns the next one, None where it is not the open one."""
        if business_date in self.cut:
            return day_after(business_date)
        if business_date != self.business_date:
            return None
        self.cut.append(business_date)
        self.business_date = day_after(business_date)
        return self.business_date

    def available_minor(self, account_no: str) -> int:
        """Return what may newly leave an account, 0 if there is none."""
        account = self.things.get(f"account/{account_no}")
        if account is None:
            return 0
        return int(account["posted_minor"] - account["held_minor"] - account["frozen_minor"])

    # Numbers

    def _once(
        self, name: str, number: str, command: Command, decide: Callable[[Command], Answer]
    ) -> tuple[Answer, bool]:
        """The first outcome again, NUMBER_USED, or a decision that is bound from now on."""
        if name in self.bound:
            content, outcome = self.bound[name]
            if content == command:
                return outcome, True
            return refused("NUMBER_USED", number), False
        outcome = decide(command)
        self.bound[name] = (command, outcome)
        return outcome, False

    def _ask_merchant(self, kind: str, command: Command) -> tuple[Answer, bool]:
        space, field = NUMBERS[kind]
        merchant_no, number = command["merchant_no"], command[field]
        if f"merchant/{merchant_no}" not in self.things:
            return refused("MERCHANT_NOT_FOUND", number), False
        name = f"{space}/{merchant_no}/{number}"
        decide: Callable[[Command], Answer] = getattr(self, f"_{kind}")
        if name not in self.bound:
            status = self.things[f"merchant/{merchant_no}"]["status"]
            begun = {"ACTIVE", "SUSPENDED", "CLOSING", "CLOSED"}
            code = first_of(
                {
                    "MERCHANT_CLOSED": status == "CLOSED",
                    "MERCHANT_NOT_ACTIVE": status not in begun,
                    "MERCHANT_CLOSING": status == "CLOSING"
                    and kind in TAKING - {"capture_authorization"},
                    "MERCHANT_SUSPENDED": status == "SUSPENDED" and kind in TAKING,
                }
            )
            if code is not None:
                return refused(code, number), False
        answer = self._once(name, number, command, decide)
        self._deliver(self._drain(merchant_no))
        return answer

    # Accounts

    def _open_account(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no = command["account_no"]
        if is_internal(account_no):
            return refused("RESERVED_NUMBER", account_no)

        def decide(command: Command) -> Answer:
            self._new_account(account_no, "customer", command["currency"])
            return self._view_account(account_no)

        return self._once(f"account/{account_no}", account_no, command, decide)

    def _new_account(self, account_no: str, kind: str, currency: str) -> None:
        self.things[f"account/{account_no}"] = {
            "kind": kind,
            "status": "OPEN",
            "currency": currency,
            "posted_minor": 0,
            "held_minor": 0,
            "holds_open": 0,
            "used_date": "",
            "used_minor": (0, 0, 0, 0),
            "frozen_minor": 0,
            "limits": {},
            "opened_ns": self.now_ns,
        }

    def _view_account(self, account_no: str) -> Answer:
        account = self.things[f"account/{account_no}"]
        return {
            "object": "account",
            "account_no": account_no,
            "kind": account["kind"],
            "status": account["status"],
            "currency": account["currency"],
            "posted_minor": account["posted_minor"],
            "held_minor": account["held_minor"],
            "frozen_minor": account["frozen_minor"],
            "available_minor": self.available_minor(account_no),
            "opened_at": instant(account["opened_ns"]),
        }

    def _freeze_account(self, command: Command) -> Answer:
        return self._change_status(command["account_no"], "FROZEN")

    def _unfreeze_account(self, command: Command) -> Answer:
        return self._change_status(command["account_no"], "OPEN")

    def _close_account(self, command: Command) -> Answer:
        return self._change_status(command["account_no"], "CLOSED")

    def _change_status(self, account_no: str, target: str) -> Answer:
        account = self.things.get(f"account/{account_no}")
        if account is None:
            return refused("ACCOUNT_NOT_FOUND", account_no)
        closing = target == "CLOSED"
        code = first_of(
            {
                "STATE_CONFLICT": account["status"] == "CLOSED" and not closing,
                "ACCOUNT_INTERNAL": account["kind"] != "customer",
                "HOLDS_OPEN": closing and account["holds_open"] > 0,
                "OPEN_LIABILITIES": closing and account["frozen_minor"] > 0,
                "ACCOUNT_NOT_EMPTY": closing and account["posted_minor"] != 0,
            }
        )
        if code == "STATE_CONFLICT":
            return refused(code, account_no, "CLOSED", "freeze")
        if code is not None:
            return refused(code, account_no)
        self._change(f"account/{account_no}", status=target)
        return self._view_account(account_no)

    # Agreements, limits, frozen amounts: decided by the account at once

    def _at_once(
        self,
        space: str,
        command: Command,
        field: str,
        decide: Callable[[Command], Answer],
        *,
        open_only: bool = True,
    ) -> Answer | tuple[Answer, bool]:
        """As `_once`; where there is no account, or a closed one, nothing is decided."""
        account_no, number = command["account_no"], command[field]
        account = self.things.get(f"account/{account_no}")
        if account is None:
            return refused("ACCOUNT_NOT_FOUND", number)
        name = f"{space}/{account_no}/{number}"
        if name not in self.bound and open_only and account["status"] == "CLOSED":
            return refused("ACCOUNT_CLOSED", number)
        return self._once(name, number, command, decide)

    def _view_at_once(self, kind: str, thing: Thing, **names: Any) -> Answer:
        """Return a thing that was settled when it was made: it has one time only."""
        view = self._view(kind, thing, **names)
        del view["settled_at"]
        return view

    def _sign_agreement(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, merchant_no = command["account_no"], command["merchant_no"]
        number = command["agreement_no"]

        def decide(command: Command) -> Answer:
            allowance = self.things.get(f"allowance/{account_no}/{merchant_no}", {})
            code = first_of(
                {
                    "ACCOUNT_INTERNAL": is_internal(account_no),
                    "AGREEMENT_IN_FORCE": bool(allowance.get("agreement_no")),
                }
            )
            limits = _limits(command)
            self.things[f"agreement/{account_no}/{number}"] = {
                "merchant_no": merchant_no,
                **limits,
                **self._outcome(code),
                "state": "FAILED" if code else "SIGNED",
                "changes": 0,
                "changed_ns": 0,
                "cancelled_ns": 0,
            }
            if code is not None:
                return refused(code, number)
            self._allow(account_no, merchant_no, agreement_no=number, **limits)
            return {
                "object": "agreement",
                "account_no": account_no,
                "agreement_no": number,
                "merchant_no": merchant_no,
                **limits,
                "used_minor": None,
                "state": "SIGNED",
                "code": None,
                "business_date": self.business_date,
                "signed_at": instant(self.now_ns),
                "changed_at": None,
                "cancelled_at": None,
            }

        return self._at_once("agreement", command, "agreement_no", decide)

    def _allow(self, account_no: str, merchant_no: str, **figures: Any) -> None:
        """Let a merchant take what an agreement says; what it used before stays counted."""
        name = f"allowance/{account_no}/{merchant_no}"
        unused = {"counted": False, "used_date": "", "used_minor": 0, "uncounted_date": ""}
        allowance = {**self.things.get(name, unused), **figures}
        if allowance["daily_limit_minor"] is not None:
            if name in self.things and not allowance["counted"]:
                allowance["uncounted_date"] = self.business_date
            allowance["counted"] = True
        self.things[name] = allowance

    def _change_agreement(self, command: Command) -> Answer | tuple[Answer, bool]:
        return self._change_signed("change", command)

    def _cancel_agreement(self, command: Command) -> Answer | tuple[Answer, bool]:
        return self._change_signed("cancel", command)

    def _change_signed(self, kind: str, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, number = command["account_no"], command[f"{kind}_no"]
        name = f"agreement/{account_no}/{command['agreement_no']}"
        agreement = self.things.get(name)
        signed = agreement is not None and agreement["state"] == "SIGNED"

        def decide(command: Command) -> Answer:
            code = first_of(
                {
                    "NO_SUCH_AGREEMENT": agreement is None,
                    "STATE_CONFLICT": agreement is not None and not signed,
                }
            )
            limits = _limits(command)
            change = {
                "agreement_no": command["agreement_no"],
                **limits,
                **self._outcome(code),
            }
            self.things[f"{kind}/{account_no}/{number}"] = change
            if agreement is None or code is not None:
                current = None if agreement is None else agreement["state"]
                legal = "" if agreement is None else "change of an agreement"
                return refused(str(code), number, current, legal)
            merchant_no = agreement["merchant_no"]
            if kind == "cancel":
                self._change(name, state="CANCELLED", cancelled_ns=self.now_ns)
                self._change(f"allowance/{account_no}/{merchant_no}", agreement_no="")
            else:
                changes = agreement["changes"] + 1
                self._change(name, **limits, changes=changes, changed_ns=self.now_ns)
                self._allow(account_no, merchant_no, **limits)
            names = {"change": kind, "account_no": account_no, "number": number}
            return self._view_at_once("agreement_change", change, **names)

        # A closed account's agreements may be cancelled, but not changed.
        open_only = kind == "change" and signed
        return self._at_once(kind, command, f"{kind}_no", decide, open_only=open_only)

    def _set_account_limits(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, number = command["account_no"], command["limits_no"]
        method = command["method"]

        def decide(command: Command) -> Answer:
            code = first_of({"ACCOUNT_INTERNAL": is_internal(account_no)})
            change = {"method": method, **_limits(command), **self._outcome(code)}
            self.things[f"limitschange/{account_no}/{number}"] = change
            if code is not None:
                return refused(code, number)
            limits = dict(self.things[f"account/{account_no}"]["limits"])
            limits[method] = tuple(_limits(command).values())
            if limits[method] == (None, None):
                del limits[method]
            self._change(f"account/{account_no}", limits=limits)
            names = {"account_no": account_no, "limits_no": number}
            return self._view_at_once("limits_change", change, **names)

        return self._at_once("limits", command, "limits_no", decide)

    def _freeze_amount(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, number = command["account_no"], command["freeze_no"]
        amount = command["amount_minor"]

        def decide(command: Command) -> Answer:
            code = first_of(
                {
                    "ACCOUNT_INTERNAL": is_internal(account_no),
                    "INSUFFICIENT_FUNDS": self.available_minor(account_no) < amount,
                }
            )
            freeze = {
                "amount_minor": amount,
                **self._outcome(code),
                "state": "FAILED" if code else "FROZEN",
                "released_ns": 0,
            }
            self.things[f"freeze/{account_no}/{number}"] = freeze
            if code is not None:
                return refused(code, number)
            frozen = self.things[f"account/{account_no}"]["frozen_minor"]
            self._change(f"account/{account_no}", frozen_minor=frozen + amount)
            view = self._view_at_once("freeze", freeze, account_no=account_no, freeze_no=number)
            return {**view, "released_at": None}

        return self._at_once("freeze", command, "freeze_no", decide)

    def _unfreeze_amount(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, number = command["account_no"], command["unfreeze_no"]
        name = f"freeze/{account_no}/{command['freeze_no']}"

        def decide(command: Command) -> Answer:
            freeze = self.things.get(name)
            code = first_of(
                {
                    "NO_SUCH_FREEZE": freeze is None,
                    "STATE_CONFLICT": freeze is not None and freeze["state"] != "FROZEN",
                }
            )
            unfreeze = {
                "freeze_no": command["freeze_no"],
                "amount_minor": 0 if freeze is None else freeze["amount_minor"],
                **self._outcome(code),
            }
            self.things[f"unfreeze/{account_no}/{number}"] = unfreeze
            if freeze is None or code is not None:
                current = None if freeze is None else freeze["state"]
                return refused(str(code), number, current, "" if freeze is None else "unfreeze")
            frozen = self.things[f"account/{account_no}"]["frozen_minor"]
            self._change(f"account/{account_no}", frozen_minor=frozen - freeze["amount_minor"])
            self._change(name, state="RELEASED", released_ns=self.now_ns)
            names = {"account_no": account_no, "unfreeze_no": number}
            return self._view_at_once("unfreeze", unfreeze, **names)

        return self._at_once("unfreeze", command, "unfreeze_no", decide, open_only=False)

    def _refuse_debit(
        self,
        method: str,
        payer: str,
        merchant_no: str,
        currency: str,
        total_minor: int,
        amount_minor: int,
    ) -> str | None:
        """Return why an account does not newly give an amount that makes up a total."""
        account = self.things.get(f"account/{payer}")
        if account is None:
            return "ACCOUNT_NOT_FOUND"
        allowance = self.things.get(f"allowance/{payer}/{merchant_no}")
        limits = allowance or {"payment_limit_minor": None, "daily_limit_minor": None}
        payment_limit, daily_limit = limits["payment_limit_minor"], limits["daily_limit_minor"]
        used = 0
        if allowance is not None and allowance["used_date"] == self.business_date:
            used = allowance["used_minor"]
        return first_of(
            {
                "ACCOUNT_CLOSED": account["status"] == "CLOSED",
                "ACCOUNT_FROZEN": account["status"] == "FROZEN",
                "CURRENCY_MISMATCH": account["currency"] != currency,
                "ACCOUNT_INTERNAL": account["kind"] != "customer",
                "AGREEMENT_NOT_FOUND": allowance is None,
                "AGREEMENT_CANCELLED": allowance is not None and not allowance["agreement_no"],
                "PAYMENT_LIMIT_EXCEEDED": payment_limit is not None and total_minor > payment_limit,
                "DAILY_LIMIT_EXCEEDED": daily_limit is not None
                and used + amount_minor > daily_limit,
                "METHOD_LIMIT_EXCEEDED": self._beyond(account, method, total_minor, amount_minor),
                "INSUFFICIENT_FUNDS": self.available_minor(payer) < amount_minor,
            }
        )

    def refuse_credit(self, account_no: str, currency: str) -> str | None:
        """Return why an account cannot take money, None where it can."""
        account = self.things.get(f"account/{account_no}")
        if account is None:
            return "ACCOUNT_NOT_FOUND"
        return first_of(
            {
                "ACCOUNT_CLOSED": account["status"] == "CLOSED",
                "CURRENCY_MISMATCH": account["currency"] != currency,
            }
        )

    def used_by(self, account: Thing, method: str) -> int:
        """Return what an account has used by a method on the business date."""
        used: int = account["used_minor"][METHODS.index(method)]
        return used if account["used_date"] == self.business_date else 0

    def _beyond(self, account: Thing, method: str, total_minor: int, amount_minor: int) -> bool:
        """Return whether an account's own limits for a method speak against an amount."""
        payment_limit, daily_limit = account["limits"].get(method, (None, None))
        used = self.used_by(account, method)
        return (payment_limit is not None and total_minor > payment_limit) or (
            daily_limit is not None and used + amount_minor > daily_limit
        )

    def _use(self, method: str, account_no: str, amount_minor: int) -> None:
        """Count use of an account on the business date; 10**18 is as far as it counts. A negative
        amount gives use back, where it was the newest date's."""
        name = f"account/{account_no}"
        account = self.things[name]
        if account["used_date"] != self.business_date:
            if amount_minor < 0:
                return
            account = {**account, "used_minor": (0, 0, 0, 0)}
        used = list(account["used_minor"])
        which = METHODS.index(method)
        used[which] = min(max(used[which] + amount_minor, 0), 10**18)
        self._change(name, used_date=self.business_date, used_minor=tuple(used))

    def _use_limits(self, payer: str, merchant_no: str, amount_minor: int) -> None:
        """Count use of what a merchant is allowed, where that has ever had a daily limit."""
        name = f"allowance/{payer}/{merchant_no}"
        allowance = self.things.get(name)
        if allowance is None or not allowance["counted"]:
            return
        if amount_minor < 0 and allowance["uncounted_date"] == self.business_date:
            return  # It may never have been counted.
        if allowance["used_date"] != self.business_date:
            if amount_minor < 0:
                return
            allowance = {**allowance, "used_minor": 0}
        used = min(max(allowance["used_minor"] + amount_minor, 0), 10**18)
        self._change(name, used_date=self.business_date, used_minor=used)

    # Transfers

    def _fund_account(self, command: Command) -> tuple[Answer, bool]:
        account_no, number = command["account_no"], command["funding_no"]
        currency, amount = command["currency"], command["amount_minor"]
        name = f"funding/{currency}/{account_no}/{number}"

        def decide(command: Command) -> Answer:
            clearing = self._clearing(currency)
            code = first_of(
                {
                    "ACCOUNT_INTERNAL": is_internal(account_no),
                    "BALANCE_LIMIT": self.things[f"account/{clearing}"]["posted_minor"] - amount
                    < -(10**18),
                }
            )
            reference = f"funding/{account_no}/{number}"
            if code is None:
                self._post(clearing, -amount, reference)
                code = self.refuse_credit(account_no, currency)
                self._post(clearing if code else account_no, amount, reference)
            return self._transfer(name, "funding", account_no, number, command, code)

        return self._once(name, number, command, decide)

    def _withdraw_funds(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, number = command["account_no"], command["withdrawal_no"]
        currency, amount = command["currency"], command["amount_minor"]
        account = self.things.get(f"account/{account_no}")
        if account is None:
            return refused("ACCOUNT_NOT_FOUND", number)
        name = f"withdrawal/{account_no}/{number}"
        if name not in self.bound and account["status"] != "OPEN":
            return refused(f"ACCOUNT_{account['status']}", number)

        def decide(command: Command) -> Answer:
            code = first_of(
                {
                    "CURRENCY_MISMATCH": account["currency"] != currency,
                    "ACCOUNT_INTERNAL": account["kind"] != "customer",
                    "METHOD_LIMIT_EXCEEDED": self._beyond(account, "withdrawal", amount, amount),
                    "INSUFFICIENT_FUNDS": self.available_minor(account_no) < amount,
                }
            )
            if code is None:
                self._use("withdrawal", account_no, amount)
                self._post(account_no, -amount, f"withdrawal/{account_no}/{number}")
                clearing = self._clearing(currency)
                self._post(clearing, amount, f"withdrawal/{account_no}/{number}")
            return self._transfer(name, "withdrawal", account_no, number, command, code)

        return self._once(name, number, command, decide)

    def _create_transfer(self, command: Command) -> Answer | tuple[Answer, bool]:
        account_no, number = command["account_no"], command["transfer_no"]
        currency, amount, to = command["currency"], command["amount_minor"], command["to"]
        account = self.things.get(f"account/{account_no}")
        if account is None:
            return refused("ACCOUNT_NOT_FOUND", number)
        name = f"transfer/{account_no}/{number}"
        if name not in self.bound and account["status"] != "OPEN":
            return refused(f"ACCOUNT_{account['status']}", number)

        def decide(command: Command) -> Answer:
            code = first_of(
                {
                    "CURRENCY_MISMATCH": account["currency"] != currency,
                    "ACCOUNT_INTERNAL": account["kind"] == "clearing" or is_internal(to),
                    "SAME_ACCOUNT": account_no == to,
                    "METHOD_LIMIT_EXCEEDED": self._beyond(account, "transfer", amount, amount),
                    "INSUFFICIENT_FUNDS": self.available_minor(account_no) < amount,
                }
            )
            if code is None:
                self._use("transfer", account_no, amount)
                self._post(account_no, -amount, name)
                code = self.refuse_credit(to, currency)
                if code is not None:
                    self._use("transfer", account_no, -amount)
                self._post(account_no if code else to, amount, name)
            return self._transfer(name, "transfer", account_no, number, command, code)

        return self._once(name, number, command, decide)

    def _clearing(self, currency: str) -> str:
        """Return the clearing account's number; it opens itself on first use."""
        clearing = f"clearing-{currency}"
        if f"account/{clearing}" not in self.things:
            self._new_account(clearing, "clearing", currency)
        return clearing

    def _transfer(
        self,
        name: str,
        direction: str,
        account_no: str,
        number: str,
        command: Command,
        code: str | None,
    ) -> Answer:
        transfer = {
            "amount_minor": command["amount_minor"],
            "currency": command["currency"],
            **self._outcome(code),
            **self._note(command),
        }
        self.things[name] = transfer
        if code is not None:
            return refused(code, number)
        return self._view(
            "transfer",
            transfer,
            direction=direction,
            account_no=account_no,
            number=number,
            to=command.get("to"),
        )

    # Merchants

    def _open_merchant(self, command: Command) -> tuple[Answer, bool]:
        return self._new_merchant(command, "ACTIVE")

    def _apply_merchant(self, command: Command) -> tuple[Answer, bool]:
        return self._new_merchant(command, "DRAFT")

    def _new_merchant(self, command: Command, status: str) -> tuple[Answer, bool]:
        merchant_no = command["merchant_no"]

        def decide(command: Command) -> Answer:
            self.things[f"merchant/{merchant_no}"] = {
                "status": status,
                **self._terms(command),
                "posted_minor": 0,
                "fees_minor": 0,
                "in_flight": 0,
                "authorizations_open": 0,
                "opened_ns": self.now_ns,
                "pending": (),
            }
            self.things[f"events/{merchant_no}"] = {"items": ()}
            if status == "DRAFT":
                self.things[f"profile/{merchant_no}/profile"] = {
                    "legal_name": command["legal_name"],
                    "contact": command["contact"],
                    "reason": "",
                    "contract_no": "",
                    **{f"{done}_ns": 0 for done in ("submitted", "decided", "signed")},
                    **{f"{done}_by": "" for done in ("submitted", "decided", "signed")},
                }
            return self._view_merchant(merchant_no)

        return self._once(f"merchant/{merchant_no}", merchant_no, command, decide)

    @staticmethod
    def _terms(command: Command) -> Thing:
        return {name: command[name] for name in ("currency", "fee_bps", "over_capture")}

    def _view_merchant(self, merchant_no: str) -> Answer:
        merchant = self.things[f"merchant/{merchant_no}"]
        hidden = {"in_flight", "authorizations_open", "opened_ns", "pending"}
        return {
            "object": "merchant",
            "merchant_no": merchant_no,
            **{key: value for key, value in merchant.items() if key not in hidden},
            "opened_at": instant(merchant["opened_ns"]),
        }

    def _amend_merchant(self, command: Command) -> Answer:
        texts = {name: command[name] for name in ("legal_name", "contact")}
        return self._step(command, "amend", "DRAFT", texts, terms=self._terms(command))

    def _submit_merchant(self, command: Command) -> Answer:
        return self._step(command, "submit", "AUDITING", self._done(command, "submitted"))

    def _approve_merchant(self, command: Command) -> Answer:
        return self._step(command, "approve", "TO_BE_SIGNED", self._done(command, "decided"))

    def _reject_merchant(self, command: Command) -> Answer:
        done = {"reason": command["reason"], **self._done(command, "decided")}
        return self._step(command, "reject", "REJECTED", done)

    def _sign_merchant(self, command: Command) -> Answer:
        done = {"contract_no": command["contract_no"], **self._done(command, "signed")}
        return self._step(command, "sign", "PROVISIONING", done)

    def _done(self, command: Command, what: str) -> Thing:
        return {f"{what}_ns": self.now_ns, f"{what}_by": command["operator"]}

    def _suspend_merchant(self, command: Command) -> Answer:
        return self._step(command, "suspend", "SUSPENDED")

    def _activate_merchant(self, command: Command) -> Answer:
        return self._step(command, "activate", "ACTIVE")

    def _close_merchant(self, command: Command) -> Answer:
        return self._step(command, "close", "CLOSED")

    def _step(
        self,
        command: Command,
        kind: str,
        target: str,
        noted: Thing | None = None,
        terms: Thing | None = None,
    ) -> Answer:
        """Take a merchant a step on; one that is there already stays as it is.

        Args:
            noted: what the profile says of it; another reason or contract is another step.
        """
        merchant_no = command["merchant_no"]
        merchant = self.things.get(f"merchant/{merchant_no}")
        if merchant is None:
            return refused("MERCHANT_NOT_FOUND", merchant_no)
        status = merchant["status"]
        profile = self.things.get(f"profile/{merchant_no}/profile", {})
        texts = {key: (noted or {}).get(key) for key in ("reason", "contract_no")}
        same = all(text is None or profile.get(key) == text for key, text in texts.items())
        if status == target and same and terms is None:
            return self._view_merchant(merchant_no)
        code = first_of(
            {
                "STATE_CONFLICT": status not in LEGAL[kind],
                "CERTIFICATE_MISSING": target == "ACTIVE"
                and status == "PROVISIONING"
                and not self._valid(f"merchant/{merchant_no}"),
            }
        )
        if code is not None:
            conflict = code == "STATE_CONFLICT"
            return refused(code, merchant_no, *((status, kind) if conflict else ()))
        if target == "CLOSED" and self._liable(merchant_no):
            target = "CLOSING"
        self._change(f"merchant/{merchant_no}", status=target, **(terms or {}))
        if noted:
            self._change(f"profile/{merchant_no}/profile", **noted)
        return self._view_merchant(merchant_no)

    def _liable(self, merchant_no: str) -> bool:
        open_states = {
            "authorization": {"HELD", "PARTIALLY_CAPTURED"},
            "refund": {"PROCESSING", "PENDING_FUNDS", "ABNORMAL"},
        }
        return self.things[f"merchant/{merchant_no}"]["posted_minor"] != 0 or any(
            name.startswith(f"{kind}/{merchant_no}/") and thing["state"] in states
            for kind, states in open_states.items()
            for name, thing in self.things.items()
        )

    def _end_closings(self) -> None:
        """Close whoever was only waiting for the last of what was open."""
        for name in [name for name in self.things if name.startswith("merchant/")]:
            merchant_no = name.partition("/")[2]
            if self.things[name]["status"] == "CLOSING" and not self._liable(merchant_no):
                self._change(name, status="CLOSED")

    # Certificates; `owner` is `M1`, or `main` for the bank

    def _register_certificate(self, command: Command) -> Answer | tuple[Answer, bool]:
        merchant_no, number = command["merchant_no"], command["certificate_no"]
        merchant = self.things.get(f"merchant/{merchant_no}")
        if merchant is None:
            return refused("MERCHANT_NOT_FOUND", number)
        status = merchant["status"]
        known = f"registered/{merchant_no}/{number}" in self.bound
        if not known and status not in LEGAL["register"]:
            return refused("STATE_CONFLICT", number, status, "register")
        return self._register(command, f"merchant/{merchant_no}", merchant_no)

    def _register_bank_certificate(self, command: Command) -> Answer | tuple[Answer, bool]:
        self.things.setdefault("bank/main", {"in_flight": 0})
        return self._register(command, "bank/main", None)

    def _register(
        self, command: Command, holder: str, merchant_no: str | None
    ) -> tuple[Answer, bool]:
        number, issued = command["certificate_no"], command["issued"]
        owner = holder.partition("/")[2]
        serial, renews = issued["serial"], command["renews"]

        def decide(asked: Command) -> Answer:
            renewed = self._registered_as(owner, renews)
            old = {} if renewed is None else self.things[renewed]
            most = CERTIFICATES_MAX if merchant_no else 100
            code = first_of(
                {
                    "CERTIFICATE_NOT_FOUND": renews is not None and renewed is None,
                    "CERTIFICATE_REVOKED": old.get("state") == "REVOKED",
                    "CERTIFICATE_ENDED": old.get("ends_ns", self.now_ns + 1) <= self.now_ns,
                    "CERTIFICATE_LIMIT": len(self._valid(holder)) >= most,
                    "CERTIFICATE_EXISTS": f"certificate/{serial}" in self.things,
                }
            )
            ends_ns = issued["not_after_ns"]
            self.things[f"registered/{owner}/{number}"] = {
                **self._outcome(code),
                "state": "FAILED" if code else "ACTIVE",
                "serial": serial,
                "ends_ns": ends_ns,
                "renews": renews or "",
                "revoked_ns": 0,
                "reason": "",
            }
            if code is not None:
                return refused(code, number)
            self.things[f"named/{owner}/{serial}"] = {"certificate_no": number}
            self.things[f"certificate/{serial}"] = {
                "holder": holder,
                "name": number,
                "alg": issued["alg"],
                "not_before_ns": issued["not_before_ns"],
                "ends_ns": ends_ns,
                "status": "ACTIVE",
                "revoked_ns": 0,
                "reason": "",
            }
            if renewed is not None:
                earlier = min(old["ends_ns"], self.now_ns + RENEWED_NS)
                self._change(renewed, ends_ns=earlier)
                self._change(f"certificate/{renews}", ends_ns=earlier)
            pem = ssl.DER_cert_to_PEM_cert(issued["certificate"])
            return {**self._view_certificate(serial), "pem": pem}

        # What the CA has made is not what was asked for.
        asked = {key: value for key, value in command.items() if key != "issued"}
        return self._once(f"registered/{owner}/{number}", number, asked, decide)

    def _registered_as(self, owner: str, serial: str | None) -> str | None:
        named = self.things.get(f"named/{owner}/{serial}")
        return None if named is None else f"registered/{owner}/{named['certificate_no']}"

    def _valid(self, holder: str) -> list[str]:
        return [
            name
            for name, thing in self.things.items()
            if name.startswith("certificate/")
            and (thing["holder"], thing["status"]) == (holder, "ACTIVE")
            and thing["ends_ns"] > self.now_ns
        ]

    def _view_certificate(self, serial: str) -> Answer:
        certificate = self.things[f"certificate/{serial}"]
        kind, _, owner = certificate["holder"].partition("/")
        return {
            "object": "certificate",
            "merchant_no": owner if kind == "merchant" else None,
            "certificate_no": certificate["name"],
            "serial": serial,
            "alg": certificate["alg"],
            "state": certificate["status"],
            "code": None,
            "not_before": instant(certificate["not_before_ns"]),
            "ends_at": instant(certificate["ends_ns"]),
            "revoked_at": instant(certificate["revoked_ns"]),
            "reason": certificate["reason"] or None,
        }

    def _revoke_certificate(self, command: Command) -> Answer:
        if f"merchant/{command['merchant_no']}" not in self.things:
            return refused("MERCHANT_NOT_FOUND", command["serial"])
        return self._revoke(command, command["merchant_no"])

    def _revoke_bank_certificate(self, command: Command) -> Answer:
        return self._revoke(command, "main")

    def _revoke(self, command: Command, owner: str) -> Answer:
        serial = command["serial"]
        registered = self._registered_as(owner, serial)
        if registered is None:
            return refused("CERTIFICATE_NOT_FOUND", serial)
        if self.things[registered]["state"] == "ACTIVE":
            revoked = {"revoked_ns": self.now_ns, "reason": command["reason"]}
            self._change(registered, state="REVOKED", **revoked)
            self._change(f"certificate/{serial}", status="REVOKED", **revoked)
        return self._view_certificate(serial)

    def fee_minor(self, merchant_no: str, amount_minor: int) -> int:
        """Return the fee on an amount: basis points, rounded half up."""
        bps: int = self.things[f"merchant/{merchant_no}"]["fee_bps"]
        whole, rest = divmod(amount_minor * bps, 10_000)
        return whole + (rest >= 5_000)

    def _earn(self, merchant_no: str, amount_minor: int, fee_minor: int, reference: str) -> None:
        """Post to the receivable and, of it, the fee to the fee account; negative: the reverse."""
        self._post(f"merchant/{merchant_no}/receivable", amount_minor, reference)
        if fee_minor:
            self._post(f"merchant/{merchant_no}/receivable", -fee_minor, reference)
            self._post(f"merchant/{merchant_no}/fees", fee_minor, reference)

    # Payments

    def _create_payment(self, command: Command) -> Answer:
        merchant_no, order_no = command["merchant_no"], command["order_no"]
        payer, amount = command["payer"], command["amount_minor"]
        currency = command["currency"]
        if currency != self.things[f"merchant/{merchant_no}"]["currency"]:
            code: str | None = "CURRENCY_MISMATCH"
        else:
            code = self._refuse_debit("agreement", payer, merchant_no, currency, amount, amount)
        fee = 0 if code else self.fee_minor(merchant_no, amount)
        payment = {
            "payer": payer,
            "amount_minor": amount,
            "currency": currency,
            "fee_minor": fee,
            "refunded_minor": 0,
            **self._outcome(code),
            **self._note(command),
        }
        self._happened(
            merchant_no,
            f"payment.{'failed' if code else 'succeeded'}",
            order_no,
            amount,
            currency=currency,
            fee_minor=fee,
            code=code,
            state=payment["state"],
        )
        self.things[f"payment/{merchant_no}/{order_no}"] = {
            **payment,
            "refunding_minor": 0,
            "refunds": 0,
            "reversing": "",
        }
        if code is not None:
            return refused(code, order_no)
        reference = f"payment/{merchant_no}/{order_no}"
        self._post(payer, -amount, reference)
        self._use("agreement", payer, amount)
        self._use_limits(payer, merchant_no, amount)
        self._earn(merchant_no, amount, fee, reference)
        return self._view("payment", payment, merchant_no=merchant_no, order_no=order_no)

    def _reverse_payment(self, command: Command) -> Answer:
        merchant_no, order_no = command["merchant_no"], command["order_no"]
        number = command["reversal_no"]
        name = f"payment/{merchant_no}/{order_no}"
        payment = self.things.get(name)
        if payment is None:
            self._operation("reversal", command, number, order_no, 0, "NO_SUCH_PAYMENT")
            self._happened(
                merchant_no,
                "payment.reversal_failed",
                number,
                0,
                original=("payment", order_no),
                code="NO_SUCH_PAYMENT",
            )
            return refused("NO_SUCH_PAYMENT", number)
        amount, fee, payer = payment["amount_minor"], payment["fee_minor"], payment["payer"]
        merchant = self.things[f"merchant/{merchant_no}"]
        code = first_of(
            {
                "PAYMENT_NOT_SUCCEEDED": payment["state"] != "SUCCEEDED",
                "REVERSAL_WINDOW_PASSED": payment["business_date"] != self.business_date,
                "REVERSAL_NOT_FULL": payment["refunded_minor"] + payment["refunding_minor"] > 0,
                "MERCHANT_BALANCE_INSUFFICIENT": merchant["posted_minor"] + fee < amount,
            }
        )
        current = payment["state"] if code == "PAYMENT_NOT_SUCCEEDED" else None
        if code is None:
            reference = f"reversal/{merchant_no}/{order_no}"
            self._earn(merchant_no, -amount, -fee, reference)
            code = self.refuse_credit(payer, payment["currency"])
            if code is None:
                self._post(payer, amount, reference)
                self._use("agreement", payer, -amount)
                self._use_limits(payer, merchant_no, -amount)
                self._change(name, state="REVERSED")
            else:
                self._earn(merchant_no, amount, fee, reference)
        fee = 0 if code else fee
        self._happened(
            merchant_no,
            f"payment.{'reversal_failed' if code else 'reversed'}",
            number,
            amount,
            original=("payment", order_no),
            fee_minor=fee,
            code=code,
            state=self.things[name]["state"],
        )
        operation = self._operation(
            "reversal", command, number, order_no, amount, code, fee_minor=fee
        )
        if code is not None:
            return refused(code, number, current, "reversal" if current else "")
        return self._view_operation("reversal", merchant_no, number, operation, None)

    # Authorizations

    def _create_authorization(self, command: Command) -> Answer:
        merchant_no, hold_no = command["merchant_no"], command["hold_no"]
        payer, amount = command["payer"], command["amount_minor"]
        currency = command["currency"]
        merchant = self.things[f"merchant/{merchant_no}"]
        if currency != merchant["currency"]:
            code: str | None = "CURRENCY_MISMATCH"
        else:
            code = self._refuse_debit("authorization", payer, merchant_no, currency, amount, amount)
        outcome = self._outcome(code)
        due_ns = 0 if code else self.now_ns + command["valid_s"] * SECOND_NS
        figures = {
            "amount_minor": amount,
            "captured_minor": 0,
            "captures": 0,
            "increments": 0,
            "state": "FAILED" if code else "HELD",
            "expires_at_ns": due_ns,
            "limit_bps": 11_500 if merchant["over_capture"] else 10_000,
        }
        name = f"{merchant_no}/{hold_no}"
        self.things[f"authorization/{name}"] = {
            **outcome,
            **figures,
            "payer": payer,
            "currency": currency,
            "refunded_minor": 0,
            "refunding_minor": 0,
            "refunds": 0,
            "operation": "",
            "captured_ns": 0,
            **self._note(command),
        }
        self._happened(
            merchant_no,
            f"authorization.{'failed' if code else 'held'}",
            hold_no,
            amount,
            currency=currency,
            code=code,
            state="FAILED" if code else None,
            hold=None if code else hold_no,
        )
        if code is not None:
            return refused(code, hold_no)
        self.things[f"hold/{payer}/{name}"] = figures
        self.things[f"timer/{payer}/{name}"] = {"due_ns": due_ns}
        account = self.things[f"account/{payer}"]
        self._change(
            f"account/{payer}",
            held_minor=account["held_minor"] + amount,
            holds_open=account["holds_open"] + 1,
        )
        self._count_open(merchant_no, 1)
        self._use("authorization", payer, amount)
        self._use_limits(payer, merchant_no, amount)
        return {
            "object": "authorization",
            "merchant_no": merchant_no,
            "hold_no": hold_no,
            "payer": payer,
            "amount_minor": amount,
            "captured_minor": 0,
            "refunded_minor": 0,
            "currency": currency,
            "state": "HELD",
            "code": None,
            **self._times(outcome),
            "expires_at": instant(due_ns),
            **self._note(command),
        }

    def _increment_authorization(self, command: Command) -> Answer:
        amount = command["amount_minor"]

        def apply(hold: Thing, payer: str, merchant_no: str) -> str | None:
            total = hold["amount_minor"] + amount
            currency = self.things[f"account/{payer}"]["currency"]
            code = first_of({"INCREMENT_LIMIT": hold["increments"] >= 10}) or self._refuse_debit(
                "authorization", payer, merchant_no, currency, total, amount
            )
            if code is None:
                self._use("authorization", payer, amount)
                self._use_limits(payer, merchant_no, amount)
                self._hold_back(payer, amount)
                self._change_hold(
                    payer,
                    merchant_no,
                    command["hold_no"],
                    amount_minor=total,
                    increments=hold["increments"] + 1,
                )
            return code

        return self._operate("increment", command, amount, apply)

    def _capture_authorization(self, command: Command) -> Answer:
        amount, hold_no = command["amount_minor"], command["hold_no"]

        def apply(hold: Thing, payer: str, merchant_no: str) -> str | None:
            captured = hold["captured_minor"] + amount
            rest = hold["amount_minor"] - hold["captured_minor"]
            excess = max(amount - rest, 0)
            code = first_of(
                {
                    "CAPTURE_LIMIT": hold["captures"] >= 50,
                    "CAPTURE_EXCEEDS_HOLD": captured * 10_000
                    > hold["amount_minor"] * hold["limit_bps"],
                }
            )
            if code is None and excess:
                currency = self.things[f"account/{payer}"]["currency"]
                code = self._refuse_debit(
                    "authorization", payer, merchant_no, currency, captured, excess
                )
            if code is not None:
                return code
            reference = f"capture/{merchant_no}/{hold_no}/{command['capture_no']}"
            self._hold_back(payer, excess - amount)
            self._post(payer, -amount, reference)
            if excess:
                self._use("authorization", payer, excess)
                self._use_limits(payer, merchant_no, excess)
            self._earn(merchant_no, amount, self.fee_minor(merchant_no, amount), reference)
            self._change_hold(
                payer,
                merchant_no,
                hold_no,
                captured_minor=captured,
                captures=hold["captures"] + 1,
                state="PARTIALLY_CAPTURED",
            )
            self._change(f"authorization/{merchant_no}/{hold_no}", captured_ns=self.now_ns)
            if command["final"] or captured >= hold["amount_minor"]:
                self._end(payer, merchant_no, hold_no, "CAPTURED")
            return None

        return self._operate("capture", command, amount, apply)

    def _void_authorization(self, command: Command) -> Answer:
        def apply(hold: Thing, payer: str, merchant_no: str) -> None:
            self._end(payer, merchant_no, command["hold_no"], "VOIDED")

        return self._operate("void", command, 0, apply)

    def _release_authorization(self, command: Command) -> Answer:
        def apply(hold: Thing, payer: str, merchant_no: str) -> None:
            self._end(payer, merchant_no, command["hold_no"], "CAPTURED")

        return self._operate("release", command, 0, apply)

    def _operate(
        self,
        kind: str,
        command: Command,
        amount_minor: int,
        apply: Callable[[Thing, str, str], str | None],
    ) -> Answer:
        """Do something to a hold if its state allows; `apply` may still refuse."""
        merchant_no, hold_no = command["merchant_no"], command["hold_no"]
        number = command[f"{kind}_no"]
        name = f"authorization/{merchant_no}/{hold_no}"
        hold = self.things.get(name)
        current = None
        if hold is None:
            code: str | None = "NO_SUCH_HOLD"
        elif hold["state"] not in LEGAL[kind]:
            current = hold["state"]
            code = _TOO_LATE.get(current, "STATE_CONFLICT")
        else:
            code = apply(hold, hold["payer"], merchant_no)
        fee = self.fee_minor(merchant_no, amount_minor) if kind == "capture" and not code else 0
        moved = amount_minor
        if hold is not None and not code and kind in {"void", "release"}:
            moved = hold["amount_minor"] - hold["captured_minor"]
        done = {"increment": "incremented", "capture": "captured", "void": "voided"}
        self._happened(
            merchant_no,
            f"authorization.{f'{kind}_failed' if code else done.get(kind, 'released')}",
            number,
            moved,
            original=("authorization", hold_no),
            fee_minor=fee,
            code=code,
            state=current,
            hold=hold_no if hold is not None and hold["state"] != "FAILED" else None,
        )
        operation = self._operation(
            kind, command, number, hold_no, amount_minor, code, fee_minor=fee
        )
        if code is not None:
            return refused(code, number, current, kind if current else "")
        return self._view_operation(kind, merchant_no, number, operation, self.things[name])

    def _operation(
        self,
        kind: str,
        command: Command,
        number: str,
        original: str,
        amount_minor: int,
        code: str | None,
        fee_minor: int = 0,
    ) -> Thing:
        operation = {
            "original": original,
            "amount_minor": amount_minor,
            "final": command.get("final", False),
            "fee_minor": fee_minor,
            **self._outcome(code),
            **self._note(command),
        }
        self.things[f"{kind}/{command['merchant_no']}/{number}"] = operation
        return operation

    def _view_operation(
        self, kind: str, merchant_no: str, number: str, operation: Thing, hold: Thing | None
    ) -> Answer:
        return self._view(
            "operation",
            operation,
            operation=kind,
            merchant_no=merchant_no,
            number=number,
            hold_amount_minor=hold and hold["amount_minor"],
            hold_captured_minor=hold and hold["captured_minor"],
            hold_state=hold and hold["state"],
        )

    def _hold_back(self, payer: str, amount_minor: int) -> None:
        held = self.things[f"account/{payer}"]["held_minor"]
        self._change(f"account/{payer}", held_minor=held + amount_minor)

    def _change_hold(self, payer: str, merchant_no: str, hold_no: str, **figures: Any) -> None:
        """Change a hold on both sides: the payer's account, and the merchant's projection."""
        self._change(f"hold/{payer}/{merchant_no}/{hold_no}", **figures)
        self._change(f"authorization/{merchant_no}/{hold_no}", **figures)

    def _end(self, payer: str, merchant_no: str, hold_no: str, state: str) -> None:
        """Give the rest of an open hold back."""
        name = f"{payer}/{merchant_no}/{hold_no}"
        hold = self.things[f"hold/{name}"]
        self._hold_back(payer, -max(hold["amount_minor"] - hold["captured_minor"], 0))
        self._change(
            f"account/{payer}", holds_open=self.things[f"account/{payer}"]["holds_open"] - 1
        )
        self._count_open(merchant_no, -1)
        self._change_hold(payer, merchant_no, hold_no, state=state)
        del self.things[f"timer/{name}"]

    def _count_open(self, merchant_no: str, more: int) -> None:
        count = self.things[f"merchant/{merchant_no}"]["authorizations_open"]
        self._change(f"merchant/{merchant_no}", authorizations_open=count + more)

    # Refunds

    def _refund_payment(self, command: Command) -> Answer:
        name = f"payment/{command['merchant_no']}/{command['order_no']}"
        payment = self.things.get(name)
        return self._refund(
            command,
            name,
            payment,
            payment["amount_minor"] if payment else 0,
            payment["settled_ns"] if payment else 0,
            ("NO_SUCH_PAYMENT", "PAYMENT_NOT_SUCCEEDED"),
        )

    def _refund_authorization(self, command: Command) -> Answer:
        name = f"authorization/{command['merchant_no']}/{command['hold_no']}"
        hold = self.things.get(name)
        return self._refund(
            command,
            name,
            hold,
            hold["captured_minor"] if hold else 0,
            hold["captured_ns"] if hold else 0,
            ("NO_SUCH_HOLD", "STATE_CONFLICT"),
        )

    def _refund(
        self,
        command: Command,
        name: str,
        original: Thing | None,
        taken_minor: int,
        taken_ns: int,
        codes: tuple[str, str],
    ) -> Answer:
        """Give money back; `codes` are those for an original that is missing, or not paid."""
        kind, merchant_no, original_no = name.split("/")
        number, amount = command["refund_no"], command["amount_minor"]
        merchant = self.things[f"merchant/{merchant_no}"]
        waits = command["wait_for_funds"]
        short = amount > merchant["posted_minor"]
        legal = f"refund of {'an' if kind == 'authorization' else 'a'} {kind}"
        current = None
        if original is None:
            code: str | None = codes[0]
        else:
            refunded = original["refunded_minor"] + original["refunding_minor"]
            code = first_of(
                {
                    codes[1]: original["state"] not in LEGAL[legal],
                    "REFUND_WINDOW_PASSED": self.now_ns - taken_ns > 365 * DAY_NS,
                    "REFUND_COUNT_LIMIT": original["refunds"] >= 50,
                    "REFUND_EXCEEDS_REMAINING": amount > taken_minor - refunded,
                    "MERCHANT_BALANCE_INSUFFICIENT": short and not waits,
                }
            )
            current = original["state"] if code == codes[1] else None
        refund_name = f"refund/{merchant_no}/{number}"
        refund = {
            "original_kind": kind,
            "original": original_no,
            "payer": "" if original is None else original["payer"],
            "redirected_to": "",
            "amount_minor": amount,
            "currency": merchant["currency"],
            **self._outcome(code),
            **self._note(command),
        }
        self.things[refund_name] = {**refund, "redirect_no": "", "close_no": ""}
        if original is None or code is not None:
            assert code is not None
            self._refund_came_to(refund_name, "failed", code)
            return refused(code, number, current, legal if current else "")
        self._change(
            name,
            refunding_minor=original["refunding_minor"] + amount,
            refunds=original["refunds"] + 1,
        )
        self._count_refund(merchant_no, 1)
        if waits and (merchant["pending"] or short):
            self._change(refund_name, state="PENDING_FUNDS", settled_ns=0)
            self._change(f"merchant/{merchant_no}", pending=(*merchant["pending"], number))
            due_ns = self.now_ns + 7 * DAY_NS
            self.things[f"timer/{merchant_no}/pending/{number}"] = {"due_ns": due_ns}
            self._refund_came_to(refund_name, "pending_funds")
        else:
            self._send(refund_name)
            self._deliver([(self.now_ns, refund_name)])
        refund = self.things[refund_name]
        if refund["state"] == "FAILED":
            return refused(refund["code"], number)
        return self._view_refund(merchant_no, number)

    def _view_refund(self, merchant_no: str, number: str) -> Answer:
        refund = dict(self.things[f"refund/{merchant_no}/{number}"])
        for name in ("redirect_no", "close_no"):
            del refund[name]
        refund["redirected_to"] = refund["redirected_to"] or None
        return self._view("refund", refund, merchant_no=merchant_no, refund_no=number)

    def _send(self, name: str) -> None:
        """Take a refund's money out of the receivable; where it goes is seen on delivery."""
        merchant_no = name.split("/")[1]
        self._change(name, state="PROCESSING", code=None, settled_ns=0)
        self._earn(merchant_no, -self.things[name]["amount_minor"], 0, name)

    def _drain(self, merchant_no: str) -> list[Sent]:
        """Send the refunds that wait, oldest first, as far as there is money for them."""
        sent = []
        while pending := self.things[f"merchant/{merchant_no}"]["pending"]:
            name = f"refund/{merchant_no}/{pending[0]}"
            if (
                self.things[name]["amount_minor"]
                > self.things[f"merchant/{merchant_no}"]["posted_minor"]
            ):
                break
            self._leave_queue(name)
            self._send(name)
            sent.append((self.now_ns, name))
        return sent

    def _leave_queue(self, name: str) -> None:
        _, merchant_no, number = name.split("/")
        pending = self.things[f"merchant/{merchant_no}"]["pending"]
        left = tuple(each for each in pending if each != number)
        self._change(f"merchant/{merchant_no}", pending=left)
        del self.things[f"timer/{merchant_no}/pending/{number}"]

    def _deliver(self, sent: list[Sent]) -> None:
        """Have refunds arrive, or come back; the money of those may be what others wait for."""
        sent = list(sent)
        while sent:
            self.now_ns, name = sent.pop(0)
            refund = self.things[name]
            merchant_no, amount = name.split("/")[1], refund["amount_minor"]
            to = refund["redirected_to"] or refund["payer"]
            code = self.refuse_credit(to, refund["currency"])
            if code is None:
                self._post(to, amount, name)
                self._release(name, amount, 0)
                self._count_refund(merchant_no, -1)
                self._change(name, state="SUCCEEDED", settled_ns=self.now_ns)
                self._refund_came_to(name, "succeeded")
                continue
            self._earn(merchant_no, amount, 0, name)
            if code == "ACCOUNT_CLOSED" or refund["redirected_to"]:
                back = {"redirected_to": "", "redirect_no": ""}
                self._change(name, state="ABNORMAL", code="ACCOUNT_CLOSED", **back)
                self._refund_came_to(name, "abnormal", "ACCOUNT_CLOSED")
                if refund["redirect_no"]:
                    self._remedy_failed("redirect", name, refund["redirect_no"], code)
            else:
                self._release(name, 0, -1)
                self._count_refund(merchant_no, -1)
                self._change(name, state="FAILED", code=code, settled_ns=self.now_ns)
                self._refund_came_to(name, "failed", code)
            sent += self._drain(merchant_no)

    def _count_refund(self, merchant_no: str, more: int) -> None:
        """Count a refund that begins, or one that has come to its end; ABNORMAL is none."""
        count = self.things[f"merchant/{merchant_no}"]["in_flight"]
        self._change(f"merchant/{merchant_no}", in_flight=count + more)

    def _release(self, name: str, refunded_minor: int, refunds: int) -> None:
        """End what a refund reserves in its original."""
        refund = self.things[name]
        original_name = f"{refund['original_kind']}/{name.split('/')[1]}/{refund['original']}"
        original = self.things[original_name]
        self._change(
            original_name,
            refunded_minor=original["refunded_minor"] + refunded_minor,
            refunding_minor=original["refunding_minor"] - refund["amount_minor"],
            refunds=original["refunds"] + refunds,
        )

    def _close(self, name: str, close_no: str = "") -> None:
        """Give up a refund that waits or went astray."""
        if self.things[name]["state"] == "PENDING_FUNDS":
            self._leave_queue(name)
        self._release(name, 0, -1)
        self._count_refund(name.split("/")[1], -1)
        self._change(name, state="CLOSED", settled_ns=self.now_ns, close_no=close_no)
        self._refund_came_to(name, "closed")

    def _redirect_refund(self, command: Command) -> Answer:
        merchant_no, to = command["merchant_no"], command["account_no"]
        name, number = f"refund/{merchant_no}/{command['refund_no']}", command["redirect_no"]
        code = self._refuse_remedy("redirect", name)
        refund = self.things.get(name)
        if refund is not None and code is None:
            code = first_of(
                {
                    "MERCHANT_BALANCE_INSUFFICIENT": refund["amount_minor"]
                    > self.things[f"merchant/{merchant_no}"]["posted_minor"],
                    "ACCOUNT_INTERNAL": is_internal(to),
                }
            )
            if code is None:
                code = self.refuse_credit(to, refund["currency"])
                self._change(name, redirected_to=to, redirect_no=number)
                self._send(name)
                self._deliver([(self.now_ns, name)])
            else:
                self._remedy_failed("redirect", name, number, code)
        elif code is not None:
            self._remedy_failed("redirect", name, number, code)
        return self._remedy("redirect", command, number, to, code, refund)

    def _close_refund(self, command: Command) -> Answer:
        name = f"refund/{command['merchant_no']}/{command['refund_no']}"
        number = command["close_no"]
        code = self._refuse_remedy("closing", name)
        refund = self.things.get(name)
        if code is None:
            self._close(name, number)
        else:
            self._remedy_failed("closing", name, number, code)
        return self._remedy("closing", command, number, "", code, refund)

    def _refuse_remedy(self, kind: str, name: str) -> str | None:
        refund = self.things.get(name)
        if refund is None:
            return "NO_SUCH_REFUND"
        return None if refund["state"] in LEGAL[kind] else "STATE_CONFLICT"

    def _remedy(
        self,
        kind: str,
        command: Command,
        number: str,
        account_no: str,
        code: str | None,
        refund: Thing | None,
    ) -> Answer:
        """Bind a remedy; `refund` is as it was before."""
        remedy = {
            "refund_no": command["refund_no"],
            "account_no": account_no,
            "amount_minor": refund["amount_minor"] if refund else 0,
            **self._outcome(code),
        }
        self.things[f"{kind}/{command['merchant_no']}/{number}"] = remedy
        if code is not None:
            conflict = code == "STATE_CONFLICT"
            current = refund["state"] if refund and conflict else None
            return refused(code, number, current, kind if conflict else "")
        return self._view(
            "remedy",
            {**remedy, "account_no": account_no or None},
            remedy=kind,
            merchant_no=command["merchant_no"],
            number=number,
        )

    # Events

    def _refund_came_to(self, name: str, state: str, code: str | None = None) -> None:
        """Note that a refund has come to another state."""
        refund = self.things[name]
        _, merchant_no, number = name.split("/")
        self._happened(
            merchant_no,
            f"refund.{state}",
            number,
            refund["amount_minor"],
            original=(refund["original_kind"], refund["original"]),
            code=code,
            state=refund["state"],
        )

    def _remedy_failed(self, kind: str, name: str, number: str, code: str) -> None:
        """Note that a redirect or a closing has failed; the refund is as it is afterwards."""
        refund = self.things.get(name)
        _, merchant_no, refund_no = name.split("/")
        self._happened(
            merchant_no,
            f"refund.{kind}_failed",
            number,
            refund["amount_minor"] if refund else 0,
            original=("refund", refund_no),
            code=code,
            state=refund["state"] if refund else None,
        )

    def _happened(
        self,
        merchant_no: str,
        type_: str,
        number: str,
        amount_minor: int,
        *,
        original: tuple[str | None, str | None] = (None, None),
        currency: str | None = None,
        fee_minor: int = 0,
        code: str | None = None,
        state: str | None = None,
        hold: str | None = None,
    ) -> None:
        """Note what happened at a merchant; `hold` names the hold whose figures belong to it."""
        figures: Thing = {}
        if hold is not None:
            figures = self.things[f"authorization/{merchant_no}/{hold}"]
        # A sequence is in the order of time, though what comes later may be of an earlier time.
        at_ns = max(self.now_ns, self._newest_ns.get(merchant_no, 0))
        self._newest_ns[merchant_no] = at_ns
        event = {
            "object": "event",
            "type": type_,
            "number": number,
            "original_kind": original[0],
            "original": original[1],
            "amount_minor": amount_minor,
            "currency": currency or self.things[f"merchant/{merchant_no}"]["currency"],
            "fee_minor": fee_minor,
            "state": figures.get("state", state),
            "code": code,
            "hold_amount_minor": figures.get("amount_minor"),
            "hold_captured_minor": figures.get("captured_minor"),
            "expires_at": instant(figures.get("expires_at_ns", 0)),
            "business_date": self.business_date,
            "occurred_at": instant(at_ns),
        }
        name = f"events/{merchant_no}"
        self.things[name] = {"items": (*self.things[name]["items"], event)}

    # Figures

    @staticmethod
    def _note(command: Command) -> Thing:
        """Return what the caller wrote beside a command."""
        return {name: command[name] for name in ("description", "metadata") if name in command}

    def _change(self, name: str, **figures: Any) -> None:
        self.things[name] = {**self.things[name], **figures}

    def _post(self, ledger: str, amount_minor: int, reference: str) -> None:
        """Post to a ledger account: an account's number, or a merchant's receivable or fees."""
        owner, figure = f"account/{ledger}", "posted_minor"
        if ledger.startswith("merchant/"):
            owner, _, last = ledger.rpartition("/")
            figure = "posted_minor" if last == "receivable" else "fees_minor"
        thing = self.things[owner]
        self._change(owner, **{figure: thing[figure] + amount_minor})
        self.postings.append(
            (ledger, amount_minor, thing["currency"], reference, self.business_date)
        )

    def _outcome(self, code: str | None) -> Thing:
        return {
            "state": "FAILED" if code else "SUCCEEDED",
            "code": code,
            "business_date": self.business_date,
            "created_ns": self.now_ns,
            "settled_ns": self.now_ns,
        }

    def _times(self, thing: Thing) -> Answer:
        return {
            "business_date": thing["business_date"],
            "created_at": instant(thing["created_ns"]),
            "settled_at": instant(thing["settled_ns"]),
        }

    def _view(self, kind: str, thing: Thing, **names: Any) -> Answer:
        """Return a thing as an answer shows it: with names, and times that people can read."""
        figures = {key: value for key, value in thing.items() if not key.endswith("_ns")}
        return {"object": kind, **names, **figures, **self._times(thing)}


def day_after(business_date: str) -> str:
    """Return the calendar day after an ISO 8601 date."""
    return (date.fromisoformat(business_date) + timedelta(days=1)).isoformat()


def _limits(command: Command) -> Thing:
    """Return the limits in a command; None for one that is not there."""
    return {name: command.get(name) for name in ("payment_limit_minor", "daily_limit_minor")}
