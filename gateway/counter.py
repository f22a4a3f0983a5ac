"""The counter: a request goes over it as plain values, and its answer comes back as bytes.

It is the one way from any listener to the handlers, so that every listener says the same, byte for
byte. A listener frames what it is given here and knows nothing of payments; nothing here knows how
bytes travel.
"""

import logging
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from engine.fault import NODE_BUSY, FaultCode
from gateway.answer import Answer, encode, failed
from gateway.content import content_problem
from gateway.desk import Desk
from gateway.endpoint import BODY_BYTES, Endpoint, Router
from gateway.errors import Problem, RequestError, faulted, problem
from storage.errors import StorageError

log = logging.getLogger("piaohao.gateway")

_BUSY: Final = frozenset({FaultCode.NODE_BUSY, FaultCode.ACTOR_BUSY})


class Request(Struct, frozen=True):
    """A request that has come in whole.

    Attributes:
        method, path, query: as they were sent; the path and the query still percent-encoded.
        headers: names in lower case.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes


class Response(Struct, frozen=True):
    """What is to be sent back; HTTP's framing is the listener's.

    Attributes:
        busy_s: seconds after which a caller may come again who was refused because there is too
            much to do; None for any other answer.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    busy_s: int | None = None


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


class Counter:
    """Serves requests on a desk.

    Args:
        desk: what handlers work with.
        router: the handler table.
    """

    def __init__(self, desk: Desk, router: Router) -> None:
        self._desk = desk
        self._router = router

    def place(self, method: str, path: str) -> Place:
        """Return where a request belongs; its body need not have come yet."""
        try:
            return Place(*self._router.find(method, path))
        except RequestError as error:
            return Place(None, {}, failed(error.problem, error.allow))

    async def answer(self, place: Place, request: Request) -> Response:
        """Serve a request; whatever goes wrong is an answer too."""
        try:
            answer = await self._answer(place, request)
            return _response(answer.unless_known(request.headers.get("if-none-match")))
        except StorageError as error:
            # A row that cannot be read ends the node by its name, wherever it is met.
            self._desk.fail(error)
            return _response(failed(problem(FaultCode.INTERNAL, str(error))))
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return _response(failed(problem(FaultCode.INTERNAL)))

    def refuse(self, error: RequestError) -> Response:
        """Return the answer to a request that did not come in whole."""
        return _response(failed(error.problem, error.allow))

    async def _answer(self, place: Place, request: Request) -> Answer:
        endpoint = place.endpoint
        if endpoint is None:
            assert place.refusal is not None
            return place.refusal
        if endpoint.takes_slots and self._desk.node.full():
            return failed(faulted(NODE_BUSY))
        unfit = content_problem(request.headers, request.body)
        if unfit is not None:
            return failed(unfit)
        wait = request.headers.get("request-timeout-s")
        return await self._router.answer(
            self._desk, endpoint, place.numbers, request.query, request.body, wait
        )


def _response(answer: Answer) -> Response:
    body = answer.body
    busy_s = None
    if isinstance(body, Problem) and body.code in _BUSY:
        busy_s = body.retry_after_s
    return Response(answer.status, answer.headers(), encode(body), busy_s)
