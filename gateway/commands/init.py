"""`piaohao init`: make a new, empty store."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from gateway.commands.whole import whole

app = App(name="piaohao init", version_flags=())


@app.default
def init(
    *,
    data: Path,
    begins_at: str | None = None,
    business_date: str | None = None,
    shards: Annotated[
        int, Parameter(converter=whole, validator=validators.Number(gte=1, lte=64))
    ] = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a new, empty store.

    Example: piaohao init --data bank

    Parameters
    ----------
    data:
        Folder to make it in; made if need be.
    begins_at:
        RFC 3339 instant at which a domain clock begins, for replays of the past; now if absent.
    business_date:
        First business date, ISO 8601; the UTC date of the beginning if absent.
    shards:
        How many shards it has, 1 to 64; fixed for its life.
    json:
        Print one JSON object.
    """
    from contextlib import closing

    from gateway.commands.printing import give, give_json
    from gateway.exits import INPUT, CommandError
    from gateway.series import nanoseconds
    from storage.folder import Folder

    try:
        begins = datetime.now(UTC) if begins_at is None else datetime.fromisoformat(begins_at)
        day = begins.astimezone(UTC).date()
        first = day if business_date is None else date.fromisoformat(business_date)
    except ValueError as error:
        raise CommandError(INPUT, str(error)) from None
    if begins.tzinfo is None or begins.year < 1970:
        raise CommandError(INPUT, f"--begins-at {begins_at}: an RFC 3339 instant is wanted")
    with closing(Folder(data, create=True)) as folder:
        folder.create(first.isoformat(), nanoseconds(begins), shards=shards)
    if json:
        give_json({"data": str(data), "business_date": first.isoformat(), "shards": shards})
    else:
        made = "a store" if shards == 1 else f"a store of {shards} shards"
        give(f"made {made} in {data}; its first business date is {first.isoformat()}")
