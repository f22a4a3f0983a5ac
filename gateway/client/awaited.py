"""The clients for Trio: `AsyncClient` for a merchant, `AsyncBankClient` for the bank itself.

They have the methods of the synchronous ones, awaited. A client may be shared by tasks. A method
that is cancelled leaves its command to the bank, which may carry it out; its number tells.
"""

import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import httpx2
import trio

from actors.answers import EventView
from actors.commands import Command
from gateway.ca.algorithm import PrivateKey
from gateway.client.bank_calls import BankCalls
from gateway.client.call import Call, Listing, Page
from gateway.client.core import PASSING, Item, Outcome
from gateway.client.exchange import Came, Lost, Reply, Script, Send, Step, Wait, carry_out
from gateway.client.identity import Identity
from gateway.client.merchant_calls import MerchantCalls
from gateway.client.method import AsyncIterated, Awaited
from gateway.client.stream import Stream
from gateway.client.terms import Terms
from gateway.client.way import ANSWER_BYTES, CONNECTIONS, Way, lost
from gateway.client.webhook import WebhookVerifier

T = TypeVar("T")
C = TypeVar("C")


class AsyncShell(Generic[C]):
    """What both clients for Trio have in common.

    Attributes:
        calls: the same methods, which only say what is to be done; commands for `batch`.
    """

    def __init__(self, way: Way, calls: C) -> None:
        self.calls = calls
        self._way = way
        self._core = way.core(trio.current_time)
        self._http = httpx2.AsyncHTTPTransport(verify=way.tls, trust_env=False, limits=CONNECTIONS)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up; what is under way fails."""
        self._closed = True
        await self._http.aclose()

    async def do(self, call: Call[T]) -> T:
        """Make a call and return its result; the other methods do this for you."""
        return await self._run(self._core.ask(call))

    def go_through(self, listing: Listing[T]) -> AsyncIterator[T]:
        """Return an iterator over a list, page by page."""
        return _Pages(self.do, listing)

    async def batch(self, commands: Iterable[Command | Call[Any]]) -> list[Outcome]:
        """Have any number of commands carried out, in order; an error is an outcome, not raised.

        Args:
            commands: typed commands, or calls that `client.calls` made of them.
        """
        return await self._run(self._core.batch(commands))

    async def send_array(self, body: bytes, put_off: frozenset[str] = PASSING) -> list[Item]:
        """Have an encoded array of at most 1,000 commands carried out; bodies are left as they are.

        Args:
            put_off: codes of refusals after which it is sent again, besides 429, 503 and 504.
        """
        return await self._run(self._core.send_array(body, put_off))

    async def _run(self, script: Script[T]) -> T:
        if self._closed:
            raise RuntimeError("the client is closed")
        return await carry_out(script, self._perform)

    async def _perform(self, step: Step) -> Reply:
        if isinstance(step, Send):
            return await self._exchange(step)
        assert isinstance(step, Wait), "errands go over a stream"
        await trio.sleep(step.seconds)
        return None

    async def _exchange(self, send: Send) -> Came | Lost:
        request = self._way.request(send)
        # httpx2 limits each wait for a piece; together they are limited here.
        with trio.move_on_after(send.timeout_s):
            try:
                response = await self._http.handle_async_request(request)
                try:
                    chunks = []
                    size = 0
                    assert isinstance(response.stream, httpx2.AsyncByteStream)
                    async for chunk in response.stream:
                        chunks.append(chunk)
                        size += len(chunk)
                        if size > ANSWER_BYTES:
                            return Lost(True, "the answer is too large")
                finally:
                    await response.aclose()
            except httpx2.TransportError as error:
                return lost(error)
            return Came(response.status_code, response.headers, b"".join(chunks))
        return Lost(True, "the answer did not come in time")


class _Pages(Generic[T]):
    """What is in a list. It holds nothing open, so it may be dropped halfway; an asynchronous
    generator may not."""

    def __init__(
        self, do: Callable[[Call[Page[T]]], Awaitable[Page[T]]], listing: Listing[T]
    ) -> None:
        self._do = do
        self._listing = listing
        self._call: Call[Page[T]] | None = listing(None)
        self._items: deque[T] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._call is None:
                raise StopAsyncIteration
            page = await self._do(self._call)
            self._items.extend(page.items)
            cursor = page.next_cursor
            self._call = None if cursor is None else self._listing(cursor)
        return self._items.popleft()


class AsyncClient(AsyncShell[MerchantCalls]):
    """A merchant's client.

    Args:
        address: the bank's, for example `https://bank.example:8443`.
        identity: key and certificate; None for a bank on loopback that serves unsigned.
        root: the bank's root certificate, as a file or PEM.
        merchant_no: whose payments they are, where the certificate does not say it.
        terms: how patient the client is.
        tls: another judge of the bank's TLS certificate.
        express: address of its express listener, where payments, authorizations, refunds and
            arrays go then; streams and all else go to `address`.

    Raises:
        ValueError: something of this does not go together.
    """

    def __init__(
        self,
        address: str,
        identity: Identity | None = None,
        root: Path | str | bytes | None = None,
        *,
        merchant_no: str | None = None,
        terms: Terms | None = None,
        tls: ssl.SSLContext | None = None,
        express: str | None = None,
    ) -> None:
        calls = MerchantCalls.of(identity, merchant_no)
        super().__init__(Way(address, identity, root, tls, terms or Terms(), express), calls)

    pay = Awaited(MerchantCalls.pay)
    get_payment = Awaited(MerchantCalls.get_payment)
    payments = AsyncIterated(MerchantCalls.payments)
    reverse = Awaited(MerchantCalls.reverse)
    get_reversal = Awaited(MerchantCalls.get_reversal)

    authorize = Awaited(MerchantCalls.authorize)
    get_authorization = Awaited(MerchantCalls.get_authorization)
    authorizations = AsyncIterated(MerchantCalls.authorizations)
    increment = Awaited(MerchantCalls.increment)
    get_increment = Awaited(MerchantCalls.get_increment)
    capture = Awaited(MerchantCalls.capture)
    get_capture = Awaited(MerchantCalls.get_capture)
    void = Awaited(MerchantCalls.void)
    get_void = Awaited(MerchantCalls.get_void)
    release = Awaited(MerchantCalls.release)
    get_release = Awaited(MerchantCalls.get_release)

    refund = Awaited(MerchantCalls.refund)
    get_refund = Awaited(MerchantCalls.get_refund)
    refunds = AsyncIterated(MerchantCalls.refunds)
    redirect_refund = Awaited(MerchantCalls.redirect_refund)
    close_refund = Awaited(MerchantCalls.close_refund)

    balance = Awaited(MerchantCalls.balance)
    events = AsyncIterated(MerchantCalls.events)
    certificates = AsyncIterated(MerchantCalls.certificates)
    get_certificate = Awaited(MerchantCalls.get_certificate)
    revoke_certificate = Awaited(MerchantCalls.revoke_certificate)

    def follow(self, *, after: int = 0, every_s: float = 1.0) -> AsyncIterator[EventView]:
        """Iterate over events for ever, those to come too, asking again every so many seconds.

        Args:
            after: the sequence of the last event that you know, 0 for none.
        """
        return _Following(self, after, every_s)

    def stream(self) -> Stream:
        """Return a stream: commands and events over connections that stay; for `async with`.

        Raises:
            ValueError: the bank is reached without TLS, and not on this machine: what goes over a
                stream is not signed piece by piece.
        """
        return Stream(self._way, self._perform, self.calls)

    async def webhooks(self, url: str) -> WebhookVerifier:
        """Return what tells the bank's webhooks of your events to a URL of yours from all else.

        It knows the keys that the bank has now; when one comes of which it knows no key, ask for
        it anew.
        """
        trust = await self._run(self._core.introduce())
        return WebhookVerifier(url, trust, self.calls.merchant_no)

    async def renew(self, certificate_no: str, key: PrivateKey | None = None) -> Identity:
        """Have the bank make your next certificate, and return the new identity: keep it.

        This client goes on with the old one, which is valid for 15 more days.

        Args:
            certificate_no: your own number for it.
            key: the new one, if you have made it yourself; a repetition has to give the same.
        """
        return await self._run(self._core.renew(self.calls, certificate_no, key))


class _Following:
    """Events, and those to come."""

    def __init__(self, client: AsyncClient, after: int, every_s: float) -> None:
        self._client = client
        self._after = after
        self._every_s = every_s
        self._known = client.events(after=after)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventView:
        while (event := await anext(self._known, None)) is None:
            await trio.sleep(self._every_s)
            self._known = self._client.events(after=self._after)
        self._after = event.sequence
        return event


class AsyncBankClient(AsyncShell[BankCalls]):
    """The bank's own client; the arguments are those of `AsyncClient`."""

    def __init__(
        self,
        address: str,
        identity: Identity | None = None,
        root: Path | str | bytes | None = None,
        *,
        terms: Terms | None = None,
        tls: ssl.SSLContext | None = None,
        express: str | None = None,
    ) -> None:
        super().__init__(Way(address, identity, root, tls, terms or Terms(), express), BankCalls())

    open_account = Awaited(BankCalls.open_account)
    get_account = Awaited(BankCalls.get_account)
    accounts = AsyncIterated(BankCalls.accounts)
    postings = AsyncIterated(BankCalls.postings)
    freeze_account = Awaited(BankCalls.freeze_account)
    unfreeze_account = Awaited(BankCalls.unfreeze_account)
    close_account = Awaited(BankCalls.close_account)

    fund = Awaited(BankCalls.fund)
    get_funding = Awaited(BankCalls.get_funding)
    withdraw = Awaited(BankCalls.withdraw)
    get_withdrawal = Awaited(BankCalls.get_withdrawal)
    transfer = Awaited(BankCalls.transfer)
    get_transfer = Awaited(BankCalls.get_transfer)
    transfers = AsyncIterated(BankCalls.transfers)

    sign_agreement = Awaited(BankCalls.sign_agreement)
    get_agreement = Awaited(BankCalls.get_agreement)
    agreements = AsyncIterated(BankCalls.agreements)
    change_agreement = Awaited(BankCalls.change_agreement)
    cancel_agreement = Awaited(BankCalls.cancel_agreement)
    set_limits = Awaited(BankCalls.set_limits)
    get_limits = Awaited(BankCalls.get_limits)
    freeze_amount = Awaited(BankCalls.freeze_amount)
    unfreeze_amount = Awaited(BankCalls.unfreeze_amount)
    get_freeze = Awaited(BankCalls.get_freeze)
    freezes = AsyncIterated(BankCalls.freezes)

    open_merchant = Awaited(BankCalls.open_merchant)
    apply_merchant = Awaited(BankCalls.apply_merchant)
    amend_merchant = Awaited(BankCalls.amend_merchant)
    submit_merchant = Awaited(BankCalls.submit_merchant)
    approve_merchant = Awaited(BankCalls.approve_merchant)
    reject_merchant = Awaited(BankCalls.reject_merchant)
    sign_merchant = Awaited(BankCalls.sign_merchant)
    get_profile = Awaited(BankCalls.get_profile)
    get_merchant = Awaited(BankCalls.get_merchant)
    merchants = AsyncIterated(BankCalls.merchants)
    suspend_merchant = Awaited(BankCalls.suspend_merchant)
    activate_merchant = Awaited(BankCalls.activate_merchant)
    close_merchant = Awaited(BankCalls.close_merchant)
    revoke_certificate = Awaited(BankCalls.revoke_certificate)

    cut_day = Awaited(BankCalls.cut_day)
    get_day_cut = Awaited(BankCalls.get_day_cut)
    node = Awaited(BankCalls.node)
    codes = Awaited(BankCalls.codes)
