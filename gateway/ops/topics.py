"""Topics: what a feed is to tell of, as somebody writes it.

    topics=vitals,quarantines,actor:account:6217001234567890,actor:merchant:M1

An actor need not be there: it may come to be. What is read is written again in one way only, by
which the audit log has it: whoever searches that finds all who followed an actor.
"""

import re
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from engine.address import NUMBER_PATTERN
from engine.kind import Kinds
from gateway.errors import RequestCode, RequestError

ACTORS_MAX: Final = 64
CHARACTERS_MAX: Final = 4_096

_VITALS: Final = "vitals"
_QUARANTINES: Final = "quarantines"
_ACTOR: Final = "actor"
_is_number: Final = re.compile(NUMBER_PATTERN).fullmatch


class Topics(Struct, frozen=True):
    """What a feed tells of.

    Attributes:
        vitals: the node's pulse.
        quarantines: actors that are parked or released.
        actors: addresses of those whose states it tells, each once.
    """

    vitals: bool
    quarantines: bool
    actors: tuple[str, ...]

    def text(self) -> str:
        """Return them as the audit log has them, percent-encoded where need be."""
        named = [_VITALS] * self.vitals + [_QUARANTINES] * self.quarantines
        named += [f"{_ACTOR}:{address.replace('/', ':', 1)}" for address in self.actors]
        return quote(",".join(named), safe=",:@")


def read_topics(text: str, kinds: Kinds) -> Topics:
    """Return the topics that stand in a text, with commas between them.

    Raises:
        RequestError: INVALID_REQUEST, one of them is none, or there are too many.
    """
    plain = {_VITALS: False, _QUARANTINES: False}
    actors: dict[str, None] = {}
    for topic in text.split(","):
        if topic in plain:
            plain[topic] = True
            continue
        what, _, rest = topic.partition(":")
        kind, _, number = rest.partition(":")
        if what != _ACTOR or kind not in kinds.by_name or not _is_number(number):
            detail = "topics are vitals, quarantines and actor:KIND:NUMBER, with commas between"
            raise RequestError(RequestCode.INVALID_REQUEST, detail)
        actors[f"{kind}/{number}"] = None
    if len(actors) > ACTORS_MAX:
        raise RequestError(RequestCode.INVALID_REQUEST, f"at most {ACTORS_MAX} actors")
    return Topics(plain[_VITALS], plain[_QUARANTINES], tuple(actors))
