"""The counter: a request goes over it as plain values, and its answer comes back as bytes.

It is the one way from any listener to the handlers, so that every listener says the same, byte for
byte. Here it is decided in which order a request is refused: no slot (503), no valid signature
(401), too many requests (429), not the caller's to ask (403, 404), and only then what it says. A
listener frames what it is given and knows nothing of payments; nothing here knows how bytes travel.
"""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Final

from msgspec import Struct

from actors.kinds import MERCHANT
from actors.refusal import Refusal
from engine.fault import NODE_BUSY, FaultCode
from gateway.answer import JSON, Answer, encode, failed
from gateway.content import content_problem
from gateway.desk import Desk
from gateway.endpoint import BODY_BYTES, Endpoint, Router, timeout_of
from gateway.errors import Problem, RequestCode, RequestError, faulted, problem
from gateway.gate import Gate, Identity
from gateway.logs import REQUEST_ID, request_id
from gateway.lookup import state_of
from gateway.rate import Rates
from gateway.stream.handshake import accepted
from storage.errors import StorageError

log = logging.getLogger("piaohao.gateway")
requests = logging.getLogger("piaohao.requests")

_BUSY: Final = frozenset({FaultCode.NODE_BUSY, FaultCode.ACTOR_BUSY, RequestCode.RATE_LIMITED})
_ACCEPTED: Final = (
    'sig1=("@method" "@authority" "@path" "@query" "content-digest")'
    ';created;keyid;alg;nonce;tag="piaohao-v1"'
)
"""What a signature has to cover, as RFC 9421, section 5.1 has it said."""


Served = dict[tuple[str, int], int]
"""(name of the row, empty where there is none; status) → requests that were answered so."""


class Request(Struct, frozen=True):
    """A request that has come in whole.

    Attributes:
        method, path, query: as they were sent; the path and the query still percent-encoded.
        scheme: `http` or `https`.
        headers: names in lower case; of one that came twice the values, joined by commas.
        certificate: which its client has shown in TLS (DER); None for none.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes
    scheme: str = "http"
    certificate: bytes | None = None


class Response(Struct, frozen=True):
    """What is to be sent back; HTTP's framing is the listener's.

    Attributes:
        busy_s: seconds after which a caller may come again who was refused because there is too
            much to do; None for any other answer.
        proven: whether it is known who has asked, or nobody has to say.
        flow: makes what is sent in place of the body where that goes on as things happen; None for
            an answer that is whole.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    busy_s: int | None = None
    proven: bool = True
    flow: Callable[[], AsyncIterator[bytes]] | None = None


class Place(Struct, frozen=True):
    """Where a request belongs, known from its first line.

    Attributes:
        endpoint: its row of the table, None where there is none.
        numbers: those in the path.
        refusal: what the caller is told where there is none.
    """

    endpoint: Endpoint | None
    numbers: dict[str, str]
    refusal: Answer | None = None

    @property
    def body_bytes_max(self) -> int:
        """The longest body that is taken here."""
        return BODY_BYTES if self.endpoint is None else self.endpoint.body_bytes_max


class Opened(Struct, frozen=True):
    """A stream that may begin.

    Attributes:
        response: what makes the connection one.
        desk: what it works with.
        merchant_no: the merchant who asks; empty for the bank, and where nothing is signed.
        follows: the merchant whose events it may have; empty for none.
        timeout_s: how long its commands may take, in seconds.
        barred: returns why who asks may not be heard any more, if so: the certificate's end.
        counted: counts a request more of the merchant; returns why it may not be, if so.
    """

    response: Response
    desk: Desk
    merchant_no: str
    follows: str
    timeout_s: float
    barred: Callable[[], Problem | None]
    counted: Callable[[], Problem | None]


class Counter:
    """Serves requests on a desk.

    Args:
        desk: what handlers work with.
        router: the handler table.
        gate: checks who asks and signs what is answered; None where nothing is signed, and
            everybody may ask for everything.
        rates: how much a merchant may ask; None for as much as it likes.
        log_requests: write a line for each.

    Attributes:
        served: what was asked and answered since the start; what goes over streams is not in it.
        timed: `(when it was answered, how long that took)` of its last answers, in seconds of the
            performance counter; None until somebody wants to know.
    """

    def __init__(
        self,
        desk: Desk,
        router: Router,
        gate: Gate | None = None,
        rates: Rates | None = None,
        *,
        log_requests: bool = False,
    ) -> None:
        self.served: Served = {}
        self.timed: deque[tuple[float, float]] | None = None
        self._log_requests = log_requests
        self._desk = desk
        self._router = router
        self._gate = gate
        self._rates = rates

    def place(self, method: str, path: str) -> Place:
        """Return where a request belongs; its body need not have come yet."""
        try:
            return Place(*self._router.find(method, path))
        except RequestError as error:
            return Place(None, {}, failed(error.problem, error.allow))

    def wants_body(self, place: Place, headers: Mapping[str, str]) -> bool:
        """Return whether anybody will look at a request's body.

        A stranger's is not kept while it comes in: 4,096 connections with 1 MiB each would be
        more memory than a node may have.
        """
        if self._gate is None or place.endpoint is None:
            return place.endpoint is not None
        try:
            return place.endpoint.access == "anyone" or self._gate.may_be_heard(headers)
        except StorageError:
            return True  # whoever serves it will meet it again, and say so

    async def answer(self, place: Place, request: Request) -> Response:
        """Serve a request; whatever goes wrong is an answer too."""
        visit = _Visit(request_id(request.headers.get(REQUEST_ID)))
        begun = time.perf_counter()
        answer = await self._contained(visit, place, request)
        answer = answer.unless_known(request.headers.get("if-none-match"))
        response = self._response(answer, visit, head=request.method == "HEAD")
        # 0.1 µs a request.
        key = ("" if place.endpoint is None else place.endpoint.name, response.status)
        self.served[key] = self.served.get(key, 0) + 1
        if self.timed is not None:
            ended = time.perf_counter()
            self.timed.append((ended, ended - begun))
        if self._log_requests:
            _log_request(place, request, response, visit, time.perf_counter() - begun)
        return response

    def open_stream(self, request: Request, place_for: Callable[[str], None]) -> Opened | Response:
        """Let a request become a stream, or say why not; the order of refusals is the usual one.

        Args:
            request: for a row of the table that is a stream.
            place_for: takes a place for a stream of a merchant's, or of the bank's (empty); raises
                RequestError where there is none.
        """
        visit = _Visit(request_id(request.headers.get(REQUEST_ID)))
        begun = time.perf_counter()
        place = self.place(request.method, request.path)
        opened: Opened | None = None
        try:
            opened = self._open(visit, place, request, place_for)
            response = opened.response
        except RequestError as error:
            response = self._response(failed(error.problem, error.allow), visit)
        except StorageError as error:
            self._desk.fail(error)
            response = self._response(failed(problem(FaultCode.INTERNAL, str(error))), visit)
        if self._log_requests:
            _log_request(place, request, response, visit, time.perf_counter() - begun)
        return response if opened is None else opened

    async def answer_operator(self, method: str, path: str, query: bytes, body: bytes) -> Response:
        """Serve somebody who has shown otherwise that they act for the bank."""
        place = self.place(method, path)
        if len(body) > place.body_bytes_max:
            return _encoded(failed(problem(RequestCode.BODY_TOO_LARGE)))
        visit = _Visit(request_id(None), trusted=True)
        request = Request(method, path, query, {"content-type": JSON} if body else {}, body)
        return _encoded(await self._contained(visit, place, request))

    def refuse(self, error: RequestError, *, head: bool = False) -> Response:
        """Return the answer to a request that nobody looks at.

        Args:
            head: it is HEAD, whose answer has no body, and whose signature covers none.
        """
        visit = _Visit(request_id(None))
        return self._response(failed(error.problem, error.allow), visit, head=head)

    async def _contained(self, visit: "_Visit", place: Place, request: Request) -> Answer:
        try:
            return await self._answer(visit, place, request)
        except RequestError as error:
            return failed(error.problem, error.allow)
        except StorageError as error:
            # A row that cannot be read ends the node by its name, wherever it is met.
            self._desk.fail(error)
            return failed(problem(FaultCode.INTERNAL, str(error)))
        except Exception:
            log.exception("%s failed", _row(place, request), extra={"request_id": visit.request_id})
            return failed(problem(FaultCode.INTERNAL))

    async def _answer(self, visit: "_Visit", place: Place, request: Request) -> Answer:
        endpoint = place.endpoint
        if endpoint is None:
            assert place.refusal is not None
            return place.refusal
        if endpoint.takes_slots and self._desk.node.full():
            return failed(faulted(NODE_BUSY))
        if self._gate is None and endpoint.access != "anyone" and _is_foreign(request):
            return failed(problem(RequestCode.FOREIGN_PAGE))
        merchant_no, mark = "", None
        identity = self._identify(visit, endpoint, request)
        if identity is not None:
            merchant_no, mark = identity.merchant_no, identity.mark
        unfit = content_problem(request.headers, request.body)
        if unfit is not None:
            return failed(unfit)
        return await self._router.answer(
            self._desk,
            endpoint,
            place.numbers,
            request.query,
            request.body,
            request.headers.get("request-timeout-s"),
            merchant_no,
            mark,
        )

    def _open(
        self,
        visit: "_Visit",
        place: Place,
        request: Request,
        place_for: Callable[[str], None],
    ) -> Opened:
        endpoint = place.endpoint
        assert endpoint is not None, "a path that is not on the table was taken for a stream"
        identity = self._identify(visit, endpoint, request)
        merchant_no = "" if identity is None else identity.merchant_no
        wait = request.headers.get("request-timeout-s")
        timeout_s = self._desk.timeout_s if wait is None else timeout_of(wait)
        asked = endpoint.decode({}, request.query).merchant_no
        follows = asked or merchant_no
        unknown = follows and state_of(self._desk.node, MERCHANT, follows) is None
        if unknown or (merchant_no and follows != merchant_no):
            raise RequestError(Refusal.MERCHANT_NOT_FOUND)
        if self._gate is None and "origin" in request.headers:
            # Any site's page may have a browser open one, in the name of whoever looks at it (RFC
            # 6455, section 10.2). Where requests are signed it cannot: a page sets no headers.
            detail = "a page (Origin) gets no stream where nothing is signed"
            raise RequestError(RequestCode.HANDSHAKE_REFUSED, detail)
        answer = Answer(101, b"", own=accepted(request.headers))
        place_for(merchant_no)
        return Opened(
            self._response(answer, visit),
            self._desk,
            merchant_no,
            follows,
            timeout_s,
            partial(self._barred, None if identity is None else identity.keyid),
            partial(self._counted, merchant_no),
        )

    def _barred(self, keyid: str | None) -> Problem | None:
        """Return why whoever was let in by a certificate is to go, if so."""
        if self._gate is None or keyid is None:
            return None
        try:
            self._gate.check_standing(keyid)
        except RequestError as error:
            return error.problem
        return None

    def _counted(self, merchant_no: str) -> Problem | None:
        """Count a message of a merchant's; return why it is not heard, if so."""
        if not merchant_no:
            return None
        try:
            self._count(_Visit(""), merchant_no)
        except RequestError as error:
            return error.problem
        return None

    def _identify(self, visit: "_Visit", endpoint: Endpoint, request: Request) -> Identity | None:
        """Return who asks, counted and allowed to; None where nobody has to say.

        Raises:
            RequestError: what `Gate.identify` raises, RATE_LIMITED, NOT_FOR_MERCHANTS.
        """
        if self._gate is None or endpoint.access == "anyone" or visit.trusted:
            return None
        visit.identity = identity = self._gate.identify(request, commands=endpoint.takes_slots)
        if identity.merchant_no:
            self._count(visit, identity.merchant_no)
            if endpoint.access == "bank":
                raise RequestError(RequestCode.NOT_FOR_MERCHANTS)
        return identity

    def _count(self, visit: "_Visit", merchant_no: str) -> None:
        """Count a merchant's request.

        Raises:
            RequestError: RATE_LIMITED.
        """
        if self._rates is None:
            return
        allowance = self._rates.take(merchant_no)
        visit.headers["ratelimit-policy"] = self._rates.policy
        visit.headers["ratelimit"] = f'"merchant";r={allowance.left};t={allowance.full_s}'
        if not allowance.passed:
            retry_after_s = allowance.retry_after_s
            raise RequestError(RequestCode.RATE_LIMITED, retry_after_s=retry_after_s)

    def _response(self, answer: Answer, visit: "_Visit", *, head: bool = False) -> Response:
        response = _encoded(answer, proven=self._gate is None or visit.identity is not None)
        response.headers.update(visit.headers)
        if answer.status == 401:
            response.headers["accept-signature"] = _ACCEPTED
            response.headers["www-authenticate"] = "Signature"
        if self._gate is not None:
            content = b"" if head else response.body
            response.headers.update(self._gate.sign(answer.status, content, visit.identity))
        return response


class _Visit:
    """What becomes known of a request on its way.

    Attributes:
        request_id: its name.
        trusted: who asks is known otherwise.
        identity: who has signed it, once that is proved.
        headers: what else its answer says.
    """

    __slots__ = ("headers", "identity", "request_id", "trusted")

    def __init__(self, request_id: str, *, trusted: bool = False) -> None:
        self.request_id = request_id
        self.trusted = trusted
        self.identity: Identity | None = None
        self.headers: dict[str, str] = {REQUEST_ID: request_id}


def _is_foreign(request: Request) -> bool:
    """Return whether a page of another site has had a browser send a request.

    A page cannot leave Origin out where it matters (Fetch, section 3.2), and no preflight asks
    before a POST without a body. Where requests are signed no page can make one.
    """
    origin = request.headers.get("origin")
    return origin is not None and origin != f"{request.scheme}://{request.headers.get('host', '')}"


def _row(place: Place, request: Request) -> str:
    """Return a request's row of the table: its path has numbers in it that are nobody's affair."""
    return (
        "an unknown path" if place.endpoint is None else f"{request.method} {place.endpoint.path}"
    )


def _log_request(
    place: Place, request: Request, response: Response, visit: _Visit, took_s: float
) -> None:
    merchant_no = "" if visit.identity is None else visit.identity.merchant_no
    requests.info(
        "%s: %d in %.1f ms",
        _row(place, request),
        response.status,
        took_s * 1e3,
        extra={
            "request_id": visit.request_id,
            "status": response.status,
            "took_ms": round(took_s * 1e3, 3),
            "merchant_no": merchant_no,
        },
    )


def _encoded(answer: Answer, *, proven: bool = True) -> Response:
    body = answer.body
    busy_s = None
    if isinstance(body, Problem) and body.code in _BUSY:
        busy_s = body.retry_after_s
    sent = body if isinstance(body, bytes) else encode(body)
    return Response(answer.status, answer.headers(), sent, busy_s, proven)
