"""Actions: what one operator may propose and another approve; a closed set of typed values.

Each is something that the command line can do too, by the same commands of the engine, the API and
`gateway.operations` (`gateway.ops.hands`). None names a file or a folder. Done once more each
changes nothing, or what it changes is harmless and shows: an account that is frozen is frozen, a
dead letter is named with what it says, so that no other is dropped in its stead, an event that is
sent again bears the number that it had, and a backup has a folder of its own.
"""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from actors.commands import Number, RevocationReason, Sequence, Serial
from actors.note import Line
from engine.address import NUMBER_PATTERN
from gateway.handlers.day_cuts import BusinessDate

_ADDRESS: Final = f"[a-z]{{1,20}}/{NUMBER_PATTERN.strip('^$')}"
_END: Final = r"(?!\n)"  # `$` alone also matches before a line end

Address = Annotated[str, Meta(pattern=f"^{_ADDRESS}${_END}", description="an actor's: KIND/NUMBER")]
DeadLetterId = Annotated[
    str, Meta(min_length=1, max_length=140, description="of a dead letter, as it is listed")
]
Content = Annotated[
    str,
    Meta(
        pattern=f"^(?:[0-9a-f]{{64}})?${_END}",
        description="SHA-256 of what a dead letter says; the node fills it in",
    ),
]
Seen = Annotated[
    str,
    Meta(
        pattern=f"^(?:[A-Z_]{{4,12}}/[0-9]{{1,18}})?${_END}",
        description="the target's status, and how often it had changed, as it was proposed;"
        " ABSENT/0 for one that there was not; the node fills it in",
    ),
]
FilledAddress = Annotated[
    str,
    Meta(
        pattern=f"^(?:{_ADDRESS})?${_END}",
        description="whose dead letter it is; the node fills it in",
    ),
]


class ActionBase(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of all actions; `type` names the kind."""


class StatusAction(ActionBase, frozen=True, kw_only=True):
    """Base of what changes a status.

    Attributes:
        seen: the status as the node saw it when it was proposed, and how often it had changed
            by then; the node fills it in, and refuses another.
    """

    seen: Seen = ""


class ReleaseActor(ActionBase, frozen=True, tag="release_actor"):
    """Give all dead letters of a quarantined actor their turns again, until one fails anew.

    Attributes:
        content: the digest of what the first of them says, empty where there is none; the node
            fills it in, and refuses another.
    """

    address: Address
    content: Content = ""


class DeadLetterAction(ActionBase, frozen=True):
    """Base of what is done with one dead letter, the first of its actor.

    Attributes:
        address, content: whose it is and the digest of what it says; the node fills them in, and
            refuses others.
    """

    dead_letter_id: DeadLetterId
    address: FilledAddress = ""
    content: Content = ""


class RetryDeadLetter(DeadLetterAction, frozen=True, tag="retry_dead_letter"):
    """Give one dead letter its turn again."""


class DiscardDeadLetter(DeadLetterAction, frozen=True, tag="discard_dead_letter"):
    """Give one dead letter up: what waits for it comes to nothing, its money goes back."""


class FreezeAccount(StatusAction, frozen=True, tag="freeze_account"):
    """Let nothing new leave an account."""

    account_no: Number


class UnfreezeAccount(StatusAction, frozen=True, tag="unfreeze_account"):
    """Take a freeze back."""

    account_no: Number


class ApproveMerchant(StatusAction, frozen=True, tag="approve_merchant"):
    """Find nothing against a merchant that has applied: the audit of its application."""

    merchant_no: Number


class RejectMerchant(StatusAction, frozen=True, tag="reject_merchant"):
    """Turn a merchant's application down for ever."""

    merchant_no: Number
    reason: Line


class SuspendMerchant(StatusAction, frozen=True, tag="suspend_merchant"):
    """Let a merchant take nothing new; refunds, reversals, voids and releases go on."""

    merchant_no: Number


class ActivateMerchant(StatusAction, frozen=True, tag="activate_merchant"):
    """Take a suspension back, or let a merchant begin that has a certificate."""

    merchant_no: Number


class CloseMerchant(StatusAction, frozen=True, tag="close_merchant"):
    """End a merchant for ever, as soon as nothing is open with it."""

    merchant_no: Number


class RevokeCertificate(ActionBase, frozen=True, tag="revoke_certificate"):
    """End a merchant's certificate at once and for ever."""

    merchant_no: Number
    serial: Serial
    reason: RevocationReason = "unspecified"


class RevokeBankCertificate(ActionBase, frozen=True, tag="revoke_bank_certificate"):
    """End a certificate of the bank's own at once and for ever."""

    serial: Serial
    reason: RevocationReason = "unspecified"


class RedeliverEvents(ActionBase, frozen=True, tag="redeliver_events"):
    """Send a merchant's events from `first` to `last` to its webhook once more; at most 200."""

    merchant_no: Number
    first: Sequence
    last: Sequence


class TakeBackup(ActionBase, frozen=True, tag="take_backup"):
    """Write a consistent copy of the store into the node's folder of backups, by the proposal's
    number."""


class CutDay(ActionBase, frozen=True, tag="cut_day"):
    """Close a business date; new commands carry the next."""

    business_date: BusinessDate


class VerifyStore(ActionBase, frozen=True, tag="verify_store"):
    """Check everything that must hold in the store, beside the load."""


Action = (
    ReleaseActor
    | RetryDeadLetter
    | DiscardDeadLetter
    | FreezeAccount
    | UnfreezeAccount
    | ApproveMerchant
    | RejectMerchant
    | SuspendMerchant
    | ActivateMerchant
    | CloseMerchant
    | RevokeCertificate
    | RevokeBankCertificate
    | RedeliverEvents
    | TakeBackup
    | CutDay
    | VerifyStore
)

_decode: Final = msgspec.json.Decoder(Action).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def opened(text: bytes) -> Action:
    """Return the action of a text that `canonical` has made."""
    action: Action = _decode(text)
    return action


def canonical(action: Action) -> bytes:
    """Return the one text of an action: JSON, its members by their names in order, no blanks."""
    return _encode(action)


def digest(action: bytes, proposal_id: str) -> str:
    """Return what an approval is bound to: the SHA-256, in hex, of an action's text, a line end
    and the proposal's number. The same action under another number is another proposal's."""
    return hashlib.sha256(action + b"\n" + proposal_id.encode()).hexdigest()
