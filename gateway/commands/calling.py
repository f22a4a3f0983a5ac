"""Calling: how commands of operators reach the API of a running node, over its control socket.

Whoever may open that socket acts for the bank, so nothing is signed. What the API refuses is one
line, and exit code 2.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from gateway.ca.csr import body_of
from gateway.ca.errors import CsrError
from gateway.exits import INPUT, CommandError
from gateway.operations import Call
from gateway.operator import act


def answered(data: Path, method: Literal["GET", "POST"], path: str, body: str = "") -> Any:
    """Return what the API answers, as plain values.

    Args:
        path: with the query, if any.
        body: JSON, empty for none.

    Raises:
        CommandError: it refuses, or no node is running.
    """
    result = act(data, Call(method, path, body))
    answer = result["body"]
    if result["status"] >= 400:
        detail = " ".join(filter(None, (answer["title"], answer.get("detail"))))
        raise CommandError(INPUT, f"{answer['code']}: {detail}")
    return answer


def look(data: Path, path: str) -> dict[str, Any]:
    """Return what the API answers to a GET.

    Raises:
        CommandError: it refuses, or no node is running.
    """
    answer: dict[str, Any] = answered(data, "GET", path)
    return answer


def look_through(
    data: Path, path: str, query: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the items of all pages of a list. Raises as `look`."""
    asked = {"limit": "100", **(query or {})}
    while True:
        page = look(data, f"{path}?{urlencode(asked)}")
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        asked["cursor"] = page["next_cursor"]


def have_done(data: Path, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the API answers to a POST; members that are None are left out.

    Raises:
        CommandError: it refuses, or no node is running.
    """
    given = {name: value for name, value in body.items() if value is not None}
    body_text = msgspec.json.encode(given).decode()
    answer: dict[str, Any] = answered(data, "POST", path, body_text)
    return answer


def certified(
    data: Path, path: str, body: Mapping[str, Any], csr: Path, out: Path
) -> dict[str, Any]:
    """Have a certificate signed and write it to a new file; returns what there is to say of it.

    Raises:
        CommandError: it is refused, or no node is running.
        OSError: the request cannot be read, the certificate not be written.
    """
    try:
        request = body_of(csr.read_bytes())
    except CsrError as error:
        raise CommandError(INPUT, f"{csr}: {error}") from None
    # Opened before anything is asked: no certificate is made that cannot be written.
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise CommandError(INPUT, f"{out}: it is there already") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        try:
            view = have_done(data, path, {**body, "csr": request})
        except BaseException:
            out.unlink()
            raise
        file.write(view.pop("pem"))
    return view
