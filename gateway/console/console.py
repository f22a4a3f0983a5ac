"""The console as a counter: pages under /console, and the ops counter's rows everywhere else.

Who has no session is sent to log in and comes back to the page. What a row refuses is a page that
says so. A form counts only if this listener's own page has sent it (`gateway.ops.cookie`): that
goes for logging in too, or another page could log somebody in as somebody else.
"""

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from engine.fault import FaultCode
from gateway.console import table
from gateway.console.assets import Asset, asset_at
from gateway.console.page import HEADERS, Page, redirected, rendered
from gateway.console.visit import HOME, LOGIN, ToldError, Visit
from gateway.counter import Request, Response
from gateway.errors import RequestCode, RequestError
from gateway.ops import cookie
from gateway.ops.counter import OpsCounter, OpsPlace, encoded
from gateway.ops.desk import Visitor
from gateway.ops.errors import OpsCode, OpsError
from gateway.paths import Paths
from gateway.target import parameters
from storage.errors import StorageError

log = logging.getLogger("piaohao.ops")

_FORM: Final = "application/x-www-form-urlencoded"
_FORM_BYTES: Final = 16 << 10
_READS: Final = frozenset({"GET", "HEAD"})


class PagePlace(Struct, frozen=True):
    """Where a request for a page belongs.

    Attributes:
        page: its row of the table, None where there is none.
        named: what stands in the path.
        asset: a file instead of a page.
        error: why there is neither.
    """

    page: Page | None
    named: dict[str, str]
    asset: Asset | None = None
    error: RequestError | None = None
    body_bytes_max: int = _FORM_BYTES


class Console:
    """Serves operators' browsers, and by its counter all others.

    Args:
        counter: answers what is no page, and whatever a page asks.
    """

    def __init__(self, counter: OpsCounter) -> None:
        self._counter = counter
        self._paths = Paths(table.PAGES)

    def place(self, method: str, path: str) -> PagePlace | OpsPlace:
        """Return where a request belongs; its body need not have come yet."""
        if path not in {"/", HOME} and not path.startswith(f"{HOME}/"):
            return self._counter.place(method, path)
        asset = asset_at(path) if method in _READS else None
        if asset is not None:
            return PagePlace(None, {}, asset)
        try:
            return PagePlace(*self._paths.find(method, path))
        except RequestError as error:
            return PagePlace(None, {}, error=error)

    def refuse(self, error: RequestError, *, head: bool = False) -> Response:
        """Return the answer to a request that nobody looks at."""
        return self._counter.refuse(error, head=head)

    async def answer(self, place: PagePlace | OpsPlace, request: Request) -> Response:
        """Serve a request; whatever goes wrong is an answer too."""
        if isinstance(place, OpsPlace):
            return await self._counter.answer(place, request)
        if place.asset is not None:
            headers = {**HEADERS, **place.asset.headers}
            return Response(200, headers, place.asset.content, proven=False)
        try:
            visitor = self._counter.visitor(request)
        except OpsError:
            visitor = Visitor()
        except StorageError as error:
            return encoded(self._counter.unusable(error))
        visit = Visit(self._counter, request, place.named, visitor.session, visitor.token)
        response = await self._page(place, visit)
        return replace(response, proven=visit.session is not None)

    async def _page(self, place: PagePlace, visit: Visit) -> Response:
        """Return the page of a place, or one that says why there is none."""
        try:
            return await _shown(place, visit)
        except RequestError as error:
            told = error.problem
            return _refused(visit, told.status, told.code, told.detail)
        except ToldError as error:
            if error.code == OpsCode.NO_SESSION:
                return _to_log_in(visit)
            return _refused(visit, error.status, error.code, error.detail)
        except Exception:
            # By its row: a path names customers.
            log.exception("the page %s failed", place.page.path if place.page else "")
            return _refused(visit, 500, FaultCode.INTERNAL, "")


async def _shown(place: PagePlace, visit: Visit) -> Response:
    """Return the page of a place.

    Raises:
        RequestError: there is none, or what was sent with the request is no form of its.
        ToldError: a row that the page asks does not answer.
    """
    if place.error is not None:
        raise place.error
    assert place.page is not None
    visit.given = _given(visit.request)
    if place.page.guarded and visit.session is None:
        return _to_log_in(visit)
    return await place.page.show(visit)


def _given(request: Request) -> Mapping[str, str]:
    """Return what a query says, or a form.

    Raises:
        RequestError: it is none, or comes from somebody else's page.
    """
    if request.method in _READS:
        return parameters(request.query)
    if not cookie.is_own(request):
        raise RequestError(RequestCode.FOREIGN_PAGE, "a form counts only on this listener's pages")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.body and media_type != _FORM:
        raise RequestError(RequestCode.UNSUPPORTED_MEDIA_TYPE, f"a form is {_FORM}")
    return parameters(request.body)


def _refused(visit: Visit, status: int, code: str, detail: str) -> Response:
    return rendered(visit, "refused", status=status, code=code, detail=detail)


def _to_log_in(visit: Visit) -> Response:
    """Return the way to the login page, and back from there."""
    target = LOGIN
    if visit.request.method in _READS and visit.address != HOME:
        target = f"{LOGIN}?back={quote(visit.address, safe='')}"
    if visit.is_live:
        # htmx goes there as a whole, where a redirection would put the page into a part of it.
        return Response(401, {**HEADERS, "hx-redirect": target, "www-authenticate": "Bearer"}, b"")
    return redirected(target)
