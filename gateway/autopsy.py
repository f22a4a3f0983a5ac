"""Autopsy: what `verify` finds in a store that the node could not open, or only at its peril.

Where the structure of the file is damaged (`storage.structure`) LMDB may die of reading it. So it
is read in a process of its own, and if that process dies the report says so. The caller holds the
folder's lock, and nobody writes to the store.

    python -m gateway.autopsy FOLDER
"""

import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.verification import VIOLATIONS_MAX, Report, Violation, damaged, unopenable, verify
from storage.errors import CorruptRowError, StorageError, StoreVersionError
from storage.folder import look
from storage.structure import structure_faults

_report = msgspec.json.Decoder(Report).decode


def examine(path: Path) -> Report:
    """Return what can be found out about a store; it is read in this process.

    Raises:
        StoreVersionError: its format is not known.
    """
    with ExitStack() as opened:
        try:
            views = look(path)
            for view in views:
                opened.callback(view.release)
            return verify([opened.enter_context(closing(view.snapshot())) for view in views])
        except StoreVersionError:
            raise
        except CorruptRowError as error:
            return unopenable(error)
        except StorageError as error:
            return damaged(Violation("opens", "data.mdb", path.name, str(error)))


def autopsy(shards: list[Path], path: Path) -> Report | None:
    """Return the report on a store whose file is damaged, None where its structure is whole.

    Args:
        shards: its shards' folders.
        path: its own.
    """
    found = [
        Violation("structure", "data.mdb", shard.name, fault)
        for shard in shards
        for fault in structure_faults(shard)
    ]
    if not found:
        return None
    run = subprocess.run(
        [sys.executable, "-m", "gateway.autopsy", path], capture_output=True, check=False
    )
    if run.returncode == 0:
        rest = _report(run.stdout)
    else:
        how = f"exit code {run.returncode}"
        if run.returncode < 0:
            how = signal.Signals(-run.returncode).name
        rest = damaged(
            Violation(
                "opens", "data.mdb", path.name, f"LMDB ended with {how} when it read the store"
            )
        )
    return replace(rest, ok=False, violations=[*found, *rest.violations][:VIOLATIONS_MAX])


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(examine(Path(sys.argv[1]))))
