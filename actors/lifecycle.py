"""Life cycle: how a merchant is taken on, suspended, activated and closed; all of it is the bank's.

A merchant applies (DRAFT, which may be amended), is audited, signs a contract, gets a certificate
and is activated. One whose onboarding happened elsewhere is opened, ACTIVE at once, and may do
without a certificate. These commands bear no number but the merchant's own: only opening and
applying bind it, the others name what the merchant is to be, and asking for what it is already
changes nothing. What is rarely needed is in a record, the profile, so that the merchant's own row
stays small: a payment writes that row.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import MerchantView, ProfileView, Refused, Replayed, instant, instant_if
from actors.commands import (
    ActivateMerchant,
    AmendMerchant,
    ApplyMerchant,
    ApproveMerchant,
    CloseMerchant,
    OpenMerchant,
    RejectMerchant,
    SignMerchant,
    SubmitMerchant,
    SuspendMerchant,
    digest,
)
from actors.merchant import Merchant, MerchantStatus, has_liabilities, view_merchant
from actors.refusal import Refusal
from actors.registration import has_certificate
from actors.states import MERCHANT, START, allowed, move
from engine.kind import RecordKind
from engine.turn import Turn


class Terms(Struct, frozen=True, array_like=True, gc=False):
    """On which terms somebody would like to be a merchant."""

    currency: str
    fee_bps: int
    over_capture: bool


class Profile(Struct, frozen=True, array_like=True, gc=False):
    """A record of a merchant that has applied; there is one at most, and none of an opened one.

    Attributes:
        legal_name, contact: as they were amended last.
        applied: the terms that were applied for at first; those in force are in the state.
        reason: why it was rejected, empty if it was not.
        contract_no: what was signed, empty before.
        submitted_ns, decided_ns, signed_ns: when each happened, 0 before.
        submitted_by, decided_by, signed_by: by whom, as the command said, empty if it did not.
    """

    legal_name: str
    contact: str
    applied: Terms
    reason: str = ""
    contract_no: str = ""
    submitted_ns: int = 0
    submitted_by: str = ""
    decided_ns: int = 0
    decided_by: str = ""
    signed_ns: int = 0
    signed_by: str = ""


PROFILES: Final = RecordKind("m", Profile)
PROFILE: Final = "profile"
"""Name of the one record."""


def open_merchant(turn: Turn[Merchant], command: OpenMerchant) -> None:
    """Open a merchant whose onboarding happened elsewhere. Refusals: NUMBER_USED."""
    _begin(turn, command, "open_merchant", "ACTIVE", None)


def apply_merchant(turn: Turn[Merchant], command: ApplyMerchant) -> None:
    """Note an application. Refusals: NUMBER_USED."""
    terms = Terms(command.currency, command.fee_bps, command.over_capture)
    profile = Profile(command.legal_name, command.contact, terms)
    _begin(turn, command, "apply_merchant", "DRAFT", profile)


def _begin(
    turn: Turn[Merchant],
    command: OpenMerchant | ApplyMerchant,
    cause: str,
    status: MerchantStatus,
    profile: Profile | None,
) -> None:
    merchant = turn.state
    content = digest(command)
    if merchant is None:
        merchant = Merchant(
            currency=command.currency,
            fee_bps=command.fee_bps,
            over_capture=command.over_capture,
            digest=content,
            opened_ns=turn.now_ns,
            status=move(MERCHANT, START, cause, status),
        )
        turn.become(merchant)
        if profile is not None:
            turn.put(PROFILES, PROFILE, profile)
        turn.answer(view_merchant(turn.number, merchant))
    elif merchant.digest == content:
        turn.answer(Replayed(_first(turn, merchant)))
    else:
        turn.answer(Refused(Refusal.NUMBER_USED, turn.number))


def _first(turn: Turn[Merchant], merchant: Merchant) -> MerchantView:
    """Return the merchant as it was when it had just been opened, or had just applied."""
    profile = turn.get(PROFILES, PROFILE)
    terms = Terms(merchant.currency, merchant.fee_bps, merchant.over_capture)
    status: MerchantStatus = "ACTIVE"
    if profile is not None:
        terms, status = profile.applied, "DRAFT"
    first = Merchant(
        terms.currency,
        terms.fee_bps,
        terms.over_capture,
        merchant.digest,
        merchant.opened_ns,
        status,
    )
    return view_merchant(turn.number, first)


def amend_merchant(turn: Turn[Merchant], command: AmendMerchant) -> None:
    """Set all that was applied for anew. Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT."""
    merchant = _permit(turn, "amend_merchant")
    if merchant is None:
        return
    merchant = replace(
        merchant,
        currency=command.currency,
        fee_bps=command.fee_bps,
        over_capture=command.over_capture,
        status=move(MERCHANT, merchant.status, "amend_merchant", merchant.status),
    )
    turn.become(merchant)
    _note(turn, legal_name=command.legal_name, contact=command.contact)
    turn.answer(view_merchant(turn.number, merchant))


def submit_merchant(turn: Turn[Merchant], command: SubmitMerchant) -> None:
    """Have the application audited. Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT."""
    if _come(turn, "submit_merchant", "AUDITING"):
        _note(turn, submitted_ns=turn.now_ns, submitted_by=command.operator)


def approve_merchant(turn: Turn[Merchant], command: ApproveMerchant) -> None:
    """Approve an application. Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT."""
    if _come(turn, "approve_merchant", "TO_BE_SIGNED"):
        _note(turn, decided_ns=turn.now_ns, decided_by=command.operator)


def reject_merchant(turn: Turn[Merchant], command: RejectMerchant) -> None:
    """Reject an application for ever.

    Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT, also where it was for another reason.
    """
    reason = command.reason
    if _come(turn, "reject_merchant", "REJECTED", lambda profile: profile.reason == reason):
        _note(turn, decided_ns=turn.now_ns, decided_by=command.operator, reason=reason)


def sign_merchant(turn: Turn[Merchant], command: SignMerchant) -> None:
    """Note the contract.

    Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT, also where it was another contract.
    """
    number = command.contract_no
    if _come(turn, "sign_merchant", "PROVISIONING", lambda profile: profile.contract_no == number):
        _note(turn, signed_ns=turn.now_ns, signed_by=command.operator, contract_no=number)


def suspend_merchant(turn: Turn[Merchant], command: SuspendMerchant) -> None:
    """Suspend the merchant. Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT."""
    _come(turn, "suspend_merchant", "SUSPENDED")


def activate_merchant(turn: Turn[Merchant], command: ActivateMerchant) -> None:
    """Let the merchant begin, or take a suspension back.

    Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT; CERTIFICATE_MISSING where it is to begin and
    has none that is valid.
    """
    merchant = turn.state
    if merchant is not None and merchant.status == "PROVISIONING" and not has_certificate(turn):
        turn.answer(Refused(Refusal.CERTIFICATE_MISSING, turn.number))
        return
    _come(turn, "activate_merchant", "ACTIVE")


def close_merchant(turn: Turn[Merchant], command: CloseMerchant) -> None:
    """Close the merchant for ever, at once or as soon as nothing is open with it any more.

    Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT (it was rejected).
    """
    merchant = turn.state
    closing = merchant is not None and has_liabilities(merchant)
    _come(turn, "close_merchant", "CLOSING" if closing else "CLOSED")


def _permit(turn: Turn[Merchant], cause: str) -> Merchant | None:
    """Return the merchant if its status permits what is asked, else None: it is answered."""
    merchant = turn.state
    if merchant is None:
        turn.answer(Refused(Refusal.MERCHANT_NOT_FOUND, turn.number))
        return None
    permitted = allowed(MERCHANT, cause)
    if merchant.status not in permitted:
        code = Refusal.STATE_CONFLICT
        turn.answer(Refused(code, turn.number, merchant.status, permitted))
        return None
    return merchant


def _come(
    turn: Turn[Merchant],
    cause: str,
    target: MerchantStatus,
    same: Callable[[Profile], bool] = lambda _: True,
) -> bool:
    """Bring the merchant to a status and answer; returns whether anything changes by it.

    Args:
        same: whether what brought it there before was the same command; another one is illegal.
    """
    merchant = turn.state
    if merchant is not None and merchant.status == target:
        profile = turn.get(PROFILES, PROFILE)
        if profile is None or same(profile):
            turn.answer(view_merchant(turn.number, merchant))
            return False
    merchant = _permit(turn, cause)
    if merchant is None:
        return False
    moved = move(MERCHANT, merchant.status, cause, target)
    merchant = replace(merchant, status=moved, status_changes=merchant.status_changes + 1)
    turn.become(merchant)
    turn.answer(view_merchant(turn.number, merchant))
    return True


def _note(turn: Turn[Merchant], **changes: str | int) -> None:
    profile = turn.get(PROFILES, PROFILE)
    assert profile is not None, f"{turn.address} has not applied"
    turn.put(PROFILES, PROFILE, replace(profile, **changes))


def view_profile(merchant_no: str, merchant: Merchant, profile: Profile) -> ProfileView:
    """Return what the bank sees of a merchant that has applied."""
    return ProfileView(
        merchant_no=merchant_no,
        status=merchant.status,
        legal_name=profile.legal_name,
        contact=profile.contact,
        reason=profile.reason or None,
        contract_no=profile.contract_no or None,
        applied_at=instant(merchant.opened_ns),
        submitted_at=instant_if(profile.submitted_ns),
        submitted_by=profile.submitted_by or None,
        decided_at=instant_if(profile.decided_ns),
        decided_by=profile.decided_by or None,
        signed_at=instant_if(profile.signed_ns),
        signed_by=profile.signed_by or None,
    )
