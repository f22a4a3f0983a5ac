"""Headroom: what of a disk is kept free for its store, so that what has begun can be finished.

A shard refuses new work below it, and a backup that would go below it is not begun. What belongs to
the house and not to the bank (`storage.cabinet`) takes nothing new below a quarter of it: whoever
looks, as often as they like, takes nothing from whoever pays.
"""

import os
from pathlib import Path
from typing import Final

from msgspec import Struct

HEADROOM_BYTES: Final = 256 << 20
"""Of a small disk a tenth of it, if that is less."""


class Disk(Struct, frozen=True):
    """A disk as it is now.

    Attributes:
        free_bytes: what may still be written.
        headroom_bytes: what of it is kept for the store.
    """

    free_bytes: int
    headroom_bytes: int


def disk_of(path: Path) -> Disk:
    """Return the disk on which something lies.

    Raises:
        OSError: it cannot be seen.
    """
    disk = os.statvfs(path)
    headroom_bytes = min(HEADROOM_BYTES, disk.f_blocks * disk.f_frsize // 10)
    return Disk(disk.f_bavail * disk.f_frsize, headroom_bytes)
