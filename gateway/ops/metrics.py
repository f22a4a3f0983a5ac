"""Metrics: the node's figures in Prometheus' text format, read anew for each scrape.

Nothing is counted for them while payments are made that the engine does not count anyway. Labels
take few values, and all of them are known: shards, tables, phases, rows of the API's table and
statuses; never an account, a merchant or anything else that a caller says. docs/ops/METRICS.md
describes each name, and a test compares the two.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from engine.gauges import gauges
from engine.node import Node
from engine.vitals import Distribution
from gateway.counter import Served
from gateway.listener.census import Census, Guest
from gateway.ops.health import Health, Hindrance, Phase
from gateway.ops.outcome import Status
from storage.errors import StorageError
from storage.lmdb_store import LmdbStore
from storage.row import TABLES

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_SHARD: Final = ("shard",)
_LINK: Final = ("shard", "other")
_S: Final = 1e-9
"""Times are kept in nanoseconds, and a metric's unit is the second."""


class Figure(Struct, frozen=True):
    """A metric that is one figure a shard.

    Attributes:
        source: the attribute of `engine.gauges.Gauges` or `engine.vitals.Vitals` that it is.
    """

    name: str
    about: str
    source: str


COUNTERS: Final = (
    Figure("piaohao_commits", "Batches made durable.", "commits"),
    Figure("piaohao_turns", "Turns whose effects are durable.", "turns"),
    Figure("piaohao_answers", "Answers that rested on these batches.", "answers"),
)
DISTRIBUTIONS: Final = (
    Figure("piaohao_commit_seconds", "A commit, from first row to sync.", "commit_ns"),
    Figure("piaohao_sync_seconds", "The store's own commit within it.", "sync_ns"),
    Figure("piaohao_batch_turns", "Turns a commit.", "batch_turns"),
)
GAUGES: Final = (
    Figure("piaohao_durable_sequence", "Number of the newest durable commit.", "durable_seq"),
    Figure("piaohao_actors_live", "Actors in memory.", "actors_live"),
    Figure("piaohao_actors_quarantined", "Actors with parked messages.", "actors_quarantined"),
    Figure("piaohao_messages_parked", "Messages that wait for an operator.", "parked"),
    Figure("piaohao_messages_waiting", "Messages in memory before their turn.", "messages"),
    Figure("piaohao_commands_waiting", "Commands before their first turn.", "waiting"),
    Figure("piaohao_commands_unconfirmed", "Commands that hold a slot.", "unconfirmed"),
    Figure("piaohao_commands_unconfirmed_max", "Slots that there are.", "unconfirmed_max"),
    Figure(
        "piaohao_oldest_command_seconds",
        "Age of the oldest command that holds a slot, 0 for none.",
        "oldest_command_s",
    ),
    Figure(
        "piaohao_commit_running_seconds",
        "For how long the commit has run that is not durable yet, 0 for none.",
        "committing_s",
    ),
    Figure("piaohao_dates_closing", "Business dates cut and not closed.", "dates_closing"),
)


class NodeMetrics(Collector):
    """What a node counts.

    Args:
        node: the engine.
        stores: those of its shards.
        health: whether it is ready.
        served: what its API has been asked.
        census: its connections.
        connections_max: how many of those there may be.
        open_proposals: returns how many of operators' proposals are open, by status.
    """

    def __init__(
        self,
        node: Node,
        stores: Sequence[LmdbStore],
        health: Health,
        served: Served,
        census: Census[Guest],
        connections_max: int,
        open_proposals: Callable[[], Mapping[Status, int]] = dict,
    ) -> None:
        self._node = node
        self._stores = stores
        self._health = health
        self._served = served
        self._census = census
        self._connections_max = connections_max
        self._open_proposals = open_proposals
        self._about: Mapping[str, str] = {
            "version": metadata.version("piaohao"),
            "shards": str(len(stores)),
        }

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now; in the event loop."""
        yield InfoMetricFamily("piaohao_node", "What is running.", value=dict(self._about))
        yield from self._readiness()
        yield from self._shards()
        yield from self._links()
        yield from self._disks()
        yield from self._front()
        yield from self._proposals()

    def _readiness(self) -> Iterator[Metric]:
        hindrances = self._health.hindrances()
        yield GaugeMetricFamily(
            "piaohao_ready", "1 while the node can be used, as /readyz says.", not hindrances
        )
        codes = {each.code for each in hindrances}
        about = "1 while this is why it is not ready."
        hindered = GaugeMetricFamily("piaohao_hindered", about, labels=("code",))
        known = [each for each in (*Phase, *Hindrance) if each is not Phase.SERVING]
        for code in known:
            hindered.add_metric((code,), code in codes)
        yield hindered

    def _shards(self) -> Iterator[Metric]:
        shards = [(str(each.stage.number), each.vitals) for each in self._node.shards]
        for figure in COUNTERS:
            counter = CounterMetricFamily(figure.name, figure.about, labels=_SHARD)
            for shard, vitals in shards:
                counter.add_metric((shard,), getattr(vitals, figure.source))
            yield counter
        for figure in DISTRIBUTIONS:
            unit = _S if figure.name.endswith("_seconds") else 1
            histogram = HistogramMetricFamily(figure.name, figure.about, labels=_SHARD)
            for shard, vitals in shards:
                kept: Distribution = getattr(vitals, figure.source)
                bounds = [*(f"{bound * unit:g}" for bound in kept.bounds), "+Inf"]
                buckets = list(zip(bounds, kept.up_to(), strict=True))
                histogram.add_metric((shard,), buckets, kept.total * unit)
            yield histogram
        now = [gauges(shard) for shard in self._node.shards]
        for figure in GAUGES:
            gauge = GaugeMetricFamily(figure.name, figure.about, labels=_SHARD)
            for each in now:
                gauge.add_metric((str(each.shard),), getattr(each, figure.source))
            yield gauge

    def _links(self) -> Iterator[Metric]:
        sent = CounterMetricFamily(
            "piaohao_link_sent", "Messages to the other shard, durable here.", labels=_LINK
        )
        unacknowledged = GaugeMetricFamily(
            "piaohao_link_unacknowledged",
            "Those of them that are not known to be durable there.",
            labels=_LINK,
        )
        taken = CounterMetricFamily(
            "piaohao_link_taken", "Messages of the other shard that had their turn.", labels=_LINK
        )
        arrived = GaugeMetricFamily(
            "piaohao_link_arrived", "Messages of the other shard before theirs.", labels=_LINK
        )
        for shard in self._node.shards:
            for link in gauges(shard).links:
                ends = (str(shard.stage.number), str(link.shard))
                sent.add_metric(ends, link.sent)
                unacknowledged.add_metric(ends, link.sent - link.acknowledged)
                taken.add_metric(ends, link.taken)
                arrived.add_metric(ends, link.arrived)
        yield from (sent, unacknowledged, taken, arrived)

    def _disks(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("piaohao_store_bytes", "Length of the store.", labels=_SHARD)
        free = GaugeMetricFamily(
            "piaohao_disk_free_bytes", "What its disk has left for it.", labels=_SHARD
        )
        rows = GaugeMetricFamily(
            "piaohao_store_rows", "Rows, table by table.", labels=("shard", "table")
        )
        for store in self._stores:
            shard, room = str(store.format.shard), store.room()
            used.add_metric((shard,), room.used)
            free.add_metric((shard,), room.free)
            snapshot = store.snapshot()
            try:
                for table in TABLES:
                    rows.add_metric((shard, table), snapshot.count(table))
            finally:
                snapshot.close()
        yield from (used, free, rows)

    def _front(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "piaohao_requests",
            "Requests answered, by row of the API and status; those at no path have none.",
            labels=("operation", "status"),
        )
        for (operation, status), count in sorted(self._served.items()):
            requests.add_metric((operation, str(status)), count)
        yield requests
        yield GaugeMetricFamily("piaohao_connections", "Clients' connections.", len(self._census))
        yield GaugeMetricFamily(
            "piaohao_connections_max", "How many there may be.", self._connections_max
        )

    def _proposals(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(
            "piaohao_proposals_open",
            "Operators' proposals that wait for another one, or are being carried out.",
            labels=("status",),
        )
        # A scrape is for the node: a cabinet that cannot be read says so elsewhere.
        with suppress(StorageError):
            for status, count in self._open_proposals().items():
                gauge.add_metric((status,), count)
        yield gauge


class Metrics:
    """All that a scrape gets: the node's own metrics, and those of its process.

    Args:
        own: the node's.
    """

    def __init__(self, own: NodeMetrics) -> None:
        # A registry of its own: the library's global one would also hold what others put there.
        self._registry = CollectorRegistry()
        self._registry.register(own)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return the exposition; in the event loop, where it takes a few milliseconds."""
        return generate_latest(self._registry)
