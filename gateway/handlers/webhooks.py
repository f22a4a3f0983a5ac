"""Webhooks: where a merchant's events are sent, what came of that, and sending some once more."""

from typing import Final, Literal

from msgspec import Struct

from actors.answers import DeliveryView, WebhookView
from actors.commands import (
    DisableWebhook,
    EnableWebhook,
    Number,
    RedeliverEvents,
    Sequence,
    SetWebhook,
)
from actors.refusable import REFUSALS
from actors.refusal import Refusal
from actors.webhook import REDELIVERED_MAX, view_delivery, view_webhook
from engine.fault import NODE_BUSY
from gateway.answer import Answer, failed
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode, RequestError, problem
from gateway.lookup import Cursor, Limit, Page, found
from gateway.webhooks.challenge import BusyError, ChallengeError
from gateway.webhooks.log import deliveries_page, delivery_of, newest_event, webhook_of
from gateway.webhooks.target import Target, TargetError, Url


class WebhookKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose webhook."""

    merchant_no: Number


class WebhookUrl(WebhookKey, frozen=True):
    """Where a merchant's events are to be sent from now on.

    The server there is challenged first; `challenge` false, which is the bank's to say, spares it.
    """

    url: Url
    challenge: bool = True


class DeliveryKey(WebhookKey, frozen=True):
    """Which event, by its sequence."""

    sequence: Sequence


class DeliveryList(WebhookKey, frozen=True):
    """Deliveries to a merchant's webhook, the newest event first; all, or those in one state."""

    limit: Limit = 10
    cursor: Cursor | None = None
    state: Literal["PENDING", "DELIVERED", "FAILED"] | None = None


async def set_webhook(desk: Desk, caller: Caller, asked: WebhookUrl) -> Answer:
    """Send a merchant's events to a URL, from the next one on, or go on at another URL.

    It is enabled then, if it was not. A server that is new has to answer a challenge before.
    """
    if desk.webhooks is None:
        raise RequestError(RequestCode.WEBHOOKS_OFF)
    try:
        target = desk.webhooks.check(asked.url)
    except TargetError as error:
        raise RequestError(RequestCode.WEBHOOK_URL_REFUSED, str(error)) from None
    newest = newest_event(desk.node, asked.merchant_no)
    if newest is None:
        return failed(problem(Refusal.MERCHANT_NOT_FOUND))
    if not asked.challenge and caller.merchant_no:
        raise RequestError(RequestCode.NOT_FOR_MERCHANTS)
    webhook = webhook_of(desk.node, asked.merchant_no)
    if asked.challenge and (webhook is None or webhook.url != target.url):
        await _challenge(desk, caller, asked.merchant_no, target)
    desk.webhooks.expect(asked.merchant_no)
    return await desk.execute(caller, SetWebhook(asked.merchant_no, target.url, newest))


async def _challenge(desk: Desk, caller: Caller, merchant_no: str, target: Target) -> None:
    """Have a server show that it is the merchant's.

    Nothing is noted before it has: who breaks this off, or is told that there are too many under
    way, asks again.

    Raises:
        RequestError: WEBHOOK_UNPROVED, RATE_LIMITED, NODE_BUSY.
    """
    assert desk.webhooks is not None
    if caller.merchant_no:
        allowance = desk.challenges.take(merchant_no)
        if not allowance.passed:
            raise RequestError(RequestCode.RATE_LIMITED, retry_after_s=allowance.retry_after_s)
    try:
        await desk.webhooks.challenge(merchant_no, target)
    except BusyError:
        raise RequestError(NODE_BUSY.code, retry_after_s=NODE_BUSY.retry_after_s) from None
    except ChallengeError as error:
        raise RequestError(RequestCode.WEBHOOK_UNPROVED, str(error)) from None


async def get_webhook(desk: Desk, caller: Caller, key: WebhookKey) -> Answer:
    """Return where a merchant's events are sent, and how far that has come."""
    webhook = webhook_of(desk.node, key.merchant_no)
    view = None if webhook is None else view_webhook(key.merchant_no, webhook)
    return found(view, Refusal.WEBHOOK_NOT_FOUND)


async def command_webhook(
    desk: Desk, caller: Caller, command: EnableWebhook | DisableWebhook
) -> Answer:
    """Let a webhook wait, or go on."""
    return await desk.execute(caller, command)


async def redeliver_events(desk: Desk, caller: Caller, command: RedeliverEvents) -> Answer:
    """Send events once more, one or many."""
    check_redelivered(command.first, command.last)
    return await desk.execute(caller, command)


def check_redelivered(first: int, last: int) -> None:
    """Refuse what is no range of events, or too long a one.

    Raises:
        RequestError: INVALID_REQUEST.
    """
    if not 0 <= last - first < REDELIVERED_MAX:
        detail = f"`last` is not before `first`, and no more than {REDELIVERED_MAX - 1} behind it"
        raise RequestError(RequestCode.INVALID_REQUEST, detail)


async def get_delivery(desk: Desk, caller: Caller, key: DeliveryKey) -> Answer:
    """Return what has become of an event, with its newest attempts."""
    webhook = webhook_of(desk.node, key.merchant_no)
    if webhook is None:
        return found(None, Refusal.WEBHOOK_NOT_FOUND)
    delivery = delivery_of(desk.node, key.merchant_no, webhook, key.sequence)
    view = None if delivery is None else view_delivery(key.merchant_no, key.sequence, delivery)
    return found(view, RequestCode.NO_SUCH_DELIVERY)


async def list_deliveries(desk: Desk, caller: Caller, asked: DeliveryList) -> Answer:
    """Return one page of the deliveries to a merchant's webhook."""
    if webhook_of(desk.node, asked.merchant_no) is None:
        return found(None, Refusal.WEBHOOK_NOT_FOUND)
    page = deliveries_page(desk.node, asked.merchant_no, asked.state, asked.limit, asked.cursor)
    return Answer(200, page)


_WEBHOOK: Final = "/v1/merchants/{merchant_no}/webhook"

ENDPOINTS: Final = (
    act(
        _WEBHOOK,
        WebhookUrl,
        set_webhook,
        "merchant",
        WebhookView,
        *REFUSALS[SetWebhook],
        RequestCode.WEBHOOK_URL_REFUSED,
        RequestCode.WEBHOOK_UNPROVED,
        RequestCode.NOT_FOR_MERCHANTS,
        RequestCode.WEBHOOKS_OFF,
    ),
    read(_WEBHOOK, WebhookKey, get_webhook, "merchant", WebhookView, Refusal.WEBHOOK_NOT_FOUND),
    act(f"{_WEBHOOK}/enable", EnableWebhook, command_webhook, "merchant", WebhookView),
    act(f"{_WEBHOOK}/disable", DisableWebhook, command_webhook, "merchant", WebhookView),
    act(f"{_WEBHOOK}/redeliver", RedeliverEvents, redeliver_events, "merchant", WebhookView),
    read(
        f"{_WEBHOOK}/deliveries",
        DeliveryList,
        list_deliveries,
        "merchant",
        Page[DeliveryView],
        Refusal.WEBHOOK_NOT_FOUND,
    ),
    read(
        f"{_WEBHOOK}/deliveries/{{sequence}}",
        DeliveryKey,
        get_delivery,
        "merchant",
        DeliveryView,
        Refusal.WEBHOOK_NOT_FOUND,
        RequestCode.NO_SUCH_DELIVERY,
    ),
)
