"""The web application: Quart-Trio around the counter.

It frames what the counter answers and nothing more. The body is always read before anything is
answered: an answer that overtakes its request's body leaves Hypercorn's keep-alive connection
hanging now and then.
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from quart import Request as WebRequest
from quart import Response as WebResponse
from quart import request
from quart_trio import QuartTrio

from gateway.counter import Counter, Request, Response
from gateway.errors import RequestCode, RequestError
from gateway.listener.places import TOO_LONG
from gateway.listener.tls import CLIENT_CERTIFICATE
from gateway.patience import PATIENCE


class Placed(Protocol):
    """Where a request belongs, as a counter says."""

    @property
    def body_bytes_max(self) -> int:
        """The longest body that is taken there."""


P = TypeVar("P", bound=Placed)


class Answering(Protocol[P]):
    """A counter; see `gateway.counter.Counter`."""

    def place(self, method: str, path: str) -> P:
        """Return where a request belongs; its body need not have come yet."""

    async def answer(self, place: P, request: Request) -> Response:
        """Serve a request; whatever goes wrong is an answer too."""

    def refuse(self, error: RequestError, *, head: bool = False) -> Response:
        """Return the answer to a request that nobody looks at."""


def web_app(counter: Answering[P]) -> QuartTrio:
    """Return the application; every path there is comes from the counter's table."""
    app = QuartTrio("piaohao", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = None  # `_body` has limits of its own
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None

    # Before Quart's own routing, which would answer an odd method or path in HTML.
    @app.before_request
    async def answer() -> WebResponse:
        response = await _answer(counter, request)
        _tell_patience(request, response)
        flow = None if request.method == "HEAD" else response.flow
        body = response.body if flow is None else flow()
        framed = WebResponse(body, response.status, response.headers)
        if response.status == HTTPStatus.NOT_MODIFIED or response.flow is not flow:
            # It would be the length of the text that is not sent (RFC 9110, section 8.6).
            del framed.headers["content-length"]
        return framed

    return app


def keeps_body(counter: Counter) -> Callable[[Any], int]:
    """Return what tells by a request's ASGI scope how much of a body anybody will look at."""

    def keeps(scope: Any) -> int:
        place = counter.place(scope["method"], scope["raw_path"].decode("ascii", "replace"))
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        return place.body_bytes_max if counter.wants_body(place, _joined(headers)) else 0

    return keeps


async def _answer(counter: Answering[P], asked: WebRequest) -> Response:
    path = asked.scope["raw_path"].decode("ascii", "replace")
    place = counter.place(asked.method, path)
    try:
        body = await _body(asked, place.body_bytes_max)
    except RequestError as error:
        return counter.refuse(error, head=asked.method == "HEAD")
    return await counter.answer(
        place,
        Request(
            asked.method,
            path,
            asked.query_string,
            _joined(asked.headers.items()),
            body,
            asked.scheme,
            asked.scope.get("state", {}).get(CLIENT_CERTIFICATE),
        ),
    )


def _joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers; one that came twice is joined as RFC 9110, section 5.3 says."""
    headers: dict[str, str] = {}
    for given, value in fields:
        name = given.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _tell_patience(asked: WebRequest, response: Response) -> None:
    """Have the connection of a caller who came when there was too much to do wait its time."""
    patience = asked.scope.get("state", {}).get(PATIENCE)
    if patience is not None:
        patience.answered(response.busy_s, proven=response.proven)


async def _body(asked: WebRequest, bytes_max: int) -> bytes:
    """Return the whole body, which has come in already.

    Raises:
        RequestError: BODY_TOO_LARGE.
    """
    body = b"".join([chunk async for chunk in asked.body])
    if asked.scope.get("state", {}).get(TOO_LONG) or len(body) > bytes_max:
        raise RequestError(RequestCode.BODY_TOO_LARGE, f"at most {bytes_max} bytes")
    return body
