"""A corruptor: it damages copies of a store and sees what becomes of each, one process a case.

What `verify` says, what a node that opens the store would read, and what the store really holds
after the damage are compared with the store as it was. LMDB may die of a damaged page, so each
look is taken in a child of its own; this process never opens a store itself.

    python tests/faults/corruptor.py BANK SCRATCH SEED CASES

Each line that it prints is one case, as JSON; see `Case`.
"""

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from actors.kinds import KINDS
from engine.clock import WallClock
from engine.node import Node
from gateway.autopsy import examine
from storage import row
from storage.errors import StorageError, readable
from storage.folder import Folder, look
from storage.lmdb_store import _open_env
from storage.structure import _Verifier, structure_faults

PAGE: Final = 4096
SECTOR: Final = 512
Rows = dict[str, list[tuple[bytes, bytes]]]
"""By table, every key with its row, in key order."""


# How a file is damaged: each of these changes it and says where.


class Target(NamedTuple):
    """A file to be damaged, and the pages of it that the newest transaction uses."""

    content: bytearray
    pages: list[int]
    draw: random.Random

    def page(self) -> int:
        """Return a page, most often one that is in use."""
        if self.draw.random() < 0.9:
            return self.draw.choice(self.pages)
        return self.draw.randrange(len(self.content) // PAGE)

    def flip(self, place: int) -> str:
        bit = self.draw.randrange(8)
        self.content[place] ^= 1 << bit
        return f"bit {bit} of byte {place} (page {place // PAGE} + {place % PAGE})"

    def put(self, place: int, content: bytes) -> None:
        self.content[place : place + len(content)] = content

    def take(self, page: int) -> bytes:
        return bytes(self.content[page * PAGE : (page + 1) * PAGE])


def flip_bit(file: Target) -> str:
    return file.flip(file.page() * PAGE + file.draw.randrange(PAGE))


def flip_header_bit(file: Target) -> str:
    """Flip a bit where LMDB's own numbers are most likely: in a page's first bytes."""
    page = file.page()
    return file.flip(page * PAGE + file.draw.randrange(176 if page < 2 else 64))


def flip_meta_bit(file: Target) -> str:
    return file.flip(file.draw.randrange(2) * PAGE + file.draw.randrange(176))


def zero_page(file: Target) -> str:
    page = file.page()
    file.put(page * PAGE, bytes(PAGE))
    return f"page {page}"


def zero_sector(file: Target) -> str:
    page, sector = file.page(), file.draw.randrange(PAGE // SECTOR)
    file.put(page * PAGE + sector * SECTOR, bytes(SECTOR))
    return f"sector {sector} of page {page}"


def swap_pages(file: Target) -> str:
    first, second = file.page(), file.page()
    held = file.take(first)
    file.put(first * PAGE, file.take(second))
    file.put(second * PAGE, held)
    return f"pages {first} and {second}"


def copy_page(file: Target) -> str:
    first, second = file.page(), file.page()
    file.put(first * PAGE, file.take(second))
    return f"page {second} over page {first}"


def cut_short(file: Target) -> str:
    length = file.draw.randrange(len(file.content))
    if file.draw.random() < 0.5:
        length = length // PAGE * PAGE
    del file.content[length:]
    return f"to {length} bytes"


FILE_DAMAGES: Final = (
    *[flip_bit] * 10,
    *[flip_header_bit] * 4,
    *[flip_meta_bit] * 2,
    zero_page,
    zero_sector,
    swap_pages,
    copy_page,
    cut_short,
)


# How rows are damaged, through LMDB: its own structure stays whole.


def _rows_of(folder: Path) -> Rows:
    """Return what a shard holds, unchecked."""
    env = _open_env(folder, 1 << 40)
    try:
        with env.begin() as txn:
            return {
                table: [
                    (bytes(key), bytes(value))
                    for key, value in txn.cursor(env.open_db(table.encode(), txn=txn, create=False))
                ]
                for table in row.TABLES
            }
    finally:
        env.close()


def damage_rows(folder: Path, draw: random.Random, times: int) -> list[tuple[str, bytes, str]]:
    """Damage so many rows of a shard; returns the table and key of each, and how."""
    rows = _rows_of(folder)
    places = [(table, key) for table, found in rows.items() for key, _ in found]
    done = []
    env = _open_env(folder, 1 << 40)
    for table, key in draw.sample(places, min(times, len(places))):
        value = dict(rows[table])[key]
        how = draw.choice(("bit", "other", "cut", "empty", "moved"))
        with env.begin(write=True) as txn:
            db = env.open_db(table.encode(), txn=txn, create=False)
            if how == "bit":
                torn = bytearray(value)
                torn[draw.randrange(len(torn))] ^= 1 << draw.randrange(8)
                txn.put(key, bytes(torn), db=db)
            elif how == "other":
                other_table = draw.choice([each for each in rows if rows[each]])
                other = draw.choice(rows[other_table])[1]
                if other == value:
                    continue
                txn.put(key, other, db=db)
            elif how == "cut":
                txn.put(key, value[: draw.randrange(len(value))], db=db)
            elif how == "empty":
                txn.put(key, b"", db=db)
            else:
                # The right row under another key: its own is still there, so nothing is missing.
                elsewhere = key[:-1] + bytes([key[-1] ^ 0x40])
                if txn.put(elsewhere, value, db=db, overwrite=False):
                    done.append((table, elsewhere, how))
                continue
        done.append((table, key, how))
    env.close()
    return done


# What becomes of a damaged store.


def in_child(look_at: Callable[[], Any]) -> Any:
    """Return what a function returns in a child process, or how the child ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = look_at()
        except BaseException:
            answer = {"traceback": traceback.format_exc()}
        with os.fdopen(writing, "w") as out:
            json.dump(answer, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        answer = said.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"died": signal.Signals(os.WTERMSIG(status)).name}
    return json.loads(answer)


def verified(path: Path) -> Any:
    """Say what `verify` finds where the structure is whole."""
    try:
        report = examine(path)
    except StorageError as error:
        return {"refused": str(error)}
    return {
        "ok": report.ok,
        "found": [[each.invariant, each.table, each.key] for each in report.violations],
    }


def read_as_a_node(path: Path, before: list[Rows]) -> Any:
    """Open a store as a node does and read every row; say how many were what.

    `right` rows, rows that were `named` as corrupt or could not be read, `hidden` ones that were
    not found, and `wrong` ones, whose bytes are not what they were: of these there is none.
    """
    counts = dict.fromkeys(("right", "named", "hidden", "wrong"), 0)
    with closing(Folder(path)) as folder:
        try:
            stores = folder.open()
            Node(stores, KINDS, WallClock())
        except StorageError as error:
            return {"refused": str(error)}
        for store, tables in zip(stores, before, strict=True):
            for table, rows in tables.items():
                for key, sealed in rows:
                    view = store.snapshot()
                    try:
                        payload = view.get(table, key)
                    except StorageError:
                        counts["named"] += 1
                        continue
                    finally:
                        view.close()
                    if payload is None:
                        counts["hidden"] += 1
                    else:
                        counts["right" if payload == sealed[4:] else "wrong"] += 1
                counts["wrong"] += _wrong_in_scan(store, table, dict(rows))
            store.release()
    return counts


def _wrong_in_scan(store: Any, table: str, rows: dict[bytes, bytes]) -> int:
    view = store.snapshot()
    wrong = 0
    with suppress(StorageError):
        for key, payload in view.scan(table):
            wrong += rows.get(key, b"----")[4:] != payload
    view.close()
    return wrong


def same_content(path: Path, before: list[Rows]) -> Any:
    """Whether a store holds what it held before: forwards, backwards and by every key."""
    for view, tables in zip(look(path), before, strict=True):
        snapshot = view.snapshot()
        for table, rows in tables.items():
            db = snapshot._tables[table]
            cursor: Any = snapshot._txn.cursor(db)
            if [(bytes(k), bytes(v)) for k, v in cursor.iternext()] != rows:
                return f"{table} forwards"
            if [(bytes(k), bytes(v)) for k, v in cursor.iterprev()] != rows[::-1]:
                return f"{table} backwards"
            if any(snapshot._txn.get(key, db=db) != value for key, value in rows):
                return f"{table} by key"
        snapshot.close()
        view.release()
    return None


def opened(path: Path) -> Any:
    """Open a store as a node does."""
    with closing(Folder(path)) as folder:
        try:
            Node(folder.open(), KINDS, WallClock())
        except StorageError as error:
            return {"refused": str(error)}
    return None


def goes_on(path: Path) -> Any:
    """Whether a store can be written to and is whole afterwards: a damaged free list is not."""
    with closing(Folder(path)) as folder:
        for _ in range(4):
            for store in folder.open():
                store.begin_epoch()
                store.close(clean=False)
        faults = [fault for shard in folder.shard_folders() for fault in structure_faults(shard)]
    return faults or None


def file_case(bank: Path, scratch: Path, draw: random.Random, before: list[Rows]) -> Any:
    """Damage one file of a copy; returns the case."""
    path = copied(bank, scratch)
    damage = draw.choice(FILE_DAMAGES)
    shard = draw.randrange(len(before))
    file = path / f"shard-{shard}" / "data.mdb"
    content = bytearray(file.read_bytes())
    whole = bytes(content)
    place = damage(Target(content, pages_in_use(file.parent), draw))
    file.write_bytes(content)
    case: dict[str, Any] = {"damage": damage.__name__, "shard": shard, "place": place}
    case["changed"] = content != whole
    faults = structure_faults(path / f"shard-{shard}")
    case["structure"] = faults[:3]
    case["verify"] = in_child(lambda: verified(path))
    case["node"] = in_child(lambda: read_as_a_node(path, before))
    if "died" in case["node"]:
        case["opening"] = in_child(lambda: opened(path))
    if not faults and case["verify"].get("ok"):
        case["content"] = in_child(lambda: same_content(path, before))
        case["afterwards"] = in_child(lambda: goes_on(path))
    return case


def rows_case(bank: Path, scratch: Path, draw: random.Random, before: list[Rows]) -> Any:
    """Damage some rows of a copy; returns the case, with those that verify did not name."""
    path = copied(bank, scratch)
    shard = draw.randrange(len(before))
    folder = path / f"shard-{shard}"
    times = draw.choice((1, 1, 5, 25))
    done = in_child(lambda: [[t, k.hex(), how] for t, k, how in damage_rows(folder, draw, times)])
    draw.random()  # the child has drawn, not this process
    said = in_child(lambda: verified(path))
    named = {(table, key) for _, table, key in said.get("found", ())}
    missed = [each for each in done if (each[0], readable(bytes.fromhex(each[1]))) not in named]
    return {
        "damage": "rows",
        "shard": shard,
        "place": done,
        "structure": structure_faults(folder),
        "verify": {key: value for key, value in said.items() if key != "found"},
        "missed": missed,
        "node": in_child(lambda: read_as_a_node(path, before)),
        "changed": bool(done),
    }


def copied(bank: Path, scratch: Path) -> Path:
    path = scratch / "bank"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(bank, path, ignore=shutil.ignore_patterns("lock.mdb"))
    return path


def pages_in_use(folder: Path) -> list[int]:
    with (folder / "data.mdb").open("rb") as file:
        verifier = _Verifier(file, file.seek(0, 2))
        assert not verifier.verify()
    return [0, 1, *(page for page, used in enumerate(verifier.live) if used)]


def shards_of(bank: Path) -> list[Path]:
    return sorted(bank.glob("shard-*"))


def cases(bank: Path, scratch: Path, seed: int, count: int) -> Iterator[Any]:
    """Yield so many cases, every fourth of them of rows."""
    held = in_child(
        lambda: [
            {t: [(k.hex(), v.hex()) for k, v in rows] for t, rows in _rows_of(each).items()}
            for each in shards_of(copied(bank, scratch))
        ]
    )
    before: list[Rows] = [
        {t: [(bytes.fromhex(k), bytes.fromhex(v)) for k, v in rows] for t, rows in tables.items()}
        for tables in held
    ]
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        make = rows_case if number % 4 == 3 else file_case
        yield {"case": number, **make(bank, scratch, draw, before)}


if __name__ == "__main__":
    _, bank_, scratch_, seed_, count_ = sys.argv
    for case_ in cases(Path(bank_), Path(scratch_), int(seed_), int(count_)):
        print(json.dumps(case_), flush=True)
