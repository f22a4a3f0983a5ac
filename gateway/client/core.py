"""The core of the client: how a call is tried, judged and tried again, without any I/O.

Whatever may have happened is found out by giving the very same command again under the same
number: that is the bank's own way, and the only one that also compares the content. After
OUTCOME_UNKNOWN the command is first looked up, until it is no longer under way, so that nobody
sends what the bank is busy with. A command never gets another number, and an answer that is not
the bank's is never believed.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from actors.answers import View
from actors.commands import Command
from gateway.ca.algorithm import PrivateKey
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.client.call import ARRAYS, ROUTES, Call, encode, is_hot, reader
from gateway.client.errors import (
    BusyError,
    FailedError,
    NotAcceptedError,
    OutcomeUnknownError,
    PiaohaoError,
    Problem,
    RefusedError,
    UnreachableError,
    UnreadableAnswerError,
    UntrustedAnswerError,
    problem_in,
)
from gateway.client.exchange import Came, Lost, Script, Send, Wait
from gateway.client.identity import Identity
from gateway.client.merchant_calls import MerchantCalls
from gateway.client.seal import Seal
from gateway.client.terms import Effort, Terms
from gateway.client.trust import PATH as BANK_CERTIFICATES
from gateway.client.trust import Trust

T = TypeVar("T")

ARRAY_MAX: Final = 1_000
ARRAY_BYTES: Final = 1 << 20
"""Commands in an array, and bytes of it: what the gateway takes."""

REPEATABLE: Final = frozenset({429, 503, 504})
"""Statuses after which the same command is given again under the same number."""
PASSING: Final = frozenset({"IN_FLIGHT", "SIGNED_BEFORE_START"})
"""Refusals that bind nothing and pass by themselves: a bank that has just started takes nothing
that was signed in that second, and each try is signed anew."""

_BY_OTHERS: Final = frozenset({502, 503, 504})
"""What a proxy says in the bank's stead: unsigned, it counts as no answer."""
_UNKNOWN: Final = "OUTCOME_UNKNOWN"
_UNDER_WAY: Final = "PROCESSING"
_MISDIRECTED: Final = 421


class Item(Struct, gc=False):
    """What one command of an array was answered; the body is left as it came."""

    status: int
    body: msgspec.Raw
    replayed: bool = False


Outcome = View | PiaohaoError
"""What one command of a batch came to."""

_items: Final = msgspec.json.Decoder(list[Item]).decode


class _Peek(Struct):
    state: str = ""


_peek: Final = msgspec.json.Decoder(_Peek).decode


class Core:
    """The scripts of one client; it may run any number of them at once.

    Args:
        seal: signs and verifies; None for a bank that serves unsigned.
        terms: how patient it is.
        express: whether hot calls go to the bank's express listener.
        express_seal: the same as `seal` for requests to that one.
        now: monotonic time, in seconds.
        wall: seconds since 1970, for signatures and certificates.
        random: draws a number from 0 to 1.
    """

    array_bytes = ARRAY_BYTES
    """Of one array of a batch, at most."""

    def __init__(
        self,
        seal: Seal | None,
        terms: Terms,
        *,
        express: bool = False,
        express_seal: Seal | None = None,
        now: Callable[[], float],
        wall: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._seal = seal
        self._terms = terms
        self._express = express
        self._express_seal = express_seal
        self._now = now
        self._wall = wall
        self._random = random

    def ask(self, call: Call[T]) -> Script[T]:
        """Make a call, again if need be, and return its result.

        Raises:
            PiaohaoError: see `gateway.client.errors`.
        """
        return (yield from self._ask(call, self.effort()))

    def send_array(self, body: bytes, put_off: frozenset[str] = PASSING) -> Script[list[Item]]:
        """Have an encoded array carried out; it is sent again whole until nothing is put off.

        Args:
            put_off: codes of refusals after which it is sent again, besides REPEATABLE statuses.

        Raises:
            PiaohaoError: the array came to nothing, or commands of it were put off for too long.
        """
        items, later = yield from self._array(body, put_off)
        for status, problem in later:
            raise error_of(status, problem)
        return items

    def batch(self, commands: Iterable[Command | Call[Any]]) -> Script[list[Outcome]]:
        """Have any number of commands carried out in order; each has its own outcome.

        It raises nothing that one of them comes to. Where an array comes to nothing, its commands
        get the error, and those behind it are not sent.
        """
        outcomes: list[Outcome] = []
        failure: PiaohaoError | None = None
        for array, body in _arrays(map(_command, commands), self.array_bytes):
            if failure is None:
                try:
                    items, _ = yield from self._array(body, PASSING)
                    if len(items) != len(array):
                        raise UnreadableAnswerError("more or fewer answers than commands")
                except PiaohaoError as error:
                    outcomes += [error] * len(array)
                    failure = UnreachableError(f"not sent, as what was before it failed: {error}")
                else:
                    outcomes += map(_outcome, array, items)
            else:
                outcomes += [failure] * len(array)
        return outcomes

    def renew(
        self, calls: MerchantCalls, certificate_no: str, key: PrivateKey | None
    ) -> Script[Identity]:
        """Have the bank make a new certificate, for a new key unless one is given.

        Raises:
            ValueError: there is no identity to renew.
        """
        if self._seal is None:
            raise ValueError("a client without an identity has nothing to renew")
        old = self._seal.identity
        key = key or new_key(old.key.alg)
        csr = body_of(new_csr(key, calls.merchant_no))
        call = calls.renew_certificate(certificate_no, csr=csr, renews=old.keyid)
        made = yield from self.ask(call)
        return Identity(key, made.pem.encode())

    # One call.

    def effort(self) -> Effort:
        """Return a new one, as long as the terms have it."""
        return Effort(self._terms, self._now, self._random)

    def _ask(self, call: Call[T], effort: Effort) -> Script[T]:
        while True:
            reply = yield from self._carry(call, effort)
            problem = Problem()
            trouble: PiaohaoError
            if isinstance(reply, Lost):
                effort.maybe_done |= reply.sent and call.acts
                words = f"{call.method} {call.target}: {reply.reason}"
                trouble = reply.trouble or UnreachableError(words)
                if reply.final:
                    raise _unknown(trouble) if effort.maybe_done else trouble
            elif reply.status < 300:
                return _read(call, reply.body)
            else:
                problem = _problem(reply)
                trouble = error_of(reply.status, problem, proven=self._proven(reply))
                effort.maybe_done |= problem.code == _UNKNOWN and call.acts
                if reply.status not in REPEATABLE and problem.code not in PASSING:
                    raise _in_the_end(trouble, effort)
            pause_s = effort.pause_s(problem.retry_after_s)
            if pause_s is None:
                raise _in_the_end(trouble, effort)
            yield Wait(pause_s)
            if problem.code == _UNKNOWN and call.lookup:
                yield from self._until_settled(call.lookup, effort, trouble)

    def _carry(self, call: Call[Any], effort: Effort) -> Script[Came | Lost]:
        """Make a call once, by the way that this core's calls go."""
        return self._reach(call.method, call.target, call.body, effort)

    def _proven(self, reply: Came) -> bool:
        """Whether an answer that was accepted is tied to its request."""
        if self._seal is None:
            return reply.status != 401
        signature = self._seal.read(reply)
        return signature is not None and signature.bound

    def _until_settled(self, lookup: str, effort: Effort, trouble: PiaohaoError) -> Script[None]:
        """Look a command up until it is no longer under way, or is not there."""
        while True:
            reply = yield from self._reach("GET", lookup, b"", effort)
            if isinstance(reply, Came) and _settled(reply):
                return
            pause_s = effort.pause_s()
            if pause_s is None:
                raise _in_the_end(trouble, effort)
            yield Wait(pause_s)

    def _reach(self, method: str, target: str, body: bytes, effort: Effort) -> Script[Came | Lost]:
        """Send a request once, to whichever listener serves it, and return the bank's answer.

        Whoever says that the express listener is not the one (421) is believed without proof, once:
        the other listener has to show that it is the bank. But nobody is believed that nothing
        has happened: whoever stands in between may have let a command through before.

        Raises:
            UntrustedAnswerError: the answer is not the bank's.
        """
        if self._express and is_hot(method, target):
            reply = yield from self._exchange(method, target, body, express=True)
            if not isinstance(reply, Came) or reply.status != _MISDIRECTED:
                return reply
            effort.maybe_done |= self._seal is not None and method != "GET"
        return (yield from self._exchange(method, target, body))

    def _exchange(
        self, method: str, target: str, body: bytes, *, express: bool = False
    ) -> Script[Came | Lost]:
        """Send a request once to one listener, and return the answer, if it is the bank's.

        Raises:
            UntrustedAnswerError: it is not.
        """
        headers = {"accept-encoding": "identity"}
        if body:
            headers["content-type"] = "application/json"
        seal = self._express_seal if express else self._seal
        if seal is not None:
            nonce = secrets.token_urlsafe(18)
            headers |= seal.sign(method, target, body, now=self._wall(), nonce=nonce)
        reply = yield Send(method, target, headers, body, self._terms.try_s, express)
        assert reply is not None
        if isinstance(reply, Lost) and reply.stranger:
            # To come again would help nobody but whoever stands in between.
            raise UntrustedAnswerError(f"whoever is there is not the bank: {reply.reason}")
        if seal is None or isinstance(reply, Lost):
            return reply
        if express and reply.status == _MISDIRECTED:
            return reply
        signature = seal.read(reply)
        if signature is None:
            if reply.status in _BY_OTHERS:
                return Lost(True, f"a {reply.status} that the bank has not signed")
            raise UntrustedAnswerError("the bank has not signed the answer")
        if seal.trust.key(signature.keyid, self._wall()) is None:
            yield from self._learn(seal)
        seal.verify(reply, signature, headers, now=self._wall())
        return reply

    def introduce(self) -> Script[Trust]:
        """Fetch the bank's certificates and return what is trusted now.

        Raises:
            ValueError: there is no root to trust anything by.
        """
        if self._seal is None:
            raise ValueError("a client without an identity and a root trusts nobody")
        yield from self._learn(self._seal)
        return self._seal.trust

    def _learn(self, seal: Seal) -> Script[None]:
        """Fetch the bank's certificates; what comes is proved by the root, not by a signature."""
        headers = {"accept-encoding": "identity"}
        reply = yield Send("GET", BANK_CERTIFICATES, headers, b"", self._terms.try_s)
        if isinstance(reply, Came) and reply.status == 200:
            seal.trust.learn(reply.body, self._wall())

    # Arrays.

    def _array(
        self, body: bytes, put_off: frozenset[str]
    ) -> Script[tuple[list[Item], list[tuple[int, Problem]]]]:
        """Return an array's answers, and of which of them patience has seen nothing better."""
        effort = self.effort()
        call: Call[list[Item]] = Call("POST", ARRAYS, _items, body)
        while True:
            items = yield from self._ask(call, effort)
            # Few items are refused: the rest costs a comparison each, and is not decoded.
            refused = [(item.status, problem_in(item.body)) for item in items if item.status >= 400]
            later = [
                (status, problem)
                for status, problem in refused
                if status in REPEATABLE or problem.code in put_off
            ]
            if not later:
                return items, later
            pause_s = effort.pause_s(max(problem.retry_after_s or 0 for _, problem in later))
            if pause_s is None:
                return items, later
            yield Wait(pause_s)


def error_of(status: int, problem: Problem, *, proven: bool = True) -> PiaohaoError:
    """Return what an answer that is no success amounts to.

    Args:
        proven: whether it says which request it answers.
    """
    if problem.code == _UNKNOWN:
        return OutcomeUnknownError(f"{problem.title} {problem.detail}".strip() or _UNKNOWN)
    if status in REPEATABLE:
        return BusyError(problem)
    if status >= 500:
        return FailedError(problem)
    return RefusedError(status, problem) if proven else NotAcceptedError(status, problem)


def _in_the_end(trouble: PiaohaoError, effort: Effort) -> PiaohaoError:
    """Return what is raised: the trouble, or that an earlier try may have done it all the same.

    A refusal that is tied to the request is the command's outcome, whatever was before it.
    """
    final = isinstance(trouble, RefusedError) and not isinstance(trouble, NotAcceptedError)
    if final or isinstance(trouble, OutcomeUnknownError) or not effort.maybe_done:
        return trouble
    return _unknown(trouble)


def _unknown(trouble: PiaohaoError) -> OutcomeUnknownError:
    unknown = OutcomeUnknownError(f"the command may have been carried out; at last: {trouble}")
    unknown.__cause__ = trouble
    return unknown


def _read(call: Call[T], body: bytes) -> T:
    try:
        return call.read(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswerError(f"{call.method} {call.target}: {error}") from None


def _problem(reply: Came) -> Problem:
    problem = problem_in(reply.body)
    if problem.retry_after_s is None:
        header = reply.headers.get("retry-after", "")
        if header.isascii() and header.isdigit():
            return msgspec.structs.replace(problem, retry_after_s=float(header))
    return problem


def _settled(reply: Came) -> bool:
    """Whether the answer to a look says that the command is not under way."""
    if reply.status in REPEATABLE or problem_in(reply.body).code in PASSING:
        return False
    try:
        return reply.status != 200 or _peek(reply.body).state != _UNDER_WAY
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True


def _command(each: Command | Call[Any]) -> Command:
    command = each.command if isinstance(each, Call) else each
    if command is None:
        raise ValueError("a batch is of commands, and this call is none")
    return command


def _arrays(
    commands: Iterable[Command], bytes_max: int
) -> Iterator[tuple[Sequence[Command], bytes]]:
    """Yield commands in arrays that the gateway takes, each with its body."""
    array: list[Command] = []
    parts: list[bytes] = []
    size = 2
    for command in commands:
        part = encode(command)
        if array and (len(array) == ARRAY_MAX or size + len(part) + 1 > bytes_max):
            yield array, b"[" + b",".join(parts) + b"]"
            array, parts, size = [], [], 2
        array.append(command)
        parts.append(part)
        size += len(part) + 1
    if array:
        yield array, b"[" + b",".join(parts) + b"]"


def _outcome(command: Command, item: Item) -> Outcome:
    if item.status >= 300:
        return error_of(item.status, problem_in(item.body))
    view = ROUTES[type(command)].view
    try:
        made: View = reader(view)(item.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return UnreadableAnswerError(f"{type(command).__name__}: {error}")
    return made
