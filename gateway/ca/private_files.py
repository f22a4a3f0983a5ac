"""Files that only their owner may touch: read when that is so, written whole or not at all.

What is checked is the open file, never its name, so nothing can be exchanged in between. A new
file is written under another name, synced, and linked to its own: a link never replaces anything,
so of two writers one is refused and no key is ever overwritten.
"""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from gateway.ca.errors import KeysError, KeysReason

PRIVATE: Final = 0o077
"""Permission bits that a secret, or a folder of secrets, must not have."""
PUBLIC: Final = 0o022
"""Permission bits that a certificate must not have: others may read it, not write it."""
MAX_BYTES: Final = 64 << 10
"""None of our files comes near it; more is not read."""


def read(path: Path, forbidden: int = PRIVATE, *, follow: bool = False) -> bytes:
    """Return a plain file's content.

    Args:
        path: the file.
        forbidden: permission bits that it must not have.
        follow: whether the name may be a symbolic link, as container platforms mount secrets;
            it is the file behind it that is checked.

    Raises:
        KeysError: MISSING, NOT_A_FILE, NOT_OURS, OPEN_TO_OTHERS, MALFORMED (too large).
        OSError: it cannot be read.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    opened = _open(path, flags)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise KeysError(KeysReason.NOT_A_FILE, f"{path}: not a plain file")
        _check(path, found, forbidden)
        with os.fdopen(opened, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(opened)
    if len(content) > MAX_BYTES:
        raise KeysError(KeysReason.MALFORMED, f"{path}: larger than {MAX_BYTES} bytes")
    return content


def check_folder(path: Path) -> None:
    """Check that a folder is ours and closed to others.

    Raises:
        KeysError: MISSING, NOT_A_FILE, NOT_OURS, OPEN_TO_OTHERS.
        OSError: it cannot be opened.
    """
    opened = _open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        _check(path, os.fstat(opened), PRIVATE)
    finally:
        os.close(opened)


def write_new(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600; it is there whole and synced, or not at all.

    Raises:
        KeysError: EXISTS: there is something of that name.
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    opened = os.open(unfinished, flags, 0o600)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(opened)
        try:
            os.link(unfinished, path)
        except FileExistsError:
            raise KeysError(KeysReason.EXISTS, f"{path} is there already") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        raise KeysError(KeysReason.MISSING, f"{path} is not there") from None
    except NotADirectoryError:
        raise KeysError(KeysReason.NOT_A_FILE, f"{path}: not a folder") from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # O_NOFOLLOW, at a link
            raise KeysError(KeysReason.NOT_A_FILE, f"{path}: not a plain file") from None
        raise


def _check(path: Path, found: os.stat_result, forbidden: int) -> None:
    if found.st_uid != os.geteuid():
        raise KeysError(
            KeysReason.NOT_OURS,
            f"{path} belongs to another user ({found.st_uid}) than the one who runs this",
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden:
        folder = stat.S_ISDIR(found.st_mode)
        what = "read or write" if forbidden == PRIVATE else "write"
        proper = "700" if folder else "600" if forbidden == PRIVATE else "644"
        raise KeysError(
            KeysReason.OPEN_TO_OTHERS,
            f"{path} has mode {mode:04o}: others than its owner may {what} it; "
            f"chmod {proper} mends that",
        )
