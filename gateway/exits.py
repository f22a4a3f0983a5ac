"""Exit codes of the command line, and the error that carries one."""

from typing import Final

OK: Final = 0
CHECK_FAILED: Final = 1
INPUT: Final = 2
"""Usage or input; one line on stderr says what."""
STORE: Final = 3
"""The store is missing, unusable or in use."""
UNREACHABLE: Final = 4
"""There is no running node, or it does not answer."""
FAIL_STOP: Final = 74
"""A commit failed: nothing of it was acknowledged, and the node has ended at once."""

RESTORE: Final = (
    "see what else is damaged with: piaohao verify --data DATA; then restore the newest backup "
    "with: piaohao restore --backup BACKUP --data NEW-FOLDER"
)
"""What an operator does about a damaged store."""


class CommandError(Exception):
    """A command cannot do what it was asked.

    Attributes:
        code: the exit code; the message is the one line on stderr.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
