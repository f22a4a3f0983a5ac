"""`piaohao parked`: list, release or discard messages that actors' failed turns left behind."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from gateway.exits import INPUT, CommandError

if TYPE_CHECKING:
    from gateway.operations import Discard, Release

app = App(
    name="piaohao parked",
    help="List, release or discard messages that actors' failed turns left behind.",
    version_flags=(),
)


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao parked list|release|discard --data DIR")


@app.command(name="list")
def list_(*, data: Path, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List what is parked, first in, first out for each actor.

    Example: piaohao parked list --data bank

    Parameters
    ----------
    data:
        Folder of the store.
    json:
        Print one JSON object.
    """
    from gateway.commands.printing import give, give_json
    from gateway.operations import ListParked
    from gateway.operator import perform

    result = perform(data, ListParked())
    if json:
        give_json(result)
        return
    for each in result["parked"]:
        give(
            "{address}: from {sender}, {business_date}, {amount_minor} {currency}: {error}".format(
                **each
            )
        )
    give(f"{len(result['parked'])} parked")


@app.command
def release(
    address: str, /, *, data: Path, json: Annotated[bool, Parameter(negative=())] = False
) -> int:
    """Give an actor's parked messages their turns again; exit code 1 if one fails anew.

    Example: piaohao parked release merchant/M1002 --data bank

    Parameters
    ----------
    address:
        The actor, for example `account/6217001234567890`.
    data:
        Folder of the running node's store.
    json:
        Print one JSON object.
    """
    from gateway.operations import Release

    return _left(data, Release(address), json)


@app.command
def discard(
    address: str, /, *, data: Path, json: Annotated[bool, Parameter(negative=())] = False
) -> int:
    """Give up an actor's first parked message; exit code 1 if it has to be kept.

    Whoever waits for it learns that it came to nothing, and money in it goes back, by way of the
    currency's suspense account. docs/ops/DISCARDS.md says what comes of which message.

    Example: piaohao parked discard merchant/M1002 --data bank

    Parameters
    ----------
    address:
        The actor, for example `account/6217001234567890`.
    data:
        Folder of the running node's store.
    json:
        Print one JSON object.
    """
    from gateway.operations import Discard

    return _left(data, Discard(address), json)


def _left(data: Path, asked: "Release | Discard", as_json: bool) -> int:
    from engine.address import AddressError, split
    from gateway.commands.printing import give, give_json
    from gateway.exits import CHECK_FAILED, OK
    from gateway.operator import act

    try:
        split(asked.address)
    except AddressError as error:
        raise CommandError(INPUT, str(error)) from None
    result = act(data, asked)
    if as_json:
        give_json(result)
    else:
        why = f": {result['error']}" if result["error"] else ""
        give(f"{result['address']}: {result['taken']} taken, {result['left']} left{why}")
    return CHECK_FAILED if result["error"] else OK
