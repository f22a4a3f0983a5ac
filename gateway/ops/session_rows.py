"""Rows of sessions: logging in, looking who one is, logging out."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from actors.answers import instant
from gateway.answer import Answer
from gateway.handlers.node import Nothing
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.errors import OpsCode
from gateway.ops.operators import RIGHTS, Name, Right, Role
from gateway.ops.passwords import PASSWORD_MAX
from gateway.ops.row import act, read
from gateway.ops.sessions import Session


class LogIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to be let in.

    Attributes:
        code: the one-time code that the authenticator app shows; viewers have none.
    """

    name: Name
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_MAX)]
    code: Annotated[str, Meta(pattern=r"^(?:[0-9]{6})?$(?!\n)")] = ""


class SessionView(Struct, frozen=True, tag_field="object", tag="session"):
    """A session.

    Attributes:
        rights: what the role allows.
        expires_at: when it is over if nothing more is asked for.
    """

    operator: str
    role: Role
    rights: list[Right]
    begun_at: str
    expires_at: str


class SessionBegun(Struct, frozen=True, tag_field="object", tag="session_begun"):
    """A session that has just begun.

    Attributes:
        token: goes with every request: `Authorization: Bearer TOKEN`. It is told only here.
    """

    token: str
    session: SessionView


async def log_in(desk: OpsDesk, visitor: Visitor, asked: LogIn) -> Answer:
    """Begin a session. Ten wrong tries one after the other lock a name for 30 minutes."""
    begun = await desk.logins.log_in(asked.name, asked.password, asked.code, visitor.certificate)
    return Answer(201, SessionBegun(begun.token, _view(begun.session)))


async def get_session(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return whose session it is, and what may be done in it."""
    assert visitor.session is not None
    return Answer(200, _view(visitor.session))


async def log_out(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """End the session; its token is worth nothing from now on."""
    assert visitor.session is not None
    desk.sessions.end(visitor.token)
    return Answer(200, _view(visitor.session))


def _view(session: Session) -> SessionView:
    return SessionView(
        session.operator,
        session.role,
        sorted(RIGHTS[session.role]),
        instant(session.begun_at_ns),
        instant(session.ends_at_ns()),
    )


ROWS: Final = (
    act(
        "/ops/sessions",
        LogIn,
        log_in,
        None,
        SessionBegun,
        OpsCode.LOGIN_REFUSED,
        OpsCode.LOGIN_LOCKED,
        OpsCode.LOGINS_BUSY,
        OpsCode.AUDIT_UNAVAILABLE,
        status=201,
    ),
    read("/ops/session", Nothing, get_session, Right.LOOK, SessionView),
    act("/ops/session/end", Nothing, log_out, Right.LOOK, SessionView),
)
