"""Limits: what was used of an agreement's limit and of an account's own is what was paid.

The checker `limits`. It adds up what a commit posts, and compares that with what the accounts and
their allowances said before and say afterwards.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from actors.kinds import KINDS
from actors.method import AGREEMENT, AUTHORIZATION, TRANSFER, WITHDRAWAL
from bench.simulator.checkers.journal import decode_posting
from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from storage.row import RECORDS

_METHODS: Final = {
    "payment": AGREEMENT,
    "reversal": AGREEMENT,
    "unpaid": AGREEMENT,
    "transfer": TRANSFER,
    "withdrawal": WITHDRAWAL,
}

Use = dict[tuple[str, int | str], list[tuple[str, int]]]
"""Account and method, or account and merchant → the date and amount of each posting that counts,
and those of holds."""


class Limits:
    """All limits, and how much of each was used.

    Args:
        states: every actor's durable state, by address.
        records: every durable record, by (address, tag, name).
        fail: told what is wrong.
    """

    def __init__(
        self, states: dict[str, Any], records: dict[tuple[str, str, str], Any], fail: Fail
    ) -> None:
        self._known = states
        self._records = records
        self._fail = fail
        self._use: Use = {}
        self._before: list[tuple[str, int] | None] = []
        self._allowed: dict[tuple[str, int | str], Any] = {}

    def before(self, durable: Durable) -> None:
        """See what a commit uses, while states and records are as they were before it."""
        self._use = self._paid(durable)
        self._before = self._use_of(self._use)
        self._allowed = {key: self._records.get((key[0], "a", str(key[1]))) for key in self._use}

    def committed(self, signed: set[str]) -> None:
        """Check that commit, now that states and records are as it made them.

        Args:
            signed: the accounts that signed, changed or ended agreements with it.
        """
        self._limits()
        self._allowances(signed)

    def _paid(self, durable: Durable) -> Use:
        """Return what a commit posts that counts against limits."""
        use: Use = defaultdict(list)
        for posting in map(decode_posting, durable.writes.postings):
            kind, first, _ = posting.reference.split("/", 2)
            address = f"account/{posting.account}"
            paid = (posting.business_date, -posting.amount_minor)
            if kind not in _METHODS or "/" in posting.account:
                continue
            if kind in ("transfer", "withdrawal") and first != posting.account:
                continue  # It comes in, or goes out of the bank.
            use[address, _METHODS[kind]].append(paid)
            if kind in ("payment", "reversal", "unpaid"):
                use[address, first].append(paid)
        for key, payload in durable.writes.rows.get(RECORDS, {}).items():
            owner, _, rest = key[2:].partition(b"\0")
            if rest[:1] != b"h" or payload is None:
                continue
            address = owner.decode()
            hold = KINDS.of(address).records[b"h"].decode(payload)
            known = self._records.get((address, "h", rest[1:].decode()))
            more = hold.amount_minor - (known.amount_minor if known else 0)
            if more:
                paid = ("", more)  # Its date is not written down.
                use[address, AUTHORIZATION].append(paid)
                use[address, hold.merchant_no].append(paid)
        return use

    def _use_of(self, keys: Iterable[tuple[str, int | str]]) -> list[tuple[str, int] | None]:
        """Return of each account and method, or account and merchant, the newest date with any use
        and how much that is; None where it is not counted."""
        found: list[tuple[str, int] | None] = []
        for address, what in keys:
            if isinstance(what, int):
                account = self._known.get(address)
                if account is None:
                    found.append(None)
                else:
                    found.append((account.used_date, account.used_minor[what]))
                continue
            allowance = self._records.get((address, "a", what))
            if allowance is None or not allowance.counted:
                found.append(None)
            else:
                found.append((allowance.used_date, allowance.used_minor))
        return found

    def _limits(self) -> None:
        now_used = self._use_of(self._use)
        for key, known, now in zip(self._use, self._before, now_used, strict=True):
            if known is None or now is None:
                continue
            date, minor = now
            paid = self._use[key]
            same_date = known[0] == date
            if any(amount < 0 or (on != date and not same_date) for on, amount in paid):
                continue  # What comes of it depends on the order within the batch.
            used = sum(amount for _, amount in paid) + (known[1] if same_date else 0)
            if minor != used:
                self._fail("limits", f"{key}: {minor} used on {date}, paid were {used}")

    def _allowances(self, signed: set[str]) -> None:
        """See that merchants took what their agreements let them take, where these are as they
        were before the commit."""
        for (address, merchant), before in self._allowed.items():
            now = self._records.get((address, "a", str(merchant)))
            if isinstance(merchant, int) or address in signed or now is None or before is None:
                continue
            taken = [amount for _, amount in self._use[address, merchant] if amount > 0]
            if taken and not now.agreement_no:
                self._fail("limits", f"{merchant} took {taken} of {address} without agreement")
            limit = now.daily_limit_minor
            had = before.used_minor if before.used_date == now.used_date else 0
            if limit is not None and taken and now.used_minor > max(limit, had):
                self._fail("limits", f"{merchant} took {now.used_minor} of {limit} of {address}")
