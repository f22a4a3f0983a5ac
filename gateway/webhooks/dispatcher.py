"""The dispatcher: starts a courier for each merchant that has something to be sent, and ends them.

It knows all webhooks, and hears of a commit only where it has changed one of them, or a merchant
whose webhook is enabled; nothing is scanned meanwhile. At a stop no attempt begins any more; those
under way have a few seconds, and what comes of them is noted.
"""

import logging
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import trio

from actors.kinds import WEBHOOK
from actors.webhook import Webhook
from engine.node import Node
from gateway.ca.bank_keys import BankKeys
from gateway.lookup import actor_rows
from gateway.signatures.keys import PrivateKey
from gateway.webhooks.challenge import Challenges
from gateway.webhooks.courier import Bureau, Courier, NotReportedError
from gateway.webhooks.log import newest_event, webhook_of
from gateway.webhooks.lookups import Lookups
from gateway.webhooks.reach import Reach
from gateway.webhooks.target import Target, read_target
from gateway.webhooks.wire import CONNECTIONS, Resolve, Wire
from storage.errors import StorageError

log = logging.getLogger("piaohao.webhooks")

DRAIN_S: Final = 3.0
"""How long attempts that are under way have when the node stops."""
_KEPT: Final = ((100, CONNECTIONS), (1_000, 1), (float("inf"), 0))
"""So many couriers at most, and so many idle connections each: 1,800 at most, all together."""
_AGAIN_S: Final = 10.0
_SKIP: Final = 2 + len("webhook/")


class Dispatcher:
    """Sends the webhooks of a node.

    Args:
        node: the engine, running.
        keys: the bank's, by which webhooks are signed.
        allow: what may be reached beside public addresses (`gateway.webhooks.reach`).
        tls: judges endpoints' certificates; by default what the machine trusts.
        resolve: looks names up; by default the machine does.
        now_ns: the machine's clock.
    """

    def __init__(
        self,
        node: Node,
        keys: BankKeys,
        *,
        allow: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._node = node
        self._reach = Reach(allow)
        self._tls = tls
        self._resolve = resolve
        self._lookups = Lookups()
        self._challenges = Challenges()
        key = PrivateKey(keys.signing.key)
        self._bureau = Bureau(node, key, keys.signing.keyid, self._connect, now_ns)
        self._known: dict[str, AbstractContextManager[None]] = {}
        self._heard: dict[str, AbstractContextManager[None]] = {}
        self._couriers: dict[str, Courier] = {}
        self._ready: set[str] = set()
        self._woken = trio.Event()
        self._none_left = trio.Event()
        self._scope = trio.CancelScope()

    def check(self, url: str) -> Target:
        """Return a URL as it would be sent to.

        Raises:
            TargetError: webhooks are not sent there.
        """
        target = read_target(url)
        self._reach.check(target)
        return target

    async def challenge(self, merchant_no: str, target: Target) -> None:
        """Have the server at a URL show that it wants a merchant's events.

        Raises:
            ChallengeError: it has not.
        """
        wire = self._connect(merchant_no, target, lambda: True)
        try:
            sign = partial(self._bureau.signed, target, attempt=1)
            await self._challenges.prove(wire, sign, merchant_no)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await wire.aclose()

    def expect(self, merchant_no: str) -> None:
        """Hear of a webhook from now on; it need not exist yet."""
        if merchant_no not in self._known:
            self._known[merchant_no] = self._hear(f"webhook/{merchant_no}", self._webhook_changed)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send webhooks until `drain`; started once it knows all there are."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                await self._find()
                task_status.started()
                while True:
                    self._woken = trio.Event()
                    while self._ready:
                        merchant_no = self._ready.pop()
                        if not self._bureau.stopping and merchant_no not in self._couriers:
                            courier = Courier(self._bureau, merchant_no)
                            self._couriers[merchant_no] = courier
                            nursery.start_soon(self._deliver, merchant_no, courier)
                    await self._woken.wait()

    async def drain(self) -> None:
        """Begin no attempt any more, and end soon, once those under way are noted."""
        self._bureau.stopping = True
        for courier in self._couriers.values():
            courier.wake()
        with trio.move_on_after(DRAIN_S):
            while self._couriers:
                self._none_left = trio.Event()
                await self._none_left.wait()
        self._scope.cancel()

    async def _find(self) -> None:
        for shard in self._node.shards:
            after = b""
            while True:
                snapshot = shard.store.snapshot()
                try:
                    rows = [
                        row
                        for row, _ in zip(
                            actor_rows(snapshot, WEBHOOK, after), range(1_000), strict=False
                        )
                    ]
                finally:
                    snapshot.close()
                for key, payload in rows:
                    merchant_no = key[_SKIP:].decode("ascii")
                    self.expect(merchant_no)
                    self._look_at(merchant_no, WEBHOOK.decode_state(payload))
                if len(rows) < 1_000:
                    break
                after = rows[-1][0]
                await trio.lowlevel.checkpoint()

    def _look_at(self, merchant_no: str, webhook: Webhook) -> None:
        """Hear of a merchant's events while its webhook is enabled; there may be some already."""
        heard = self._heard.get(merchant_no)
        if webhook.status != "ENABLED":
            if heard is not None:
                heard.__exit__(None, None, None)
                del self._heard[merchant_no]
            return
        if heard is None:
            self._heard[merchant_no] = self._hear(f"merchant/{merchant_no}", self._merchant_changed)
        if webhook.pending or (newest_event(self._node, merchant_no) or 0) > webhook.cursor:
            self._start(merchant_no)

    def _webhook_changed(self, address: str) -> None:
        merchant_no = address.partition("/")[2]
        courier = self._couriers.get(merchant_no)
        if courier is not None:
            courier.wake()
        webhook = webhook_of(self._node, merchant_no)
        if webhook is not None:
            self._look_at(merchant_no, webhook)

    def _merchant_changed(self, address: str) -> None:
        merchant_no = address.partition("/")[2]
        courier = self._couriers.get(merchant_no)
        if courier is not None:
            courier.wake()
        self._start(merchant_no)

    def _start(self, merchant_no: str) -> None:
        self._ready.add(merchant_no)
        self._woken.set()

    def _hear(self, address: str, changed: Callable[[str], None]) -> AbstractContextManager[None]:
        hearing = self._node.hearing(address, changed)
        hearing.__enter__()
        return hearing

    async def _deliver(self, merchant_no: str, courier: Courier) -> None:
        failed = False
        try:
            await courier.run()
        except* StorageError as group:
            error = group.exceptions[0]
            self._node.fail(error if isinstance(error, Exception) else Exception(str(error)))
        except* NotReportedError:
            log.warning("what was sent to %s may be sent again", merchant_no)
            failed = True
        except* Exception:
            # One merchant's trouble is no other's. What is durable says where to go on.
            log.exception("the courier of %s has failed", merchant_no)
            failed = True
        if failed and not self._bureau.stopping:
            await trio.sleep(_AGAIN_S)
        del self._couriers[merchant_no]
        self._none_left.set()
        # There may be more since it looked last. A URL that is none any more is not tried again.
        webhook = webhook_of(self._node, merchant_no)
        if webhook is not None and courier.knows_where:
            self._look_at(merchant_no, webhook)

    def _connect(self, merchant_no: str, target: Target, slow: Callable[[], bool]) -> Wire:
        async def resolve(host: str, port: int) -> list[str]:
            if self._resolve is not None:
                return await self._resolve(host, port)
            return await self._lookups(merchant_no, host, port, slow=slow())

        if self._tls is None:
            # Reading what the machine trusts takes 20 ms: nobody waits for it who has no webhook.
            self._tls = ssl.create_default_context()
        couriers = len(self._couriers)
        kept = next(each for most, each in _KEPT if couriers <= most)
        return Wire(target, self._reach, resolve, self._tls, kept)
