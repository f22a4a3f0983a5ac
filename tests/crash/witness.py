"""The witness: what a node shows over HTTP, held against what its client was told before.

Every outcome that was told is found as it was, the merchants' events go on from where they were,
without a gap and with one event a number, and the balances follow from the records that are
shown: from nothing that the node says about itself.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx2
import trio

from gateway.operations import Verify
from gateway.operator import perform
from tests.crash.log import Key, Log, Told
from tests.crash.town import FUNDS_MINOR, LOOKS, MERCHANTS, PAYERS, POOR, POOR_MINOR
from tests.e2e.process import LIMIT_S

View = dict[str, Any]

MOVES: Final = {
    "payment": {"refunded_minor", "state"},
    "authorization": {
        "amount_minor", "captured_minor", "refunded_minor", "state", "expires_at",
    },
    "refund": {"state", "code", "settled_at"},
}  # fmt: skip
"""Kind of a thing → the members that later commands may change."""

SPACES: Final = {
    "payment.succeeded": "create_payment",
    "payment.failed": "create_payment",
    "payment.reversed": "reverse_payment",
    "payment.reversal_failed": "reverse_payment",
    "authorization.held": "create_authorization",
    "authorization.failed": "create_authorization",
    "authorization.incremented": "increment_authorization",
    "authorization.increment_failed": "increment_authorization",
    "authorization.captured": "capture_authorization",
    "authorization.capture_failed": "capture_authorization",
    "authorization.voided": "void_authorization",
    "authorization.void_failed": "void_authorization",
    "authorization.released": "release_authorization",
    "authorization.release_failed": "release_authorization",
    "refund.succeeded": "refund",
    "refund.failed": "refund",
    "refund.pending_funds": "refund",
}
"""Type of an event → what its number is a number of, as in `town.key_of`."""


class Witness:
    """Remembers what was seen of a node before it was killed.

    Args:
        log: of the client.

    Attributes:
        happened: the numbers of all commands that had an outcome when it looked last.
        untold: the most that had happened at once without the client having been told.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._events: dict[str, list[View]] = {merchant: [] for merchant in MERCHANTS}
        self._changed: set[tuple[str, str, str]] = set()
        self.happened: set[Key] = set()
        self.untold = 0

    async def check(self, address: str, limit_s: float = LIMIT_S) -> None:
        """Look at everything while nobody sends anything.

        Args:
            limit_s: how long what is under way may take.
        """
        self._log.read()
        async with httpx2.AsyncClient(timeout=LIMIT_S, base_url=address) as http:
            # What was under way between two shards when the node died goes on by itself.
            with trio.fail_after(limit_s):
                while True:
                    found = await _records(http)
                    if all(view["state"] != "PROCESSING" for view in found.values()):
                        break
            events = {merchant: await _events(http, merchant) for merchant in MERCHANTS}
            self._check_events(events)
            self.happened = set(found) | self._numbers()
            for key, told in self._log.told.items():
                assert key in self.happened, f"{told} is lost"
                if key in found:
                    self._check_outcome(key, told, found[key])
            # Of an operation the event never changes; a new one is looked up by itself, too.
            for key, told in self._log.fresh.items():
                if key not in found:
                    looked = (await http.get(LOOKS[key[0]].format_map(told.command))).json()
                    _check_same(told, looked, set())
            await self._check_money(http, found)
        self.untold = max(self.untold, len(self.happened - self._log.told.keys()))

    def _check_events(self, events: dict[str, list[View]]) -> None:
        """No event has gone or changed, none is missing, and each number has one outcome."""
        for merchant, seen in self._events.items():
            now = events[merchant]
            assert now[: len(seen)] == seen, f"what happened at {merchant} has changed"
            assert [each["sequence"] for each in now] == list(range(1, len(now) + 1))
            # A refund that waited has a second event when its money is there.
            once = Counter(
                (SPACES[each["type"]], each["number"], each["type"] == "refund.pending_funds")
                for each in now
            )
            assert set(once.values()) <= {1}, "a number has two outcomes"
        self._events = events
        self._changed = {
            (merchant, each["original_kind"], each["original"])
            for merchant, seen in events.items()
            for each in seen
            if each["original"] is not None
        }

    def _numbers(self) -> set[Key]:
        return {
            (SPACES[each["type"]], merchant, each["number"])
            for merchant, seen in self._events.items()
            for each in seen
        }

    def _check_outcome(self, key: Key, told: Told, shown: View) -> None:
        """What was told is there, and the same but for what was done to it since."""
        space, owner, number = key
        kind = shown["object"]
        moves: set[str] = set()
        if space == "refund":
            if told.body.get("state") == "PENDING_FUNDS":
                moves = MOVES[kind]
        elif (owner, kind, number) in self._changed:
            moves = MOVES[kind]
        _check_same(told, shown, moves)

    async def _check_money(self, http: httpx2.AsyncClient, found: dict[Key, View]) -> None:
        """Balances are what the records add up to, and nothing is left over."""
        posted = Counter({payer: POOR_MINOR if payer == POOR else FUNDS_MINOR for payer in PAYERS})
        held: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        for (_, owner, _), view in found.items():
            amount = view["amount_minor"]
            match view["object"], view["state"]:
                case "payment", "SUCCEEDED":
                    posted[view["payer"]] -= amount
                    taken[owner] += amount
                case "authorization", _:
                    posted[view["payer"]] -= view["captured_minor"]
                    taken[owner] += view["captured_minor"]
                    if view["state"] in {"HELD", "PARTIALLY_CAPTURED"}:
                        held[view["payer"]] += amount - view["captured_minor"]
                case "refund", "SUCCEEDED":
                    posted[view["payer"]] += amount
                    taken[owner] -= amount
                case "transfer", "SUCCEEDED":
                    posted[owner] -= amount
                    posted[view["to"]] += amount
        for payer in PAYERS:
            account = (await http.get(f"/v1/accounts/{payer}")).json()
            shown = account["posted_minor"], account["held_minor"]
            assert shown == (posted[payer], held[payer]), payer
        for merchant in MERCHANTS:
            hub = (await http.get(f"/v1/merchants/{merchant}")).json()
            assert hub["posted_minor"] + hub["fees_minor"] == taken[merchant], merchant
            assert hub["fees_minor"] == _fees(self._events[merchant]), merchant
        clearing = (await http.get("/v1/accounts/clearing-USD")).json()
        assert posted.total() + taken.total() == -clearing["posted_minor"]


def _fees(events: list[View]) -> int:
    signs = {"payment.succeeded": 1, "authorization.captured": 1, "payment.reversed": -1}
    return sum(signs.get(each["type"], 0) * each["fee_minor"] for each in events)


def _check_same(told: Told, shown: View, moves: set[str]) -> None:
    """Compare an outcome with what is shown, but for the members that may have moved."""
    if told.status >= 400:
        assert shown["code"] == told.body["code"], f"{told} has become {shown}"
        assert shown["state"] == "FAILED", f"{told} has become {shown}"
        return
    assert shown.keys() == told.body.keys()
    changed = {name for name, value in told.body.items() if shown[name] != value}
    assert changed <= moves, f"{told} has become {shown}"


async def _records(http: httpx2.AsyncClient) -> dict[Key, View]:
    """Return all payments, authorizations, refunds and transfers, by their numbers."""
    found: dict[Key, View] = {}
    for merchant in MERCHANTS:
        for kind, space, number in (
            ("payments", "create_payment", "order_no"),
            ("authorizations", "create_authorization", "hold_no"),
            ("refunds", "refund", "refund_no"),
        ):
            async for view in _listed(http, f"/v1/{kind}?merchant_no={merchant}"):
                found[space, merchant, view[number]] = view
    for payer in PAYERS:
        async for view in _listed(http, f"/v1/transfers?account_no={payer}"):
            found["create_transfer", payer, view["number"]] = view
    return found


async def _listed(http: httpx2.AsyncClient, path: str) -> Any:
    cursor: str | None = ""
    while cursor is not None:
        page = (await http.get(f"{path}&limit=100{cursor}")).json()
        for view in page["items"]:
            yield view
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"


async def _events(http: httpx2.AsyncClient, merchant: str) -> list[View]:
    events: list[View] = []
    while True:
        page = (
            await http.get(f"/v1/merchants/{merchant}/events?after={len(events)}&limit=1000")
        ).json()
        events += page["items"]
        if len(events) >= page["newest"]:
            return events


async def conclude(witness: Witness, log: Log, data: Path) -> None:
    """See that nothing happened but what was told, and that the books are in order."""
    assert witness.happened == log.told.keys(), "something happened that nobody was told"
    report = await trio.to_thread.run_sync(perform, data, Verify())
    assert report["ok"], report["violations"]
