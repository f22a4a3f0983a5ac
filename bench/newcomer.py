"""The newcomer: an operator of a sandbox who may look at everything and do nothing.

A demo that stays up has one, so that somebody who has just started it sees inside. They are a
viewer, who needs no one-time codes; the password is new with each run, is shown once and kept
nowhere but as its hash. The port is on loopback.
"""

import os
import secrets
import time
from contextlib import closing
from typing import Final

from gateway.ops import passwords
from gateway.ops.office import (
    AddOperator,
    ListOperators,
    Office,
    OperatorList,
    ResetOperator,
    shell_of,
)
from gateway.ops.operators import Role
from storage.folder import Folder

NAME: Final = "newcomer"
_PASSWORD_BYTES: Final = 12


def take_on(folder: Folder) -> str:
    """Take the newcomer on, or give the one of an earlier run a new password; returns it.

    Raises:
        StorageError: the folder's operators cannot be read or written.
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    hashed = passwords.hashed(password)
    with closing(Office(folder.path, time.time_ns)) as office:
        shell = shell_of(os.getuid())
        listed = office.administer(ListOperators(), shell)
        assert isinstance(listed, OperatorList)
        if NAME in {each.name for each in listed.operators}:
            office.administer(ResetOperator(NAME, hashed, b""), shell)
        else:
            office.administer(AddOperator(NAME, Role.VIEWER, hashed, b""), shell)
    return password
