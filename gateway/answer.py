"""Answers: what a handler hands to a listener, and how engine outcomes become one.

An answer is a status and a typed body; the listener encodes it and adds HTTP's framing. What the
engine says (`actors.answers`, `engine.fault`) is turned into status and body in one place, for a
single command and for an item of an array alike.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from actors import commands
from actors.answers import Refused, Replayed
from engine.fault import Fault
from gateway.errors import Problem, RequestCode, faulted, refused

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
HTML: Final = "text/html; charset=utf-8"

KEPT_S: Final = 300
"""How long callers may keep what never changes; after that they ask whether it is new."""

# With a 415 goes what would have been taken (RFC 9110, sections 12.5.1 and 12.5.3).
_TAKEN: Final[Mapping[str, tuple[str, str]]] = {
    RequestCode.UNSUPPORTED_MEDIA_TYPE: ("accept", JSON),
    RequestCode.UNSUPPORTED_CONTENT_ENCODING: ("accept-encoding", "identity"),
}

_UPGRADE: Final[Mapping[str, str]] = {
    "upgrade": "websocket",
    "connection": "upgrade",
    "sec-websocket-version": "13",
}

encode = msgspec.json.Encoder().encode


class Answer(Struct, frozen=True):
    """What a handler answers.

    Attributes:
        body: a Struct, or a list of them, to be encoded as JSON; bytes go out as they are.
        replayed: the first outcome of a command that was repeated.
        allow: methods that the path knows, for a 405.
        own: all headers of text that is no JSON of ours, or that never changes; None for others.
    """

    status: int
    body: Any
    replayed: bool = False
    allow: tuple[str, ...] = ()
    own: Mapping[str, str] | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the answer, without HTTP's framing."""
        if self.own is not None:
            return dict(self.own)
        problem = self.body if isinstance(self.body, Problem) else None
        headers = {"content-type": JSON if problem is None else PROBLEM}
        if self.replayed:
            headers["idempotent-replayed"] = "true"
        if problem is not None and problem.retry_after_s is not None:
            headers["retry-after"] = str(problem.retry_after_s)
        if problem is not None and problem.code in _TAKEN:
            name, taken = _TAKEN[problem.code]
            headers[name] = taken
        if problem is not None and problem.code == RequestCode.UPGRADE_REQUIRED:
            # RFC 9110, sections 7.8 and 15.5.22; RFC 6455, section 4.4.
            headers.update(_UPGRADE)
        if self.allow:
            headers["allow"] = ", ".join(self.allow)
        return headers

    def unless_known(self, if_none_match: str | None) -> "Answer":
        """Return it, or 304 where the caller has the very same text (RFC 9110, section 13.1.2).

        Args:
            if_none_match: the request's header of that name, if any.
        """
        etag = None if self.own is None else self.own.get("etag")
        if etag is None or if_none_match is None:
            return self
        known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
        return Answer(304, b"", own=self.own) if known & {etag, "*"} else self


class Item(Struct, frozen=True, omit_defaults=True):
    """What one command of an array is answered."""

    status: int
    body: Any
    replayed: bool = False


LIFECYCLE: Final = (
    commands.FreezeAccount,
    commands.UnfreezeAccount,
    commands.CloseAccount,
    commands.AmendMerchant,
    commands.SubmitMerchant,
    commands.ApproveMerchant,
    commands.RejectMerchant,
    commands.SignMerchant,
    commands.SuspendMerchant,
    commands.ActivateMerchant,
    commands.CloseMerchant,
    commands.RevokeCertificate,
    commands.RevokeBankCertificate,
    commands.EnableWebhook,
    commands.DisableWebhook,
    commands.RedeliverEvents,
    commands.RecordDeliveries,
)
STATUS: Final[Mapping[type[Struct], int]] = {
    type_: 200 if type_ in LIFECYCLE else 201
    for type_ in (
        *commands.AccountCommand.__args__,
        *commands.MerchantCommand.__args__,
        commands.FundAccount,
        *commands.GatewayCommand.__args__,
    )
}
"""Type of a command → status when it is carried out: 201 for what it has created."""

_NAMED: Final = frozenset(commands.MerchantCommand.__args__)
"""Commands to a merchant: accounts and agreements are only named by them."""


def concluded(command: type[Struct], outcome: Any) -> tuple[int, Struct, bool]:
    """Return `(status, body, replayed)` of what the engine said about a command.

    Args:
        command: the command's type.
        outcome: a view, `Refused`, `Replayed` with either, or a `Fault`.
    """
    type_ = type(outcome)
    replayed = type_ is Replayed
    if replayed:
        outcome = outcome.outcome
        type_ = type(outcome)
    if type_ is Refused:
        problem = refused(outcome, named=command in _NAMED)
        return problem.status, problem, replayed
    if type_ is Fault:
        problem = faulted(outcome)
        return problem.status, problem, False
    return STATUS[command], outcome, replayed


def kept(text: bytes, media_type: str, **more: str) -> Answer:
    """Return the answer that is one text for as long as the process runs.

    Args:
        text: goes out as it is.
        more: headers; `_` in their names stands for `-`.
    """
    own = {
        "content-type": media_type,
        "etag": f'"{hashlib.sha256(text).hexdigest()[:32]}"',
        "cache-control": f"public, max-age={KEPT_S}",
        "x-content-type-options": "nosniff",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return Answer(200, text, own=own)


def failed(problem: Problem, allow: tuple[str, ...] = ()) -> Answer:
    """Return the answer that a problem is."""
    return Answer(problem.status, problem, allow=allow)
