"""Clients of a bank with an express listener: what goes there, and what does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.client import (
    BankClient,
    Client,
    OutcomeUnknownError,
    RefusedError,
    Terms,
    UntrustedAnswerError,
)
from gateway.client.call import is_hot
from gateway.table import ENDPOINTS, HOT
from tests.gateway.client.bank import Bank
from tests.gateway.client.front import Answer, Front, Mishap, fronting
from tests.gateway.client.hands import BRIEF, KINDS, PAYMENT, QUICK, Hand, hand, open_business
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

BANK = Bank()
MERCHANT = BANK.certify("M1")
MISDIRECTED = (421, b'{"code":"MISDIRECTED_REQUEST","title":"elsewhere"}')


@asynccontextmanager
async def _two_fronts(
    folder: Path, kind: str, terms: Terms = QUICK
) -> AsyncIterator[tuple[Hand, Front, Front]]:
    """Have a client of a node behind two fronts, the second before its express listener."""
    async with serving(folder, express_listen="127.0.0.1:0") as node:
        assert node.express_address is not None
        async with (
            fronting(node.address, BANK, MERCHANT) as main,
            fronting(node.express_address, BANK, MERCHANT) as express,
        ):
            await open_business(node.address)
            async with hand(
                kind, main.address, MERCHANT, BANK.root_pem, terms, express=express.address
            ) as one:
                yield one, main, express


def test_hot_calls_are_what_the_express_listener_serves() -> None:
    """By the gateway's own table, but for streams: they cost the same at either listener."""
    for row in ENDPOINTS:
        path = row.path.replace("{", "").replace("}", "")
        assert is_hot(row.method, path) == (row in HOT and path != "/v1/stream"), path
        assert is_hot(row.method, f"{path}?limit=1") == is_hot(row.method, path)


@pytest.mark.parametrize("kind", KINDS)
async def test_hot_calls_go_to_the_express_listener_and_all_others_do_not(
    kind: str, tmp_path: Path
) -> None:
    """Each is signed for where it goes, and each answer verified."""
    async with _two_fronts(tmp_path, kind) as (one, main, express):
        assert (await one.do("pay", "O1", **PAYMENT)).state == "SUCCEEDED"
        await one.do("authorize", "H1", **PAYMENT)
        await one.do("capture", "H1", "C1", amount_minor=1)
        await one.do("refund", "R1", order_no="O1", amount_minor=1)
        await one.do("get_payment", "O1")
        (outcome,) = await one.do("batch", [one.client.calls.pay("O2", **PAYMENT)])
        assert outcome.state == "SUCCEEDED"
        assert [each.order_no for each in await one.do("payments")] == ["O1", "O2"]
        assert len(await one.do("events")) == 5
        await one.do("balance")
    hot = [each for each in express.targets if "signing" not in each]
    assert hot == [
        "POST /v1/payments",
        "POST /v1/authorizations",
        "POST /v1/authorizations/M1/H1/captures",
        "POST /v1/refunds",
        "GET /v1/payments/M1/O1",
        "POST /v1/commands",
    ]
    others = [each.partition("?")[0] for each in main.targets]
    assert others == [
        "GET /v1/signing-certificates",
        "GET /v1/payments",
        "GET /v1/merchants/M1/events",
        "GET /v1/merchants/M1",
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_misdirected_goes_to_the_other_listener_at_once(
    kind: str, tmp_path: Path
) -> None:
    """Proved or not: that one has to be the bank; and it goes there once a try, not in a circle."""

    def unsigned(answer: Answer) -> None:
        answer.headers.clear()

    async with _two_fronts(tmp_path, kind) as (one, main, express):
        express.mishaps += [
            Mishap(instead=MISDIRECTED, loose=True),
            Mishap(instead=MISDIRECTED, tampered=unsigned),
        ]
        for order_no in ("O1", "O2"):
            assert (await one.do("pay", order_no, **PAYMENT)).state == "SUCCEEDED"
        assert express.targets == ["POST /v1/payments"] * 2
        assert main.targets.count("POST /v1/payments") == 2
        express.mishaps.append(Mishap(instead=MISDIRECTED))
        main.mishaps.append(Mishap(instead=MISDIRECTED))
        with pytest.raises(RefusedError) as caught:
            await one.do("pay", "O3", **PAYMENT)
        assert caught.value.status == 421
        assert len(express.targets) == 3
        express.mishaps.append(Mishap(instead=(200, b"{}"), tampered=unsigned))
        with pytest.raises(UntrustedAnswerError):
            await one.do("pay", "O3", **PAYMENT)


@pytest.mark.parametrize("kind", KINDS)
async def test_misdirected_that_nobody_proves_may_have_been_carried_out(
    kind: str, tmp_path: Path
) -> None:
    """Whoever stands in between may have let the command through and said 421 in its stead.

    To call it not done would have a merchant pay again under another number.
    """

    def forged(answer: Answer) -> None:
        answer.status, answer.body = MISDIRECTED
        answer.headers.clear()

    async with _two_fronts(tmp_path, kind, BRIEF) as (one, main, express):
        express.mishaps += [Mishap(tampered=forged)] * 200
        main.mishaps += [Mishap(instead=(503, b'{"code":"NODE_BUSY"}'), loose=True)] * 200
        with pytest.raises(OutcomeUnknownError):
            await one.do("pay", "O1", **PAYMENT)
        express.mishaps.clear()
        assert (await one.do("get_payment", "O1")).state == "SUCCEEDED"


async def test_command_whose_answer_is_lost_is_looked_up_where_it_went(tmp_path: Path) -> None:
    unknown = (504, b'{"code":"OUTCOME_UNKNOWN","title":"unknown"}')
    async with _two_fronts(tmp_path, "awaited") as (one, main, express):
        express.mishaps += [Mishap(unheard=True), Mishap(instead=unknown)]
        assert (await one.do("pay", "O1", **PAYMENT)).state == "SUCCEEDED"
        assert express.targets[-2:] == ["GET /v1/payments/M1/O1", "POST /v1/payments"]
        assert main.targets == ["GET /v1/signing-certificates"]


async def test_nodes_own_express_listener_is_served_by(tmp_path: Path) -> None:
    """Without a front, unsigned, on loopback."""
    async with (
        serving(tmp_path, express_listen="127.0.0.1:0") as node,
        hand("awaited", node.address, express=node.express_address) as one,
    ):
        await open_business(node.address)
        await one.do("pay", "O1", **PAYMENT)
        assert [each.order_no for each in await one.do("payments")] == ["O1"]


@pytest.mark.parametrize(
    "express",
    [
        "http://bank.example:8444",
        "https://bank.example.org:8444",
        "https://bank.example:8444/x",
        "",
    ],
)
def test_express_listener_elsewhere_or_less_safe_is_refused(express: str) -> None:
    for client in (Client, BankClient):
        with pytest.raises(ValueError, match=r"express|address"):
            client("https://bank.example", MERCHANT, BANK.root_pem, express=express)
