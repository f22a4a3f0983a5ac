"""Streams: commands and events of one merchant over connections that stay (docs/STREAM.md).

Commands share a connection, and each listening to events has one of its own: on a single one, an
answer would stand behind events that somebody takes their time over, maybe because that somebody
waits for the answer. Connections are made when they are needed, and made again when they are lost;
the handshake is signed, and answered by a signature, each time.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import trio

from actors.commands import Command
from gateway.client.call import Call
from gateway.client.core import Outcome
from gateway.client.courier import Courier
from gateway.client.errors import UnreachableError, UnreadableAnswerError
from gateway.client.events import Events
from gateway.client.exchange import Errands, Reply, Script, Send, Step, carry_out
from gateway.client.merchant_calls import MerchantCalls
from gateway.client.method import Awaited
from gateway.client.stream_core import PATH
from gateway.client.terms import Effort
from gateway.client.way import Way
from gateway.client.wire import Wire

T = TypeVar("T")


class Stream:
    """A merchant's stream, for `async with`; made by `AsyncClient.stream`. Tasks may share it.

    Args:
        way: to the bank.
        perform: does what goes by HTTP: looking things up, fetching the bank's certificates.
        calls: the merchant's.

    Attributes:
        calls: say what is to be done; commands for `batch`.

    Raises:
        ValueError: what goes over the stream could be changed on its way to the bank.
    """

    def __init__(
        self, way: Way, perform: Callable[[Step], Awaitable[Reply]], calls: MerchantCalls
    ) -> None:
        if way.url.scheme != "https" and not way.on_loopback:
            raise ValueError("a stream goes over https, or to a bank on loopback")
        self.calls = calls
        self._way = way
        self._perform = perform
        self._core = way.stream_core(trio.current_time)
        self._target = f"{PATH}?{urlencode({'merchant_no': calls.merchant_no})}"
        self._courier = Courier(self._core, way.terms, self._connect)
        self._wires: set[Wire] = set()
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._courier.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        nursery, self._nursery = self._nursery, None
        assert nursery is not None
        assert self._manager is not None
        try:
            async with trio.open_nursery() as closing:
                for wire in self._wires:
                    closing.start_soon(wire.close)
        finally:
            # Nothing in there fails, so the nursery need not hear of what the caller raises: that
            # goes on as it is, and in no group.
            nursery.cancel_scope.cancel()
            await self._manager.__aexit__(None, None, None)

    async def do(self, call: Call[T]) -> T:
        """Have a command carried out and return its result; the other methods do this for you.

        Raises:
            PiaohaoError: as the client itself has it.
            ValueError: the call is no command, so it does not go over a stream.
        """
        if call.command is None:
            raise ValueError("commands go over a stream, and this call is none")
        return await self._carry_out(self._core.ask(call))

    async def batch(self, commands: Iterable[Command | Call[Any]]) -> list[Outcome]:
        """Have any number of commands carried out, in order; an error is an outcome, not raised.

        They go in messages of up to 1,000, one after the other.

        Args:
            commands: typed commands, or calls that `calls` made of them.
        """
        return await self._carry_out(self._core.batch(commands))

    def events(self, *, after: int = 0) -> Events:
        """Return an iterator over events, those to come too, over a connection of its own.

        Args:
            after: the sequence of the last event that you know, 0 for none.
        """
        return Events(self._core, self._way.terms, self._connect, after)

    pay = Awaited(MerchantCalls.pay)
    reverse = Awaited(MerchantCalls.reverse)
    authorize = Awaited(MerchantCalls.authorize)
    increment = Awaited(MerchantCalls.increment)
    capture = Awaited(MerchantCalls.capture)
    void = Awaited(MerchantCalls.void)
    release = Awaited(MerchantCalls.release)
    refund = Awaited(MerchantCalls.refund)
    redirect_refund = Awaited(MerchantCalls.redirect_refund)
    close_refund = Awaited(MerchantCalls.close_refund)

    async def _carry_out(self, script: Script[T]) -> T:
        if self._nursery is None:
            raise RuntimeError("a stream is used within its `async with`")
        return await carry_out(script, self._step)

    async def _step(self, step: Step) -> Reply:
        if isinstance(step, Errands):
            return await self._courier.give(step)
        return await self._perform(step)

    async def _connect(self, effort: Effort) -> Wire:
        """Return a connection to the bank, proved to be its own.

        Raises:
            PiaohaoError: there was none to be had.
        """
        wires: list[Wire] = []

        async def step(step: Step) -> Reply:
            if not isinstance(step, Send) or step.target != self._target:
                return await self._perform(step)
            self._drop(wires)
            nursery = self._nursery
            if nursery is None:  # maybe since the last try
                raise UnreachableError("the stream is closed")
            wire = Wire(self._way, step)
            wires.append(wire)
            return await wire.open(nursery)

        try:
            await carry_out(self._core.open_stream(self._target, effort), step)
        except BaseException:
            self._drop(wires)
            raise
        (wire,) = wires
        if not wire.is_open:
            raise UnreadableAnswerError("the bank's answer makes no stream of this protocol")
        self._wires = {each for each in self._wires if not each.ended.is_set()} | {wire}
        return wire

    @staticmethod
    def _drop(wires: list[Wire]) -> None:
        while wires:
            wires.pop().abort()
