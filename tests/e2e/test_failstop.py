"""The end that a node comes to by itself, even where its event loop can do nothing any more.

What brings it about is in `tests/faults`: commits that fail, rows that are not what was written.
"""

import subprocess
import sys

from gateway.exits import FAIL_STOP


def test_node_whose_event_loop_hangs_ends_all_the_same() -> None:
    """The guard is a thread: it needs neither the loop nor anything that the loop could hold."""
    code = (
        "import threading, trio\n"
        "from gateway.failstop import FailStop\n"
        "async def main():\n"
        "    FailStop().begin(OSError('the disk is gone'))\n"
        "    threading.Event().wait()\n"
        "trio.run(main)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=20)
    assert run.returncode == FAIL_STOP
