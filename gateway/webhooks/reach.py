"""Reach: which addresses webhooks may be sent to: public ones, and what the node was told to allow.

A merchant names the server, and its name says whatever its owner likes, at any time; so every
address that a name resolves to is judged here when a connection is made, and one that is not public
refuses all of them. Public is less than `ipaddress.is_global`: no multicast, no relay or anycast of
a transition, no IPv6 that carries an IPv4 address (mapped, 6to4, Teredo, NAT64), and no service of
a cloud that lives at a public address.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from gateway.exits import INPUT, CommandError
from gateway.webhooks.target import Ip, Target, TargetError

PORT_MIN: Final = 1_024
"""Below it there is only 443: no mail, no shells, no directory is spoken to by TLS' first words."""

_NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24"),
            *("192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
            "168.63.129.16/32",  # Azure's own, from inside of it
        ),
    )
)
"""IANA's special-purpose registry (RFC 6890), multicast and what was reserved (RFC 1112)."""
_GLOBAL_6: Final = IPv6Network("2000::/3")
"""What has been given out as global unicast (RFC 4291); all else of IPv6 is something special."""
_NOT_PUBLIC_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols' own: Teredo, ORCHID, benchmarks
            "2001:db8::/32",  # documentation, as the last one
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",
        ),
    )
)

Network = IPv4Network | IPv6Network


def is_public(ip: Ip) -> bool:
    """Return whether an address is of somebody's server in the internet."""
    if ip.version == 4:
        return ip.is_global and not any(ip in each for each in _NOT_PUBLIC_4)
    return ip.is_global and ip in _GLOBAL_6 and not any(ip in each for each in _NOT_PUBLIC_6)


class Reach:
    """What webhooks may reach.

    Args:
        allow: HOST:PORT, or a network as ADDRESS/BITS; where both ends are loopback, by http too.

    Raises:
        CommandError: one of these is neither.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._hosts: set[tuple[str, int]] = set()
        self._networks: list[Network] = []
        for each in allow:
            self._allow(each)

    def _allow(self, text: str) -> None:
        host, _, port = text.rpartition(":")
        if host and "/" not in text and re.fullmatch("[0-9]{1,5}", port) and int(port) < 1 << 16:
            self._hosts.add((host.strip("[]").lower(), int(port)))
            return
        try:
            self._networks.append(ip_network(text if "/" in text else ""))
        except ValueError:
            detail = f"--webhook-allow {text!r}: neither HOST:PORT nor a network as 127.0.0.0/8"
            raise CommandError(INPUT, detail) from None

    def check(self, target: Target) -> None:
        """Refuse what can be refused before anything is resolved.

        A name that may turn out to be in an allowed network is judged when it has.

        Raises:
            TargetError: webhooks are not sent there.
        """
        if target.ip is not None:
            if not self.admits(target, [target.ip]):
                raise TargetError("the address is not a public one, or not by https")
        elif not (self._networks or (target.host, target.port) in self._hosts):
            if target.scheme != "https":
                raise TargetError("webhooks are sent by https")
            if "." not in target.host:
                raise TargetError("the host's name has one label alone")
            if not _has_good_port(target):
                raise TargetError(f"the port is neither 443 nor {PORT_MIN} or above")

    def admits(self, target: Target, ips: Iterable[Ip]) -> bool:
        """Return whether all of a target's addresses may be connected to; none is no address."""
        found = list(ips)
        return bool(found) and all(self._admits(target, ip) for ip in found)

    def _admits(self, target: Target, ip: Ip) -> bool:
        encrypted = target.scheme == "https"
        if (target.host, target.port) in self._hosts or any(ip in each for each in self._networks):
            return encrypted or ip.is_loopback
        return encrypted and _has_good_port(target) and is_public(ip)


def _has_good_port(target: Target) -> bool:
    return target.port == 443 or target.port >= PORT_MIN


def read_ips(texts: Iterable[str]) -> list[Ip] | None:
    """Return addresses, each once; None where one of them is none, or has a zone."""
    try:
        found = [ip_address(text) for text in texts]
    except ValueError:
        return None
    if any(ip.version == 6 and ip.scope_id for ip in found):
        return None
    return list(dict.fromkeys(found))
