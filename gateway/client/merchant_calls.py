"""A merchant's calls: each method says what one request is, and sends nothing.

The two clients have the same methods, which do what is said here. `client.calls` is one of these,
so that commands can be put together for a batch.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self, TypeVar

from actors.answers import (
    AuthorizationView,
    CertificateView,
    EventView,
    MerchantView,
    OperationView,
    PaymentView,
    RefundView,
    RemedyView,
)
from actors.commands import (
    CaptureAuthorization,
    CloseRefund,
    CreateAuthorization,
    CreatePayment,
    IncrementAuthorization,
    RedirectRefund,
    RefundAuthorization,
    RefundPayment,
    ReleaseAuthorization,
    ReversePayment,
    RevocationReason,
    RevokeCertificate,
    VoidAuthorization,
)
from gateway.client.call import Call, Listing, Page, listing, look, note, order, post
from gateway.client.identity import Identity
from gateway.client.views import EventsView, NewCertificateView

T = TypeVar("T")

Instant = datetime | str
"""A time with its zone, or the same as RFC 3339."""

_PAYMENT: Final = "/v1/payments/{merchant_no}/{order_no}"
_HOLD: Final = "/v1/authorizations/{merchant_no}/{hold_no}"
_REFUND: Final = "/v1/refunds/{merchant_no}/{refund_no}"
_CERTIFICATES: Final = "/v1/merchants/{merchant_no}/certificates"
_EVENTS_MAX: Final = 1_000


class MerchantCalls:
    """The calls of one merchant.

    Args:
        merchant_no: whose they are.
    """

    def __init__(self, merchant_no: str) -> None:
        self.merchant_no = merchant_no

    @classmethod
    def of(cls, identity: Identity | None, merchant_no: str | None) -> Self:
        """Return the calls of the merchant who is named, or whose certificate it is.

        Raises:
            ValueError: neither names one.
        """
        named = merchant_no or (None if identity is None else identity.merchant_no)
        if named is None:
            raise ValueError("merchant_no is needed: the certificate is no merchant's")
        return cls(named)

    # Payments.

    def pay(
        self,
        order_no: str,
        *,
        payer: str,
        amount_minor: int,
        currency: str,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[PaymentView]:
        """Take a payment from an account under a signed agreement.

        Args:
            order_no: your own number for it: a repetition never pays twice.
            payer: the account's number.
            amount_minor: in minor units (cents), 1 to 10^13.
            currency: ISO 4217.
        """
        noted = note(description, metadata)
        command = CreatePayment(self.merchant_no, order_no, payer, amount_minor, currency, *noted)
        return order(command, PaymentView)

    def get_payment(self, order_no: str) -> Call[PaymentView]:
        """Look a payment up."""
        return self._look(PaymentView, _PAYMENT, order_no=order_no)

    def payments(
        self, *, since: Instant | None = None, until: Instant | None = None, by_time: bool = False
    ) -> Listing[PaymentView]:
        """List payments, in the order of their numbers, or of the times of their outcomes.

        Args:
            since: only outcomes from this time on; it implies the order of time, as `until` does.
            until: only outcomes before this time.
            by_time: the order of time without a bound.
        """
        return self._list(PaymentView, "/v1/payments", since, until, by_time)

    def reverse(self, order_no: str, reversal_no: str) -> Call[OperationView]:
        """Undo a payment in full, fee included, on its own business date."""
        return order(ReversePayment(self.merchant_no, order_no, reversal_no), OperationView)

    def get_reversal(self, order_no: str, reversal_no: str) -> Call[OperationView]:
        """Look a reversal up."""
        path = f"{_PAYMENT}/reversals/{{reversal_no}}"
        return self._look(OperationView, path, order_no=order_no, reversal_no=reversal_no)

    # Authorizations.

    def authorize(
        self,
        hold_no: str,
        *,
        payer: str,
        amount_minor: int,
        currency: str,
        valid_s: int = 7 * 86_400,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[AuthorizationView]:
        """Reserve money on a payer's account, to be captured later (pre-authorization).

        Args:
            hold_no: your own number for it.
            valid_s: how long it holds, in seconds; 30 days at most.
        """
        command = CreateAuthorization(
            self.merchant_no,
            hold_no,
            payer,
            amount_minor,
            currency,
            valid_s,
            *note(description, metadata),
        )
        return order(command, AuthorizationView)

    def get_authorization(self, hold_no: str) -> Call[AuthorizationView]:
        """Look an authorization up."""
        return self._look(AuthorizationView, _HOLD, hold_no=hold_no)

    def authorizations(
        self, *, since: Instant | None = None, until: Instant | None = None, by_time: bool = False
    ) -> Listing[AuthorizationView]:
        """List authorizations; see `payments` for order and bounds."""
        return self._list(AuthorizationView, "/v1/authorizations", since, until, by_time)

    def increment(
        self, hold_no: str, increment_no: str, *, amount_minor: int
    ) -> Call[OperationView]:
        """Reserve more under an authorization of which nothing has been captured yet."""
        command = IncrementAuthorization(self.merchant_no, hold_no, increment_no, amount_minor)
        return order(command, OperationView)

    def get_increment(self, hold_no: str, increment_no: str) -> Call[OperationView]:
        """Look an increment up."""
        path = f"{_HOLD}/increments/{{increment_no}}"
        return self._look(OperationView, path, hold_no=hold_no, increment_no=increment_no)

    def capture(
        self,
        hold_no: str,
        capture_no: str,
        *,
        amount_minor: int,
        final: bool = False,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[OperationView]:
        """Take reserved money.

        Args:
            final: release what is left of it.
        """
        command = CaptureAuthorization(
            self.merchant_no,
            hold_no,
            capture_no,
            amount_minor,
            final,
            *note(description, metadata),
        )
        return order(command, OperationView)

    def get_capture(self, hold_no: str, capture_no: str) -> Call[OperationView]:
        """Look a capture up."""
        path = f"{_HOLD}/captures/{{capture_no}}"
        return self._look(OperationView, path, hold_no=hold_no, capture_no=capture_no)

    def void(self, hold_no: str, void_no: str) -> Call[OperationView]:
        """Give a reservation back of which nothing has been captured."""
        return order(VoidAuthorization(self.merchant_no, hold_no, void_no), OperationView)

    def get_void(self, hold_no: str, void_no: str) -> Call[OperationView]:
        """Look a void up."""
        path = f"{_HOLD}/voids/{{void_no}}"
        return self._look(OperationView, path, hold_no=hold_no, void_no=void_no)

    def release(self, hold_no: str, release_no: str) -> Call[OperationView]:
        """Give back what is left of a reservation that was captured in part."""
        return order(ReleaseAuthorization(self.merchant_no, hold_no, release_no), OperationView)

    def get_release(self, hold_no: str, release_no: str) -> Call[OperationView]:
        """Look a release up."""
        path = f"{_HOLD}/releases/{{release_no}}"
        return self._look(OperationView, path, hold_no=hold_no, release_no=release_no)

    # Refunds.

    def refund(
        self,
        refund_no: str,
        *,
        amount_minor: int,
        order_no: str | None = None,
        hold_no: str | None = None,
        wait_for_funds: bool = False,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[RefundView]:
        """Return some or all of a payment, or of what was captured, to its payer.

        Args:
            refund_no: your own number for it.
            order_no: the payment, or
            hold_no: the authorization; exactly one of the two.
            wait_for_funds: wait for up to 7 days where your balance does not cover it.

        Raises:
            ValueError: none or both of `order_no` and `hold_no` are given.
        """
        rest = amount_minor, wait_for_funds, *note(description, metadata)
        if order_no is not None and hold_no is None:
            return order(RefundPayment(self.merchant_no, refund_no, order_no, *rest), RefundView)
        if hold_no is not None and order_no is None:
            command = RefundAuthorization(self.merchant_no, refund_no, hold_no, *rest)
            return order(command, RefundView)
        raise ValueError("give exactly one of order_no and hold_no")

    def get_refund(self, refund_no: str) -> Call[RefundView]:
        """Look a refund up."""
        return self._look(RefundView, _REFUND, refund_no=refund_no)

    def refunds(
        self, *, since: Instant | None = None, until: Instant | None = None, by_time: bool = False
    ) -> Listing[RefundView]:
        """List refunds; see `payments` for order and bounds."""
        return self._list(RefundView, "/v1/refunds", since, until, by_time)

    def redirect_refund(
        self, refund_no: str, redirect_no: str, *, account_no: str
    ) -> Call[RemedyView]:
        """Send a refund whose payer's account is closed to another account."""
        command = RedirectRefund(self.merchant_no, refund_no, redirect_no, account_no)
        return order(command, RemedyView)

    def close_refund(self, refund_no: str, close_no: str) -> Call[RemedyView]:
        """Give up a refund that waits for funds, or whose payer's account is closed."""
        return order(CloseRefund(self.merchant_no, refund_no, close_no), RemedyView)

    # The merchant itself.

    def balance(self) -> Call[MerchantView]:
        """Look up what the bank owes you after fees (`posted_minor`), and your terms."""
        return self._look(MerchantView, "/v1/merchants/{merchant_no}")

    def events(self, *, after: int = 0) -> Listing[EventView]:
        """List what has happened since an event that you have seen, in its sequence.

        Args:
            after: the sequence of the last event that you know, 0 for none.
        """

        def page(cursor: str | None) -> Call[Page[EventView]]:
            begin = after if cursor is None else int(cursor)
            asked = {"after": begin, "limit": _EVENTS_MAX}
            call = self._look(EventsView, "/v1/merchants/{merchant_no}/events", asked)
            return Call(call.method, call.target, lambda body: _chapter(call.read(body)))

        return page

    def certificates(self) -> Listing[CertificateView]:
        """List your certificates, in the order of your numbers for them."""
        return listing(CertificateView, _CERTIFICATES, {}, merchant_no=self.merchant_no)

    def get_certificate(self, certificate_no: str) -> Call[CertificateView]:
        """Look a certificate up, with itself as `pem`."""
        path = f"{_CERTIFICATES}/{{certificate_no}}"
        return self._look(CertificateView, path, certificate_no=certificate_no)

    def revoke_certificate(
        self, serial: str, *, reason: RevocationReason = "unspecified"
    ) -> Call[CertificateView]:
        """End a certificate of yours at once and for ever; do so if its key was ever seen."""
        return order(RevokeCertificate(self.merchant_no, serial, reason), CertificateView)

    def renew_certificate(
        self, certificate_no: str, *, csr: str, renews: str
    ) -> Call[NewCertificateView]:
        """Have the bank make the next certificate; the old one goes on being valid for 15 days.

        Args:
            certificate_no: your own number for it.
            csr: the request for it, its DER in base64.
            renews: the serial of the old one, in lower-case hex.
        """
        body = {"certificate_no": certificate_no, "csr": csr, "renews": renews}
        return post(NewCertificateView, _CERTIFICATES, body, merchant_no=self.merchant_no)

    def _look(
        self, view: type[T], path: str, query: Mapping[str, object] | None = None, **numbers: str
    ) -> Call[T]:
        return look(view, path, query, merchant_no=self.merchant_no, **numbers)

    def _list(
        self,
        view: type[T],
        path: str,
        since: Instant | None,
        until: Instant | None,
        by_time: bool,
    ) -> Listing[T]:
        bounded = by_time or since is not None or until is not None
        query = {
            "merchant_no": self.merchant_no,
            "order": "time" if bounded else None,
            "from": _instant(since),
            "to": _instant(until),
        }
        return listing(view, path, query)


def _instant(instant: Instant | None) -> str | None:
    return instant.isoformat() if isinstance(instant, datetime) else instant


def _chapter(events: EventsView) -> Page[EventView]:
    """Return events as a page of a list: the sequence of the last one is its cursor."""
    last = events.items[-1].sequence if events.items else events.newest
    return Page(events.items, str(last) if last < events.newest else None)
