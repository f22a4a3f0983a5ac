"""Targets: the numbers in a path and the parameters of a query, from their percent-encoding.

There is one way to read them (RFC 3986, section 2.1): every `%` has its two digits, what they
make is UTF-8, and a parameter stands once. An encoded slash is refused, since some take it for
the end of a segment and some do not. Their text keeps to what texts in bodies keep to.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.errors import RequestCode, RequestError
from gateway.strict_json import text_blemish

PARAMETERS_MAX: Final = 20

_plain: Final = re.compile(r"[A-Za-z0-9._~:@-]*").fullmatch
_encoded: Final = re.compile(r"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*").fullmatch


def path_number(segment: str) -> str:
    """Return the number that a segment of a path is.

    Raises:
        RequestError: MALFORMED_PATH, and what is said of texts.
    """
    if _plain(segment):
        return segment
    number = _decoded(segment, RequestCode.MALFORMED_PATH)
    if "/" in number:
        raise RequestError(RequestCode.MALFORMED_PATH, "an encoded slash in a number")
    return number


def parameters(query: bytes) -> dict[str, str]:
    """Return the parameters of a query, by their names.

    Raises:
        RequestError: MALFORMED_QUERY, DUPLICATE_PARAMETER, and what is said of texts.
    """
    found: dict[str, str] = {}
    if not query:
        return found
    # The codec is one that takes any bytes; what is not ASCII then fails like other nonsense.
    pairs = query.decode("latin-1").split("&", PARAMETERS_MAX)
    if len(pairs) > PARAMETERS_MAX:
        detail = f"at most {PARAMETERS_MAX} parameters"
        raise RequestError(RequestCode.MALFORMED_QUERY, detail)
    for pair in pairs:
        name, equals, value = (
            # A form's way to write a blank; what stands for itself is %2B there.
            _decoded(each.replace("+", "%20"), RequestCode.MALFORMED_QUERY)
            for each in pair.partition("=")
        )
        if not name or not equals:
            detail = "parameters are name=value, with & between them"
            raise RequestError(RequestCode.MALFORMED_QUERY, detail)
        if name in found:
            detail = f"`{ascii(name[:40])[1:-1]}` is given twice"
            raise RequestError(RequestCode.DUPLICATE_PARAMETER, detail)
        found[name] = value
    return found


def _decoded(text: str, malformed: RequestCode) -> str:
    """Return a text without its percent-encoding."""
    if _encoded(text) is None:
        raise RequestError(malformed, "what is not ASCII, and % itself, stands as %XX")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise RequestError(RequestCode.INVALID_UTF8, "under its percent-encoding") from None
    blemish = text_blemish(decoded)
    if blemish is not None:
        raise RequestError(blemish.code, f"{blemish.about} of the address")
    return decoded
