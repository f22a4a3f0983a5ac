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
    name: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    tls_client_ca: Path | None = None,
    connections: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 4_096,
    connections_per_peer: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 256,
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
    name:
        HOST or HOST:PORT by which callers may address the node, as often as it has names; without
        any it goes by the address that it listens on.
    tls_certificate:
        PEM file of the node's certificate and those between it and a root. It is read again on
        SIGHUP, and so is the key.
    tls_key:
        PEM file of its key.
    tls_client_ca:
        PEM file of those who sign clients' certificates; a client need not show one.
    connections:
        Connections at a time; fewer where not as many files may be open.
    connections_per_peer:
        Of one IPv4 address or one IPv6 network of 64 bits; loopback is not counted.
    clock:
        `wall`, or `domain` for sandboxes: it stands still until commands move it.
    timeout_s:
        Seconds that callers wait who do not say how long (Request-Timeout-S).
    """
    import trio

    from gateway.exits import INPUT, CommandError
    from gateway.listener.address import address_of
    from gateway.listener.bounds import Bounds
    from gateway.listener.names import named
    from gateway.listener.tls import TlsFiles
    from gateway.operator import open_folder
    from gateway.server import serve_until_signalled

    address_of(listen)
    named(name, "http")
    files = None
    if tls_certificate is not None and tls_key is not None:
        files = TlsFiles(tls_certificate, tls_key, tls_client_ca)
    elif tls_certificate or tls_key or tls_client_ca:
        raise CommandError(INPUT, "TLS takes both --tls-certificate and --tls-key")
    bounds = Bounds(connections_max=connections, connections_per_peer=connections_per_peer)

    def announce(serving: "Serving") -> None:
        sys.stdout.write(f"piaohao serves {data} on {serving.address}\n")
        sys.stdout.flush()

    with closing(open_folder(data)) as folder:
        trio.run(
            partial(
                serve_until_signalled,
                folder,
                announce,
                files,
                listen=listen,
                names=name,
                bounds=bounds,
                clock=clock,
                timeout_s=timeout_s,
            )
        )
