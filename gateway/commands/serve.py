"""`piaohao serve`: run a node on a store, until SIGTERM or Ctrl-C."""

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators

if TYPE_CHECKING:
    from gateway.server import Serving

app = App(name="piaohao serve", version_flags=())


@app.default
def serve(
    *,
    data: Path,
    listen: str = "127.0.0.1:8080",
    clock: Literal["wall", "domain"] = "wall",
    timeout_s: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=60))] = 10.0,
) -> None:
    """Run a node on a store, until SIGTERM or Ctrl-C.

    It prints one line with its address once it answers. When told to stop it finishes what it
    has admitted. If a commit fails it ends at once with code 74; nothing of that commit has
    been acknowledged, and the node can be started again.

    Example: piaohao serve --data bank --listen 127.0.0.1:8080

    Parameters
    ----------
    data:
        Folder of the store; `piaohao init` makes one.
    listen:
        Loopback address and port; port 0 takes a free one.
    clock:
        `wall`, or `domain` for sandboxes: it stands still until commands move it.
    timeout_s:
        Seconds that callers wait who do not say how long (Request-Timeout-S).
    """
    import trio

    from gateway.operator import open_folder
    from gateway.server import loopback, serve_until_signalled

    loopback(listen)

    def announce(serving: "Serving") -> None:
        sys.stdout.write(f"piaohao serves {data} on {serving.address}\n")
        sys.stdout.flush()

    with closing(open_folder(data)) as folder:
        trio.run(
            partial(
                serve_until_signalled,
                folder,
                announce,
                listen=listen,
                clock=clock,
                timeout_s=timeout_s,
            )
        )
