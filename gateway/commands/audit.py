"""`piaohao audit`: check the log of what operators have seen and done."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.exits import INPUT, CommandError

app = App(
    name="piaohao audit",
    help="Check the log of what operators have seen and done.",
    version_flags=(),
)


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao audit verify --data DIR")


@app.command
def verify(
    *, data: Path, kept: str | None = None, json: Annotated[bool, Parameter(negative=())] = False
) -> int:
    """Check every entry and the chain over them; exit code 1 if it is broken.

    A node may run meanwhile. Who keeps the number and the head that it prints, elsewhere, can have
    them looked for later: a log that was cut short or made anew does not pass through there.

    Example: piaohao audit verify --data bank --kept 120:5feceb66ffc86f38…

    Parameters
    ----------
    data:
        Folder of the store.
    kept:
        ROWS:HEAD of an earlier verification.
    json:
        Print one JSON object: `ok`, `rows`, `head`, `fault`.
    """
    import re

    from gateway.commands.printing import give, give_json
    from gateway.exits import CHECK_FAILED, OK
    from gateway.operator import administer
    from gateway.ops.audit_log import Kept
    from gateway.ops.office import VerifyAudit

    found = None if kept is None else re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", kept)
    if kept is not None and found is None:
        raise CommandError(INPUT, f"--kept {kept!r}: ROWS:HEAD is wanted, as verify prints them")
    asked = VerifyAudit(None if found is None else Kept(int(found[1]), found[2]))
    result = administer(data, asked)
    if json:
        give_json(result)
    elif result["ok"]:
        give(f"{result['rows']} entries, unbroken; keep {result['rows']}:{result['head']}")
    else:
        give(f"{result['rows']} entries are sound, then: {result['fault']}")
    return OK if result["ok"] else CHECK_FAILED
