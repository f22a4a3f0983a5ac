"""A bank of a few dozen lines that takes a file's rows one after the other.

It imports nothing of ours and shares no idea with the program but what docs/REPLAY.md says: it is
the second opinion on what a replay must come to. Rows that are malformed are not for it.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

HOLD_DAYS = 7


@dataclass
class Account:
    currency: str
    posted: int
    held: int = 0


@dataclass
class Merchant:
    currency: str
    posted: int = 0
    fees: int = 0


@dataclass
class Paid:
    payer: str
    amount: int
    currency: str
    at: datetime
    state: str
    taken: int = 0
    refunded: int = 0
    refunds: int = 0
    captures: int = 0
    fee: int = 0
    taken_at: datetime | None = None


@dataclass
class Bank:
    opening: int = 100_000_000_000
    fee_bps: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)
    merchants: dict[str, Merchant] = field(default_factory=dict)
    payments: dict[tuple[str, str], Paid] = field(default_factory=dict)
    holds: dict[tuple[str, str], Paid] = field(default_factory=dict)
    numbers: dict[tuple[str, ...], tuple[Any, str]] = field(default_factory=dict)
    placed: deque[Paid] = field(default_factory=deque)

    def process(self, row: dict[str, str]) -> str:
        """Carry a row out; returns its code, `ok` without one."""
        now = datetime.fromisoformat(row["time"])
        self._expire(now)
        kind, merchant = row["kind"], row["merchant"]
        named = [row["payer"]] + ([merchant] if kind == "transfer" else [])
        if any(name.startswith(("clearing-", "suspense-")) for name in named):
            return "RESERVED_NUMBER"
        for name in filter(None, named):
            self.accounts.setdefault(name, Account(row["currency"], self.opening))
        if kind != "transfer":
            self.merchants.setdefault(merchant, Merchant(row["currency"]))
        amount = int(row["amount_minor"] or 0)
        original = self._original(row)
        if original is not None:
            if row["payer"] not in {"", original.payer}:
                held = kind in {"capture", "void", "release"}
                return "NO_SUCH_HOLD" if held else "NO_SUCH_PAYMENT"
            if row["currency"] != original.currency:
                return "CURRENCY_MISMATCH"
        of_hold = original is not None and original is self.holds.get((merchant, row["original"]))
        content: tuple[Any, ...] = (row["original"], amount, of_hold)
        if kind in {"payment", "hold"}:
            content = (row["payer"], amount, row["currency"])
        elif kind == "transfer":
            content = (merchant, amount, row["currency"])
        elif kind in {"void", "release", "reversal"}:
            content = (row["original"],)
        owner = row["payer"] if kind == "transfer" else merchant
        number = (kind, owner, row["reference"])
        if number in self.numbers:
            first, code = self.numbers[number]
            return code if first == content else "NUMBER_USED"
        code = getattr(self, f"_{kind}")(row, now, amount, original)
        self.numbers[number] = (content, code)
        return str(code)

    def _expire(self, now: datetime) -> None:
        while self.placed and now >= self.placed[0].at + timedelta(days=HOLD_DAYS):
            hold = self.placed.popleft()
            if hold.state in {"HELD", "PARTLY"}:
                self.accounts[hold.payer].held -= hold.amount - hold.taken
                hold.state = "EXPIRED" if hold.state == "HELD" else "CAPTURED"

    def _original(self, row: dict[str, str]) -> Paid | None:
        name = (row["merchant"], row["original"])
        if row["kind"] == "refund":
            return self.payments.get(name) or self.holds.get(name)
        if row["kind"] == "reversal":
            return self.payments.get(name)
        if row["kind"] in {"capture", "void", "release"}:
            return self.holds.get(name)
        return None

    def _debit(self, row: dict[str, str], amount: int, *, merchant: bool) -> str:
        """Return why the payer does not give it."""
        account = self.accounts[row["payer"]]
        currencies = {row["currency"], account.currency}
        if merchant:
            currencies.add(self.merchants[row["merchant"]].currency)
        if len(currencies) > 1:
            return "CURRENCY_MISMATCH"
        return "ok" if account.posted - account.held >= amount else "INSUFFICIENT_FUNDS"

    def _take(self, paid: Paid, merchant: Merchant, amount: int, now: datetime) -> None:
        fee = (amount * self.fee_bps + 5_000) // 10_000
        self.accounts[paid.payer].posted -= amount
        merchant.posted += amount - fee
        merchant.fees += fee
        paid.taken += amount
        paid.fee += fee
        paid.taken_at = now

    def _payment(self, row: dict[str, str], now: datetime, amount: int, _: Any) -> str:
        code = self._debit(row, amount, merchant=True)
        paid = Paid(row["payer"], amount, row["currency"], now, code)
        self.payments[row["merchant"], row["reference"]] = paid
        if code == "ok":
            self._take(paid, self.merchants[row["merchant"]], amount, now)
        return code

    def _hold(self, row: dict[str, str], now: datetime, amount: int, _: Any) -> str:
        code = self._debit(row, amount, merchant=True)
        state = "HELD" if code == "ok" else "FAILED"
        self.holds[row["merchant"], row["reference"]] = Paid(
            row["payer"], amount, row["currency"], now, state
        )
        if code == "ok":
            self.accounts[row["payer"]].held += amount
            self.placed.append(self.holds[row["merchant"], row["reference"]])
        return code

    def _transfer(self, row: dict[str, str], now: datetime, amount: int, _: Any) -> str:
        giver, taker = self.accounts[row["payer"]], self.accounts[row["merchant"]]
        code = self._debit(row, amount, merchant=False)
        if code != "ok":
            return code
        if taker.currency != row["currency"]:
            return "CURRENCY_MISMATCH"
        giver.posted -= amount
        taker.posted += amount
        return "ok"

    def _ended(self, hold: Paid) -> str | None:
        return {
            "EXPIRED": "HOLD_EXPIRED",
            "VOIDED": "HOLD_ALREADY_VOIDED",
            "CAPTURED": "HOLD_ALREADY_CAPTURED",
            "FAILED": "STATE_CONFLICT",
        }.get(hold.state)

    def _capture(self, row: dict[str, str], now: datetime, amount: int, hold: Paid | None) -> str:
        if hold is None:
            return "NO_SUCH_HOLD"
        ended = self._ended(hold)
        if ended:
            return ended
        if hold.captures >= 50:
            return "CAPTURE_LIMIT"
        if hold.taken + amount > hold.amount:
            return "CAPTURE_EXCEEDS_HOLD"
        self.accounts[hold.payer].held -= amount
        self._take(hold, self.merchants[row["merchant"]], amount, now)
        hold.captures += 1
        hold.state = "CAPTURED" if hold.taken == hold.amount else "PARTLY"
        return "ok"

    def _void(self, row: dict[str, str], now: datetime, amount: int, hold: Paid | None) -> str:
        if hold is None:
            return "NO_SUCH_HOLD"
        ended = self._ended(hold)
        if ended or hold.state == "PARTLY":
            return ended or "HOLD_PARTLY_CAPTURED"
        self.accounts[hold.payer].held -= hold.amount
        hold.state = "VOIDED"
        return "ok"

    def _release(self, row: dict[str, str], now: datetime, amount: int, hold: Paid | None) -> str:
        if hold is None:
            return "NO_SUCH_HOLD"
        ended = self._ended(hold)
        if ended or hold.state == "HELD":
            return ended or "STATE_CONFLICT"
        self.accounts[hold.payer].held -= hold.amount - hold.taken
        hold.state = "CAPTURED"
        return "ok"

    def _refund(self, row: dict[str, str], now: datetime, amount: int, paid: Paid | None) -> str:
        merchant = self.merchants[row["merchant"]]
        if paid is None:
            return "NO_SUCH_PAYMENT"
        if (row["merchant"], row["original"]) in self.payments:
            if paid.state != "ok":
                return "PAYMENT_NOT_SUCCEEDED"
        elif paid.state not in {"PARTLY", "CAPTURED"}:
            return "STATE_CONFLICT"
        assert paid.taken_at is not None
        if now - paid.taken_at > timedelta(days=365):
            return "REFUND_WINDOW_PASSED"
        if paid.refunds >= 50:
            return "REFUND_COUNT_LIMIT"
        if paid.refunded + amount > paid.taken:
            return "REFUND_EXCEEDS_REMAINING"
        if merchant.posted < amount:
            return "MERCHANT_BALANCE_INSUFFICIENT"
        merchant.posted -= amount
        self.accounts[paid.payer].posted += amount
        paid.refunded += amount
        paid.refunds += 1
        return "ok"

    def _reversal(self, row: dict[str, str], now: datetime, amount: int, paid: Paid | None) -> str:
        merchant = self.merchants[row["merchant"]]
        if paid is None:
            return "NO_SUCH_PAYMENT"
        if paid.state != "ok":
            return "PAYMENT_NOT_SUCCEEDED"
        if paid.at.date() != now.date():
            return "REVERSAL_WINDOW_PASSED"
        if paid.refunded:
            return "REVERSAL_NOT_FULL"
        if merchant.posted + paid.fee < paid.amount:
            return "MERCHANT_BALANCE_INSUFFICIENT"
        merchant.posted -= paid.amount - paid.fee
        merchant.fees -= paid.fee
        self.accounts[paid.payer].posted += paid.amount
        paid.state = "REVERSED"
        return "ok"
