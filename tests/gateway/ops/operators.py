"""A node with an ops listener for the length of a test, and what its answers say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import trio
from prometheus_client.parser import text_string_to_metric_families

from gateway.server import Serving
from tests.gateway.serving import serving

LIMIT_S = 20.0

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""(name, labels in order) → value."""


class Ops:
    """Asks a node's ops listener.

    Attributes:
        running: the node.
        client: for whatever else a test asks.
    """

    def __init__(self, running: Serving, client: httpx2.AsyncClient) -> None:
        self.running = running
        self.client = client

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and body of an answer."""
        answer = await self.client.get(f"{self.running.ops_address}{path}")
        return answer.status_code, answer.json()

    async def until_hindered(self, *codes: str) -> Any:
        """Wait until the node is not ready for exactly these reasons (one each where shards have
        it), or until it is ready; returns its answer."""
        with trio.fail_after(LIMIT_S):
            while True:
                assert self.running.ops_address is not None
                _, readiness = await ready_at(self.client, self.running.ops_address)
                if [each["code"] for each in readiness["hindrances"]] == [*codes]:
                    return readiness

    async def samples(self) -> Samples:
        """Return a scrape, read by Prometheus' own parser."""
        answer = await self.client.get(f"{self.running.ops_address}/metrics")
        assert answer.status_code == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }


async def ready_at(client: httpx2.AsyncClient, address: str) -> tuple[int, Any]:
    """Return status and body of a readiness probe at an ops listener."""
    answer = await client.get(f"{address}/readyz")
    readiness = answer.json()
    assert readiness["ready"] == (answer.status_code == 200) == (not readiness["hindrances"])
    return answer.status_code, readiness


@asynccontextmanager
async def watched(data: Path, **options: Any) -> AsyncIterator[Ops]:
    """Serve a new store with an ops listener."""
    async with (
        serving(data, ops_listen="127.0.0.1:0", **options) as running,
        httpx2.AsyncClient(timeout=LIMIT_S) as client,
    ):
        yield Ops(running, client)
