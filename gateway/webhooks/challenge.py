"""Challenges: a server shows that it wants a merchant's events before it is sent any.

A merchant names the URL, and without a proof could have the bank send to anybody's server for as
long as there are events. So the bank posts, signed like a webhook, a text that nobody can guess,
with the merchant's number; a server that is that merchant's answers with this text and nothing
else, so that one which gives back whatever it is sent proves nothing. WebSub (W3C, section 5.3)
asks in the same way. Nothing is noted of it: a webhook is set when its URL is proved, or not.
"""

import secrets
from collections.abc import Callable
from typing import Final

import trio

from actors.answers import WebhookChallenge
from actors.webhook import succeeded
from gateway.answer import encode
from gateway.webhooks.wire import Wire

CHALLENGE_S: Final = 4.0
"""How long a server has; the caller waits for it, and then for the commit."""
CHALLENGES_MAX: Final = 16
"""Under way at a time, one a merchant: each is a request that has its place meanwhile."""


class ChallengeError(Exception):
    """The server has not shown that it wants the events; the message says why."""


class BusyError(Exception):
    """Too many challenges are under way, or another one of the merchant's."""


class Challenges:
    """Those that are under way."""

    def __init__(self) -> None:
        self._merchants: set[str] = set()

    async def prove(
        self, wire: Wire, sign: Callable[[bytes], dict[str, str]], merchant_no: str
    ) -> None:
        """Challenge a server.

        Args:
            wire: the way to it.
            sign: returns the headers for a body.
            merchant_no: whose events it would be sent.

        Raises:
            ChallengeError, BusyError: see there.
        """
        if merchant_no in self._merchants or len(self._merchants) >= CHALLENGES_MAX:
            raise BusyError
        self._merchants.add(merchant_no)
        try:
            await _prove(wire, sign, merchant_no)
        finally:
            self._merchants.remove(merchant_no)


async def _prove(wire: Wire, sign: Callable[[bytes], dict[str, str]], merchant_no: str) -> None:
    challenge = secrets.token_urlsafe(24)
    body = encode(WebhookChallenge(merchant_no=merchant_no, challenge=challenge))
    with trio.move_on_after(CHALLENGE_S):
        attempt, answer = await wire.ask(body, sign(body))
        if attempt.error:
            raise ChallengeError(f"it was not reached: {attempt.error}")
        if not succeeded(attempt):
            raise ChallengeError(f"it has answered the challenge with {attempt.status}")
        if answer.strip() != challenge.encode():
            raise ChallengeError("its answer is another text than the challenge")
        return
    raise ChallengeError("it has not answered in time")
