"""A client for merchants, and for the bank itself: typed, signed, and safe to repeat.

`Client` waits, `AsyncClient` is for Trio; both do the same. Requests are signed with the caller's
certificate, answers are believed if the bank has signed them for this very request, and whatever
went wrong on the way is tried again under the same number. docs/CLIENT.md shows each.
"""

from actors.answers import WebhookEvent
from actors.refusal import Refusal
from gateway.ca.csr import new_csr, new_key
from gateway.client.awaited import AsyncBankClient, AsyncClient
from gateway.client.blocking import BankClient, Client
from gateway.client.core import Item, Outcome
from gateway.client.errors import (
    BrokenSequenceError,
    BusyError,
    FailedError,
    NotAcceptedError,
    OutcomeUnknownError,
    PiaohaoError,
    RefusedError,
    StreamEndedError,
    UnreachableError,
    UnreadableAnswerError,
    UntrustedAnswerError,
    UntrustedWebhookError,
)
from gateway.client.events import Events
from gateway.client.identity import Identity
from gateway.client.stream import Stream
from gateway.client.terms import Terms
from gateway.client.trust import Trust
from gateway.client.webhook import WebhookVerifier

__all__ = [
    "AsyncBankClient",
    "AsyncClient",
    "BankClient",
    "BrokenSequenceError",
    "BusyError",
    "Client",
    "Events",
    "FailedError",
    "Identity",
    "Item",
    "NotAcceptedError",
    "Outcome",
    "OutcomeUnknownError",
    "PiaohaoError",
    "Refusal",
    "RefusedError",
    "Stream",
    "StreamEndedError",
    "Terms",
    "Trust",
    "UnreachableError",
    "UnreadableAnswerError",
    "UntrustedAnswerError",
    "UntrustedWebhookError",
    "WebhookEvent",
    "WebhookVerifier",
    "new_csr",
    "new_key",
]
