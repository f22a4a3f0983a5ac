"""What a line of a replay's file says, or which mistake it is."""

import pytest

from bench.replay.row import Mistake, Row, instant, parse

GOOD = {
    "kind": "payment",
    "reference": "o1",
    "payer": "P1",
    "merchant": "M1",
    "amount_minor": "100",
    "currency": "CNY",
    "time": "2026-01-05T08:00:00Z",
    "original": "",
}
REFUND = {"kind": "refund", "original": "o0"}
VOID = {"kind": "void", "original": "h0", "amount_minor": ""}


def _line(**changes: str) -> bytes:
    return ",".join((GOOD | changes).values()).encode()


def test_row_is_read_as_it_stands() -> None:
    at_us = 1_767_600_000_000_000
    row = Row("payment", "o1", "P1", "M1", 100, "CNY", at_us, "2026-01-05T08:00:00Z", "")
    assert parse(_line()) == row
    assert row.date == "2026-01-05"
    quoted = b'payment,"o1",P1,"M1","100",CNY,"2026-01-05T08:00:00Z",""'
    assert parse(quoted) == row


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "A.b_c:d@e+f-9"},
        {"reference": "x" * 64},
        {"amount_minor": "10000000000000"},
        {"amount_minor": "0100"},
        {"time": "1970-01-01T00:00:00Z"},
        {"time": "2199-12-31T23:59:59.999999999Z"},
        {"time": "2024-02-29t08:00:00z"},
        {"time": "2026-01-05T08:00:00+00:00"},
        {"kind": "transfer"},
        {"kind": "hold"},
        REFUND,
        REFUND | {"payer": ""},
        VOID,
        VOID | {"amount_minor": "0"},
        VOID | {"amount_minor": "100", "payer": ""},
        VOID | {"kind": "release"},
        VOID | {"kind": "reversal"},
        REFUND | {"kind": "capture"},
    ],
)
def test_row_that_is_allowed_is_well_formed(changes: dict[str, str]) -> None:
    assert isinstance(parse(_line(**changes)), Row)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        (_line(currency="C\0Y"), Mistake.NOT_TEXT),
        (_line().replace(b"P1", b"\xff"), Mistake.NOT_TEXT),
        (_line().replace(b"P1", b"\xed\xa0\x80"), Mistake.NOT_TEXT),
        (b'"' + _line(), Mistake.BAD_QUOTES),
        (_line(reference='"o1"x'), Mistake.BAD_QUOTES),
        (_line(reference='"o1\r"'), Mistake.INVALID_REFERENCE),
        (_line(reference="o\r1"), Mistake.INVALID_REFERENCE),
        (b"sale", Mistake.WRONG_COLUMN_COUNT),
        (_line() + b",", Mistake.WRONG_COLUMN_COUNT),
        (_line().replace(b",CNY", b""), Mistake.WRONG_COLUMN_COUNT),
        (_line(reference='"o,1"'), Mistake.INVALID_REFERENCE),
        (_line(kind="sale"), Mistake.UNKNOWN_KIND),
        (_line(kind="Payment"), Mistake.UNKNOWN_KIND),
        (_line(kind=""), Mistake.UNKNOWN_KIND),
        (_line(reference=""), Mistake.INVALID_REFERENCE),
        (_line(reference="x" * 65), Mistake.INVALID_REFERENCE),
        (_line(reference="-1"), Mistake.INVALID_REFERENCE),
        (_line(reference="o/1"), Mistake.INVALID_REFERENCE),
        (_line(reference=" o1"), Mistake.INVALID_REFERENCE),
        (_line(reference="订单1"), Mistake.INVALID_REFERENCE),
        (_line(payer=""), Mistake.INVALID_PAYER),
        (_line(payer="P 1"), Mistake.INVALID_PAYER),
        (_line(**(REFUND | {"payer": "P/1"})), Mistake.INVALID_PAYER),
        (_line(merchant=""), Mistake.INVALID_MERCHANT),
        (_line(**(VOID | {"merchant": ""})), Mistake.INVALID_MERCHANT),
        *(
            (_line(amount_minor=amount), Mistake.INVALID_AMOUNT)
            for amount in (
                *("", "0", "00", "-5", "+5", "1.0", "1e3", "1_000", " 1", "0x10", "１００", "NaN"),
                *("10000000000001", "9" * 19, "9" * 5_00),
            )
        ),
        (_line(**(VOID | {"amount_minor": "-1"})), Mistake.INVALID_AMOUNT),
        (_line(**(REFUND | {"amount_minor": ""})), Mistake.INVALID_AMOUNT),
        *(
            (_line(currency=currency), Mistake.INVALID_CURRENCY)
            for currency in ("", "cny", "CN", "CNYX", "¥¥¥", "C1Y")
        ),
        *(
            (_line(time=time), Mistake.INVALID_TIME)
            for time in (
                *("", "2026-01-05", "2026-01-05 08:00:00Z", "2026-01-05T08:00Z"),
                *("2026-01-05T08:00:00", "2026-01-05T08:00:00+08:00", "2026-01-05T24:00:00Z"),
                *("2026-02-29T08:00:00Z", "2026-13-01T08:00:00Z", "2026-01-05T08:00:60Z"),
                *("1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
                *("2026-01-05T08:00:00.Z", "2026-01-05T08:00:00.1234567890Z", "1767600000"),
                "２026-01-05T08:00:00Z",
            )
        ),
        (_line(kind="refund"), Mistake.MISSING_ORIGINAL),
        (_line(**(VOID | {"original": ""})), Mistake.MISSING_ORIGINAL),
        (_line(original="o0"), Mistake.UNEXPECTED_ORIGINAL),
        (_line(kind="transfer", original="o0"), Mistake.UNEXPECTED_ORIGINAL),
        (_line(**(REFUND | {"original": "o 0"})), Mistake.INVALID_ORIGINAL),
    ],
)
def test_row_that_is_malformed_gets_the_code_of_its_mistake(line: bytes, mistake: Mistake) -> None:
    assert parse(line) is mistake


def test_first_mistake_in_the_order_of_the_columns_is_given() -> None:
    wrong = {
        "kind": "sale",
        "reference": "",
        "payer": "",
        "merchant": "",
        "amount_minor": "",
        "currency": "",
        "time": "",
    }
    codes = []
    while wrong:
        codes.append(parse(_line(**wrong)))
        del wrong[next(iter(wrong))]
    order = list(Mistake)
    assert codes == sorted(codes, key=lambda code: order.index(Mistake(str(code))))
    assert len(set(codes)) == 7


def test_instants_compare_as_times_and_not_as_texts() -> None:
    earlier, later = instant("2026-01-05T08:00:00Z"), instant("2026-01-05T08:00:00.0000019Z")
    assert earlier is not None
    assert later is not None
    assert later[0] == earlier[0] + 1
    assert later[1] == "2026-01-05T08:00:00.000001Z"
