"""Masking: what an operator sees of personal data, and what it takes to see all of it.

Personal data is whom somebody deals with, and what people write: counterparties' account numbers,
references, descriptions, errors that quote them. An address that is looked at or listed is a name,
without which nothing is found, and stays. Whoever has the right UNMASK and gives a reason, which
goes into the audit log, sees all. Of texts in a state only those are shown that are known to be
harmless: a field that somebody adds tomorrow is masked until it is listed here.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from actors.account import is_internal
from actors.kinds import ACCOUNT, MERCHANT
from gateway.ops.desk import Visitor
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.operators import Right

_UNSEEN: Final = r"\s\u200b-\u200f\u2060-\u2064\ufeff"
Reason = Annotated[
    str,
    Meta(
        min_length=4,
        max_length=200,
        pattern=f"^(?:[{_UNSEEN}]*[^{_UNSEEN}]){{4}}",
        description="four characters at least that can be seen",
    ),
]
"""Why personal data has to be seen, or something is to be done."""

MASK: Final = "••••"
_LAST: Final = 4
_LONG: Final = 8
"""Of a number that is shorter, the last four figures would be half of it."""
_PLAIN: Final = frozenset(
    {"kind", "currency", "status", "state", "used_date", "business_date", "serial", "algorithm"}
)
"""Texts of states that say nothing of anybody."""


class Eyes(Struct, frozen=True):
    """How somebody sees.

    Attributes:
        all: personal data too.
    """

    all: bool

    def account(self, number: str) -> str:
        """Return the number of an account that somebody deals with."""
        if self.all or is_internal(number):
            return number
        return f"{MASK}{number[-_LAST:] if len(number) >= _LONG else ''}"

    def address(self, address: str, own: str = "") -> str:
        """Return an address whom `own` deals with; merchants are no secret but to accounts' views,
        and the bank's own are none."""
        kind, _, number = address.partition("/")
        if address == own:
            return address
        if kind == MERCHANT.name and own.startswith(f"{ACCOUNT.name}/"):
            return f"{kind}/{self.text(number)}"
        return f"{kind}/{self.account(number)}" if kind == ACCOUNT.name else address

    def text(self, text: str) -> str:
        """Return a text that may say something of somebody."""
        return text if self.all or not text else MASK

    def error(self, error: str) -> str:
        """Return why a turn failed: the exception's name, what it says may quote anything."""
        name, colon, said = error.partition(": ")
        return f"{name}{colon}{self.text(said)}"

    def state(self, state: Any) -> Any:
        """Return an actor's state by the names of its fields; bytes only by their length."""
        if state is None:
            return None
        fields = msgspec.structs.fields(state)
        return {each.name: self._value(each.name, getattr(state, each.name)) for each in fields}

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, Struct):
            return self.state(value)
        if isinstance(value, bytes):
            return f"{len(value)} bytes"
        if isinstance(value, str):
            return value if name in _PLAIN else self.text(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(name, each) for each in value]
        if isinstance(value, dict):
            return {str(key): self._value(name, each) for key, each in value.items()}
        return value


def eyes_of(visitor: Visitor, reason: str | None) -> Eyes:
    """Return how a visitor sees.

    Args:
        reason: that was given to see personal data; None for not.

    Raises:
        OpsError: RIGHT_MISSING, a reason was given and the role does not allow it.
    """
    assert visitor.session is not None
    if reason is not None and not visitor.session.may(Right.UNMASK):
        raise OpsError(OpsCode.RIGHT_MISSING)
    return Eyes(reason is not None)
