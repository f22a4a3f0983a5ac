"""Couriers: one for each merchant that has something to be sent, for as long as it has.

A courier takes events on from the last commit, has them sent as `rounds` decides, and reports what
came of it. It begins from what is durable, so that it may end, or be killed, at any moment: what it
had not reported is sent again.
"""

import logging
import secrets
import time
from collections.abc import Callable
from typing import Final

import trio

from actors.answers import WebhookView
from actors.commands import RecordDeliveries
from actors.webhook import Webhook
from engine.fault import Fault, FaultCode
from engine.node import Node
from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import sign_request
from gateway.webhooks.letters import event_at, events_behind, key_of, letter
from gateway.webhooks.log import look_through, too_old, webhook_of
from gateway.webhooks.rounds import Entry, Rounds
from gateway.webhooks.target import Target, TargetError, read_target
from gateway.webhooks.wire import Wire

log = logging.getLogger("piaohao.webhooks")

ATTEMPT_HEADER: Final = "piaohao-attempt"
REPORT_S: Final = 30.0
LINGER_S: Final = 15.0
"""How long a courier stays that has nothing to do."""
_AGAIN_S: Final = 1.0
_LOOK_S: Final = 60.0
_UNDECIDED: Final = frozenset({FaultCode.OUTCOME_UNKNOWN, FaultCode.INTERNAL})


class Bureau:
    """What all couriers of a node share.

    Args:
        node: the engine.
        key, keyid: the bank's, by which webhooks are signed.
        connect: makes the way to a merchant's endpoint; its last argument says whether that is slow
            now.
        now_ns: the machine's clock; retries have nothing to do with a domain clock.

    Attributes:
        quick, slow: how many attempts are made at a time; endpoints that are slow or dead have
            places of their own, so that however many they are, none of the others waits for them.
        stopping: no attempt begins any more.
    """

    def __init__(
        self,
        node: Node,
        key: PrivateKey,
        keyid: str,
        connect: Callable[[str, Target, Callable[[], bool]], Wire],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.node = node
        self.connect = connect
        self.now_ns = now_ns
        self.quick = trio.CapacityLimiter(256)
        self.slow = trio.CapacityLimiter(64)
        self.stopping = False
        self._key = key
        self._keyid = keyid

    def signed(self, target: Target, body: bytes, attempt: int) -> dict[str, str]:
        """Return all headers of an attempt."""
        signature = sign_request(
            self._key,
            self._keyid,
            method="POST",
            authority=target.authority,
            path=target.path,
            query=target.query,
            body=body,
            created=self.now_ns() // 1_000_000_000,
            nonce=secrets.token_urlsafe(18),
            scheme=target.scheme,
        )
        return {
            "content-type": "application/json",
            "user-agent": "piaohao",
            ATTEMPT_HEADER: str(attempt),
            **signature,
        }


class Courier:
    """Sends one merchant's events, as long as there are some and a little longer.

    Args:
        bureau: what it shares with the others.
        merchant_no: whose.

    Attributes:
        knows_where: the webhook's URL is one.
    """

    def __init__(self, bureau: Bureau, merchant_no: str) -> None:
        self.knows_where = True
        self._bureau = bureau
        self._node = bureau.node
        self._merchant_no = merchant_no
        self._address = f"webhook/{merchant_no}"
        self._woken = trio.Event()
        self._came = trio.Event()
        self._ending = False
        self._version = 0
        self._dropped: tuple[int, ...] = ()

    def wake(self) -> None:
        """Have it look again: there is an event, or the webhook has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Send until nothing is left to be sent, or the webhook is disabled or elsewhere.

        Raises:
            StorageError: a row cannot be read.
        """
        webhook = webhook_of(self._node, self._merchant_no)
        if webhook is None or webhook.status != "ENABLED":
            return
        try:
            self._target = read_target(webhook.url)
        except TargetError:
            log.warning("the webhook of %s has a URL that is none now", self._merchant_no)
            self.knows_where = False
            return
        self._version = webhook.version
        self._rounds = Rounds(self._merchant_no, webhook.url, webhook.cursor)
        await self._look_at_log(webhook)
        self._wire = self._bureau.connect(
            self._merchant_no, self._target, lambda: self._rounds.slow
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report)
                await self._send(nursery, webhook.url)
                self._ending = True
                self._came.set()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await self._wire.aclose()

    async def _send(self, nursery: trio.Nursery, url: str) -> None:
        rounds = self._rounds
        while not self._bureau.stopping:
            self._woken = trio.Event()
            webhook = webhook_of(self._node, self._merchant_no)
            assert webhook is not None
            if (webhook.url, webhook.status) != (url, "ENABLED") or rounds.gone:
                return  # one that was enabled again meanwhile has a new courier
            if webhook.version != self._version:
                self._version = webhook.version
                await self._look_at_log(webhook)
            more = self._take_on()
            now_ns = self._bureau.now_ns()
            while (entry := rounds.next(now_ns)) is not None:
                nursery.start_soon(self._attempt, entry)
            if rounds.idle() and not more:
                # Something more may come soon, and would find a connection that is open.
                with trio.move_on_after(LINGER_S) as patience:
                    await self._woken.wait()
                if patience.cancelled_caught:
                    return
                continue
            due_ns = rounds.due_ns(now_ns)
            # The machine's clock may be set: no wait is taken to be longer than this.
            wait_s = _LOOK_S if due_ns is None else min(_LOOK_S, (due_ns - now_ns) / 1e9)
            with trio.move_on_after(max(0.0, wait_s)):
                await self._woken.wait()

    async def _look_at_log(self, webhook: Webhook) -> None:
        """Take on what is PENDING. Where nothing is, only what lies beyond the cursor is read."""
        first = 1 if webhook.pending else webhook.cursor + 1
        async for rows in look_through(self._node, self._merchant_no, first):
            for sequence, delivery in rows:
                if delivery.state == "PENDING":
                    event = event_at(self._node, self._merchant_no, sequence)
                    key = key_of(self._node, self._merchant_no, event)
                    self._rounds.order(sequence, key, delivery)
                else:
                    self._rounds.over(sequence)

    def _take_on(self) -> bool:
        """Take on what there is room for; returns whether there is more."""
        rounds, now_ns = self._rounds, self._bureau.now_ns()
        while wanted := rounds.wants(now_ns):
            events = events_behind(self._node, self._merchant_no, rounds.read, wanted)
            for event in events:
                key = key_of(self._node, self._merchant_no, event)
                rounds.take(event.sequence, key)
            if len(events) < wanted:
                return False
        return True

    async def _attempt(self, entry: Entry) -> None:
        rounds, bureau = self._rounds, self._bureau
        async with bureau.slow if rounds.slow else bureau.quick:
            if bureau.stopping or rounds.gone or self._ending:
                rounds.abandon(entry)
                self._came.set()  # it may have been the last that the reports wait for
                return
            body = letter(
                self._merchant_no, event_at(self._node, self._merchant_no, entry.sequence)
            )
            number = 1 + (0 if entry.delivery is None else entry.delivery.attempts)
            attempt = await self._wire.post(body, bureau.signed(self._target, body, number))
        rounds.done(entry, attempt)
        self._came.set()
        self._woken.set()

    async def _report(self) -> None:
        """Report what came of attempts until it is told to end and all is reported."""
        rounds = self._rounds
        while True:
            self._came = trio.Event()
            report = rounds.report(self._dropped)
            if report is not None:
                self._dropped = ()
                if not await self._record(report):
                    return
                self._woken.set()
            elif self._ending and not rounds.flying:
                return
            else:
                await self._came.wait()

    async def _record(self, report: RecordDeliveries) -> bool:
        """Have a report noted; returns False where a new courier has to see what came of it."""
        outcome = await self._node.ask(self._address, report, timeout_s=REPORT_S)
        if isinstance(outcome, WebhookView):
            self._rounds.reported()
            webhook = webhook_of(self._node, self._merchant_no)
            assert isinstance(webhook, Webhook)
            self._dropped = await too_old(self._node, self._merchant_no, webhook)
            return True
        assert isinstance(outcome, Fault)
        if outcome.code in _UNDECIDED or outcome.code is FaultCode.STOPPING:
            raise NotReportedError(outcome.code)
        await trio.sleep(_AGAIN_S)
        return True


class NotReportedError(Exception):
    """It is not known whether a report was noted; what is durable says."""
