"""A file system of its own, in a file, that can really be shut down or turned read-only.

It is a small ext4 on a loop device. What has not reached that device when it is shut down is
lost, as it is when the power goes: the kernel's own answer to what `tests.crash.power_cut` works
out. Not every machine allows it; `loop` then skips the test, with the reason.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

SIZE: Final = "64M"
_SHUTDOWN: Final = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_NO_LOG_FLUSH: Final = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: nothing more reaches the journal either


class Loop:
    """An ext4 in the file `image`, mounted at `path`; an error makes it read-only."""

    def __init__(self, place: Path) -> None:
        self.path = place / "mounted"
        self._image = place / "image"
        self.path.mkdir(parents=True)
        subprocess.run(["truncate", "-s", SIZE, self._image], check=True)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)

    def mount(self) -> None:
        """Mount it; what its journal holds is replayed."""
        subprocess.run(
            ["mount", "-o", "loop,errors=remount-ro", self._image, self.path],
            check=True,
            capture_output=True,
        )

    def unmount(self) -> None:
        """Unmount it; nobody may use it any more."""
        subprocess.run(["umount", self.path], check=True)

    def shut_down(self) -> None:
        """Shut it down at once: nothing is flushed, and every call fails from now on.

        Raises:
            OSError: the machine does not allow it.
        """
        held = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(held, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(held)

    def turn_read_only(self) -> None:
        """Have it find an error in itself.

        Raises:
            OSError: the machine does not allow it.
        """
        number = self.path.stat().st_dev
        device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
        (Path("/sys/fs/ext4") / device / "trigger_fs_error").write_text("as the test wants it\n")


@contextmanager
def loop(place: Path) -> Iterator[Loop]:
    """Have a file system, mounted; it is unmounted in the end."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    for tool in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    made = Loop(place)
    try:
        made.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device can be mounted: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        if made.path.is_mount():
            subprocess.run(["umount", "--lazy", made.path], check=True)
