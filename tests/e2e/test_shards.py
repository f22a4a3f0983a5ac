"""Three shards in LMDB, under load: views, backups and restored copies always fit together."""

from contextlib import closing
from pathlib import Path

import trio

from actors.kinds import KINDS
from bench.bulk import fill
from bench.engine_bench import Driver, choose_payers
from engine.address import shard_of
from engine.clock import WallClock
from engine.node import Node
from gateway.operations import closing_all
from gateway.verification import Report, verify
from storage.folder import Folder, backup
from storage.lmdb_store import LmdbStore

SHARDS = 3
ACCOUNTS, MERCHANTS = 600, 40


def _made(path: Path) -> tuple[Folder, list[LmdbStore]]:
    folder = Folder(path, create=True)
    folder.create("2026-01-05", 1_767_571_200_000_000_000, shards=SHARDS)
    stores = _opened(folder)
    fill(stores, ACCOUNTS, MERCHANTS)
    return folder, stores


def _opened(folder: Folder) -> list[LmdbStore]:
    stores = folder.open()
    for store in stores:
        store.begin_epoch()
    return stores


def _closed(stores: list[LmdbStore], *, clean: bool) -> None:
    for store in stores:
        store.close(clean=clean)


async def _verified(node: Node) -> Report:
    with closing_all(await node.snapshots()) as snapshots:
        return await trio.to_thread.run_sync(verify, snapshots)


async def test_views_and_backups_under_load_fit_together(tmp_path: Path) -> None:
    folder, stores = _made(tmp_path / "bank")
    payers = choose_payers("uniform", ACCOUNTS, seed=3)
    targets = [tmp_path / f"backup-{number}" for number in range(4)]
    with closing(folder):
        node = Node(stores, KINDS, WallClock())
        on_their_way = 0
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            async with trio.open_nursery() as loading:
                driver = Driver(node, payers, MERCHANTS, "x")
                loading.start_soon(driver.run, 64, 1, 4.0)
                for target in targets:
                    report = await _verified(node)
                    assert report.violations == []
                    on_their_way += report.sums["CNY"].messages
                    with closing_all(await node.snapshots()) as snapshots:
                        await trio.to_thread.run_sync(backup, stores, snapshots, target)
            assert driver.refused == 0
            assert driver.payments > 100
            node.stop()
        _closed(stores, clean=True)
    assert on_their_way, "no money was ever between two shards"
    for number, target in enumerate(targets):
        await _restored_copy_goes_on(target, tmp_path / f"copy-{number}")


async def _restored_copy_goes_on(target: Path, path: Path) -> None:
    """It delivers what was on its way, once, and works: nothing is taken for a duplicate."""
    with closing(Folder(path, create=True)) as folder:
        folder.restore(target)
        stores = _opened(folder)
        node = Node(stores, KINDS, WallClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            driver = Driver(node, choose_payers("uniform", ACCOUNTS, seed=4), MERCHANTS, "y")
            await driver.run(64, 1, 0.2)
            assert driver.refused == 0
            report = await _verified(node)
            assert report.violations == []
            assert report.sums["CNY"].messages == 0, "a message was left or dropped"
            node.stop()
        _closed(stores, clean=True)


def test_most_of_these_payments_cross_shards() -> None:
    payers = choose_payers("uniform", ACCOUNTS, seed=3)
    crossing = sum(
        shard_of(f"account/6217{payer:012d}", SHARDS)
        != shard_of(f"merchant/M{payer % MERCHANTS:05d}", SHARDS)
        for payer in payers[:10_000]
    )
    assert crossing > 5_000
