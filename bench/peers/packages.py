"""The packages that peers are built of: an extra that the rest of piaohao does without."""

import importlib.util
from typing import Final

from gateway import exits
from gateway.exits import CommandError

NEEDED: Final = ("fastapi", "httptools", "psycopg", "psycopg_pool", "uvicorn", "uvloop")


def check_packages() -> None:
    """Refuse to go on without them.

    Raises:
        CommandError: one is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        detail = f"{', '.join(missing)} not installed: run ./just setup, or pip install '.[peers]'"
        raise CommandError(exits.INPUT, detail)
