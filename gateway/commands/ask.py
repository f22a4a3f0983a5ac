"""`piaohao ask`: ask a running node's API for something, as the bank."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gateway.exits import INPUT, CommandError

app = App(name="piaohao ask", version_flags=())

_BYTES_MAX = 1 << 20  # no path takes more


@app.default
def ask(
    method: Literal["GET", "POST"],
    path: str,
    body: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    /,
    *,
    data: Path,
) -> None:
    """Ask a running node's API for something, as the bank, and print the JSON that it answers.

    An array of commands is answered as a whole: look at the `status` of each.

    Example: piaohao ask POST /v1/accounts '{"account_no": "A1", "currency": "USD"}' --data bank

    Parameters
    ----------
    method:
        GET or POST.
    path:
        Path and query, as docs/API.md has them.
    body:
        JSON; `@FILE` reads it from a file, `-` from standard input.
    data:
        Folder of the running node's store.
    """
    from gateway.commands.calling import answered
    from gateway.commands.printing import give_json

    text = _read(body)
    if len(text) > _BYTES_MAX:
        raise CommandError(INPUT, "no path takes a body of more than 1 MiB")
    try:
        given = text.decode("utf-8")
        path.encode("utf-8")
    except UnicodeError:
        raise CommandError(INPUT, "what is asked for is not UTF-8") from None
    give_json(answered(data, method, path, given))


def _read(body: str) -> bytes:
    """Return a body: as it stands, a file's or what comes on standard input."""
    import os
    import sys

    if body == "-":
        return sys.stdin.buffer.read()
    if body.startswith("@"):
        return Path(body[1:]).read_bytes()
    return os.fsencode(body)
