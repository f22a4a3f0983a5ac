"""`piaohao day`: cut the bank's business day on a running node."""

from datetime import date
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.exits import INPUT, CommandError

app = App(
    name="piaohao day",
    help="Cut the bank's business day on a running node.",
    version_flags=(),
)


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao day cut DATE --data DIR")


@app.command
def cut(
    business_date: str,
    /,
    *,
    data: Path,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Close a business date; new commands carry the next. Repeating it changes nothing.

    Example: piaohao day cut 2026-01-31 --data bank

    Parameters
    ----------
    business_date:
        The current business date, ISO 8601.
    data:
        Folder of the running node's store.
    json:
        Print one JSON object.
    """
    from gateway.commands.printing import give, give_json
    from gateway.operations import Cut
    from gateway.operator import act

    try:
        day = date.fromisoformat(business_date).isoformat()
    except ValueError as error:
        raise CommandError(INPUT, str(error)) from None
    result = act(data, Cut(day))
    if json:
        give_json(result)
    else:
        give(f"{day} is {result['state']}; the business date is {result['next_date']}")
