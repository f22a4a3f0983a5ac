"""The synchronous clients: `Client` for a merchant, `BankClient` for the bank itself.

A client may be shared by threads. Each method waits until its outcome is known, or raises a
`PiaohaoError`; `start` and `start_array` do not wait, so that the next request can be made while
the bank works.
"""

import ssl
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import httpx2

from actors.answers import EventView
from actors.commands import Command
from gateway.ca.algorithm import PrivateKey
from gateway.client.bank_calls import BankCalls
from gateway.client.call import Call, Listing
from gateway.client.core import PASSING, Item, Outcome
from gateway.client.exchange import Came, Lost, Reply, Script, Send, Wait
from gateway.client.identity import Identity
from gateway.client.merchant_calls import MerchantCalls
from gateway.client.method import Blocking, Iterated
from gateway.client.terms import Terms
from gateway.client.way import ANSWER_BYTES, CONNECTIONS, Way, lost
from gateway.client.webhook import WebhookVerifier

T = TypeVar("T")
C = TypeVar("C")


class Shell(Generic[C]):
    """What both synchronous clients have in common.

    Attributes:
        calls: the same methods, which only say what is to be done; commands for `batch`.
    """

    def __init__(self, way: Way, calls: C) -> None:
        self.calls = calls
        self._way = way
        self._core = way.core(time.monotonic)
        self._http = httpx2.HTTPTransport(verify=way.tls, trust_env=False, limits=CONNECTIONS)
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; what is under way fails."""
        self._closed = True
        self._http.close()
        if self._threads is not None:
            self._threads.shutdown()

    def do(self, call: Call[T]) -> T:
        """Make a call and return its result; the other methods do this for you."""
        return self._run(self._core.ask(call))

    def go_through(self, listing: Listing[T]) -> Iterator[T]:
        """Yield what is in a list, page by page."""
        call: Call[Any] | None = listing(None)
        while call is not None:
            page = self.do(call)
            yield from page.items
            call = None if page.next_cursor is None else listing(page.next_cursor)

    def batch(self, commands: Iterable[Command | Call[Any]]) -> list[Outcome]:
        """Have any number of commands carried out, in order; an error is an outcome, not raised.

        Args:
            commands: typed commands, or calls that `client.calls` made of them.
        """
        return self._run(self._core.batch(commands))

    def send_array(self, body: bytes, put_off: frozenset[str] = PASSING) -> list[Item]:
        """Have an encoded array of at most 1,000 commands carried out; bodies are left as they are.

        Args:
            put_off: codes of refusals after which it is sent again, besides 429, 503 and 504.
        """
        return self._run(self._core.send_array(body, put_off))

    def start(self, call: Call[T]) -> Future[T]:
        """Begin to make a call and do not wait: `.result()` is what the method would return."""
        return self._pool().submit(self.do, call)

    def start_array(self, body: bytes, put_off: frozenset[str] = PASSING) -> Future[list[Item]]:
        """Begin to send an array and do not wait: `.result()` is what `send_array` returns."""
        return self._pool().submit(self.send_array, body, put_off)

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(thread_name_prefix="piaohao-client")
        return self._threads

    def _run(self, script: Script[T]) -> T:
        if self._closed:
            raise RuntimeError("the client is closed")
        reply: Reply = None
        while True:
            try:
                step = script.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Send):
                reply = self._exchange(step)
            else:
                assert isinstance(step, Wait), "errands go over a stream"
                time.sleep(step.seconds)
                reply = None

    def _exchange(self, send: Send) -> Came | Lost:
        request = self._way.request(send)
        end = time.monotonic() + send.timeout_s
        try:
            response = self._http.handle_request(request)
            try:
                chunks = []
                size = 0
                late = False
                assert isinstance(response.stream, httpx2.SyncByteStream)
                for chunk in response.stream:
                    # httpx2 limits each wait for a piece; together they are limited here.
                    if size > ANSWER_BYTES or late:
                        return Lost(True, "the answer is too large or too slow")
                    chunks.append(chunk)
                    size += len(chunk)
                    late = time.monotonic() > end
            finally:
                response.close()
        except httpx2.TransportError as error:
            return lost(error)
        return Came(response.status_code, response.headers, b"".join(chunks))


class Client(Shell[MerchantCalls]):
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

    pay = Blocking(MerchantCalls.pay)
    get_payment = Blocking(MerchantCalls.get_payment)
    payments = Iterated(MerchantCalls.payments)
    reverse = Blocking(MerchantCalls.reverse)
    get_reversal = Blocking(MerchantCalls.get_reversal)

    authorize = Blocking(MerchantCalls.authorize)
    get_authorization = Blocking(MerchantCalls.get_authorization)
    authorizations = Iterated(MerchantCalls.authorizations)
    increment = Blocking(MerchantCalls.increment)
    get_increment = Blocking(MerchantCalls.get_increment)
    capture = Blocking(MerchantCalls.capture)
    get_capture = Blocking(MerchantCalls.get_capture)
    void = Blocking(MerchantCalls.void)
    get_void = Blocking(MerchantCalls.get_void)
    release = Blocking(MerchantCalls.release)
    get_release = Blocking(MerchantCalls.get_release)

    refund = Blocking(MerchantCalls.refund)
    get_refund = Blocking(MerchantCalls.get_refund)
    refunds = Iterated(MerchantCalls.refunds)
    redirect_refund = Blocking(MerchantCalls.redirect_refund)
    close_refund = Blocking(MerchantCalls.close_refund)

    balance = Blocking(MerchantCalls.balance)
    events = Iterated(MerchantCalls.events)
    certificates = Iterated(MerchantCalls.certificates)
    get_certificate = Blocking(MerchantCalls.get_certificate)
    revoke_certificate = Blocking(MerchantCalls.revoke_certificate)

    def follow(self, *, after: int = 0, every_s: float = 1.0) -> Iterator[EventView]:
        """Yield events for ever, those to come too; it asks again every so many seconds.

        Args:
            after: the sequence of the last event that you know, 0 for none.
        """
        while True:
            for event in self.events(after=after):
                after = event.sequence
                yield event
            time.sleep(every_s)

    def webhooks(self, url: str) -> WebhookVerifier:
        """Return what tells the bank's webhooks of your events to a URL of yours from all else.

        It knows the keys that the bank has now; when one comes of which it knows no key, ask for
        it anew.
        """
        trust = self._run(self._core.introduce())
        return WebhookVerifier(url, trust, self.calls.merchant_no)

    def renew(self, certificate_no: str, key: PrivateKey | None = None) -> Identity:
        """Have the bank make your next certificate, and return the new identity: keep it.

        This client goes on with the old one, which is valid for 15 more days.

        Args:
            certificate_no: your own number for it.
            key: the new one, if you have made it yourself; a repetition has to give the same.
        """
        return self._run(self._core.renew(self.calls, certificate_no, key))


class BankClient(Shell[BankCalls]):
    """The bank's own client; the arguments are those of `Client`."""

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

    open_account = Blocking(BankCalls.open_account)
    get_account = Blocking(BankCalls.get_account)
    accounts = Iterated(BankCalls.accounts)
    postings = Iterated(BankCalls.postings)
    freeze_account = Blocking(BankCalls.freeze_account)
    unfreeze_account = Blocking(BankCalls.unfreeze_account)
    close_account = Blocking(BankCalls.close_account)

    fund = Blocking(BankCalls.fund)
    get_funding = Blocking(BankCalls.get_funding)
    withdraw = Blocking(BankCalls.withdraw)
    get_withdrawal = Blocking(BankCalls.get_withdrawal)
    transfer = Blocking(BankCalls.transfer)
    get_transfer = Blocking(BankCalls.get_transfer)
    transfers = Iterated(BankCalls.transfers)

    sign_agreement = Blocking(BankCalls.sign_agreement)
    get_agreement = Blocking(BankCalls.get_agreement)
    agreements = Iterated(BankCalls.agreements)
    change_agreement = Blocking(BankCalls.change_agreement)
    cancel_agreement = Blocking(BankCalls.cancel_agreement)
    set_limits = Blocking(BankCalls.set_limits)
    get_limits = Blocking(BankCalls.get_limits)
    freeze_amount = Blocking(BankCalls.freeze_amount)
    unfreeze_amount = Blocking(BankCalls.unfreeze_amount)
    get_freeze = Blocking(BankCalls.get_freeze)
    freezes = Iterated(BankCalls.freezes)

    open_merchant = Blocking(BankCalls.open_merchant)
    apply_merchant = Blocking(BankCalls.apply_merchant)
    amend_merchant = Blocking(BankCalls.amend_merchant)
    submit_merchant = Blocking(BankCalls.submit_merchant)
    approve_merchant = Blocking(BankCalls.approve_merchant)
    reject_merchant = Blocking(BankCalls.reject_merchant)
    sign_merchant = Blocking(BankCalls.sign_merchant)
    get_profile = Blocking(BankCalls.get_profile)
    get_merchant = Blocking(BankCalls.get_merchant)
    merchants = Iterated(BankCalls.merchants)
    suspend_merchant = Blocking(BankCalls.suspend_merchant)
    activate_merchant = Blocking(BankCalls.activate_merchant)
    close_merchant = Blocking(BankCalls.close_merchant)
    revoke_certificate = Blocking(BankCalls.revoke_certificate)

    cut_day = Blocking(BankCalls.cut_day)
    get_day_cut = Blocking(BankCalls.get_day_cut)
    node = Blocking(BankCalls.node)
    codes = Blocking(BankCalls.codes)
