"""An onlooker: somebody whose console is open, as the node sees them.

They log in, open pages and ask for what the console's script would: they follow the feed that a
page names, and take the part of a page that changes as often as its events allow, or every two
seconds where it has no feed. What a page asks for is read from the page itself; the times are
`console.js`'s. There is no browser: it would take the CPU from what is measured, and in a bank it
runs on another machine.
"""

import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import httpx2
import trio
from msgspec import Struct

from gateway import exits
from gateway.exits import CommandError

BEAT_S: Final = 2.0
"""From one asking to the next of a page without a feed (`BEAT_MS`)."""
PERIODS_S: Final[Mapping[str, float]] = {"vitals": 10.0, "quarantine": 1.0, "actor": 1.0}
"""How often an event makes a page ask at most (`PERIODS_MS`)."""
_PATIENCE_S: Final = 10.0
_FEED: Final = re.compile(r'<main data-feed="([^"]+)"')
_LIVE: Final = re.compile(r'<div id="live" hx-get="([^"]+)" hx-trigger="([^"]+)"')
_BY_EVENT: Final = re.compile(r"(\w+) from:body")


class Seen(Struct):
    """What onlookers have seen.

    Attributes:
        parts: answers with the part of a page that changes.
        events: of feeds.
    """

    parts: int = 0
    events: int = 0


class _Open(Struct, frozen=True):
    """A page that somebody looks at.

    Attributes:
        live: where the part comes from that changes.
        feed: topics of the feed that it follows; None for one that has none.
        events: those of which it asks for that part.
    """

    live: str
    feed: str | None
    events: frozenset[str]


class Onlooker:
    """An operator with a session.

    Args:
        http: with the cookie of the session.

    Attributes:
        seen: so far.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.seen = Seen()

    async def look(
        self,
        pages: Sequence[str],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Have pages open, each in a tab of its own that is looked at, until cancelled.

        Args:
            pages: paths, `/console/actors/merchant/M1` for example; it has started once they are
                there.

        Raises:
            CommandError: the node does not show them.
        """
        opened = [await self._open(page) for page in pages]
        task_status.started()
        async with trio.open_nursery() as nursery:
            for page in opened:
                nursery.start_soon(self._beat if page.feed is None else self._follow, page)

    async def _open(self, path: str) -> _Open:
        text = await self._get(path)
        live, feed = _LIVE.search(text), _FEED.search(text)
        if live is None:
            raise CommandError(exits.CHECK_FAILED, f"{path} shows nothing that changes")
        events = frozenset(_BY_EVENT.findall(live[2]))
        return _Open(live[1], None if feed is None else feed[1], events)

    async def _get(self, path: str, **headers: str) -> str:
        try:
            answer = await self._http.get(path, headers=headers)
        except httpx2.TransportError as error:
            raise CommandError(exits.CHECK_FAILED, f"{path}: {error!r}") from None
        if answer.status_code != 200:
            detail = f"{path} is answered with {answer.status_code}"
            raise CommandError(exits.CHECK_FAILED, detail)
        return answer.text

    async def _refresh(self, page: _Open) -> None:
        await self._get(page.live, **{"HX-Request": "true"})
        self.seen.parts += 1

    async def _beat(self, page: _Open) -> None:
        while True:
            await trio.sleep(BEAT_S)
            await self._refresh(page)

    async def _follow(self, page: _Open) -> None:
        telling = {kind: _Telling(kind) for kind in page.events & PERIODS_S.keys()}
        async with trio.open_nursery() as nursery:
            for each in telling.values():
                nursery.start_soon(self._ask_when_told, page, each)
            stream = self._http.stream("GET", "/ops/feed", params={"topics": page.feed or ""})
            async with stream as answer:
                if answer.status_code != 200:
                    detail = f"the feed of {page.live} is answered with {answer.status_code}"
                    raise CommandError(exits.CHECK_FAILED, detail)
                async for line in answer.aiter_lines():
                    kind = line.removeprefix("event: ")
                    if kind == line:
                        continue
                    self.seen.events += 1
                    if kind in telling:
                        telling[kind].happened.set()
            raise CommandError(exits.CHECK_FAILED, f"the feed of {page.live} has ended")

    async def _ask_when_told(self, page: _Open, telling: "_Telling") -> None:
        while True:
            await telling.happened.wait()
            telling.happened = trio.Event()
            await self._refresh(page)
            await trio.sleep(PERIODS_S[telling.kind])


class _Telling:
    """One kind of event on one page, and whether it has happened since the page has asked."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.happened = trio.Event()


@asynccontextmanager
async def onlooker(address: str, name: str, password: str) -> AsyncIterator[Onlooker]:
    """Log a viewer in at a node's console, and out again in the end.

    Args:
        address: of its ops port, `http://127.0.0.1:9090`.

    Raises:
        CommandError: they are not let in.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs each request
    own = {"Origin": address, "Sec-Fetch-Site": "same-origin"}
    async with httpx2.AsyncClient(
        base_url=address, headers=own, timeout=_PATIENCE_S, trust_env=False
    ) as http:
        answer = await http.post("/console/login", data={"name": name, "password": password})
        if answer.status_code != 303:
            detail = f"the console does not let {name} in: {answer.status_code}"
            raise CommandError(exits.CHECK_FAILED, detail)
        yield Onlooker(http)
        await http.post("/console/logout")
