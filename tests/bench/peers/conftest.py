"""One PostgreSQL for all tests of a process that need one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.peers.cluster import cluster, conninfo


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """How libpq finds a server in which databases may be made."""
    # Not in pytest's own folder: where we are root, PostgreSQL's user cannot get into it.
    with cluster(Path(tempfile.gettempdir())) as folder:
        yield conninfo(folder)
