"""Whole numbers on the command line, read as they stand: cyclopts would round 1.5 to 2."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token, validators


def whole(_: type, tokens: Sequence[Token]) -> int:
    """Return an option's integer.

    Raises:
        ValueError: it is none.
    """
    return int(tokens[0].value)


Whole = Annotated[int, Parameter(converter=whole)]
Count = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=1))]
Shards = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=1, lte=64))]
