"""Pages of sessions: logging in and out, and choosing language and colours."""

from typing import Final

from gateway.console import preferences
from gateway.console.page import Page, redirected, rendered
from gateway.console.visit import HOME, LOGIN, ToldError, Visit
from gateway.counter import Response
from gateway.ops import cookie


async def home(visit: Visit) -> Response:
    """Lead whoever has typed the address alone to the console."""
    return redirected(HOME)


async def log_in_page(visit: Visit) -> Response:
    """Ask who it is."""
    if visit.session is not None:
        return redirected(_back(visit))
    return rendered(visit, "login", told=None, name="", back=visit.given.get("back", ""))


async def log_in(visit: Visit) -> Response:
    """Begin a session and go to where the visitor came from."""
    name = visit.given.get("name", "")
    members = {
        "name": name.strip(),
        "password": visit.given.get("password", ""),
        "code": visit.given.get("code", "").replace(" ", ""),
    }
    try:
        begun = await visit.act("/ops/sessions", **members)
    except ToldError as error:
        # What can be nobody's name, password or code is no better than a wrong one. No browser is
        # to ask by itself as it might for a 401 (RFC 9110, section 15.5.2).
        wrong = error.status in {401, 422}
        told, status = ("LOGIN_REFUSED", 403) if wrong else (error.code, error.status)
        back = visit.given.get("back", "")
        return rendered(visit, "login", status=status, told=told, name=name, back=back)
    return redirected(_back(visit), cookie.begun(begun["token"], visit.request.scheme))


async def log_out(visit: Visit) -> Response:
    """End the session."""
    await visit.act("/ops/session/end")
    return redirected(LOGIN, cookie.ended(visit.request.scheme))


async def prefer(visit: Visit) -> Response:
    """Remember a choice, and show the page again that it was made on."""
    for name in (preferences.LANGUAGE, preferences.THEME):
        kept = preferences.kept(name, visit.given.get(name, ""))
        if kept is not None:
            return redirected(_back(visit), kept)
    return redirected(_back(visit))


def _back(visit: Visit) -> str:
    """Return the page to go back to: one of the console's, whatever is asked for."""
    back = visit.given.get("back", "")
    own = back == HOME or back.startswith((f"{HOME}/", f"{HOME}?"))
    # What is no printable ASCII does not stand in an address, and could end the field.
    return back if own and back.isascii() and back.isprintable() and "\\" not in back else HOME


PAGES: Final = (
    Page("GET", "/", home, guarded=False),
    Page("GET", LOGIN, log_in_page, guarded=False),
    Page("POST", LOGIN, log_in, guarded=False),
    Page("POST", f"{HOME}/logout", log_out),
    Page("POST", f"{HOME}/preferences", prefer, guarded=False),
)
