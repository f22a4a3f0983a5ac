"""Both clients in one form, so that a test of what they do is written once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import trio

from actors.commands import FundAccount, OpenAccount, OpenMerchant, SignAgreement
from gateway.client import AsyncClient, BankClient, Client, Identity, Terms

Kind = Literal["blocking", "awaited"]
KINDS: Final = ("blocking", "awaited")

QUICK: Final = Terms(patience_s=10, try_s=5, pause_s=0.001, pause_max_s=0.01)
"""Patient, without the pauses."""
BRIEF: Final = Terms(patience_s=0.3, try_s=0.1, pause_s=0.001, pause_max_s=0.02)
"""Gives up soon."""

PAYMENT: Final[dict[str, Any]] = {"payer": "A1", "amount_minor": 2_599, "currency": "USD"}


class Hand:
    """A client of either kind, whose methods are called by name and awaited."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def do(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method and return what it returns, of a list all of it."""
        called = partial(getattr(self.client, method), *args, **kwargs)
        if isinstance(self.client, Client):
            return await trio.to_thread.run_sync(lambda: _whole(called()))
        result = called()
        if hasattr(result, "__aiter__"):
            return [each async for each in result]
        return await result


def _whole(result: Any) -> Any:
    return list(result) if hasattr(result, "__next__") else result


@asynccontextmanager
async def hand(
    kind: str,
    address: str,
    identity: Identity | None = None,
    root: bytes | None = None,
    terms: Terms = QUICK,
    express: str | None = None,
) -> AsyncIterator[Hand]:
    """Have a merchant's client of a kind: M1's, where there is no identity."""
    merchant_no = None if identity else "M1"
    if kind == "blocking":
        with Client(
            address, identity, root, merchant_no=merchant_no, terms=terms, express=express
        ) as blocking:
            yield Hand(blocking)
    else:
        async with AsyncClient(
            address, identity, root, merchant_no=merchant_no, terms=terms, express=express
        ) as client:
            yield Hand(client)


async def open_business(address: str) -> None:
    """Open merchant M1 and account A1 with 1,000.00 in it, and let the one debit the other."""

    def opening() -> None:
        with BankClient(address) as bank:
            made = bank.batch(
                [
                    OpenMerchant("M1", "USD", fee_bps=38),
                    OpenAccount("A1", "USD"),
                    FundAccount("A1", "F1", 100_000, "USD"),
                    SignAgreement("A1", "G1", "M1"),
                ]
            )
            assert not any(isinstance(each, Exception) for each in made), made

    await trio.to_thread.run_sync(opening)
