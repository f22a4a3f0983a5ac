"""What is left of a store after a disaster: is it whole, is everything there, does it go on?

A store is verified as it was found. Then a node is started on it and left until it has come to
rest; every view that had been acknowledged is asked for, word for word, the money is added up
from the records by an independent sum, and the store is verified again. It runs as a process of
its own, since a store that lost what it rests on may take its reader along (`tests.crash.judge`);
it answers a line for each line that it reads.
"""

import gc
import json
import sys
from collections import Counter
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from engine.node import Node
from gateway.answer import encode
from gateway.desk import Desk
from gateway.endpoint import Router
from gateway.operations import Verify
from gateway.operator import open_folder, perform
from gateway.server import serve
from gateway.table import ENDPOINTS
from storage.errors import StorageError
from tests.crash.customers import ACCOUNTS, FUNDS_MINOR, MERCHANTS

REST_S: Final = 20.0
MOVING: Final = {
    "payment": {"state", "refunded_minor", "settled_at"},
    "authorization": {"state", "captured_minor", "refunded_minor", "settled_at"},
}
"""What later commands change of a view."""


class LostError(Exception):
    """Something is not as it must be."""


class Teller:
    """Answers about a node, without HTTP."""

    def __init__(self, node: Node) -> None:
        self._desk = Desk(node)
        self._router = Router(ENDPOINTS)

    async def get(self, path: str) -> Any:
        """Return the body that a GET is answered with."""
        path, _, query = path.partition("?")
        endpoint, numbers = self._router.find("GET", path)
        answer = await self._router.answer(
            self._desk, endpoint, numbers, query.encode(), b"", wait=None
        )
        return msgspec.json.decode(encode(answer.body))

    async def everything(self, kind: str, owner: str) -> list[Any]:
        """Return all things of a kind that an account or merchant has."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = await self.get(f"/v1/{kind}?{owner}&limit=100{cursor}")
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


def path_of(view: dict[str, Any]) -> str:
    """Return where a view is found."""
    match view["object"]:
        case "payment":
            return f"/v1/payments/{view['merchant_no']}/{view['order_no']}"
        case "refund":
            return f"/v1/refunds/{view['merchant_no']}/{view['refund_no']}"
        case "authorization":
            return f"/v1/authorizations/{view['merchant_no']}/{view['hold_no']}"
        case "operation":
            original = f"/v1/authorizations/{view['merchant_no']}/{view['original']}"
            return f"{original}/captures/{view['number']}"
        case "transfer":
            return f"/v1/transfers/{view['account_no']}/{view['number']}"
    raise AssertionError(view)


def acknowledged(log: Path) -> list[tuple[int, list[dict[str, Any]]]]:
    """Return what the customers were answered, and when."""
    lines = map(json.loads, log.read_text("ascii").splitlines())
    return sorted(((line["at_ns"], line["views"]) for line in lines), key=lambda each: each[0])


def _verified(data: Path) -> dict[str, Any]:
    report: dict[str, Any] = perform(data, Verify())
    if not report["ok"]:
        raise LostError(f"verify: {report['violations'][:3]} {report['sums']}")
    return report


async def _come_to_rest(node: Node) -> None:
    with trio.fail_after(REST_S):
        while not _at_rest(node):  # noqa: ASYNC110 -- a node says nothing of it by itself
            await trio.sleep(0.002)


def _at_rest(node: Node) -> bool:
    """Whether nothing is left to do, and every message has been taken where it was sent."""
    for shard in node.shards:
        if not shard.at_rest():
            return False
        links = shard.stage.links
        for other, sending in links.sending.items() if links else ():
            receiver = node.shards[other].stage.links
            assert receiver is not None
            if receiver.receiving[shard.stage.number].end.cursor < sending.end.last:
                return False
    return True


async def _look_up(teller: Teller, views: list[dict[str, Any]]) -> None:
    for view in views:
        found = await teller.get(path_of(view))
        moving = MOVING.get(view["object"], set()) if _goes_on(view) else set()
        if found.keys() != view.keys() or any(
            found[name] != value for name, value in view.items() if name not in moving
        ):
            raise LostError(f"acknowledged: {view}; found: {found}")


def _goes_on(view: dict[str, Any]) -> bool:
    """Whether a customer sent further commands about it."""
    number = view.get("order_no") or view.get("hold_no") or "-1"
    return int(number.partition("-")[2]) % 3 == 0


async def _add_up(teller: Teller) -> None:
    """Every balance is what the records say, so nothing was done twice and nothing in part."""
    posted = Counter(dict.fromkeys(ACCOUNTS, FUNDS_MINOR))
    held: Counter[str] = Counter()
    for merchant in MERCHANTS:
        taken = 0
        for payment in await teller.everything("payments", f"merchant_no={merchant}"):
            taken += _settled(payment, "SUCCEEDED")
            posted[payment["payer"]] -= payment["amount_minor"]
        for refund in await teller.everything("refunds", f"merchant_no={merchant}"):
            taken -= _settled(refund, "SUCCEEDED")
            posted[refund["payer"]] += refund["amount_minor"]
        for hold in await teller.everything("authorizations", f"merchant_no={merchant}"):
            _settled(hold, "HELD", "CAPTURED")
            taken += hold["captured_minor"]
            posted[hold["payer"]] -= hold["captured_minor"]
            held[hold["payer"]] += hold["amount_minor"] if hold["state"] == "HELD" else 0
        view = await teller.get(f"/v1/merchants/{merchant}")
        if view["posted_minor"] + view["fees_minor"] != taken:
            raise LostError(f"{merchant} has taken {taken}: {view}")
    for account in ACCOUNTS:
        for transfer in await teller.everything("transfers", f"account_no={account}"):
            if transfer["direction"] == "transfer":
                posted[account] -= _settled(transfer, "SUCCEEDED")
                posted[transfer["to"]] += transfer["amount_minor"]
    for account in ACCOUNTS:
        view = await teller.get(f"/v1/accounts/{account}")
        if (view["posted_minor"], view["held_minor"]) != (posted[account], held[account]):
            raise LostError(f"{account} should have {posted[account]}: {view}")


def _settled(view: dict[str, Any], *states: str) -> int:
    if view["state"] not in states:
        raise LostError(f"it is stuck, or failed: {view}")
    amount: int = view["amount_minor"]
    return amount


async def examine(data: Path, views: list[dict[str, Any]]) -> None:
    """Raise if something is not as it must be; the store is closed cleanly otherwise."""
    _verified(data)
    with closing(open_folder(data)) as folder:
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(partial(serve, folder, listen="127.0.0.1:0"))
            await _come_to_rest(serving.node)
            teller = Teller(serving.node)
            await _look_up(teller, views)
            await _add_up(teller)
            serving.stop()
    # One node after the other freezes what the one before it has left.
    gc.unfreeze()
    report = _verified(data)
    if any(sums["messages"] for sums in report["sums"].values()):
        raise LostError(f"messages are left: {report['sums']}")


def verdict(data: Path, views: list[dict[str, Any]]) -> str:
    """Return what is wrong with a store, empty if nothing is."""
    found: list[str] = []
    try:
        trio.run(examine, data, views)
    except* (LostError, StorageError, trio.TooSlowError) as errors:
        found += (f"{type(error).__name__}: {error}" for error in _leaves(errors))
    return "; ".join(found)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for each in group.exceptions:
        leaves += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return leaves


def main() -> None:
    """Judge one store a line: its folder, the customers' log, up to when its answers count."""
    answers = cache(acknowledged)
    for line in sys.stdin:
        asked = json.loads(line)
        views = [
            view
            for at_ns, views in answers(Path(asked["log"]))
            if at_ns <= asked["cut_ns"]
            for view in views
        ]
        print(json.dumps({"lost": verdict(Path(asked["data"]), views)}), flush=True)


if __name__ == "__main__":
    main()
