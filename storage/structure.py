"""The structure of an LMDB file, checked without LMDB: pages, trees, free list.

LMDB follows the numbers in its pages without a doubt: a flipped bit in one of them can hide rows,
give a live page away as a free one, or end the process. So nothing of a file that may be damaged is
given to LMDB before this has found its structure whole. The work is py-lmdb's own verifier
(`lmdb.verify`), which reads the file's bytes and knows every rule that LMDB's writer keeps; to
those rules this adds what a rolled back transaction would break.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

import lmdb.verify

_Verifier: Final[Any] = lmdb.verify._Verifier
_HEADER_BYTES: Final = 16
_MAGIC: Final = 0xBEEFC0DE
_META: Final = struct.Struct("=16xI20xI36xQ56xQ")
"""Of a page that begins the file: magic, page size, root of the free list, transaction."""
_PAGE: Final = struct.Struct("=10xHH")
"""Of any other: flags, end of the list of nodes."""
_BRANCH: Final = 1
_DEPTH_MAX: Final = 32
_NONE: Final = 2**64 - 1


def structure_faults(folder: Path) -> list[str]:
    """Return what is wrong with the structure of a store's file that no process writes to.

    It reads all of it once, 150 MB in 2 s, and names at most 200 faults.
    """
    try:
        with (folder / "data.mdb").open("rb") as file:
            faults: list[str] = _Verifier(file, file.seek(0, 2)).verify()
            return faults + _transaction_faults(file)
    except lmdb.verify.VerifyError as error:
        return [str(error)]
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]


def transaction_faults(folder: Path) -> list[str]:
    """Return what is wrong with the numbers of a store's newest two transactions; quick.

    LMDB writes its two meta pages in turn and takes the one with the higher number: a bit that
    flips in either number, or one page written over the other, can bring the transaction before the
    newest back, whole and valid. But the numbers of the two follow each other, even ones are on
    the first page, and a transaction leaves a record of the pages that it has replaced under its
    own. (Pages of the older one may have been written over by a
    transaction that did not come about, so only the newest is looked into. What this cannot see
    is the one bit that makes two less of the newest number.)
    """
    with (folder / "data.mdb").open("rb") as file:
        return _transaction_faults(file)


def _transaction_faults(file: BinaryIO) -> list[str]:
    metas: list[tuple[int, int]] = []
    page_bytes = 0
    for page in range(2):
        meta = _read(file, page * page_bytes, _META.size)
        magic, size, root, transaction = _META.unpack(meta)
        if magic != _MAGIC:
            return []  # LMDB will refuse it
        page_bytes = page_bytes or size
        if transaction % 2 != page and transaction:
            return [f"meta page {page} is of transaction {transaction}, which is the other's"]
        metas.append((transaction, root))
    (older, _), (newest, root) = sorted(metas)
    if newest - older > 1:
        return [f"the meta pages are of transactions {older} and {newest}"]
    freed = newest if root == _NONE else _newest_freed(file, page_bytes, root)
    if freed != newest:
        return [f"a meta page is of transaction {newest}, its free list of {freed}"]
    return []


def _newest_freed(file: BinaryIO, page_bytes: int, root: int) -> int | None:
    """Return the last key of the free list's tree; None where there is no such tree."""
    for _ in range(_DEPTH_MAX):
        page = _read(file, root * page_bytes, page_bytes)
        flags, lower = _PAGE.unpack_from(page)
        nodes = (lower - _HEADER_BYTES) // 2
        if nodes < 1 or lower > page_bytes:
            return None
        (node,) = struct.unpack_from("=H", page, lower - 2)
        if node + _HEADER_BYTES > page_bytes:
            return None
        if not flags & _BRANCH:
            (key,) = struct.unpack_from("=Q", page, node + 8)
            return int(key)
        # In a branch the first six bytes of a node are the number of its page.
        low, high = struct.unpack_from("=IH", page, node)
        root = low | high << 32
    return None


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    if place >= 2**62:
        return bytes(size)
    file.seek(place)
    return file.read(size).ljust(size, b"\0")
