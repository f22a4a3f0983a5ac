"""The audit of ledgers: postings form chains, and all money comes to zero.

Part of `actors.audit`. Each ledger account's newest posting is kept until its actor has been
met, so memory grows by an entry for each account that there is: a small one, without its name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from actors.account import CLEARING
from actors.ledger_table import LedgerTable
from actors.money import BALANCE_MAX
from actors.tally import Violation
from engine.message import Envelope

PostingRow = tuple[int, str, int, str, int, int, str, str]
"""(sequence, account, amount, currency, balance after, previous, reference, business date)"""


class LedgerAudit:
    """Checks the journal, and actors' own figures against it.

    Args:
        closed_through: the newest business date that is closed, empty if none is.
    """

    def __init__(self, closed_through: str) -> None:
        self._closed_through = closed_through
        self._sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._ledgers = LedgerTable()

    def message(self, message: Envelope) -> Iterator[Violation]:
        """Take a message: its money is neither here nor there."""
        if message.amount_minor:
            self._sums[message.business_date, message.currency] += message.amount_minor
            if message.business_date <= self._closed_through:
                key = f"{message.sender} -> {message.to}"
                detail = f"{message.amount_minor} {message.currency} of {message.business_date}"
                yield Violation("closed-date", "messages", key, detail)

    def posting(self, posting: PostingRow) -> Iterable[Violation]:
        """Take a posting, in journal order within its ledger account.

        Nearly all are right, and then no more is made of them: 1 µs less for each.
        """
        sequence, account, amount, currency, after, previous, _, business_date = posting
        self._sums[business_date, currency] += amount
        last, balance, kept_in = self._ledgers.put(account, sequence, after, currency)
        if (
            previous == last
            and after == balance + amount
            and currency == kept_in
            and -BALANCE_MAX <= after <= BALANCE_MAX
            and (after >= 0 or account.startswith(CLEARING))
        ):
            return ()
        return self._wrong(posting, last, balance, kept_in)

    def _wrong(
        self, posting: PostingRow, last: int, balance: int, kept_in: str
    ) -> Iterator[Violation]:
        """Yield what is wrong with a posting, given what its account's previous one was."""
        sequence, account, amount, currency, after, previous, _, _ = posting
        key = f"{account} {sequence}"
        if previous != last:
            yield Violation("ledger-chain", "journal", key, f"prev is {previous}, not {last}")
        if after != balance + amount:
            detail = f"{balance} and {amount} is not {after}"
            yield Violation("ledger-balance", "journal", key, detail)
        if currency != kept_in:
            yield Violation("ledger-currency", "journal", key, f"{currency} beside {kept_in}")
        if after < 0 and not account.startswith(CLEARING):
            yield Violation("overdraft", "journal", key, f"{after} after {amount}")
        if abs(after) > BALANCE_MAX:
            yield Violation("circulation", "journal", key, f"{after} after {amount}")

    def totals(self) -> Iterator[Violation]:
        """Yield what does not come to zero, once all messages and postings have been told."""
        totals: defaultdict[str, int] = defaultdict(int)
        for (business_date, currency), total in self._sums.items():
            totals[currency] += total
            if total:
                key = f"{business_date} {currency}"
                yield Violation("date-conservation", "journal", key, f"off by {total}")
        for currency, total in totals.items():
            if total:
                yield Violation("conservation", "journal", currency, f"off by {total}")

    def balance(self, account: str, balance: int, last: int, currency: str) -> Iterator[Violation]:
        """Check an actor's own figures against its ledger, and count the ledger as owned."""
        ledger_last, ledger_balance, kept_in = self._ledgers.take(account, currency)
        if (balance, last) != (ledger_balance, ledger_last):
            detail = f"{balance} as of {last}; its ledger says {ledger_balance} as of {ledger_last}"
            yield Violation("balance", "actors", account, detail)
        if currency != kept_in:
            yield Violation("ledger-currency", "actors", account, f"{currency}, not {kept_in}")

    def left(self, postings: Iterable[PostingRow]) -> Iterator[Violation]:
        """Yield the ledger accounts that are no actor's.

        Args:
            postings: all of them once more; read only where there are such accounts.
        """
        if not self._ledgers.left:
            return
        for sequence, account, *_ in postings:
            if self._ledgers.newest(account) == sequence:
                last, balance, _ = self._ledgers.take(account, "")
                detail = f"{balance} as of posting {last}, but there is no such actor"
                yield Violation("balance", "journal", account, detail)
