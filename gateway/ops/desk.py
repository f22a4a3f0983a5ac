"""The ops desk: what the handlers of the ops listener work with. One a node."""

from msgspec import Struct

from engine.node import Node
from gateway.ops.clerk import Clerk
from gateway.ops.feeds import Feeds
from gateway.ops.health import Health
from gateway.ops.logins import Logins
from gateway.ops.metrics import Metrics
from gateway.ops.office import Office
from gateway.ops.proposals import Proposals
from gateway.ops.sessions import Session, Sessions


class OpsDesk(Struct, frozen=True):
    """The node as operators see it.

    Attributes:
        node: the engine.
        health: whether it can be used.
        metrics: its figures.
        office: operators and the audit log, as they are stored.
        logins, sessions: how operators get in, and who is.
        proposals: what operators have proposed.
        clerk: has it carried out once it is approved.
        feeds: what is told as it happens.
    """

    node: Node
    health: Health
    metrics: Metrics
    office: Office
    logins: Logins
    sessions: Sessions
    proposals: Proposals
    clerk: Clerk
    feeds: Feeds


class Visitor(Struct, frozen=True):
    """Who asks.

    Attributes:
        token: of the session, empty for none.
        session: None where the row wants none.
        certificate: the subject of the one that was shown in TLS, empty where there is none.
    """

    token: str = ""
    session: Session | None = None
    certificate: str = ""
