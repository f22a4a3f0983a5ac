"""Rows of the bank itself: its business date, and the certificates with which its systems act.

Both are what operators look at before they propose to cut the day or to take a certificate back.
"""

from typing import Final

from msgspec import Struct

from actors.answers import CertificateView
from actors.commands import BANK
from gateway.answer import Answer
from gateway.certificates import certificates_page
from gateway.handlers.node import Nothing
from gateway.lookup import Cursor, Limit, Page
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.operators import Right
from gateway.ops.row import read


class BankView(Struct, frozen=True, tag_field="object", tag="bank"):
    """The bank's day.

    Attributes:
        business_date: what new commands carry, as of the last commits.
        dates_closing: those that were cut and are not closed yet: something of them is under way,
            or waits for an operator.
    """

    business_date: str
    dates_closing: list[str]


class ListBankCertificates(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificates of the bank's systems, in the order of their numbers."""

    limit: Limit = 50
    cursor: Cursor | None = None


async def get_bank(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return the business date, and the dates that are still to be closed."""
    closing = {date for shard in desk.node.shards for date in shard.stage.closing}
    return Answer(200, BankView(desk.node.business_date(), sorted(closing)))


async def list_bank_certificates(
    desk: OpsDesk, visitor: Visitor, asked: ListBankCertificates
) -> Answer:
    """Return the certificates of the bank's own systems, in pages; nobody's data is in them."""
    return certificates_page(desk.node, BANK, asked.limit, asked.cursor, pem=False)


ROWS: Final = (
    read("/ops/bank", Nothing, get_bank, Right.LOOK, BankView),
    read(
        "/ops/bank/certificates",
        ListBankCertificates,
        list_bank_certificates,
        Right.LOOK,
        Page[CertificateView],
    ),
)
