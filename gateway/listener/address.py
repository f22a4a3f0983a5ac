"""Addresses: where a listener may listen, and the socket that is bound there.

Only IP addresses and `localhost`: what a name resolves to is not for the node to guess. Whoever
takes unsigned requests listens on loopback only.
"""

import ipaddress
import socket

from gateway.exits import INPUT, CommandError

Address = tuple[socket.AddressFamily, str, int]
"""Family, host and port."""


class ListenError(CommandError):
    """The address to listen on is not one, is not loopback, or is taken; or a name is none."""

    def __init__(self, detail: str) -> None:
        super().__init__(INPUT, detail)


def address_of(listen: str, *, anywhere: bool = False) -> Address:
    """Return what HOST:PORT stands for.

    Args:
        anywhere: take any address, not only loopback.

    Raises:
        ListenError: it is none, or not on loopback.
    """
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ListenError(f"--listen {listen!r}: HOST:PORT is wanted, for example 127.0.0.1:8080")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ListenError(f"--listen {listen!r}: {host!r} is not an IP address") from None
    if not anywhere and not address.is_loopback:
        raise ListenError(
            f"--listen {listen!r}: only loopback addresses where requests are unsigned"
        )
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return family, str(address), int(port)


def check_ops_address(listen: str, *, encrypted: bool = False) -> None:
    """Refuse an address for operators that others can reach where nothing is encrypted.

    Args:
        encrypted: there is mutual TLS, and any address will do.

    Raises:
        ListenError: it is none, or not on loopback.
    """
    try:
        _, host, _ = address_of(listen, anywhere=True)
    except ListenError as error:
        raise ListenError(str(error).replace("--listen", "--ops-listen", 1)) from None
    if not encrypted and not ipaddress.ip_address(host).is_loopback:
        raise ListenError(
            f"--ops-listen {listen!r}: without mutual TLS operators are served on loopback only, "
            "for example 127.0.0.1:9090; give --ops-cert, --ops-key and --ops-client-ca, or reach "
            "it from elsewhere through ssh -L"
        )


def bound(listen: str, *, anywhere: bool = False) -> socket.socket:
    """Return a stream socket bound to an address, not listening yet.

    Raises:
        ListenError: see there.
    """
    family, host, port = address_of(listen, anywhere=anywhere)
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {listen}: {error.strerror}") from error
    return sock


def authority(sock: socket.socket) -> str:
    """Return HOST:PORT of a bound socket, as it stands in an address."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def default_names(sock: socket.socket) -> tuple[str, ...]:
    """Return the names of a listener that was given none.

    Raises:
        ListenError: it listens on every address there is, and nobody calls it by that.
    """
    host, port = sock.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        raise ListenError(f"--listen {authority(sock)}: an address for all needs a --name")
    if address.is_loopback:
        return authority(sock), f"localhost:{port}"
    return (authority(sock),)
