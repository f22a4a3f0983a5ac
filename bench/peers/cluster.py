"""A PostgreSQL of our own: made in a new folder, reached over a socket in it, gone at the end.

It is durable as PostgreSQL ships it (fsync, synchronous_commit and full_page_writes are on) and
tuned as its users would for the machine. Its folder is its owner's alone, and it listens to nothing
but the socket there. A small process that holds a pipe of ours stops it and removes the folder when
the pipe ends, so that happens however we end, kill -9 included.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway import exits
from gateway.exits import CommandError

USER: Final = "postgres"
"""The user that Debian's package makes, and the superuser of a cluster of ours."""
_DEBIAN: Final = Path("/usr/lib/postgresql")
_INSTALL: Final = "apt-get install postgresql (./just postgresql does it)"
_STARTS_WITHIN_S: Final = 60.0
_SOCKET_BYTES_MAX: Final = 107
"""What the kernel takes as a socket's path (unix(7)); the name in the folder has 15 of it."""

_JANITOR: Final = """
cat >/dev/null
if read -r pid 2>/dev/null <"$1/data/postmaster.pid"; then kill -QUIT "$pid" 2>/dev/null; fi
tries=100
while [ -e "$1" ] && [ $tries -gt 0 ]; do
    rm -rf -- "$1" 2>/dev/null || sleep 0.1
    tries=$((tries - 1))
done
"""


def programs() -> Path:
    """Return the folder of PostgreSQL's programs: that of pg_ctl on PATH, or Debian's newest.

    Raises:
        CommandError: there is none.
    """
    found = shutil.which("pg_ctl")
    if found is not None:
        return Path(found).resolve().parent
    versions = [each for each in _DEBIAN.glob("*/bin") if (each / "pg_ctl").exists()]
    if not versions:
        raise CommandError(exits.INPUT, f"there is no PostgreSQL here: {_INSTALL}, or --url")
    return max(versions, key=lambda each: _number(each.parent.name))


def settings(bin_: Path) -> dict[str, str]:
    """Return what a cluster of ours has set: what guides to tuning say for such a machine.

    Durability is left as it is shipped. A checkpoint within a round is unlikely, which is the
    peer's gain: it writes its pages later, ours within the round.
    """
    built = subprocess.run([bin_ / "pg_config", "--configure"], capture_output=True, check=False)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "listen_addresses": "",
        "max_connections": "100",
        "shared_buffers": f"{max(128, min(4096, memory_mb // 4))}MB",
        "effective_cache_size": f"{max(256, memory_mb // 2)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "256MB",
        "wal_buffers": "64MB",
        "min_wal_size": "1GB",
        "max_wal_size": "8GB",
        "wal_compression": "lz4" if b"--with-lz4" in built.stdout else "on",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "random_page_cost": "1.1",
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
    }


def conninfo(folder: Path, database: str = "postgres") -> str:
    """Return how libpq finds a database of the cluster in a folder."""
    return f"host={folder} user={USER} dbname={database}"


@contextmanager
def cluster(parent: Path) -> Iterator[Path]:
    """Run a new cluster in a new folder of `parent`; yields that folder.

    Raises:
        CommandError: PostgreSQL is not there, does not start, or may not use the folder.
    """
    bin_ = programs()
    as_owner, owner = _owner()
    folder = Path(tempfile.mkdtemp(prefix="piaohao-peer-", dir=parent.absolute()))
    janitor = subprocess.Popen(
        ["sh", "-c", _JANITOR, "sh", str(folder)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # out of Ctrl-C's reach
    )
    server = None
    try:
        if len(os.fsencode(folder)) + 15 > _SOCKET_BYTES_MAX:
            raise CommandError(exits.INPUT, f"{parent}: too long a path for a socket in it")
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _make(bin_, as_owner, folder)
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *as_owner,
                    str(bin_ / "postgres"),
                    "-D",
                    str(folder / "data"),
                    *_options(bin_, folder),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        _wait(bin_, folder, server)
        yield folder
    finally:
        assert janitor.stdin is not None
        janitor.stdin.close()
        janitor.wait()
        if server is not None:
            server.wait()


def _owner() -> tuple[list[str], pwd.struct_passwd | None]:
    """Return what begins a command line that PostgreSQL's owner runs, and who that is.

    PostgreSQL refuses to run as root; then it is the user of Debian's package, else the caller.
    """
    if os.geteuid() != 0:
        return [], None
    try:
        owner = pwd.getpwnam(USER)
    except KeyError:
        detail = f"PostgreSQL does not run as root, and there is no user {USER}: {_INSTALL}"
        raise CommandError(exits.INPUT, detail) from None
    if shutil.which("setpriv") is not None:
        ids = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}"]
        return ["setpriv", *ids, "--init-groups", "--"], owner
    return ["runuser", "-u", USER, "--"], owner


def _make(bin_: Path, as_owner: list[str], folder: Path) -> None:
    made = subprocess.run(
        [
            *(*as_owner, str(bin_ / "initdb"), "-D", str(folder / "data"), "-U", USER),
            # Whoever gets into the folder is its owner, or root: nobody else has to be told apart.
            *("-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        check=False,
        start_new_session=True,
    )
    if made.returncode:
        said = (made.stderr.strip() or "it says nothing").splitlines()[-1]
        raise CommandError(exits.INPUT, f"initdb cannot use {folder}: {said}")


def _options(bin_: Path, folder: Path) -> list[str]:
    each = settings(bin_) | {"unix_socket_directories": str(folder)}
    return [part for name, value in each.items() for part in ("-c", f"{name}={value}")]


def _wait(bin_: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _STARTS_WITHIN_S
    ask = [str(bin_ / "pg_isready"), "-q", "-h", str(folder)]
    while subprocess.run(ask, check=False, cwd="/").returncode:
        if server.poll() is not None or time.monotonic() > ends:
            said = (folder / "log").read_text("utf-8", "replace").strip().splitlines()
            detail = said[-1] if said else "it says nothing"
            raise CommandError(exits.CHECK_FAILED, f"PostgreSQL does not start: {detail}")
        time.sleep(0.02)


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0
