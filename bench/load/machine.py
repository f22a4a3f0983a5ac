"""The machine: what a figure was measured on, so that nobody takes it for another's.

Versions are those that are installed; the commit is known where the program runs from a working
tree of git, and left out elsewhere.
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import lmdb
from msgspec import Struct

PACKAGES: Final = ("trio", "lmdb", "msgspec", "cryptography", "hypercorn", "quart", "quart-trio")
_GIT: Final = ("git", "-C", str(Path(__file__).parent))


class Machine(Struct, frozen=True):
    """Where and with what it was measured.

    Attributes:
        commit: of the working tree, with `+` where that has changes; None outside of one.
    """

    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    python: str
    packages: dict[str, str]
    commit: str | None


def this_machine(*more: str) -> Machine:
    """Return what this machine is.

    Args:
        more: packages whose versions matter too; those that are not installed are left out.
    """
    packages = {name: version for name in (*PACKAGES, *more) if (version := _version(name))}
    packages["liblmdb"] = ".".join(map(str, lmdb.version()))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        _cpu(),
        len(os.sched_getaffinity(0)),
        pages >> 20,
        platform.release(),
        platform.python_version(),
        packages,
        _commit(),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    commit = _said([*_GIT, "rev-parse", "--short=12", "HEAD"])
    if commit is None:
        return None
    changed = _said([*_GIT, "status", "--porcelain", "--untracked-files=no"])
    return commit + ("+" if changed else "")


def _said(arguments: Sequence[str]) -> str | None:
    """Return what a program prints; None where there is none, or it fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
