"""A node that writes in a way that is forbidden: what the labs must be able to see.

LMDB is opened without one of its syncs, in the process alone that this command starts; the
product has no way to ask for it.
"""

import sys

_CODE = (
    "import lmdb\n"
    "open_ = lmdb.open\n"
    "lmdb.open = lambda *given, **named: open_(*given, **named, {}=False)\n"
    "from gateway.cli import main; main()"
)


def unsynced(what: str) -> tuple[str, ...]:
    """Return the command `piaohao` without `sync` (no sync at all) or `metasync` (of the meta
    pages)."""
    return (sys.executable, "-c", _CODE.format(what))
