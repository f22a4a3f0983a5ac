"""Attackers: clients that mean no good, a process for each attack, for as long as it lets them.

They run beside whoever measures, so that neither takes the other's time, and they yield to everyone
else on the machine: an attacker far away takes nothing of a node's processors. Whatever the node
closes is opened again, from addresses all over 127.0.0.0/8. A line on standard output says that all
are in place.
"""

import os
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import trio

HOST: Final = b"Host: %b\r\n" % sys.argv[2].encode() if __name__ == "__main__" else b""
"""As the attacked listener is called."""
AGAIN_S: Final = 2.0
"""After this an attacker comes back whom the node has sent away."""
UNSIGNED: Final = (
    b"POST /v1/payments HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    b"Content-Length: 85\r\n\r\n"
    b'{"merchant_no":"M1","order_no":"O1","payer":"A1","amount_minor":1,"currency":"USD"}  '
)
LOOK_UP: Final = b"GET /v1/payments/M1/O1 HTTP/1.1\r\n" + HOST + b"\r\n"
LARGE: Final = b"GET /v1/errors HTTP/1.1\r\n" + HOST + b"\r\n"
_GONE: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

Attack = Callable[[trio.SocketStream], Awaitable[None]]
"""What one attacker does with a connection that it has; it returns when there is none any more."""


async def say_nothing(stream: trio.SocketStream) -> None:
    """Hold a connection."""
    while await stream.receive_some():
        pass


async def begin(stream: trio.SocketStream) -> None:
    """Hold a connection on which a request has begun."""
    await stream.send_all(b"GET / HTTP/1.1\r\n" + HOST + b"A: ")
    await say_nothing(stream)


async def drip(head: bytes, stream: trio.SocketStream) -> None:
    """Send what goes on for ever, byte by byte."""
    await stream.send_all(head)
    while True:
        await stream.send_all(b"a")
        with trio.move_on_after(1):
            if not await stream.receive_some():
                return


async def never_read(stream: trio.SocketStream) -> None:
    """Ask for a lot, and take none of it."""
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4_096)
    while True:
        await stream.send_all(LARGE + LOOK_UP * 9)
        await trio.sleep(0.1)


async def ask(request: bytes, stream: trio.SocketStream) -> None:
    """Ask as fast as answers come."""
    while True:
        await stream.send_all(request)
        if not await stream.receive_some(1 << 20):
            return


async def pipeline(stream: trio.SocketStream) -> None:
    """Send as many requests as there is room for, whatever is answered."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            while await stream.receive_some(1 << 20):
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        while True:
            await stream.send_all(LOOK_UP * 500)


async def leave(stream: trio.SocketStream) -> None:
    """Ask, and be gone before the answer."""
    await stream.send_all(UNSIGNED)
    linger = struct.pack("ii", 1, 0)  # RST, and whatever was on its way is lost
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)


async def touch(stream: trio.SocketStream) -> None:
    """Be gone at once."""
    await stream.send_all(b"GET")


async def idle_on(stream: trio.SocketStream) -> None:
    """Have a stream, answer its pings, and order nothing."""
    await stream.send_all(
        b"GET /v1/stream?merchant_no=M1 HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: piaohao.v1.json\r\n\r\n"
    )
    while data := await stream.receive_some():
        if data.endswith(b"\x89\0"):
            await stream.send_all(b"\x8a\x80\0\0\0\0")


_BODY: Final = b"Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
ATTACKS: Final[Mapping[str, tuple[int, float, Attack]]] = {
    # How many attackers there are, after how many seconds one comes again, what it does.
    "silent connections": (10_000, 10 * AGAIN_S, say_nothing),
    "half a header": (10_000, 10 * AGAIN_S, begin),
    "slow headers": (1_000, AGAIN_S, partial(drip, b"GET / HTTP/1.1\r\n" + HOST + b"A: ")),
    "slow bodies": (
        1_000,
        AGAIN_S,
        partial(drip, b"POST /v1/commands HTTP/1.1\r\n" + HOST + _BODY),
    ),
    "readers who do not": (500, AGAIN_S, never_read),
    "unsigned requests": (64, 0, partial(ask, UNSIGNED)),
    "pipelines": (16, 0, pipeline),
    "connections": (16, 0, touch),
    "requests and resets": (16, 0, leave),
}
STREAMS: Final = "idle streams"
"""For nodes where anybody may have one."""
_STREAMS_MAX: Final = 5_000


async def _attacker(number: int, port: int, again_s: float, attack: Attack) -> None:
    source = f"127.{1 + number % 120}.{number // 120 % 250}.1"
    while True:
        with suppress(*_GONE):
            stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
            try:
                await attack(stream)
            finally:
                await trio.aclose_forcefully(stream)
        await trio.sleep(again_s)


async def _attack(port: int, attackers: int, names: Sequence[str]) -> None:
    async with trio.open_nursery() as nursery:
        for name in names:
            most, again_s, attack = ATTACKS.get(name, (_STREAMS_MAX, AGAIN_S, idle_on))
            for number in range(min(most, attackers)):
                nursery.start_soon(_attacker, number, port, again_s, attack)
                if number % 100 == 99:
                    await trio.sleep(0.01)
        await trio.sleep(0.5)
        print("in place", flush=True)
        os.nice(19)


if __name__ == "__main__":
    trio.run(_attack, int(sys.argv[1]), int(sys.argv[3]), sys.argv[4:])
