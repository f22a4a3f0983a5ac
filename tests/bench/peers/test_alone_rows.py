"""The rows without a peer, on a small "large" store: what they rest on, and what they leave."""

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from bench.load.latencies import Latencies
from bench.peers import memory_rows
from bench.peers.alone_rows import alone_rows
from bench.peers.large_store import drop_pages, large_store, read_pages, total_minor
from bench.peers.observer import Observer
from bench.peers.open_rows import p99_ms
from bench.peers.plan import Settings
from bench.peers.result import Row, bound_row
from gateway.exits import CommandError

_SMALL = 2_000


@pytest.mark.long
def test_rows_without_a_peer_are_measured_and_their_money_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books were held against what was told, or it would have failed; none was left out."""
    monkeypatch.setattr(memory_rows, "CONNECTIONS", 10)
    settings = Settings(False, (200,), 1, 1, 0.5, 7, connections=4, large=_SMALL)
    observer = Observer(tmp_path, 0, say=lambda _: None)
    (tmp_path / "own").mkdir()
    rows: list[Row] = []
    own = tmp_path / "own"
    trio.run(partial(alone_rows, tmp_path, own, settings, observer, rows.extend, keep=False))
    assert [each.measure.partition(":")[0] for each in rows] == [
        "gateway, open loop",
        *("engine, cold", "engine, cold"),
        "memory",
    ]
    assert [each.bound for each in rows] == [True, False, False, True]
    assert [each.unit for each in rows] == ["ms", "payments/s", "payments/s", "MiB"]
    assert [each.target for each in rows] == [1, 0.4, None, 1]
    assert all(each.ours > 0 < each.peer for each in rows)
    assert observer.left_out == []
    rounds = {(each.group.partition(",")[0], each.side): each for each in observer.rounds}
    assert rounds["open loop", "ours"].more["arriving_per_s"] == pytest.approx(
        rounds["open loop", "closed loop"].value / 2, rel=0.01
    )
    assert rounds["memory", "ours"].more["touched"] <= _SMALL
    assert not list(tmp_path.glob("piaohao-large-*"))


def test_large_store_that_is_kept_is_found_again(tmp_path: Path) -> None:
    said: list[str] = []
    with large_store(tmp_path, 300, 3, keep=True, say=said.append) as made:
        assert made is not None
        paid = total_minor(made, 3)
    with large_store(tmp_path, 300, 3, keep=False, say=said.append) as found:
        assert found == made
        assert total_minor(found, 3) == paid > 0
    assert "again" in said[1]
    with (
        pytest.raises(CommandError, match="no such large store"),
        large_store(tmp_path, 300, 4, keep=True, say=said.append),
    ):
        raise AssertionError("it is another one")


def test_large_store_without_room_is_none(tmp_path: Path) -> None:
    with large_store(tmp_path, 10**13, 3, keep=True, say=print) as found:
        assert found is None
    assert list(tmp_path.iterdir()) == []


def test_pages_are_read_and_dropped(tmp_path: Path) -> None:
    """On a disk, as `--data` has to be."""
    (tmp_path / "shard-0").mkdir()
    (tmp_path / "shard-0" / "data.mdb").write_bytes(os.urandom(8 << 20))
    assert read_pages(tmp_path) == 1
    left = drop_pages(tmp_path)
    assert left is not None
    assert left < 0.1


@pytest.mark.parametrize(("ours", "passed"), [(50.0, True), (50.1, False)])
def test_bound_is_kept_up_to_itself(ours: float, *, passed: bool) -> None:
    """Its ratio is the bound to ours: 1 at the bound, more is better."""
    found = bound_row("a bound", [ours, ours], 50, 25, "ms", [0.1, 0.1])
    assert found.passed is passed
    assert (found.target, found.aim, found.peer) == (1, 2, 50)
    assert bound_row("a bound", [25, 25], 50, 25, "ms", [0.1, 0.1]).ratio == found.aim


@pytest.mark.parametrize(
    ("answered", "failed", "expected_ms"),
    [(1_000, 0, 1.0), (991, 9, 1.0), (98, 2, 5_000.0), (0, 3, 5_000.0)],
)
def test_p99_counts_what_failed_as_worst(answered: int, failed: int, expected_ms: float) -> None:
    latencies = Latencies()
    if answered:
        latencies.record(1_000_000, answered)
    assert p99_ms(latencies, failed) == pytest.approx(expected_ms, rel=0.01)
