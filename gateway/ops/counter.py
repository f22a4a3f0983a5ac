"""The ops counter: as `gateway.counter` for the API, the one way from the listener to the handlers.

Here it is decided in which order an operator is refused: no session (401), a right that the role
lacks (403), and only then what the request says. What somebody with a session has asked for is in
the audit log before the answer leaves, also what was refused; where it cannot be written nothing is
shown. What goes wrong is answered with problem details (RFC 9457).
"""

import logging
import re
import string
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import trio
from msgspec import Struct

from engine.fault import FaultCode
from gateway.answer import Answer, encode, failed
from gateway.content import content_problem
from gateway.counter import Request, Response
from gateway.endpoint import BODY_BYTES
from gateway.errors import Problem, RequestCode, RequestError, problem
from gateway.listener.tls import subject_of
from gateway.ops import audit_log, cookie
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.event_stream import EventStream
from gateway.ops.feed import Feed
from gateway.ops.operators import Right
from gateway.ops.row import Row
from gateway.ops.sessions import Session
from gateway.paths import Paths
from gateway.stream.handshake import accepted
from storage.cabinet import Writing
from storage.errors import CabinetError, StorageError

log = logging.getLogger("piaohao.ops")

_PLAIN: Final = frozenset(string.ascii_letters + string.digits + "-._~:@")
_BEARER: Final = re.compile(r"[Bb]earer ([A-Za-z0-9_-]{43})")


class OpsPlace(Struct, frozen=True):
    """Where a request belongs.

    Attributes:
        row: its row of the table, None where there is none.
        named: what stands in the path.
        refusal: what the caller is told where there is no row.
    """

    row: Row | None
    named: dict[str, str]
    refusal: Answer | None = None

    @property
    def body_bytes_max(self) -> int:
        """The longest body that is taken here."""
        return BODY_BYTES if self.row is None else self.row.body_bytes_max


class OpsCounter:
    """Serves operators and their tools.

    Args:
        desk: what handlers work with.
        rows: the table.
    """

    def __init__(self, desk: OpsDesk, rows: Iterable[Row]) -> None:
        self._desk = desk
        self._paths = Paths(rows)

    def place(self, method: str, path: str) -> OpsPlace:
        """Return where a request belongs; its body need not have come yet."""
        try:
            return OpsPlace(*self._paths.find(method, path))
        except RequestError as error:
            return OpsPlace(None, {}, failed(error.problem, error.allow))

    async def answer(self, place: OpsPlace, request: Request) -> Response:
        """Serve a request; whatever goes wrong is an answer too."""
        answer = await self._answer(place, request)
        return encoded(answer, proven=_is_somebodys(place, answer))

    async def open_feed(self, request: Request) -> tuple[Response, Feed | None]:
        """Let a request become a WebSocket, or say why not.

        Args:
            request: for the row of feeds.

        Returns:
            What is answered, and the feed that is told over it; None where there is none.
        """
        try:
            headers = _handshake(request)
        except RequestError as error:
            return encoded(failed(error.problem)), None
        answer = await self._answer(self.place(request.method, request.path), request)
        if not isinstance(answer.body, Feed):
            return encoded(answer), None
        return Response(101, headers, b""), answer.body

    async def _answer(self, place: OpsPlace, request: Request) -> Answer:
        """Return the answer to a request, once it is in the audit log."""
        row = place.row
        if row is None:
            assert place.refusal is not None
            return place.refusal
        try:
            if row.right is None:
                visitor = Visitor(certificate=subject_of(request.certificate))
            else:
                visitor = self.visitor(request)
            answer, reason = await self._contained(place, row, visitor, request)
            if visitor.session is not None:
                await self._record(visitor.session, row, request, reason, answer)
        except OpsError as error:
            return failed(error.problem)
        except StorageError as error:
            return self.unusable(error)
        return answer

    def unusable(self, error: StorageError) -> Answer:
        """Return the answer where a store cannot be used; a shard's ends the node by its name."""
        if isinstance(error, CabinetError):
            if self._desk.office.complains():
                log.critical("operators get nothing: %s", error)
            return failed(OpsError(OpsCode.AUDIT_UNAVAILABLE).problem)
        self._desk.node.fail(error)
        return failed(problem(FaultCode.INTERNAL, str(error)))

    def refuse(self, error: RequestError, *, head: bool = False) -> Response:
        """Return the answer to a request that nobody looks at."""
        return encoded(failed(error.problem, error.allow), proven=False)

    def visitor(self, request: Request) -> Visitor:
        """Return who asks: by a bearer token, or by the cookie of a browser.

        A session is worth nothing with another client certificate than it was begun with.

        Raises:
            OpsError: NO_SESSION.
            StorageError: it cannot be seen whether the operator is still one.
        """
        given = _BEARER.fullmatch(request.headers.get("authorization", ""))
        token = given[1] if given is not None else cookie.token_of(request)
        if token is None:
            raise OpsError(OpsCode.NO_SESSION)
        session = self._desk.sessions.find(token)
        shown = subject_of(request.certificate)
        if session is None or session.certificate != shown:
            raise OpsError(OpsCode.NO_SESSION)
        return Visitor(token, session, shown)

    async def _contained(
        self, place: OpsPlace, row: Row, visitor: Visitor, request: Request
    ) -> tuple[Answer, str]:
        """Return the answer to a visitor, whatever it is, and the reason that was given."""
        reason = ""
        try:
            if row.right is not None and not _may(visitor, row.right):
                return failed(OpsError(OpsCode.RIGHT_MISSING).problem), reason
            asked = _typed(row, place.named, request)
            reason = getattr(asked, "reason", None) or ""
            return await row.handle(self._desk, visitor, asked), reason
        except RequestError as error:
            return failed(error.problem, error.allow), reason
        except OpsError as error:
            return failed(error.problem), reason
        except StorageError:
            raise
        except Exception:
            log.exception("%s failed", row.name)
            return failed(problem(FaultCode.INTERNAL)), reason

    async def _record(
        self, session: Session, row: Row, request: Request, reason: str, answer: Answer
    ) -> None:
        """Write down what was asked for and what came of it; returns once it is durable.

        Raises:
            StorageError: it cannot be.
        """
        path = _as_others_write_it(request.path)
        asked = _as_others_write_it(request.query.decode("ascii", "replace"))
        if reason:
            # It is in the entry by itself; here it would leave no room for whom it is about.
            asked = "&".join(each for each in asked.split("&") if not each.startswith("reason="))
        subject = f"{path}?{asked}" if asked else path
        subject = subject[: audit_log.SUBJECT_MAX]
        body = answer.body
        if isinstance(body, Feed):
            # It goes on for hours, so whom it is about stands there whole: these are bounded, too.
            subject = f"{request.path}?topics={body.topics.text()}"
        append = partial(
            _append,
            at_ns=self._desk.office.now_ns(),
            session=session,
            action=row.name,
            subject=subject,
            reason=reason,
            outcome=body.code if isinstance(body, Problem) else str(answer.status),
        )
        await trio.to_thread.run_sync(self._desk.office.cabinet.write, append)


def _as_others_write_it(target: str) -> str:
    """Return a target with nothing encoded that need not be (RFC 3986, section 6.2.2.2): whoever
    searches the log for an actor finds all who looked, however they wrote it and however long."""

    def plain(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _PLAIN else found[0].upper()

    return re.sub(r"%([0-9A-Fa-f]{2})", plain, target)


def _handshake(request: Request) -> dict[str, str]:
    """Return the headers that make a connection a WebSocket.

    Raises:
        RequestError: UPGRADE_REQUIRED, HANDSHAKE_REFUSED; so is a page of another site, which has a
            browser ask in the name of whoever looks at it (RFC 6455, section 10.2).
    """
    own = f"{request.scheme}://{request.headers.get('host', '')}"
    if request.headers.get("origin", own) != own:
        detail = "a page of another site (Origin) gets no feed"
        raise RequestError(RequestCode.HANDSHAKE_REFUSED, detail)
    return accepted(request.headers, subprotocol="")


def _is_somebodys(place: OpsPlace, answer: Answer) -> bool:
    """Return whether a request was made in a session, however it was answered."""
    body = answer.body
    if place.row is None or place.row.right is None:
        return False
    return not (isinstance(body, Problem) and body.code == OpsCode.NO_SESSION)


def _may(visitor: Visitor, right: Right) -> bool:
    assert visitor.session is not None
    return visitor.session.may(right)


def _append(writing: Writing, *, at_ns: int, session: Session, action: str, **said: str) -> None:
    who = session.operator, session.role
    audit_log.append(writing, at_ns, *who, action, certificate=session.certificate, **said)


def _typed(row: Row, named: dict[str, str], request: Request) -> Any:
    """Return the typed request.

    Raises:
        RequestError: it is none.
    """
    unfit = content_problem(request.headers, request.body)
    if unfit is not None:
        raise RequestError(RequestCode(unfit.code), unfit.detail)
    reads = row.method == "GET"
    if request.body if reads else request.query:
        detail = "a GET takes no body" if reads else "a POST takes no query"
        raise RequestError(RequestCode.INVALID_REQUEST, detail)
    return row.decode(named, request.query if reads else request.body)


def encoded(answer: Answer, *, proven: bool = True) -> Response:
    """Return an answer as it goes out.

    Args:
        proven: it is known who has asked.
    """
    body = answer.body
    headers = {**answer.headers(), "cache-control": "no-store", "x-content-type-options": "nosniff"}
    if answer.status == 401:
        headers["www-authenticate"] = "Bearer"  # RFC 9110, section 11.6.1
    if isinstance(body, Feed):
        return Response(answer.status, headers, b"", flow=partial(EventStream, body))
    sent = body if isinstance(body, bytes) else encode(body)
    return Response(answer.status, headers, sent, proven=proven)
