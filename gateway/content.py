"""Content: what a request's own headers say that its body is (RFC 9110, section 8).

Bodies are JSON in UTF-8 and nothing is unpacked: a form, which any web page can have a browser
send, is refused here, and so is a coding under which a small body could be a large one.
"""

import re
from collections.abc import Mapping
from typing import Final

from gateway.errors import Problem, RequestCode, problem

_USUAL: Final = "application/json"
# Parameters may be empty (RFC 9110, section 5.6.6); no blank can be taken for two of its places.
_is_json: Final = re.compile(
    r"application/json(?:[ \t]*;(?:[ \t]*charset=(?:utf-8|\"utf-8\"))?)*[ \t]*",
    re.ASCII | re.IGNORECASE,
).fullmatch


def content_problem(headers: Mapping[str, str], body: bytes) -> Problem | None:
    """Return why a body is not plain JSON by what its headers say, if it is not.

    UNSUPPORTED_CONTENT_ENCODING comes first, even if there is no body; UNSUPPORTED_MEDIA_TYPE is
    about a body that is there.

    Args:
        headers: of the request, by their names in lower case; one that came twice is a list.
        body: as it came.
    """
    coding = headers.get("content-encoding")
    if coding is not None and coding.lower() != "identity":
        detail = f"`{_shown(coding)}`; send the body as it is"
        return problem(RequestCode.UNSUPPORTED_CONTENT_ENCODING, detail)
    media_type = headers.get("content-type", "")
    if not body or media_type == _USUAL or _is_json(media_type) is not None:
        return None
    detail = f"`{_shown(media_type)}`; send application/json"
    return problem(RequestCode.UNSUPPORTED_MEDIA_TYPE, detail)


def _shown(value: str) -> str:
    return ascii(value[:80])[1:-1]
