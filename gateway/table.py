"""The handler table: every endpoint there is, for any listener to mount."""

from itertools import chain
from typing import Final

from gateway.feed import Listed
from gateway.handlers import (
    accounts,
    agreements,
    authorizations,
    bank_certificates,
    certificates,
    commands,
    day_cuts,
    documents,
    freezes,
    limits,
    merchants,
    node,
    payments,
    refunds,
    streams,
    transfers,
    webhooks,
)

_API: Final = (
    *commands.ENDPOINTS,
    *streams.ENDPOINTS,
    *payments.ENDPOINTS,
    *authorizations.ENDPOINTS,
    *refunds.ENDPOINTS,
    *accounts.ENDPOINTS,
    *transfers.ENDPOINTS,
    *agreements.ENDPOINTS,
    *limits.ENDPOINTS,
    *freezes.ENDPOINTS,
    *merchants.ENDPOINTS,
    *certificates.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *bank_certificates.ENDPOINTS,
    *day_cuts.ENDPOINTS,
    *node.ENDPOINTS,
)

ENDPOINTS: Final = (*_API, *documents.documents(_API))

HOT: Final = tuple(
    each
    for each in chain(
        commands.ENDPOINTS,
        streams.ENDPOINTS,
        payments.ENDPOINTS,
        authorizations.ENDPOINTS,
        refunds.ENDPOINTS,
    )
    if not issubclass(each.request, Listed)
)
"""What the express listener serves too: payments, authorizations and refunds, all that is done to
them, and each of them by its number; streams. Lists are long, and whoever reads them is in no
hurry."""
