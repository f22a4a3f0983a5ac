"""A town: a node in a thread of its own, its operators, and what people have bought there.

A browser that is driven from Python blocks whoever drives it, so the node cannot be in that thread.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
import pyotp
import trio

from actors.kinds import MERCHANT
from actors.messages import PaymentDebited
from bench.sandbox import open_sandbox
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.ca.master_key import MasterKey, find_master_key
from gateway.operator import administer
from gateway.ops import passwords
from gateway.ops.office import AddOperator
from gateway.ops.operators import Role
from gateway.server import Serving
from tests.gateway.ops.house import PASSWORD, QUICK
from tests.gateway.serving import serving

T = TypeVar("T")

LIMIT_S: Final = 20.0
HOUSEHOLDS: Final = 30
STORES: Final = 6
BASKETS: Final = 8
"""Of each household."""
FUELLED: Final = "household-1016"
"""Who fills up at store-0."""
POISONED: Final = "store-poisoned"
"""A store at which something has failed."""
APPLICANTS: Final = ("applicant-1", "applicant-2")
"""Who would like to be merchants, and whose applications are under review."""
NOWHERE: Final = "http://127.0.0.1:9/events"


class Town:
    """A node with a few stores and households.

    Attributes:
        ops: where operators look at it.
        last: household → `(store, order, cents)` of its last purchase.
        tokens: role → token of a session of the operator of that name.
        poisoned: stores at which a payment fails where it would be credited.
    """

    def __init__(self, data: Path, running: Serving, master_key: MasterKey) -> None:
        assert running.ops_address is not None
        self.ops: str = running.ops_address
        self.running = running
        self.last: dict[str, tuple[str, str, int]] = {}
        self.tokens: dict[Role, str] = {}
        self.poisoned: set[str] = set()
        self._data = data
        self._master_key = master_key
        self._secrets: dict[Role, str] = {}
        self._token = trio.lowlevel.current_trio_token()
        self._client = httpx2.Client(timeout=LIMIT_S)

    def inside(self, do: Callable[..., T], *arguments: Any) -> T:
        """Return what a function returns that runs in the node's thread."""
        return trio.from_thread.run_sync(do, *arguments, trio_token=self._token)

    def commands(self, *items: dict[str, Any]) -> list[Any]:
        """Have the node do something, as a client of its API."""
        answers = self._client.post(f"{self.running.address}/v1/commands", json=items).json()
        assert isinstance(answers, list), answers
        return answers

    def post(self, path: str, **body: Any) -> Any:
        """Have the node do what an array cannot."""
        answer = self._client.post(f"{self.running.address}{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def settle(self) -> None:
        """Take on operators, stores and households, and let these buy."""
        for role in Role:
            self._take_on(role)
        stores = [f"store-{number}" for number in range(STORES)]
        households = [f"household-{1001 + number}" for number in range(HOUSEHOLDS)]
        opening: list[dict[str, Any]] = [
            {"command": "open_merchant", "merchant_no": each, "currency": "USD", "fee_bps": 38}
            for each in stores
        ]
        for each in households:
            opening += [
                {"command": "open_account", "account_no": each, "currency": "USD"},
                {"command": "fund_account", "account_no": each, "funding_no": "F1",
                 "amount_minor": 150_000, "currency": "USD"},
                *({"command": "sign_agreement", "account_no": each, "agreement_no": f"G-{store}",
                   "merchant_no": store} for store in stores),
            ]  # fmt: skip
        self._done(opening)
        for number in range(BASKETS):
            self.last |= {
                each: (
                    stores[(number * 7 + index) % STORES],
                    f"basket-{number}-{index}",
                    199 + (number * HOUSEHOLDS + index) * 37 % 9_000,
                )
                for index, each in enumerate(households)
            }
            self._done([self.purchase(each) for each in households])
        hold = {"command": "create_authorization", "merchant_no": "store-0", "hold_no": "pump-1",
                "payer": "household-1001", "amount_minor": 4_000, "currency": "USD"}  # fmt: skip
        csr = body_of(new_csr(new_key(), "store-0"))
        self.post("/v1/merchants/store-0/certificates", certificate_no="till", csr=csr)
        self.post("/v1/merchants/store-0/webhook", url=NOWHERE, challenge=False)
        self._done([hold, self.purchase("household-1001", "store-0", "basket-hooked")])
        self.fuel("pump-2", "refund-1")
        self.poison(POISONED, "household-1002")
        for applicant in APPLICANTS:
            about = {"legal_name": f"{applicant} Ltd", "contact": "office@applicant.example"}
            self.post(f"/v1/merchants/{applicant}/apply", currency="USD", **about)
            self.post(f"/v1/merchants/{applicant}/submit")
        csr = body_of(new_csr(new_key(), "batch"))
        self.post("/v1/bank/certificates", certificate_no="batch", csr=csr)

    def order(self, payer: str, store: str, order_no: str, cents: int = 1_234) -> dict[str, Any]:
        """Return the command by which a household pays for an order."""
        return {
            "command": "create_payment",
            "merchant_no": store,
            "order_no": order_no,
            "payer": payer,
            "amount_minor": cents,
            "currency": "USD",
        }

    def purchase(self, payer: str, store: str = "", order_no: str = "") -> dict[str, Any]:
        """Return the command by which a household pays for what is its last purchase from now on;
        by default what it bought last, once more."""
        if order_no:
            self.last[payer] = (store, order_no, 1_234)
        return self.order(payer, *self.last[payer])

    def fuel(self, hold_no: str, refund_no: str) -> None:
        """Have a household fill up at store-0: an authorization, a capture, a refund of some."""
        pump = {"merchant_no": "store-0", "hold_no": hold_no}
        self._done(
            [
                {"command": "create_authorization", **pump, "payer": FUELLED,
                 "amount_minor": 4_000, "currency": "USD"},
                {"command": "capture_authorization", **pump, "capture_no": f"{hold_no}-1",
                 "amount_minor": 3_125, "final": True},
                {"command": "refund_authorization", **pump, "refund_no": refund_no,
                 "amount_minor": 525},
            ]
        )  # fmt: skip

    def poison(self, store: str, payer: str) -> None:
        """Open a store, and have its first payment fail where the store would be credited."""
        self.poisoned.add(store)
        self._done(
            [
                {"command": "open_merchant", "merchant_no": store, "currency": "USD"},
                {"command": "sign_agreement", "account_no": payer, "agreement_no": f"G-{store}",
                 "merchant_no": store},
            ]
        )  # fmt: skip
        (failed,) = self.commands(self.purchase(payer, store, f"basket-of-{store}"))
        assert failed["body"]["code"] == "OUTCOME_UNKNOWN", failed

    def heal(self, store: str) -> None:
        """Let payments go well there again."""
        self.poisoned.discard(store)

    def next_code(self, role: Role) -> str:
        """Return a one-time code that can be taken although the one of now has been."""
        totp = pyotp.TOTP(self._secrets[role])
        return str(totp.at(datetime.now(UTC) + timedelta(seconds=totp.interval)))

    def look(self, path: str, role: Role = Role.ADMIN) -> Any:
        """Return what a row answers."""
        headers = {"authorization": f"Bearer {self.tokens[role]}"}
        return self._client.get(f"{self.ops}{path}", headers=headers).json()

    def propose(self, action: dict[str, Any], reason: str) -> None:
        """Have the operator propose something."""
        headers = {"authorization": f"Bearer {self.tokens[Role.OPERATOR]}"}
        body = {"action": action, "reason": reason}
        answer = self._client.post(f"{self.ops}/ops/proposals", headers=headers, json=body)
        assert answer.status_code == 201, answer.text

    def end(self, token: str) -> None:
        """End a session."""
        headers = {"authorization": f"Bearer {token}"}
        answer = self._client.post(f"{self.ops}/ops/session/end", headers=headers)
        assert answer.status_code == 200, answer.text

    def close(self) -> None:
        """Let go of the node."""
        self._client.close()

    def _take_on(self, role: Role) -> None:
        given, sealed = {"name": role.value, "password": PASSWORD}, b""
        if role is not Role.VIEWER:
            self._secrets[role] = passwords.new_secret()
            sealed = passwords.sealed(self._master_key, role.value, self._secrets[role])
            given["code"] = pyotp.TOTP(self._secrets[role]).now()
        administer(self._data, AddOperator(role.value, role, QUICK.hash(PASSWORD), sealed))
        answer = self._client.post(f"{self.ops}/ops/sessions", json=given)
        assert answer.status_code == 201, answer.text
        self.tokens[role] = answer.json()["token"]

    def _done(self, items: list[dict[str, Any]]) -> None:
        answers = self.commands(*items)
        assert {each["status"] for each in answers} <= {200, 201}, answers


@contextmanager
def town(data: Path) -> Iterator[Town]:
    """Serve a new store from a thread, with a town on it, until the end."""
    sandbox = open_sandbox(data / "sandbox")
    master_key = find_master_key(data / "sandbox" / "master.key")
    handlers: dict[Any, Any] = MERCHANT.handlers
    credited = handlers[PaymentDebited]

    def poisonous(turn: Any, message: Any) -> None:
        if made and turn.number in made[0].poisoned:
            raise RuntimeError(f"cannot credit {message.order_no} of {turn.sender}")
        credited(turn, message)

    made: list[Town] = []
    failed: list[BaseException] = []
    up, over = threading.Event(), threading.Event()

    async def live() -> None:
        async with serving(
            data / "bank",
            keys=sandbox.keys,
            signed=False,
            ops_listen="127.0.0.1:0",
            master_key=master_key,
            webhook_allow=("127.0.0.1:9",),
        ) as running:
            made.append(Town(data / "bank", running, master_key))
            up.set()
            await trio.to_thread.run_sync(over.wait)

    def run() -> None:
        try:
            trio.run(live)
        except BaseException as error:
            failed.append(error)
        finally:
            up.set()

    handlers[PaymentDebited] = poisonous
    thread = threading.Thread(target=run, name="town")
    thread.start()
    try:
        assert up.wait(LIMIT_S), "the node did not come up"
        assert made, failed
        made[0].settle()
        yield made[0]
    finally:
        over.set()
        thread.join(LIMIT_S)
        handlers[PaymentDebited] = credited
        for each in made:
            each.close()
        assert not failed, failed
