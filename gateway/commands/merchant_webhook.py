"""`piaohao merchant webhook`: where a merchant's events are sent, and what came of that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from gateway.commands.whole import whole
from gateway.exits import INPUT, CommandError

app = App(
    name="webhook",
    help="Say where a merchant's events are sent, look at what came of it, and send some again.",
    version_flags=(),
)

Json = Annotated[bool, Parameter(name="--json", negative=())]
Sequence = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=1))]


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao merchant webhook --help lists it")


@app.command(name="set")
def set_(
    merchant_no: str,
    url: str,
    /,
    *,
    data: Path,
    unproved: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Send a merchant's events to a URL from now on.

    Example: piaohao merchant webhook set M1 https://shop.example/hook --data bank

    Parameters
    ----------
    unproved:
        The server there need not answer the bank's challenge first (docs/WEBHOOKS.md): it is known
        otherwise that it is the merchant's.
    """
    _do(data, _path(merchant_no), {"url": url, "challenge": not unproved}, json)


@app.command
def show(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """Show where a merchant's events are sent, and how far that has come.

    Example: piaohao merchant webhook show M1 --data bank
    """
    from gateway.commands.calling import look

    _give(look(data, _path(merchant_no)), json)


@app.command
def enable(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """Send events again to a webhook that was disabled, those that have waited first.

    Example: piaohao merchant webhook enable M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/enable", {}, json)


@app.command
def disable(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """Send nothing more for now; events wait, and none is lost.

    Example: piaohao merchant webhook disable M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/disable", {}, json)


@app.command
def deliveries(
    merchant_no: str,
    /,
    *,
    data: Path,
    state: Literal["PENDING", "DELIVERED", "FAILED"] | None = None,
    json: Json = False,
) -> None:
    """List the deliveries to a merchant's webhook, the newest event first, one a line.

    Example: piaohao merchant webhook deliveries M1 --data bank --state FAILED

    Parameters
    ----------
    merchant_no:
        Whose.
    data:
        Folder of the running node's store.
    state:
        Only those that are in it.
    json:
        Print one JSON object for each.
    """
    from gateway.commands.calling import look_through

    query = {} if state is None else {"state": state}
    for each in look_through(data, f"{_path(merchant_no)}/deliveries", query):
        _give(each, json)


@app.command
def redeliver(
    merchant_no: str,
    /,
    *,
    data: Path,
    first: Sequence,
    last: Sequence | None = None,
    json: Json = False,
) -> None:
    """Send events once more, from the one of sequence `first` to that of `last`, at most 200.

    Example: piaohao merchant webhook redeliver M1 --data bank --first 17

    Parameters
    ----------
    merchant_no:
        Whose.
    data:
        Folder of the running node's store.
    first:
        Sequence of the first.
    last:
        Of the last; the same one if it is not given.
    json:
        Print one JSON object.
    """
    body = {"first": first, "last": last or first}
    _do(data, f"{_path(merchant_no)}/redeliver", body, json)


def _path(merchant_no: str) -> str:
    from urllib.parse import quote

    return f"/v1/merchants/{quote(merchant_no, safe='')}/webhook"


def _do(data: Path, path: str, body: Mapping[str, Any], as_json: bool) -> None:
    from gateway.commands.calling import have_done

    _give(have_done(data, path, body), as_json)


def _give(view: Mapping[str, Any], as_json: bool) -> None:
    from gateway.commands.printing import give_view

    give_view(view, as_json=as_json)
