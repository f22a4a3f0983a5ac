"""A node looks after its process: cyclic garbage goes though collections are put off."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from engine.clock import DomainClock
from engine.node import Node
from tests.engine.purses import KINDS, MIDNIGHT_NS, Give, Given, memory_store


class Knot:
    """Refers to itself: only the collector can free it."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def test_idle_node_collects_cycles(autojump_clock: MockClock) -> None:
    node = Node([memory_store()], KINDS, DomainClock(MIDNIGHT_NS))
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        assert await node.ask("purse/bank", Give("purse/a", 5)) == Given(5)
        knot = weakref.ref(Knot())
        assert knot() is not None, "the collector was not to run yet"
        await trio.sleep(12)
        assert knot() is None
        node.stop()
