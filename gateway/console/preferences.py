"""Preferences: the language and the colours that somebody has chosen, remembered in cookies.

They are nobody's secret and say nothing about who it is, so they outlast a session; anything in
them that cannot have come from here is as good as nothing.
"""

import re
from typing import Final

from gateway.console.languages import LANGUAGES, preferred
from gateway.counter import Request

THEMES: Final = ("auto", "light", "dark")
"""Of these, auto is whatever the reader's system has."""
LANGUAGE: Final = "piaohao_language"
THEME: Final = "piaohao_theme"
_YEAR_S: Final = 365 * 86_400
_COOKIE: Final = r"(?:^|;[ \t]*){}=([a-z]{{1,8}})(?=$|[ \t]*;)"


def language_of(request: Request) -> str:
    """Return the language that was chosen, or the one that the browser would rather have."""
    chosen = _cookie(request, LANGUAGE)
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    """Return the colours that were chosen."""
    chosen = _cookie(request, THEME)
    return chosen if chosen in THEMES else THEMES[0]


def kept(name: str, value: str) -> str | None:
    """Return the Set-Cookie field that remembers a choice, None where it is none."""
    known = {LANGUAGE: LANGUAGES, THEME: THEMES}.get(name, ())
    if value not in known:
        return None
    return f"{name}={value}; Path=/console; Max-Age={_YEAR_S}; HttpOnly; SameSite=Strict"


def _cookie(request: Request, name: str) -> str:
    found = re.search(_COOKIE.format(name), request.headers.get("cookie", ""))
    return "" if found is None else found[1]
