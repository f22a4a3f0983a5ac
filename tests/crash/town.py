"""The town: the merchants, payers and errands of the crash lab.

Payers have agreements with all merchants, so that with three shards about two thirds of what
happens crosses shards. An errand is a few commands of which the later ones refer to the earlier
ones; everything is drawn from a seed. Numbers are never used twice but on purpose.
"""

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from engine.address import shard_of

Command = dict[str, Any]

# These numbers lie evenly on three shards, too.
MERCHANTS: Final = [f"M{number}" for number in range(6, 12)]
HALF: Final = "M11"
"""The merchant that pays half of what it takes as a fee, so that refunds wait for funds."""
RICH: Final = [f"6217{number:02d}1" for number in range(1, 9)]
POOR: Final = "6217091"
"""The payer who soon has nothing left, so that some payments and holds fail."""
PAYERS: Final = [*RICH, POOR]
FUNDS_MINOR: Final = 10**12
POOR_MINOR: Final = 5_000

NUMBERS: Final = {
    "create_payment": "order_no",
    "reverse_payment": "reversal_no",
    "create_authorization": "hold_no",
    "increment_authorization": "increment_no",
    "capture_authorization": "capture_no",
    "void_authorization": "void_no",
    "release_authorization": "release_no",
    "refund_payment": "refund_no",
    "refund_authorization": "refund_no",
    "create_transfer": "transfer_no",
}
"""Kind of a command → the member that is its number."""

_AUTHORIZATION: Final = "/v1/authorizations/{merchant_no}/{hold_no}"
PATHS: Final = {
    "create_payment": "/v1/payments",
    "reverse_payment": "/v1/payments/{merchant_no}/{order_no}/reversals",
    "create_authorization": "/v1/authorizations",
    "increment_authorization": f"{_AUTHORIZATION}/increments",
    "capture_authorization": f"{_AUTHORIZATION}/captures",
    "void_authorization": f"{_AUTHORIZATION}/voids",
    "release_authorization": f"{_AUTHORIZATION}/releases",
    "refund_payment": "/v1/refunds",
    "refund_authorization": "/v1/refunds",
    "create_transfer": "/v1/transfers",
}
"""Kind of a command → the endpoint that takes it by itself."""

LOOKS: Final = {
    "create_payment": "/v1/payments/{merchant_no}/{order_no}",
    "reverse_payment": PATHS["reverse_payment"] + "/{reversal_no}",
    "create_authorization": _AUTHORIZATION,
    "increment_authorization": f"{_AUTHORIZATION}/increments/{{increment_no}}",
    "capture_authorization": f"{_AUTHORIZATION}/captures/{{capture_no}}",
    "void_authorization": f"{_AUTHORIZATION}/voids/{{void_no}}",
    "release_authorization": f"{_AUTHORIZATION}/releases/{{release_no}}",
    "refund_payment": "/v1/refunds/{merchant_no}/{refund_no}",
    "refund_authorization": "/v1/refunds/{merchant_no}/{refund_no}",
    "create_transfer": "/v1/transfers/{account_no}/{transfer_no}",
}
"""Kind of a command → where what it did is looked up."""


def opening() -> list[Command]:
    """Return the commands that open the town."""
    merchants: list[Command] = [
        {"command": "open_merchant", "merchant_no": number, "currency": "USD",
         "fee_bps": 5_000 if number == HALF else 60 * place}
        for place, number in enumerate(MERCHANTS)
    ]  # fmt: skip
    accounts = [
        {"command": "open_account", "account_no": number, "currency": "USD"} for number in PAYERS
    ]
    fundings = [
        {"command": "fund_account", "account_no": number, "funding_no": number, "currency": "USD",
         "amount_minor": POOR_MINOR if number == POOR else FUNDS_MINOR}
        for number in PAYERS
    ]  # fmt: skip
    agreements = [
        {"command": "sign_agreement", "account_no": payer, "agreement_no": merchant,
         "merchant_no": merchant}
        for payer in PAYERS
        for merchant in MERCHANTS
    ]  # fmt: skip
    return merchants + accounts + fundings + agreements


def key_of(command: Command) -> tuple[str, str, str]:
    """Return what a command's number is unique in, and the number."""
    kind = command["command"]
    # Refunds of payments and of authorizations have one number space.
    space = "refund" if kind.startswith("refund_") else kind
    owner = command["account_no"] if kind == "create_transfer" else command["merchant_no"]
    return space, owner, command[NUMBERS[kind]]


def single(command: Command) -> tuple[str, Command]:
    """Return path and body of a command that is sent by itself."""
    template = PATHS[command["command"]]
    body = {
        name: value
        for name, value in command.items()
        if name != "command" and f"{{{name}}}" not in template
    }
    return template.format_map(command), body


def crosses(command: Command, shards: int) -> bool:
    """Return whether a payment's merchant and payer live on different shards."""
    merchant, payer = f"merchant/{command['merchant_no']}", f"account/{command['payer']}"
    return shard_of(merchant, shards) != shard_of(payer, shards)


class Errands:
    """An endless row of errands.

    Args:
        name: begins every number; no two rows in one town have the same.
        seed: of all that is drawn.
    """

    def __init__(self, name: str, seed: int) -> None:
        self._draw = random.Random(f"{seed}/{name}")
        self._numbers = (f"{name}-{number}" for number in count())
        self._kinds: dict[Callable[[], list[Command]], int] = {
            self._payment: 6,
            self._basket: 2,
            self._hold_in_parts: 2,
            self._hold_and_void: 1,
            self._hold_and_refund: 2,
            self._refund: 2,
            self._waiting_refund: 2,
            self._reversal: 1,
            self._transfers: 2,
        }

    def __iter__(self) -> Iterator[list[Command]]:
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while True:
            yield self._draw.choices(kinds, weights)[0]()

    def _payer(self) -> str:
        return POOR if self._draw.random() < 0.05 else self._draw.choice(RICH)

    def _pay(self, merchant: str | None = None, payer: str | None = None) -> Command:
        return {
            "command": "create_payment",
            "merchant_no": merchant or self._draw.choice(MERCHANTS),
            "order_no": next(self._numbers),
            "payer": payer or self._payer(),
            "amount_minor": self._draw.randrange(100, 900),
            "currency": "USD",
        }

    def _hold(self) -> Command:
        return {
            "command": "create_authorization",
            "merchant_no": self._draw.choice(MERCHANTS),
            "hold_no": next(self._numbers),
            "payer": self._payer(),
            "amount_minor": self._draw.randrange(500, 900),
            "currency": "USD",
        }

    def _on(self, original: Command, kind: str, **more: Any) -> Command:
        """Return a command on a payment or an authorization, under a number of its own."""
        named = "order_no" if "order_no" in original else "hold_no"
        return {
            "command": kind,
            "merchant_no": original["merchant_no"],
            named: original[named],
            NUMBERS[kind]: next(self._numbers),
            **more,
        }

    def _payment(self) -> list[Command]:
        return [self._pay()]

    def _basket(self) -> list[Command]:
        return [self._pay() for _ in range(self._draw.randrange(2, 9))]

    def _hold_in_parts(self) -> list[Command]:
        hold = self._hold()
        parts = [
            self._on(hold, "capture_authorization", amount_minor=self._draw.randrange(1, 200))
            for _ in range(3)
        ]
        grown = self._on(hold, "increment_authorization", amount_minor=self._draw.randrange(1, 100))
        return [hold, grown, *parts, self._on(hold, "release_authorization")]

    def _hold_and_void(self) -> list[Command]:
        hold = self._hold()
        return [hold, self._on(hold, "void_authorization")]

    def _hold_and_refund(self) -> list[Command]:
        hold = self._hold()
        taken = self._on(hold, "capture_authorization", amount_minor=400, final=True)
        back = self._draw.randrange(1, 400)
        return [hold, taken, self._on(hold, "refund_authorization", amount_minor=back)]

    def _refund(self) -> list[Command]:
        paid = self._pay()
        return [
            paid,
            self._on(paid, "refund_payment", amount_minor=self._draw.randrange(1, 50)),
            self._on(paid, "refund_payment", amount_minor=self._draw.randrange(1, 50)),
        ]

    def _waiting_refund(self) -> list[Command]:
        paid = self._pay(merchant=HALF, payer=self._draw.choice(RICH))
        back = paid["amount_minor"] * self._draw.randrange(4, 10) // 10
        return [paid, self._on(paid, "refund_payment", amount_minor=back, wait_for_funds=True)]

    def _reversal(self) -> list[Command]:
        paid = self._pay()
        return [paid, self._on(paid, "reverse_payment")]

    def _transfers(self) -> list[Command]:
        transfers = []
        for _ in range(self._draw.randrange(1, 4)):
            giver, taker = self._draw.sample(PAYERS, 2)
            amount = self._draw.randrange(1, 100)
            transfers.append({
                "command": "create_transfer",
                "account_no": giver,
                "transfer_no": next(self._numbers),
                "to": taker,
                "amount_minor": amount,
                "currency": "USD",
            })  # fmt: skip
        return transfers
