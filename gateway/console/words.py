"""Words: what states and kinds are called on a page, and which of them are good or bad news.

A state that is not listed here, which somebody may add to the domain tomorrow, is shown as it is
called there. Colour never says anything alone: it goes with the word.
"""

from collections.abc import Mapping
from typing import Final


def _(text: str) -> str:
    """Mark a text for the catalogue; it is translated where it is shown."""
    return text


WORDS: Final[Mapping[str, str]] = {
    # Kinds of actors.
    "account": _("Account"),
    "merchant": _("Merchant"),
    "certificate": _("Certificate"),
    "webhook": _("Webhook"),
    "bank": _("Bank"),
    # States of accounts, merchants, certificates, webhooks and deliveries.
    "OPEN": _("Open"),
    "FROZEN": _("Frozen"),
    "ABSENT": _("Not there"),
    "CLOSED": _("Closed"),
    "DRAFT": _("Draft"),
    "AUDITING": _("Under review"),
    "REJECTED": _("Rejected"),
    "TO_BE_SIGNED": _("To be signed"),
    "PROVISIONING": _("Being set up"),
    "ACTIVE": _("Active"),
    "SUSPENDED": _("Suspended"),
    "CLOSING": _("Closing"),
    "REVOKED": _("Revoked"),
    "ENABLED": _("Enabled"),
    "DISABLED": _("Disabled"),
    "DELIVERED": _("Delivered"),
    # States of payments, holds and refunds.
    "CREATED": _("Created"),
    "REQUESTED": _("Requested"),
    "PROCESSING": _("Processing"),
    "SUCCEEDED": _("Succeeded"),
    "FAILED": _("Failed"),
    "UNKNOWN": _("Unknown"),
    "REVERSED": _("Reversed"),
    "HELD": _("Held"),
    "PARTIALLY_CAPTURED": _("Partly captured"),
    "CAPTURED": _("Captured"),
    "VOIDED": _("Voided"),
    "EXPIRED": _("Expired"),
    "PENDING_FUNDS": _("Waits for funds"),
    "ABNORMAL": _("Gone astray"),
    # Proposals.
    "PENDING": _("Pending"),
    "APPROVED": _("Approved"),
    "DONE": _("Done"),
    "WITHDRAWN": _("Withdrawn"),
    # The node.
    "RECOVERING": _("Recovering"),
    "SERVING": _("Serving"),
    "STOPPING": _("Stopping"),
    "DISK_NEARLY_FULL": _("Disk nearly full"),
    "COMMITS_STALLED": _("Commits stalled"),
    # Roles.
    "viewer": _("Viewer"),
    "operator": _("Operator"),
    "auditor": _("Auditor"),
    "admin": _("Admin"),
    # Actions that are proposed.
    "release_actor": _("Release a quarantined actor"),
    "retry_dead_letter": _("Try a dead letter again"),
    "discard_dead_letter": _("Give a dead letter up"),
    "freeze_account": _("Freeze an account"),
    "unfreeze_account": _("Unfreeze an account"),
    "approve_merchant": _("Approve a merchant"),
    "reject_merchant": _("Reject a merchant"),
    "suspend_merchant": _("Suspend a merchant"),
    "activate_merchant": _("Activate a merchant"),
    "close_merchant": _("Close a merchant"),
    "revoke_certificate": _("Revoke a certificate"),
    "revoke_bank_certificate": _("Revoke a certificate of the bank"),
    "redeliver_events": _("Send events again"),
    "take_backup": _("Take a backup"),
    "cut_day": _("Cut the day"),
    "verify_store": _("Check the store"),
    # Why a certificate is revoked (RFC 5280, section 5.3.1).
    "unspecified": _("for no reason that is said"),
    "keyCompromise": _("its key is known to others"),
    "affiliationChanged": _("its holder is called otherwise"),
    "superseded": _("another takes its place"),
    "cessationOfOperation": _("it is not used any more"),
    "privilegeWithdrawn": _("its holder may not use it any more"),
    # Turns, and the commands whose turns a payment or an authorization is made of.
    "ok": _("ok"),
    "CreatePayment": _("Payment"),
    "ReversePayment": _("Reversal"),
    "RefundPayment": _("Refund"),
    "CreateAuthorization": _("Authorization"),
    "IncrementAuthorization": _("Increment"),
    "CaptureAuthorization": _("Capture"),
    "VoidAuthorization": _("Void"),
    "ReleaseAuthorization": _("Release"),
    "RefundAuthorization": _("Refund"),
    # What a refund is of.
    "payment": _("Payment"),
    "authorization": _("Authorization"),
}
"""What the node says → what a page does, in English."""

_TONES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("OPEN", "ACTIVE", "ENABLED", "SERVING", "ok"), "good"),
    **dict.fromkeys(("DELIVERED", "SUCCEEDED", "CAPTURED", "DONE"), "good"),
    **dict.fromkeys(("REJECTED", "REVOKED", "FAILED", "UNKNOWN", "ABNORMAL", "SUSPENDED"), "bad"),
    **dict.fromkeys(("DISK_NEARLY_FULL", "COMMITS_STALLED"), "bad"),
    **dict.fromkeys(("CLOSED", "VOIDED", "EXPIRED", "WITHDRAWN", "DISABLED"), "quiet"),
    **dict.fromkeys(("REVERSED", "DRAFT"), "quiet"),
}


def tone(word: str) -> str:
    """Return what a state is: `good`, `bad`, `quiet`, or `busy` for what is under way."""
    return _TONES.get(word, "busy")
