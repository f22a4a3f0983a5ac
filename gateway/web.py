"""The web application: Quart-Trio around the handler table.

It frames what the router answers and nothing more. The body is always read before anything is
answered: an answer that overtakes its request's body leaves Hypercorn's keep-alive connection
hanging now and then.
"""

import logging
from typing import Any, Final

import trio
from quart import Request, Response, request
from quart_trio import QuartTrio

from engine.fault import NODE_BUSY, FaultCode
from gateway.answer import Answer, encode, failed
from gateway.desk import Desk
from gateway.endpoint import BODY_BYTES, BODY_S, Endpoint, Router
from gateway.errors import Problem, RequestCode, RequestError, faulted, problem
from gateway.patience import PATIENCE
from storage.errors import StorageError

log = logging.getLogger("piaohao.gateway")

DISCARDED_BYTES: Final = 16 << 20
"""How much of a body that is too large is read for the sake of a clean answer."""
_BUSY: Final = frozenset({FaultCode.NODE_BUSY, FaultCode.ACTOR_BUSY})


def web_app(desk: Desk, router: Router) -> QuartTrio:
    """Return the application; every path there is comes from the router's table."""
    app = QuartTrio("piaohao", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = None  # `_body` has limits of its own
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None

    # Before Quart's own routing, which would answer an odd method or path in HTML.
    @app.before_request
    async def answer() -> Response:
        found = await _answer(desk, router, request)
        _tell_patience(request, found.body)
        return Response(encode(found.body), found.status, found.headers())

    return app


async def _answer(desk: Desk, router: Router, asked: Request) -> Answer:
    refusal = None
    endpoint: Endpoint | None = None
    numbers: dict[str, str] = {}
    try:
        path = asked.scope["raw_path"].decode("ascii", "replace")
        endpoint, numbers = router.find(asked.method, path)
    except RequestError as error:
        refusal = failed(error.problem, error.allow)
    try:
        body = await _body(asked, BODY_BYTES if endpoint is None else endpoint.body_bytes_max)
        if refusal is not None or endpoint is None:
            return refusal or failed(problem(RequestCode.NOT_FOUND))
        if endpoint.takes_slots and desk.node.full():
            return failed(faulted(NODE_BUSY))
        wait = asked.headers.get("Request-Timeout-S")
        return await router.answer(desk, endpoint, numbers, asked.query_string, body, wait)
    except RequestError as error:
        return failed(error.problem)
    except StorageError as error:
        # A row that cannot be read ends the node by its name, wherever it is met.
        desk.fail(error)
        return failed(problem(FaultCode.INTERNAL, str(error)))
    except Exception:
        log.exception("%s %s failed", asked.method, asked.path)
        return failed(problem(FaultCode.INTERNAL))


def _tell_patience(asked: Request, body: Any) -> None:
    """Have the connection of a caller who came when there was too much to do wait its time."""
    patience = asked.scope.get("state", {}).get(PATIENCE)
    if patience is None:
        return
    if isinstance(body, Problem) and body.code in _BUSY and body.retry_after_s is not None:
        patience.refused(body.retry_after_s)
    else:
        patience.served()


async def _body(asked: Request, bytes_max: int) -> bytes:
    """Return the whole body.

    Raises:
        RequestError: BODY_TOO_LARGE, once it has been read all the same; BODY_TIMEOUT.
    """
    size = 0
    chunks = []
    with trio.move_on_after(BODY_S) as scope:
        async for chunk in asked.body:
            size += len(chunk)
            if size <= bytes_max:
                chunks.append(chunk)
            elif size > DISCARDED_BYTES:
                break
    if scope.cancelled_caught:
        raise RequestError(RequestCode.BODY_TIMEOUT)
    if size > bytes_max:
        raise RequestError(RequestCode.BODY_TOO_LARGE, f"at most {bytes_max} bytes")
    return b"".join(chunks)
