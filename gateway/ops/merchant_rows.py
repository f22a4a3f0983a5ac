"""Rows of merchants: who they are, their certificates, their webhooks, and what was delivered.

They are the API's own views (`actors.answers`), as of the last commit. What a merchant has written
of itself and where its server is are masked until somebody who may gives a reason.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from actors.answers import (
    CertificateView,
    DeliveryView,
    MerchantView,
    ProfileView,
    View,
    WebhookView,
)
from actors.kinds import MERCHANT, WEBHOOK
from actors.lifecycle import PROFILE, PROFILES, view_profile
from actors.merchant import view_merchant
from actors.refusal import Refusal
from actors.webhook import Webhook, view_webhook
from engine.address import NUMBER_PATTERN
from gateway.answer import Answer, failed
from gateway.certificates import certificates_page
from gateway.errors import problem
from gateway.lookup import Cursor, Limit, Page, actors_page, record_of, state_of
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.masking import Eyes, Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from gateway.webhooks.log import deliveries_page, webhook_of

Number = Annotated[str, Meta(pattern=NUMBER_PATTERN + r"(?!\n)")]


class ListThem(Struct, frozen=True, forbid_unknown_fields=True):
    """All of a kind, in the order of their row keys: by slot, then by number.

    Attributes:
        reason: why personal data has to be seen; without, it is masked.
    """

    limit: Limit = 50
    cursor: Cursor | None = None
    reason: Reason | None = None


class OfMerchant(Struct, frozen=True, forbid_unknown_fields=True):
    """Which merchant.

    Attributes:
        reason: why personal data has to be seen; without, it is masked.
    """

    merchant_no: Number
    reason: Reason | None = None


class ListCertificates(OfMerchant, frozen=True):
    """A merchant's certificates, in the order of their numbers."""

    limit: Limit = 50
    cursor: Cursor | None = None


class ListDeliveries(OfMerchant, frozen=True):
    """Deliveries to a merchant's webhook; all, or those in one state."""

    limit: Limit = 50
    cursor: Cursor | None = None
    state: Literal["PENDING", "DELIVERED", "FAILED"] | None = None


class MerchantFile(Struct, frozen=True, tag_field="object", tag="merchant_file"):
    """What there is about a merchant.

    Attributes:
        profile: how it was taken on, null where that happened elsewhere.
        webhook: where its events are sent, null where they are not.
    """

    merchant: MerchantView
    profile: ProfileView | None
    webhook: WebhookView | None
    masked: bool


async def list_merchants(desk: OpsDesk, visitor: Visitor, asked: ListThem) -> Answer:
    """Return merchants, in pages."""
    eyes_of(visitor, asked.reason)
    return await actors_page(desk.node, MERCHANT, view_merchant, asked.limit, asked.cursor)


async def get_merchant(desk: OpsDesk, visitor: Visitor, asked: OfMerchant) -> Answer:
    """Return a merchant, how it was taken on, and its webhook."""
    eyes = eyes_of(visitor, asked.reason)
    number = asked.merchant_no
    # The record first: what is written with it is in the state that is read afterwards.
    profile = record_of(desk.node, f"{MERCHANT.name}/{number}", PROFILES, PROFILE)
    merchant = state_of(desk.node, MERCHANT, number)
    if merchant is None:
        return failed(problem(Refusal.MERCHANT_NOT_FOUND))
    webhook = webhook_of(desk.node, number)
    seen = MerchantFile(
        view_merchant(number, merchant),
        None if profile is None else _masked(view_profile(number, merchant, profile), eyes),
        None if webhook is None else _seen_webhook(eyes, number, webhook),
        not eyes.all,
    )
    return Answer(200, seen)


async def list_certificates(desk: OpsDesk, visitor: Visitor, asked: ListCertificates) -> Answer:
    """Return a merchant's certificates, in pages."""
    eyes = eyes_of(visitor, asked.reason)
    holder = f"{MERCHANT.name}/{asked.merchant_no}"
    answer = certificates_page(desk.node, holder, asked.limit, asked.cursor, pem=False)
    return _each(answer, lambda each: replace(each, reason=_text(eyes, each.reason)))


async def list_webhooks(desk: OpsDesk, visitor: Visitor, asked: ListThem) -> Answer:
    """Return webhooks, in pages."""
    eyes = eyes_of(visitor, asked.reason)
    view = partial(_seen_webhook, eyes)
    return await actors_page(desk.node, WEBHOOK, view, asked.limit, asked.cursor)


async def list_deliveries(desk: OpsDesk, visitor: Visitor, asked: ListDeliveries) -> Answer:
    """Return the deliveries to a merchant's webhook, the newest event first, in pages."""
    eyes = eyes_of(visitor, asked.reason)
    page = deliveries_page(desk.node, asked.merchant_no, asked.state, asked.limit, asked.cursor)

    def seen(each: DeliveryView) -> DeliveryView:
        return replace(
            each,
            log=tuple(replace(attempt, error=_text(eyes, attempt.error)) for attempt in each.log),
        )

    return _each(Answer(200, page), seen)


def _each(answer: Answer, seen: Callable[..., View]) -> Answer:
    """Return an answer that is a page, each of its items as it may be seen."""
    page = answer.body
    return replace(answer, body=replace(page, items=[seen(each) for each in page.items]))


def _seen_webhook(eyes: Eyes, merchant_no: str, webhook: Webhook) -> WebhookView:
    view = view_webhook(merchant_no, webhook)
    return replace(view, url=eyes.text(view.url))


def _masked(profile: ProfileView, eyes: Eyes) -> ProfileView:
    """Return a profile without what people have written, and without their names."""
    return replace(
        profile,
        legal_name=eyes.text(profile.legal_name),
        contact=eyes.text(profile.contact),
        reason=_text(eyes, profile.reason),
        contract_no=_text(eyes, profile.contract_no),
        submitted_by=_text(eyes, profile.submitted_by),
        decided_by=_text(eyes, profile.decided_by),
        signed_by=_text(eyes, profile.signed_by),
    )


def _text(eyes: Eyes, text: str | None) -> str | None:
    return None if text is None else eyes.text(text)


_MERCHANT: Final = "/ops/merchants/{merchant_no}"

ROWS: Final = (
    read("/ops/merchants", ListThem, list_merchants, Right.LOOK, Page[MerchantView]),
    read(_MERCHANT, OfMerchant, get_merchant, Right.LOOK, MerchantFile),
    read(
        f"{_MERCHANT}/certificates",
        ListCertificates,
        list_certificates,
        Right.LOOK,
        Page[CertificateView],
    ),
    read(
        f"{_MERCHANT}/deliveries",
        ListDeliveries,
        list_deliveries,
        Right.LOOK,
        Page[DeliveryView],
    ),
    read("/ops/webhooks", ListThem, list_webhooks, Right.LOOK, Page[WebhookView]),
)
