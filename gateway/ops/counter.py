"""The ops counter: as `gateway.counter` for the API, the one way from the listener to the handlers.

What goes wrong is answered with the same problem details (RFC 9457) and the same codes. Nothing
that is answered may be kept by anybody on the way.
"""

import logging
from collections.abc import Iterable

from msgspec import Raw, Struct

from engine.fault import FaultCode
from gateway.answer import Answer, encode, failed
from gateway.content import content_problem
from gateway.counter import Request, Response
from gateway.endpoint import BODY_BYTES
from gateway.errors import RequestCode, RequestError, problem
from gateway.ops.desk import OpsDesk
from gateway.ops.row import Row
from gateway.paths import Paths

log = logging.getLogger("piaohao.ops")


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
        try:
            answer = await self._answer(place, request)
        except RequestError as error:
            answer = failed(error.problem, error.allow)
        except Exception:
            log.exception("%s failed", "?" if place.row is None else place.row.name)
            answer = failed(problem(FaultCode.INTERNAL))
        return _response(answer)

    def refuse(self, error: RequestError, *, head: bool = False) -> Response:
        """Return the answer to a request that nobody looks at."""
        return _response(failed(error.problem, error.allow))

    async def _answer(self, place: OpsPlace, request: Request) -> Answer:
        row = place.row
        if row is None:
            assert place.refusal is not None
            return place.refusal
        unfit = content_problem(request.headers, request.body)
        if unfit is not None:
            return failed(unfit)
        reads = row.method == "GET"
        if request.body if reads else request.query:
            detail = "a GET takes no body" if reads else "a POST takes no query"
            raise RequestError(RequestCode.INVALID_REQUEST, detail)
        asked = row.decode(place.named, request.query if reads else request.body)
        return await row.handle(self._desk, asked)


def _response(answer: Answer) -> Response:
    body = answer.body
    headers = {**answer.headers(), "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(answer.status, headers, bytes(body) if isinstance(body, Raw) else encode(body))
