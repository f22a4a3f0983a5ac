"""What ties a client's process to the one that started it.

The parent writes lines to the client's standard input, the node's address or what is to be done,
and holds the pipe open: when that ends, so does the client, at once, however the parent died. The
client tells the parent how it gets on, one JSON object a line on its standard output.
"""

import os
import signal
import sys
import threading
from queue import SimpleQueue

import msgspec
from msgspec import Struct

_encode = msgspec.json.Encoder().encode


def report(each: Struct) -> None:
    """Tell the parent something."""
    sys.stdout.buffer.write(_encode(each) + b"\n")
    sys.stdout.buffer.flush()


def tie_to_parent() -> SimpleQueue[str]:
    """From now on end when the parent does; returns where the parent's lines will come in."""
    # Ctrl-C reaches the whole foreground group; what it means is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_heed_parent, args=(lines,), daemon=True).start()
    return lines


def _heed_parent(lines: SimpleQueue[str]) -> None:
    """Pass the lines on until the parent's end of the pipe closes, and end.

    It reads the pipe itself: a thread that waits in `sys.stdin` holds a lock which the
    interpreter wants when the main thread ends.
    """
    buffered = b""
    while data := os.read(0, 1 << 16):
        *whole, buffered = (buffered + data).split(b"\n")
        for line in whole:
            lines.put(line.decode())
    os._exit(0)
