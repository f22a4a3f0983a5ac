"""The overview: whether the node is well, how fast it is, and whether the money is right."""

from typing import Any, Final

from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit
from gateway.counter import Response


async def overview(visit: Visit) -> Response:
    """Show the node's vital signs; the plots follow them in the browser."""
    ready = await visit.ask("/readyz")
    shards = (await visit.ask("/ops/shards"))["items"]
    money = await visit.ask("/ops/conservation")
    return rendered(visit, "overview", ready=ready, shards=shards, money=money, sum=_sum(shards))


def _sum(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a node of those of its shards: sums, and of latencies the worst."""
    added = ("answers", "turns", "commits", "waiting", "unconfirmed", "messages_under_way",
             "actors_live", "actors_ready", "actors_quarantined")  # fmt: skip
    most = ("batch_turns_p50", "batch_turns_max", "commit_ns_p50", "commit_ns_p99", "sync_ns_p50",
            "sync_ns_p99")  # fmt: skip
    return {name: sum(each[name] for each in shards) for name in added} | {
        name: max((each[name] for each in shards), default=0) for name in most
    }


PAGES: Final = (Page("GET", HOME, overview),)
