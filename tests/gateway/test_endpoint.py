"""From method, path, query and body to a typed request: what fits, and what is refused how."""

from typing import Any

import msgspec
import pytest

from actors.answers import OperationView, PaymentView
from actors.commands import CreatePayment, Number, ReversePayment
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import Endpoint, Router, act, read
from gateway.errors import RequestError
from gateway.handlers.payments import PaymentList
from gateway.lookup import Page
from gateway.table import ENDPOINTS


async def _handle(desk: Desk, caller: Caller, request: Any) -> Answer:
    return Answer(200, request)


PAY = act("/v1/payments", CreatePayment, _handle, "merchant", PaymentView)
REVERSE = act(
    "/v1/payments/{merchant_no}/{order_no}/reversals",
    ReversePayment,
    _handle,
    "merchant",
    OperationView,
)
LIST = read("/v1/payments", PaymentList, _handle, "merchant", Page[PaymentView])
ROUTER = Router([PAY, REVERSE, LIST])

BODY = b'{"merchant_no":"M1","order_no":"O1","payer":"A1","amount_minor":%b,"currency":"USD"}'


def _code(refused: pytest.ExceptionInfo[RequestError]) -> tuple[int, str]:
    return refused.value.problem.status, refused.value.problem.code


def test_body_is_command_without_its_tag() -> None:
    command = PAY.decode({}, BODY % b"700")
    assert command == CreatePayment("M1", "O1", "A1", 700, "USD")


def test_numbers_of_the_path_complete_the_command() -> None:
    endpoint, numbers = ROUTER.find("POST", "/v1/payments/M%3A1/O1/reversals")
    assert endpoint is REVERSE
    assert endpoint.decode(numbers, b'{"reversal_no":"R1"}') == ReversePayment("M:1", "O1", "R1")


@pytest.mark.parametrize(
    "amount", [b"0", b"-1", b"true", b'"700"', b"null", b"1" + b"0" * 13 + b"1"]
)
def test_amount_that_is_no_integer_in_range_is_refused(amount: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        PAY.decode({}, BODY % amount)
    assert _code(refused) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        BODY.replace(b"M1", "М1".encode()) % b"1",
        BODY.replace(b"M1", b"M" * 65) % b"1",
        BODY.replace(b'"payer"', b'"extra":1,"payer"') % b"1",
        BODY.replace(b'"currency"', b'"Currency"') % b"1",
    ],
)
def test_body_that_does_not_fit_its_schema_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        PAY.decode({}, body)
    assert _code(refused) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        ("", 404, "NOT_FOUND"),
        ("x" * 65, 422, "INVALID_REQUEST"),
        ("-a", 422, "INVALID_REQUEST"),
        ("a~", 422, "INVALID_REQUEST"),
        ("a%20b", 422, "INVALID_REQUEST"),
        ("%C3%A9", 422, "INVALID_REQUEST"),
        ("%EF%BC%91", 422, "INVALID_REQUEST"),
        ("a%5Cb", 422, "INVALID_REQUEST"),
        ("..", 422, "INVALID_REQUEST"),
        ("a b", 400, "MALFORMED_PATH"),
        ("é", 400, "MALFORMED_PATH"),
        ("a%2Fb", 400, "MALFORMED_PATH"),
        ("a%2fb", 400, "MALFORMED_PATH"),
        ("a%", 400, "MALFORMED_PATH"),
        ("a%2", 400, "MALFORMED_PATH"),
        ("a%zz", 400, "MALFORMED_PATH"),
        ("a%u0041", 400, "MALFORMED_PATH"),
        ("a\n", 400, "MALFORMED_PATH"),
        ("%ff", 400, "INVALID_UTF8"),
        ("%C0%AF", 400, "INVALID_UTF8"),
        ("%ED%A0%80", 400, "INVALID_UTF8"),
        ("a%00", 400, "CONTROL_CHARACTER"),
        ("a%0A", 400, "CONTROL_CHARACTER"),
        ("a%C2%85", 400, "CONTROL_CHARACTER"),
        ("e%CC%81", 400, "TEXT_NOT_NFC"),
    ],
)
def test_path_with_bad_number_is_refused(number: str, status: int, code: str) -> None:
    def decode() -> None:
        endpoint, numbers = ROUTER.find("POST", f"/v1/payments/M1/{number}/reversals")
        endpoint.decode(numbers, b'{"reversal_no":"R1"}')

    with pytest.raises(RequestError) as refused:
        decode()
    assert _code(refused) == (status, code)


def test_number_of_the_path_may_be_encoded_in_any_case() -> None:
    _, numbers = ROUTER.find("POST", "/v1/payments/M%3A1/%4f%4F-1/reversals")
    assert numbers == {"merchant_no": "M:1", "order_no": "OO-1"}


def test_query_gives_integers_as_text() -> None:
    assert LIST.decode({}, b"merchant_no=M1&limit=100").limit == 100
    assert LIST.decode({}, b"merchant_no=M1").limit == 10


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        (b"", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=0", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=101", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=1.0", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=1e1", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=010", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=%2B10", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=-1", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=" + b"9" * 5_000, 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=%EF%BC%91", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&limit=", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&extra=1", 422, "INVALID_REQUEST"),
        (b"merchant_no=M+1", 422, "INVALID_REQUEST"),
        (b"merchant_no=M1&merchant_no=M2", 400, "DUPLICATE_PARAMETER"),
        (b"merchant_no=M1&merchant_no=M1", 400, "DUPLICATE_PARAMETER"),
        (b"merchant_no=M1&merchant%5Fno=M2", 400, "DUPLICATE_PARAMETER"),
        (b"merchant_no", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M1&", 400, "MALFORMED_QUERY"),
        (b"&merchant_no=M1", 400, "MALFORMED_QUERY"),
        (b"=M1", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M1%", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M1%2", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M1%zz", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M\xc3\xa9", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M\x00", 400, "MALFORMED_QUERY"),
        (b"merchant_no=M1&" + b"&".join(b"a%d=1" % n for n in range(100)), 400, "MALFORMED_QUERY"),
        (b"merchant_no=%ff", 400, "INVALID_UTF8"),
        (b"merchant_no=%ED%A0%80", 400, "INVALID_UTF8"),
        (b"merchant_no=M%00", 400, "CONTROL_CHARACTER"),
        (b"merchant_no=M%E2%80%AE", 400, "CONTROL_CHARACTER"),
        (b"merchant_no=e%CC%81", 400, "TEXT_NOT_NFC"),
    ],
)
def test_bad_query_is_refused(query: bytes, status: int, code: str) -> None:
    with pytest.raises(RequestError) as refused:
        LIST.decode({}, query)
    assert _code(refused) == (status, code)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/nothing", "/v1/payments/", "//", "*"])
def test_unknown_path_is_not_found(path: str) -> None:
    with pytest.raises(RequestError) as refused:
        ROUTER.find("GET", path)
    assert _code(refused) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/payments", ("GET", "HEAD", "POST")),
        ("GET", "/v1/payments/M1/O1/reversals", ("POST",)),
        ("HEAD", "/v1/payments/M1/O1/reversals", ("POST",)),
    ],
)
def test_wrong_method_names_the_right_ones(method: str, path: str, allow: tuple[str, ...]) -> None:
    with pytest.raises(RequestError) as refused:
        ROUTER.find(method, path)
    assert _code(refused) == (405, "METHOD_NOT_ALLOWED")
    assert refused.value.allow == allow


def test_head_is_answered_like_get() -> None:
    assert ROUTER.find("HEAD", "/v1/payments")[0] is LIST


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_every_endpoint_is_closed_and_documented(endpoint: Endpoint) -> None:
    """A handler says what it does, and a request takes no member that it does not know."""
    assert endpoint.handle.__doc__ or endpoint.handle.__qualname__.startswith("_operation")
    for field in msgspec.structs.fields(endpoint.request):
        if field.name.endswith("_no"):
            assert (
                "Number" in str(field.type)
                or field.type is Number
                or Number in (getattr(field.type, "__args__", ()))
            ), f"{field.name} takes any text"
