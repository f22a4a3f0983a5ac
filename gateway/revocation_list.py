"""The revocation list: what anybody may have who checks chains without asking the node (RFC 5280).

It is made from the engine's rows when somebody asks and the newest one is a minute old. An entry
takes 16 µs and anybody may ask, so it is made in a worker thread, one at a time, and whoever comes
meanwhile waits for it. The gate never reads it: there a revocation counts from its commit on.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import trio

from engine.node import Node
from gateway.ca.authority import CLIENT_VALID, CRL_VALID, Authority, RevocationReason, Revoked
from gateway.certificates import revoked_certificates

KEPT_S: Final = 60
"""How long a list is given out before one is made anew."""
REASONS: Final[Mapping[str, RevocationReason]] = {
    "unspecified": RevocationReason.UNSPECIFIED,
    "keyCompromise": RevocationReason.KEY_COMPROMISE,
    "affiliationChanged": RevocationReason.AFFILIATION_CHANGED,
    "superseded": RevocationReason.SUPERSEDED,
    "cessationOfOperation": RevocationReason.CESSATION_OF_OPERATION,
    "privilegeWithdrawn": RevocationReason.PRIVILEGE_WITHDRAWN,
}
"""Reasons for a revocation: by their names in RFC 5280, and as the CA writes them."""
_LISTED_NS: Final = (CLIENT_VALID + CRL_VALID) // timedelta(microseconds=1) * 1_000
"""How long after its beginning a certificate is listed: until one list after it has expired (RFC
5280, section 3.3). Its row does not say when it expires, only when the node takes it no more."""


class RevocationList:
    """The newest list of one node.

    Args:
        node: holds the certificates.
        issuing: the CA that has signed them.
        now_s: wall time, seconds since 1970.
    """

    def __init__(
        self, node: Node, issuing: Authority, now_s: Callable[[], float] = time.time
    ) -> None:
        self._node = node
        self._issuing = issuing
        self._now_s = now_s
        self._one_at_a_time = trio.Lock()
        self._made_s = 0.0
        self._number = 0
        self._der = b""

    async def newest(self) -> bytes:
        """Return the list, DER; it may be KEPT_S old.

        Raises:
            IssueError: the CA's own certificate has ended.
            StorageError: a row cannot be read.
        """
        async with self._one_at_a_time:
            now_s = self._now_s()
            if not self._der or not 0 <= now_s - self._made_s < KEPT_S:
                # Milliseconds, so that numbers rise over restarts; and where the clock goes back.
                self._number = max(int(now_s * 1_000), self._number + 1)
                self._der = await trio.to_thread.run_sync(self._make, now_s)
                self._made_s = now_s
        return self._der

    def _make(self, now_s: float) -> bytes:
        from_ns = int(now_s * 1e9) - _LISTED_NS
        revoked = [
            Revoked(each.serial, each.revoked_ns, REASONS[each.reason])
            for each in revoked_certificates(self._node)
            if each.not_before_ns >= from_ns
        ]
        now = datetime.fromtimestamp(now_s, UTC)
        return self._issuing.make_crl(revoked, number=self._number, now=now).der
