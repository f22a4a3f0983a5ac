"""Look-ups: the addresses of endpoints' names, without one merchant's holding up another's.

Whoever owns a name has its name server answer when it likes, or never, and getaddrinfo(3) cannot be
broken off: its thread stays for half a minute. So a merchant has one look-up under way at a time,
the ones that are given up included; a place among those that are quick is given back after two
seconds, come what may, and its thread goes on beside the places. Endpoints that have failed, or
were slow, have places of their own and the whole time of an attempt.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

QUICK, SLOW, LATE = 32, 16, 128
"""Places of the quick and of the slow, and so many threads more for what was given up."""
QUICK_S: Final = 2.0
"""How long a place among the quick is kept; then the attempt has failed, and the next is slow."""

LookUp = Callable[[str, int], list[str]]
"""Returns the addresses of a host, in a thread; OSError where it has none."""


def addresses(host: str, port: int) -> list[str]:
    """Return what the machine says of a host; see `LookUp`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Lookups:
    """All look-ups of a node.

    Args:
        look_up: made in threads.
        quick, slow, late: see above; fewer for tests.
        quick_s: see above.
    """

    def __init__(
        self,
        look_up: LookUp = addresses,
        *,
        quick: int = QUICK,
        slow: int = SLOW,
        late: int = LATE,
        quick_s: float = QUICK_S,
    ) -> None:
        self._look_up = look_up
        self._quick = trio.CapacityLimiter(quick)
        self._slow = trio.CapacityLimiter(slow)
        self._threads = trio.CapacityLimiter(quick + slow + late)
        self._quick_s = quick_s
        self._under_way: dict[str, _Look] = {}

    async def __call__(self, merchant_no: str, host: str, port: int, *, slow: bool) -> list[str]:
        """Return the addresses of a merchant's host; those who ask together share a look-up.

        Raises:
            OSError: it has none, nobody says, or the last look-up has not come back yet.
        """
        look = self._under_way.get(merchant_no)
        if look is not None and look.name != (host, port):
            await look.told.wait()  # the webhook has been set to another URL meanwhile
            look = self._under_way.get(merchant_no)
        if look is None:
            look = self._under_way[merchant_no] = _Look(host, port)
            await self._make(merchant_no, look, slow=slow)
        await look.told.wait()
        if look.found is None or look.name != (host, port):
            raise OSError("nobody says where it is")
        return look.found

    async def _make(self, merchant_no: str, look: "_Look", *, slow: bool) -> None:
        begun = False
        token = trio.lowlevel.current_trio_token()

        def find() -> list[str] | None:
            try:
                return self._look_up(*look.name)
            except (OSError, ValueError):  # ValueError for what cannot be a name at all
                return None

        def over(found: list[str] | None) -> None:
            self._threads.release_on_behalf_of(look)
            del self._under_way[merchant_no]
            look.tell(found)

        def deliver(found: Any) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(over, found.unwrap())

        try:
            async with self._slow if slow else self._quick:
                await self._threads.acquire_on_behalf_of(look)
                try:
                    trio.lowlevel.start_thread_soon(find, deliver)
                except RuntimeError:  # the machine has no room for another
                    self._threads.release_on_behalf_of(look)
                    return
                begun = True
                with trio.move_on_after(float("inf") if slow else self._quick_s):
                    await look.told.wait()
        finally:
            look.tell(None)
            if not begun:
                del self._under_way[merchant_no]


class _Look:
    """One look-up.

    Attributes:
        name: host and port.
        told: it has come back, or is given up; it may be under way all the same.
        found: the addresses, None where there are none.
    """

    def __init__(self, host: str, port: int) -> None:
        self.name = host, port
        self.told = trio.Event()
        self.found: list[str] | None = None

    def tell(self, found: list[str] | None) -> None:
        """Tell those who wait; the first word counts."""
        if not self.told.is_set():
            self.found = found
            self.told.set()
