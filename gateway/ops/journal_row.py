"""The row of the journal: what was posted to an account or to a merchant, newest first.

A posting names the one before it on its ledger account, so a page follows links and needs no index;
a merchant has two such accounts, and their chains are merged. With whom it was, and for which
payment, is told from the posting's reference and the records that this leads to, on whichever
shard.
"""

from contextlib import closing
from typing import Annotated, Final

from msgspec import Meta, Struct

from actors.authorization import AUTHORIZATIONS
from actors.commands import Number, clearing_account
from actors.kinds import ACCOUNT, MERCHANT
from actors.payment import PAYMENTS
from actors.refund import REFUNDS, OriginalKind
from actors.refusal import Refusal
from actors.transfer import TRANSFERS, transfer_name
from engine.node import Node
from gateway.answer import Answer, failed
from gateway.errors import RequestCode, RequestError, problem
from gateway.lookup import opened_cursor, record_of, sealed_cursor, state_at
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.masking import Eyes, Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from gateway.statement import Walk
from storage.journal import Posting, sequence_key
from storage.store import Snapshot

_MARK: Final = b"\0j"
"""Cursors of this list begin with it; then come the next posting of each ledger account, 0 for
none."""
_SEQUENCE_BYTES: Final = 8


class ListJournal(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose postings: an account's or a merchant's.

    Attributes:
        account: its number.
        merchant: its number.
        reason: why personal data has to be seen; without, it is masked.
    """

    account: Number | None = None
    merchant: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    reason: Reason | None = None


class OriginalView(Struct, frozen=True):
    """What a posting is for.

    Attributes:
        number: the merchant's own, of the order or of the hold.
    """

    kind: OriginalKind
    merchant_no: str
    number: str


class JournalEntry(Struct, frozen=True, tag_field="object", tag="journal_entry"):
    """A durable posting.

    Attributes:
        sequence: in its shard's journal.
        account: the ledger account; a merchant has `receivable` and `fees`.
        counterparty: with whom it was, an address; empty where nothing tells.
        original: the payment or authorization that it belongs to, be it a refund's or a reversal's;
            null where it belongs to none.
    """

    shard: int
    sequence: int
    account: str
    business_date: str
    amount_minor: int
    currency: str
    balance_after_minor: int
    reference: str
    counterparty: str
    original: OriginalView | None


class JournalPage(Struct, frozen=True):
    """A page of postings, newest first; `next_cursor` asks for what follows, null at the end.

    Attributes:
        masked: personal data is masked.
    """

    masked: bool
    items: list[JournalEntry]
    next_cursor: str | None


async def list_journal(desk: OpsDesk, visitor: Visitor, asked: ListJournal) -> Answer:
    """Return what was posted to an account or a merchant, newest first."""
    eyes = eyes_of(visitor, asked.reason)
    if (asked.account is None) == (asked.merchant is None):
        raise RequestError(RequestCode.INVALID_REQUEST, "`account` or `merchant`, one of the two")
    own = _account(asked.account) if asked.account else _merchant(asked.merchant or "")
    shard = desk.node.shard_of(own)
    with closing(shard.store.snapshot()) as snapshot:
        chains = _chains(snapshot, own)
        if chains is None:
            of_merchant = asked.account is None
            code = Refusal.MERCHANT_NOT_FOUND if of_merchant else Refusal.ACCOUNT_NOT_FOUND
            return failed(problem(code))
        if asked.cursor is not None:
            chains.go_on(asked.cursor)
        postings = chains.take(asked.limit)
    entries = [
        _entry(desk.node, shard.stage.number, own, sequence, posting, eyes)
        for sequence, posting in postings
    ]
    return Answer(200, JournalPage(not eyes.all, entries, chains.cursor()))


class _Chains:
    """The chains of an actor's ledger accounts, merged.

    Args:
        walks: along each.
        newest: the sequence of each chain's newest posting, 0 for none.
    """

    def __init__(self, walks: list[Walk], newest: list[int]) -> None:
        self._walks = walks
        self._next = newest

    def go_on(self, cursor: str) -> None:
        """Begin where a page ended.

        Raises:
            RequestError: INVALID_REQUEST, the cursor is not one of these chains'.
        """
        opened = opened_cursor(cursor)
        rest = opened.removeprefix(_MARK)
        following = [
            int.from_bytes(rest[start : start + _SEQUENCE_BYTES], "big")
            for start in range(0, len(rest), _SEQUENCE_BYTES)
        ]
        whole = len(_MARK) + len(self._walks) * _SEQUENCE_BYTES
        if (
            not opened.startswith(_MARK)
            or len(opened) != whole
            or not any(following)
            or not all(
                sequence == 0 or (sequence <= newest and walk.is_own(sequence))
                for walk, sequence, newest in zip(self._walks, following, self._next, strict=True)
            )
        ):
            raise RequestError(RequestCode.INVALID_REQUEST, "the cursor is not of this list")
        self._next = following

    def take(self, limit: int) -> list[tuple[int, Posting]]:
        """Return the next postings with their sequences."""
        found: list[tuple[int, Posting]] = []
        while len(found) < limit and any(self._next):
            newest = max(range(len(self._next)), key=self._next.__getitem__)
            sequence = self._next[newest]
            posting = self._walks[newest].at(sequence)
            found.append((sequence, posting))
            self._next[newest] = posting.prev
        return found

    def cursor(self) -> str | None:
        """Return what asks for the rest, None where there is none."""
        if not any(self._next):
            return None
        return sealed_cursor(_MARK + b"".join(map(sequence_key, self._next)))


def _chains(snapshot: Snapshot, own: str) -> _Chains | None:
    """Return the chains of an account's or a merchant's postings; None where there is neither."""
    kind, _, number = own.partition("/")
    if kind == ACCOUNT.name:
        account = state_at(snapshot, ACCOUNT, number)
        if account is None:
            return None
        return _Chains([Walk(snapshot, number)], [account.posted_last])
    merchant = state_at(snapshot, MERCHANT, number)
    if merchant is None:
        return None
    return _Chains(
        [Walk(snapshot, f"{own}/receivable"), Walk(snapshot, f"{own}/fees")],
        [merchant.posted_last, merchant.fees_last],
    )


def _entry(
    node: Node, shard: int, own: str, sequence: int, posting: Posting, eyes: Eyes
) -> JournalEntry:
    counterparty, original = _about(node, own, posting)
    of_account = own.startswith(f"{ACCOUNT.name}/")
    if original is not None and of_account:
        # Where somebody buys is theirs; to a merchant its own orders are no secret.
        original = OriginalView(
            original.kind, eyes.text(original.merchant_no), eyes.text(original.number)
        )
    return JournalEntry(
        shard,
        sequence,
        posting.account,
        posting.business_date,
        posting.amount_minor,
        posting.currency,
        posting.balance_after_minor,
        eyes.text(posting.reference) if of_account else posting.reference,
        counterparty and eyes.address(counterparty, own),
        original,
    )


def _about(node: Node, own: str, posting: Posting) -> tuple[str, OriginalView | None]:
    """Return with whom a posting was, and what it is for, as far as its reference tells."""
    what, *numbers = posting.reference.split("/")
    match what, numbers:
        case "suspense", [_, _, *_]:  # what was discarded, in and out
            inner = posting._replace(reference="/".join(numbers))
            return _about(node, own, inner)
        case (("payment" | "reversal" | "unpaid"), [merchant_no, order_no]):
            return _of_original(node, own, "payment", merchant_no, order_no)
        case (("capture" | "uncaptured"), [merchant_no, hold_no, _]):
            return _of_original(node, own, "authorization", merchant_no, hold_no)
        case "refund", [merchant_no, refund_no]:
            refund = record_of(node, _merchant(merchant_no), REFUNDS, refund_no)
            if refund is None:
                return "", None
            original = OriginalView(refund.original_kind, merchant_no, refund.original)
            payer = refund.redirected_to or refund.payer
            return _other(own, _merchant(merchant_no), _account(payer)), original
        case "transfer", [sender, number]:
            transfer = record_of(node, _account(sender), TRANSFERS, transfer_name(number))
            to = "" if transfer is None else _account(transfer.counterparty)
            return _other(own, _account(sender), to), None
        case (("funding" | "withdrawal"), [account_no, _]):
            clearing = _account(clearing_account(posting.currency))
            return _other(own, clearing, _account(account_no)), None
    return "", None


def _of_original(
    node: Node, own: str, kind: OriginalKind, merchant_no: str, number: str
) -> tuple[str, OriginalView]:
    merchant = _merchant(merchant_no)
    original = OriginalView(kind, merchant_no, number)
    if own != merchant:
        return merchant, original
    payer = ""
    if kind == "payment":
        payment = record_of(node, merchant, PAYMENTS, number)
        payer = "" if payment is None else payment.payer
    else:
        authorization = record_of(node, merchant, AUTHORIZATIONS, number)
        payer = "" if authorization is None else authorization.payer
    return payer and _account(payer), original


def _other(own: str, one: str, another: str) -> str:
    """Return which of two an actor deals with."""
    return another if own == one else one


def _account(number: str) -> str:
    return f"{ACCOUNT.name}/{number}"


def _merchant(number: str) -> str:
    return f"{MERCHANT.name}/{number}"


ROWS: Final = (read("/ops/journal", ListJournal, list_journal, Right.LOOK, JournalPage),)
