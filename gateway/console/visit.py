"""Visits: one request for a page, and what the node says to whoever makes it.

A page knows nothing of the node by itself. It asks rows of the ops listener's table, in the name of
the session that its visitor has, over the same counter as everybody else: so rights, masking and
the audit log are those of the rows, and a page can show nothing that they would not.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from gateway.answer import JSON, PROBLEM
from gateway.console import preferences
from gateway.console.figures import Figures
from gateway.counter import Request
from gateway.ops.counter import OpsCounter
from gateway.ops.operators import Right
from gateway.ops.sessions import Session

HOME: Final = "/console"
LOGIN: Final = "/console/login"


class ToldError(Exception):
    """A row did not answer what was asked for.

    Attributes:
        status, code, detail: as its problem details say (RFC 9457).
    """

    def __init__(self, status: int, problem: Any) -> None:
        self.status = status
        self.code: str = problem["code"]
        self.detail: str = problem.get("detail", "")
        super().__init__(self.code)


class Visit:
    """A request for a page.

    Args:
        counter: where rows are asked for.
        request: the request itself.
        named: what stands in the path.
        session, token: the visitor's; None and empty for somebody who has not logged in.

    Attributes:
        given: what the query says, or a form.
    """

    def __init__(
        self,
        counter: OpsCounter,
        request: Request,
        named: Mapping[str, str],
        session: Session | None,
        token: str,
    ) -> None:
        self.request = request
        self.named = named
        self.given: Mapping[str, str] = {}
        self.session = session
        self.language = preferences.language_of(request)
        self.theme = preferences.theme_of(request)
        self.figures = Figures(self.language)
        self._counter = counter
        self._token = token

    @property
    def is_live(self) -> bool:
        """Whether a page that is open already asks for the part of it that changes."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def address(self) -> str:
        """The page's own address, with its query."""
        query = self.request.query.decode("ascii", "replace")
        return f"{self.request.path}?{query}" if query else self.request.path

    def again(self, **changes: Any) -> str:
        """Return the page's address with other parameters; those that are empty are left out."""
        given = {name: value for name, value in {**self.given, **changes}.items() if value}
        return f"{self.request.path}?{urlencode(given)}" if given else self.request.path

    def may(self, right: str) -> bool:
        """Return whether the visitor's role allows something."""
        return self.session is not None and self.session.may(Right(right))

    async def ask(self, path: str, /, **parameters: str) -> Any:
        """Return what a row answers to a GET.

        Args:
            path: as `path_of` makes it.
            parameters: of the query; those that are empty are left out.

        Raises:
            ToldError: it answers with problem details.
        """
        given = {name: value for name, value in parameters.items() if value}
        return await self._answer("GET", path, urlencode(given).encode(), b"")

    async def act(self, path: str, /, **members: Any) -> Any:
        """Return what a row answers to a POST of a JSON object.

        Raises:
            ToldError: it answers with problem details.
        """
        return await self._answer("POST", path, b"", msgspec.json.encode(members))

    async def _answer(self, method: str, path: str, query: bytes, body: bytes) -> Any:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        if body:
            headers["content-type"] = JSON
        own = self.request
        request = Request(method, path, query, headers, body, own.scheme, own.certificate)
        response = await self._counter.answer(self._counter.place(method, path), request)
        answer = msgspec.json.decode(response.body)
        if response.headers["content-type"] == PROBLEM:
            raise ToldError(response.status, answer)
        return answer


def path_of(*segments: str) -> str:
    """Return a path, its segments encoded (RFC 3986, section 3.3)."""
    return "".join(f"/{quote(segment, safe='@:')}" for segment in segments)
