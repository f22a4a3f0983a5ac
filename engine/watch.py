"""Watches: who wants to know when an actor has changed.

A watch wakes its owner once a commit holds a new state of the actor, so that what the owner then
reads from a snapshot is there; it says nothing of what has changed. It calls back, since a task
that waits would take kilobytes for each of thousands. Where nobody watches, a commit costs nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.address import row_key
from engine.admission import tell_caller
from engine.batch import Batch

Changed = Callable[[str], None]
"""Called with the actor's address. What it raises is logged and changes nothing."""


class Watches:
    """The watched actors of one shard."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, tuple[str, dict[object, Changed]]] = {}

    @contextmanager
    def watch(self, address: str, changed: Changed) -> Iterator[None]:
        """Have `changed` called after each commit that holds a new state of an actor."""
        key = row_key(address)
        own = object()
        self._by_key.setdefault(key, (address, {}))[1][own] = changed
        try:
            yield
        finally:
            watching = self._by_key[key][1]
            del watching[own]
            if not watching:
                del self._by_key[key]

    def tell(self, batch: Batch) -> None:
        """Tell those who watch what a batch, which is durable now, has changed."""
        if not self._by_key:
            return
        for states in (batch.actors, batch.hubs):
            # Python goes through the smaller of the two.
            for key in self._by_key.keys() & states.keys():
                # One that was told before may have ended this watch.
                address, watching = self._by_key.get(key, ("", {}))
                for changed in list(watching.values()):
                    tell_caller(changed, address)
