"""Pages of shards: how each is, what is on the way between them, and their commits."""

from typing import Final

from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit
from gateway.counter import Response


async def shards(visit: Visit) -> Response:
    """Show shards and links."""
    found = (await visit.ask("/ops/shards"))["items"]
    links = (await visit.ask("/ops/links"))["items"]
    return rendered(visit, "shards", shards=found, links=links)


async def commits(visit: Visit) -> Response:
    """Show a shard's commits, newest first."""
    shard = visit.given.get("shard", "0")
    page = await visit.ask("/ops/commits", shard=shard, cursor=visit.given.get("cursor", ""))
    return rendered(visit, "commits", page=page, shard=shard)


PAGES: Final = (
    Page("GET", f"{HOME}/shards", shards),
    Page("GET", f"{HOME}/commits", commits),
)
