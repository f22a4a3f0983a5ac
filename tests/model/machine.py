"""A state machine that does whatever callers, time and bad luck may do to the bank.

Each step goes to the real bank and to the model. Afterwards every answer, every figure and every
posting must be the model's, and all that must always hold must hold. Of commands that run at the
same time the model says only that there is some order, one after the other, with that outcome.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.strategies import SearchStrategy

from engine.fault import FaultCode
from engine.limits import Limits
from tests.model.bank import DAY_NS, METHODS, NUMBERS, SECOND_NS, Bank, Command, Thing
from tests.model.world import START_DATE, START_NS, Answer, Plan, Sight, World

HOUR_NS = 3_600 * SECOND_NS
AMOUNT_MAX = 10**13
"""What the wire lets through, in minor units."""
FULL = 10**18
"""What a currency may have in circulation."""

ACCOUNTS = ("A1", "A1", "A2", "A2", "B1", "C1", "clearing-USD")
"""A1 and A2 keep dollars, B1 yuan; C1 is opened late, if at all."""
MERCHANTS = ("M1", "M1", "M2", "N1", "O1")
"""M1 and M2 take dollars, N1 yuan; O1 is opened late, if at all."""
SIGNED = (("A1", "M1"), ("A2", "M1"), ("A1", "M2"), ("B1", "N1"))
"""Who pays whom, mostly: those that have signed an agreement."""
RECEIVERS = ("A1", "A2", "A2", "A1", "A2", "A2", "B1", "C1", "clearing-USD", "missing")
"""To whom transfers go, by a wish's `original`."""
CURRENCIES = {"A": "USD", "M": "USD", "c": "USD"}

OWN_NUMBERS = {
    "sign_agreement": "agreement_no",
    "change_agreement": "change_no",
    "cancel_agreement": "cancel_no",
    "set_account_limits": "limits_no",
    "freeze_amount": "freeze_no",
    "unfreeze_amount": "unfreeze_no",
    "register_certificate": "certificate_no",
    "register_bank_certificate": "certificate_no",
}
"""Commands that are not a merchant's business, and the field with the number."""

OPEN = ("HELD", "PARTIALLY_CAPTURED")
FIT = {
    "increment_authorization": ("HELD",),
    "capture_authorization": OPEN,
    "void_authorization": OPEN,
    "release_authorization": OPEN,
    "refund_authorization": ("PARTIALLY_CAPTURED", "CAPTURED"),
    "refund_payment": ("SUCCEEDED",),
    "reverse_payment": ("SUCCEEDED",),
    "redirect_refund": ("ABNORMAL",),
    "close_refund": ("PENDING_FUNDS", "ABNORMAL"),
}
"""States of the original in which a command is worth a try."""
AmountWish = int | tuple[int, int]
"""An amount, or (which of the interesting ones, how far from it)."""


class ModelMismatchError(AssertionError):
    """The bank did not do what the model says."""


class Wish(NamedTuple):
    """A command to be, before it is known what there is to refer to.

    Attributes:
        account, merchant: of a new payment or hold; others go to where their original is.
        original: which payment or hold, counted from the newest that it may fit; from 7 on it
            may be any, and 9 is one that does not exist.
        number: 0 is the number used last, all others are fresh ones.
        final: of a capture; a refund may wait for funds.
        foreign: in the wrong currency.
        note: 1 to write a description beside it, 2 metadata, 3 both.
    """

    kind: str
    account: str
    merchant: str
    original: int
    number: int
    amount: AmountWish
    final: bool = False
    foreign: bool = False
    valid_s: int = 86_400
    note: int = 0


_amounts: SearchStrategy[AmountWish] = st.one_of(
    st.integers(1, 3_000),
    st.tuples(st.integers(0, 4), st.sampled_from([0, 0, 1, -1])),
)
_small = st.integers(0, 9)
_flags = st.booleans()
_notes = st.sampled_from([0] * 7 + [1, 2, 3])
_seldom = st.sampled_from([False] * 19 + [True])
_payment_limits = st.sampled_from([None, None, None, 2_500])
_daily_limits = st.sampled_from([None, 3_000, 6_000])
_choices = st.binary(max_size=24)
_pairs = st.one_of(
    *[st.sampled_from(SIGNED)] * 7,
    st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(MERCHANTS)),
)


def _wish(
    kind: str,
    pair: tuple[str, str],
    original: int,
    number: int,
    amount: AmountWish,
    final: bool,
    foreign: bool,
    valid_s: int,
    note: int,
) -> Wish:
    return Wish(kind, *pair, original, number, amount, final, foreign, valid_s, note)


def _wishes(*kinds: str) -> SearchStrategy[Wish]:
    return st.builds(
        _wish,
        st.sampled_from(kinds),
        _pairs,
        _small,
        _small,
        _amounts,
        _flags,
        _seldom,
        st.sampled_from([3_600, 86_400, 7 * 86_400, 30 * 86_400]),
        _notes,
    )


_PAYING = ("create_payment", "create_authorization", "withdraw_funds", "create_transfer")
_MOVING = ("fund_account", "withdraw_funds", "create_transfer")
_OPERATING = (
    "capture_authorization",
    "capture_authorization",
    "increment_authorization",
    "void_authorization",
    "release_authorization",
)
_REFUNDING = ("refund_payment", "refund_authorization")
_REMEDIES = ("redirect_refund", "close_refund")
_AGREEING = ("sign_agreement", "change_agreement", "cancel_agreement")
_FREEZING = ("freeze_amount", "unfreeze_amount")
_GOVERNING = (*_AGREEING, "set_account_limits", *_FREEZING)
_STEPS = ("apply", "amend", "submit", "approve", "sign", "certify", "activate", "reject", "suspend")
"""The way of a merchant that is taken on, and two that lead from it."""
_ANYTHING = (
    *_PAYING,
    *_OPERATING,
    *_REFUNDING,
    "reverse_payment",
    "fund_account",
    *_REMEDIES,
    *_FREEZING,
)
NOTED = {*_PAYING, *_REFUNDING, "capture_authorization", "fund_account"}
LATE = 25
"""Commands after which accounts may be closed and years may pass."""
MANY = 60
"""Commands after which no large number of them comes any more: looking at it all takes time."""


class Domain(RuleBasedStateMachine):
    """The bank and its model, side by side."""

    world: World
    make_world: Callable[[Limits], World] = World
    leaps = True
    """The clock may leap over what is due, as a machine's clock does while no process runs."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Bank(START_NS, START_DATE)
        self.asked: list[Command] = []
        self._used: dict[str, list[str]] = {}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()

    # The beginning

    @initialize(
        fee_bps=st.sampled_from([0, 30, 250, 250, 10_000]),
        over_capture=_flags,
        payment_limit=_payment_limits,
        daily_limit=_daily_limits,
        funds=st.sampled_from([500, 5_000, 20_000]),
        actors_max=st.sampled_from([1, 200_000]),
        slice_s=st.sampled_from([60.0, 0.0]),
        batch_s=st.sampled_from([0.02, 0.0]),
    )
    def open_bank(
        self,
        fee_bps: int,
        over_capture: bool,
        payment_limit: int | None,
        daily_limit: int | None,
        funds: int,
        actors_max: int,
        slice_s: float,
        batch_s: float,
    ) -> None:
        """Three accounts and three merchants; the shard has time for everything, or for one turn
        in each slice, when chains run beside each other."""
        self._hurried = not slice_s
        self.world = type(self).make_world(
            Limits(actors_max=actors_max, slice_s=slice_s, batch_s=batch_s)
        )
        self._do(
            *(_opening(account_no) for account_no in ("A1", "A2", "B1")),
            _opening_merchant("M1", fee_bps, over_capture),
            _opening_merchant("M2", 30, True),
            _opening_merchant("N1", 0, not over_capture),
            _agreement("A1", "M1", payment_limit, daily_limit),
            _agreement("A2", "M1", None, daily_limit),
            _agreement("A1", "M2", None, None),
            _agreement("B1", "N1", None, None),
            _funding("A1", self._number("funding", 9), funds, "USD"),
            _funding("A2", self._number("funding", 9), 4_000, "USD"),
            _funding("B1", self._number("funding", 9), FULL - 5_000, "CNY"),
        )

    # One command

    @rule(wish=_wishes("create_payment"))
    def pay(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(wish=_wishes("create_authorization"))
    def authorize(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(wish=_wishes("capture_authorization"))
    def capture(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(wish=_wishes(*_OPERATING))
    def operate(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(
        wish=_wishes("create_authorization"),
        amounts=st.lists(_amounts, min_size=2, max_size=3),
        final=_flags,
        all_there_is=_flags,
    )
    def capture_in_parts(
        self, wish: Wish, amounts: list[AmountWish], final: bool, all_there_is: bool
    ) -> None:
        """A hold from its beginning to its last capture, and perhaps beyond."""
        if all_there_is:
            wish = wish._replace(amount=(0, 0))
        self._do(self._command(wish))
        capture = wish._replace(kind="capture_authorization", original=0, number=9, final=False)
        for amount in amounts[:-1]:
            self._do(self._command(capture._replace(amount=amount)))
        self._do(self._command(capture._replace(amount=amounts[-1], final=final)))

    @rule(pair=st.sampled_from(SIGNED[:2]), delta=st.sampled_from([0, 1, -500]))
    def use_up_day(self, pair: tuple[str, str], delta: int) -> None:
        """Take what the daily limit leaves, and go on with the next date."""
        self._do(self._command(Wish("create_payment", *pair, 0, 9, (1, delta))))
        self.cut_day(0)
        self._do(self._command(Wish("create_payment", *pair, 0, 9, 100)))

    @rule(wish=_wishes(*_REFUNDING))
    def refund(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(
        wishes=st.lists(_wishes("refund_payment"), min_size=2, max_size=4),
        then=_wishes("create_payment", "create_payment", "capture_authorization"),
    )
    def wait_for_funds(self, wishes: list[Wish], then: Wish) -> None:
        """Give back more than the merchant has left after its fees, and earn some of it."""
        waiting = wishes[-1]._replace(account="A1", merchant="M1", final=True)
        self._do(self._command(waiting._replace(kind="create_payment", number=9, amount=900)))
        for wish in wishes:
            refund = wish._replace(original=wish.original % 3, number=9, final=True)
            self._do(self._command(refund))
        self._do(self._command(then))

    @rule(wish=_wishes(*_REMEDIES))
    def remedy(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(wish=_wishes("reverse_payment"))
    def reverse(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(wish=_wishes("fund_account", "withdraw_funds", "create_transfer"))
    def transfer(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(wish=_wishes(*_GOVERNING))
    def govern(self, wish: Wish) -> None:
        self._do(self._command(wish))

    @rule(
        wish=_wishes("sign_agreement", "sign_agreement", "change_agreement"),
        amount=_amounts,
        cancels=_flags,
    )
    def use_agreement_anew(self, wish: Wish, amount: AmountWish, cancels: bool) -> None:
        """Pay, let the agreement be another, and pay again: the day goes on from where it was."""
        paying = Wish("create_payment", wish.account, wish.merchant, 0, 9, amount)
        self._do(self._command(paying))
        if cancels:
            self._do(self._command(wish._replace(kind="cancel_agreement", original=0, number=9)))
        self._do(self._command(wish._replace(original=0, number=9)))
        self._do(self._command(paying))

    @rule(
        account_no=st.sampled_from(("A1", "A1", "A2")),
        method=st.integers(0, 3),
        limit=_amounts,
        wishes=st.lists(_wishes(*_PAYING), min_size=1, max_size=3),
    )
    def limit_account(
        self, account_no: str, method: int, limit: AmountWish, wishes: list[Wish]
    ) -> None:
        """Limit a method, use it, and take the limit away again."""
        setting = Wish("set_account_limits", account_no, "M1", method, 9, limit, final=True)
        self._do(self._command(setting))
        self._do(*(self._command(wish._replace(account=account_no)) for wish in wishes))
        self._do({**self._command(setting._replace(amount=1)), "daily_limit_minor": None})

    @rule(
        merchant_no=st.sampled_from(MERCHANTS),
        wishes=st.lists(_wishes(*_ANYTHING), min_size=1, max_size=3),
        back=_flags,
    )
    def suspend(self, merchant_no: str, wishes: list[Wish], back: bool) -> None:
        """Suspend a merchant, and mostly activate it again."""
        self._do({"command": "suspend_merchant", "merchant_no": merchant_no})
        for wish in wishes:
            self._do(self._command(wish._replace(merchant=merchant_no)))
        if back or len(self.asked) < LATE:
            self._do({"command": "activate_merchant", "merchant_no": merchant_no})

    @precondition(lambda self: len(self.asked) > LATE)
    @rule(
        merchant_no=st.sampled_from(MERCHANTS),
        kind=st.sampled_from(["activate_merchant", "activate_merchant", "close_merchant"]),
    )
    def change_merchant(self, merchant_no: str, kind: str) -> None:
        self._do({"command": kind, "merchant_no": merchant_no})

    @rule(
        fresh=_flags,
        steps=st.lists(st.sampled_from(_STEPS), max_size=3),
        upto=st.integers(0, len(_STEPS)),
        wishes=st.lists(_wishes("create_payment", "refund_payment"), max_size=1),
    )
    def take_on(self, fresh: bool, steps: list[str], upto: int, wishes: list[Wish]) -> None:
        """Take a merchant on, all the way or in any order, and see whether it may do business."""
        merchant_no = f"P{self._number('applicant', 9 if fresh else 0)}"
        for step in (*_STEPS[:upto], *steps):
            self._do(*self._step(step, merchant_no))
        for wish in wishes:
            self._do(self._command(wish._replace(merchant=merchant_no, original=9)))

    def _step(self, step: str, merchant_no: str) -> list[Command]:
        command: Thing = {"command": f"{step}_merchant", "merchant_no": merchant_no}
        terms: Thing = {"currency": "USD", "legal_name": f"{step} Ltd", "contact": "somebody"}
        terms |= {"fee_bps": 30, "over_capture": step == "amend"}
        if step == "certify":
            return [self._registering(merchant_no, 9, None)]
        if step in {"apply", "amend"}:
            command |= terms
        elif step == "reject":
            command |= {"reason": "no such shop", "operator": ""}
        elif step == "sign":
            command |= {"contract_no": f"K{len(self.asked) % 2}", "operator": "lawyer"}
        elif step in {"submit", "approve"}:
            command["operator"] = f"clerk {len(self.asked) % 2}"
        return [command]

    def _registering(self, owner: str | None, number: int, renews: str | None) -> Command:
        """Return the registration of a certificate, of the bank's own where nobody owns it."""
        days = 1 + 90 * (len(self.asked) % 5)
        serial = self._number("serial", 9)
        certificate_no = self._number(f"certificate/{owner}", number)
        command = {
            "command": "register_certificate" if owner else "register_bank_certificate",
            "certificate_no": certificate_no,
            "request": certificate_no.zfill(64),
            "issued": {
                "serial": serial,
                "alg": "ed25519",
                "spki": b"key",
                "not_before_ns": self.model.now_ns,
                "not_after_ns": self.model.now_ns + days * DAY_NS,
                "certificate": serial.encode() * 50,
            },
            "renews": renews,
        }
        return {**command, "merchant_no": owner} if owner else command

    def _some_serial(self, which: int) -> str:
        names = [name for name in self.model.things if name.startswith("certificate/")]
        return names[-1 - which % len(names)].partition("/")[2] if names and which != 9 else "ff"

    @rule(
        owner=st.sampled_from(("M1", "M1", "M1", "M2", "N1", None)),
        numbers=st.lists(_small, min_size=1, max_size=3),
        renewed=st.one_of(st.none(), _small),
        revoked=st.one_of(st.none(), _small),
        twice=_flags,
        choices=st.one_of(st.none(), _choices),
    )
    def certify(
        self,
        owner: str | None,
        numbers: list[int],
        renewed: int | None,
        revoked: int | None,
        twice: bool,
        choices: bytes | None,
    ) -> None:
        """Register certificates, renew and revoke some; one after the other, or all at once."""
        renews = None if renewed is None else self._some_serial(renewed)
        commands = [self._registering(owner, number, renews) for number in numbers]
        if twice:  # what the CA has made of it the second time is something else
            commands.append({**commands[0], "issued": self._registering(owner, 9, None)["issued"]})
        # One that is revoked while it is renewed keeps its end, which is of no use any more; in
        # an order of whole commands it would not be renewed, or end earlier.
        if revoked is not None and (choices is None or self._some_serial(revoked) != renews):
            revoking = {"serial": self._some_serial(revoked), "reason": "superseded"}
            kind = "revoke_certificate" if owner else "revoke_bank_certificate"
            revoking |= {"command": kind, **({"merchant_no": owner} if owner else {})}
            commands.append(revoking)
        if choices is None:
            self._do(*commands)
        else:
            self._race_of(commands, Plan(choices))

    @precondition(lambda self: len(self.asked) < MANY)
    @rule(
        kind=st.sampled_from(["create_payment", "create_authorization"]),
        rest=_flags,
        too_much=_flags,
        choices=_choices,
    )
    def race_for_closing(self, kind: str, rest: bool, too_much: bool, choices: bytes) -> None:
        """A merchant to whom nothing is owed is closed, while somebody still pays, or fails to."""
        merchant_no = f"M{self._number('merchant', 9)}"
        self._do(
            _opening_merchant(merchant_no, 0, False), _agreement("A1", merchant_no, None, None)
        )
        wish = Wish(kind, "A1", merchant_no, 0, 9, (0, 1) if too_much else 5)
        if rest:
            first = self._command(wish._replace(kind="create_payment", amount=7))
            self._do(first)
            name = self._number(f"reversal/{merchant_no}", 9)
            self._do(
                {
                    "command": "reverse_payment",
                    "merchant_no": merchant_no,
                    "order_no": first["order_no"],
                    "reversal_no": name,
                }
            )
        closing = {"command": "close_merchant", "merchant_no": merchant_no}
        racing = [self._command(wish), closing, closing]
        if rest:
            racing.append(self._registering(merchant_no, 9, None))
        self._race_of(racing, Plan(choices))
        self._do(closing)

    @precondition(lambda self: len(self.asked) > LATE)
    @rule(
        account_no=st.sampled_from(ACCOUNTS),
        kind=st.sampled_from(
            ["freeze_account", "unfreeze_account", "unfreeze_account", "close_account"]
        ),
    )
    def change_status(self, account_no: str, kind: str) -> None:
        self._do({"command": kind, "account_no": account_no})

    @precondition(lambda self: len(self.asked) > LATE)
    @rule(account_no=st.sampled_from(ACCOUNTS))
    def empty_and_close(self, account_no: str) -> None:
        """Take all there is out of an account and close it, if nothing is held."""
        self._do(*self._leaving(account_no))

    @precondition(lambda self: len(self.asked) < MANY)
    @rule(wish=_wishes("refund_payment", "reverse_payment", "refund_authorization"))
    def pay_and_leave(self, wish: Wish) -> None:
        """Somebody pays, closes the account and cannot take anything back."""
        account_no = f"A{self._number('payer', 9)}"
        self._do(
            _opening(account_no),
            _agreement(account_no, "M1", None, None),
            _funding(account_no, self._number("funding", 9), 2_000, "USD"),
        )
        paying = Wish("create_payment", account_no, "M1", 0, 9, 900)
        if wish.kind == "refund_authorization":
            self._do(self._command(paying._replace(kind="create_authorization")))
            capture = paying._replace(kind="capture_authorization", amount=700, final=True)
            self._do(self._command(capture))
        else:
            self._do(self._command(paying))
        self._do(*self._leaving(account_no))
        self._do(self._command(wish._replace(original=0)))

    def _leaving(self, account_no: str) -> list[Command]:
        amount = self.model.available_minor(account_no)
        commands: list[Command] = [{"command": "close_account", "account_no": account_no}]
        if 0 < amount <= AMOUNT_MAX:
            emptying = Wish("withdraw_funds", account_no, "M1", 0, 9, amount)
            commands.insert(0, self._command(emptying))
        return commands

    @precondition(lambda self: len(self.asked) > LATE)
    @rule(
        account_no=st.sampled_from((*ACCOUNTS, "suspense-USD")),
        merchant_no=st.sampled_from(MERCHANTS),
        currency=st.sampled_from(["USD", "USD", "CNY"]),
        fee_bps=st.sampled_from([0, 30]),
        payment_limit=_payment_limits,
        daily_limit=_daily_limits,
    )
    def open_and_sign(
        self,
        account_no: str,
        merchant_no: str,
        currency: str,
        fee_bps: int,
        payment_limit: int | None,
        daily_limit: int | None,
    ) -> None:
        """Open what may be there already, and sign what may be signed already."""
        self._do(
            {"command": "open_account", "account_no": account_no, "currency": currency},
            _opening_merchant(merchant_no, fee_bps, False),
            _agreement(account_no, merchant_no, payment_limit, daily_limit),
        )

    @rule(back=st.integers(0, 20))
    def repeat(self, back: int) -> None:
        """Ask the same again."""
        self._do(self.asked[-1 - back % len(self.asked)])

    @rule(back=st.integers(0, 20), field=_small)
    def reuse_number(self, back: int, field: int) -> None:
        """Ask for something else under a number that is used."""
        command = self.asked[-1 - back % len(self.asked)]
        kind = command["command"]
        number = OWN_NUMBERS.get(kind) or NUMBERS.get(kind, ("", "number"))[1]
        owners = {
            "command",
            "account_no",
            "merchant_no",
            "funding_no",
            "withdrawal_no",
            "transfer_no",
            "issued",
            "renews",
            number,
        }
        others = [name for name in command if name not in owners]
        if others:
            name = others[field % len(others)]
            self._do({**command, name: _something_else(name, command[name])})

    @rule(wish=_wishes(*_ANYTHING))
    def come_too_late(self, wish: Wish) -> None:
        """A command whose deadline is over before its first turn leaves no trace."""
        command = self._command(wish)
        told = self.world.submit([command], deadline=-float("inf"))
        if told != [FaultCode.TIMEOUT]:
            raise ModelMismatchError(f"{command} came too late, and got {told}")
        self._compare([], [])

    # Many commands

    @rule(wishes=st.lists(_wishes(*_ANYTHING), min_size=2, max_size=5))
    def stand_in_line(self, wishes: list[Wish]) -> None:
        """Commands of one lane begin one after the other."""
        if self._hurried:
            self._race(wishes, False, None)
        else:
            self._do(*map(self._command, wishes))

    @precondition(lambda self: len(self.asked) < MANY)
    @rule(
        kind=st.sampled_from(["increment_authorization", "capture_authorization", *_REFUNDING]),
        pair=st.sampled_from(SIGNED),
        short=_flags,
    )
    def do_often(self, kind: str, pair: tuple[str, str], short: bool) -> None:
        """Increments, captures or refunds of one original, up to their limit and beyond."""
        creating = "create_authorization" if "authorization" in kind else "create_payment"
        original = self._command(Wish(creating, *pair, 0, 9, 70))
        self._do(original)
        small = Wish(kind, *pair, 0, 9, 1)
        if kind == "refund_authorization":
            self._do(self._command(small._replace(kind="capture_authorization", amount=60)))
        times = (10 if kind == "increment_authorization" else 50) + (not short)
        self._do(*(self._command(small) for _ in range(times)))

    @rule(
        wishes=st.lists(_wishes("refund_payment", "reverse_payment"), min_size=2, max_size=4),
        twice=_flags,
        choices=_choices,
    )
    def race_for_payment(self, wishes: list[Wish], twice: bool, choices: bytes) -> None:
        """Of two payments one is raced for; so the merchant has enough to give too much back."""
        for _ in range(2):
            self._do(self._command(Wish("create_payment", "A1", "M1", 0, 9, 900)))
        self._race(_together(wishes), twice, Plan(choices))

    @rule(
        wishes=st.lists(_wishes(*_OPERATING, "refund_authorization"), min_size=2, max_size=4),
        twice=_flags,
        choices=_choices,
    )
    def race_for_hold(self, wishes: list[Wish], twice: bool, choices: bytes) -> None:
        if not self._fitting(wishes[0]):
            self._do(self._command(Wish("create_authorization", "A1", "M1", 0, 9, 1_000)))
        self._race(_together(wishes), twice, Plan(choices))

    @rule(
        wishes=st.lists(
            _wishes("create_payment", "refund_payment", *_REMEDIES), min_size=2, max_size=4
        ),
        twice=_flags,
        choices=_choices,
    )
    def race_for_receivable(self, wishes: list[Wish], twice: bool, choices: bytes) -> None:
        """Money comes, and many want it: refunds that wait, some that do not, redirects."""
        refund = Wish("refund_payment", "A1", "M1", 0, 9, (0, 0), final=True)
        self._do(self._command(refund._replace(kind="create_payment", amount=900)))
        self._do(self._command(refund), self._command(refund._replace(original=1, amount=300)))
        # What a refund that waited gives back comes to its payer in its own time, in between two
        # payments too: none of them is for the payer's last cent.
        plain = [
            wish._replace(amount=900)
            if wish.kind == "create_payment" and not isinstance(wish.amount, int)
            else wish
            for wish in wishes
        ]
        self._race([wish._replace(merchant="M1") for wish in plain], twice, Plan(choices))

    @rule(
        wishes=st.lists(_wishes(*_PAYING, "fund_account"), min_size=2, max_size=4),
        twice=_flags,
        choices=_choices,
    )
    def race_for_funds(self, wishes: list[Wish], twice: bool, choices: bytes) -> None:
        payer = wishes[0].account
        self._race([wish._replace(account=payer) for wish in wishes], twice, Plan(choices))

    @rule(
        pair=st.sampled_from(SIGNED),
        wishes=st.lists(
            _wishes("create_payment", "create_authorization", *_OPERATING, *_GOVERNING),
            min_size=2,
            max_size=4,
        ),
        twice=_flags,
        choices=_choices,
    )
    def race_around_agreement(
        self, pair: tuple[str, str], wishes: list[Wish], twice: bool, choices: bytes
    ) -> None:
        """Payments and holds beside changes of what allows them."""
        account_no, merchant_no = pair
        together = [wish._replace(account=account_no, merchant=merchant_no) for wish in wishes]
        self._race(together, twice, Plan(choices))

    @rule(wishes=st.lists(_wishes(*_ANYTHING), min_size=2, max_size=4), choices=_choices)
    def race(self, wishes: list[Wish], choices: bytes) -> None:
        self._race(wishes, False, Plan(choices))

    @rule(
        wishes=st.lists(_wishes(*_ANYTHING), min_size=1, max_size=3),
        twice=_flags,
        choices=_choices,
        crash_after=st.integers(0, 12),
        commit=st.sampled_from([None, None, "lost", "kept"]),
    )
    def crash(
        self, wishes: list[Wish], twice: bool, choices: bytes, crash_after: int, commit: str | None
    ) -> None:
        """Die somewhere in the middle; what was told stands, the rest is done whole or not."""
        self._race(wishes, twice, Plan(choices, crash_after, commit))

    # Time

    @rule(
        by_ns=st.sampled_from([1, HOUR_NS, 9 * HOUR_NS, DAY_NS, 8 * DAY_NS, 400 * DAY_NS]),
        which=_small,
        delta_ns=st.sampled_from([-1, 0, 1]),
        to_expiry=_flags,
    )
    def wait(self, by_ns: int, which: int, delta_ns: int, to_expiry: bool) -> None:
        """Let time pass, perhaps to where a hold runs out, or to a nanosecond beside it."""
        self._wait(self._expiry(which) + delta_ns if to_expiry else self.model.now_ns + by_ns)

    @precondition(lambda self: len(self.asked) > LATE)
    @rule(which=_small, delta_ns=st.sampled_from([0, 1]))
    def wait_for_refund_window(self, which: int, delta_ns: int) -> None:
        """Go to the end of the time in which something may be refunded."""
        taken = [
            thing.get("captured_ns") or thing["settled_ns"]
            for name, thing in self.model.things.items()
            if name.startswith(("payment/", "authorization/"))
        ]
        if taken:
            self._wait(taken[which % len(taken)] + 365 * DAY_NS + delta_ns)

    @rule(wish=_wishes(*_OPERATING), delta_ns=st.sampled_from([-1, 0, 1]))
    def operate_at_expiry(self, wish: Wish, delta_ns: int) -> None:
        """A command that brings its time with it: what is due by then comes before it.

        Where the clock is further already the command has its own time, and the clock stays.
        """
        at_ns = self._expiry(wish.original) + delta_ns
        command = self._command(wish)
        told = self.world.submit([command], at_ns=at_ns)
        self.model.advance(at_ns, in_steps=True)
        clock_ns, self.model.now_ns = self.model.now_ns, at_ns
        self._compare([command], told)
        self.model.now_ns = clock_ns

    @rule(which=_small)
    def cut_day(self, which: int) -> None:
        """Cut the open date; now and then one that is cut already, or not open yet."""
        dates = [self.model.business_date] * 8 + [*self.model.cut[-1:], "2099-01-01"]
        business_date = dates[which % len(dates)]
        next_date = self.model.cut_day(business_date)
        if self.world.cut_day(business_date) != next_date:
            raise ModelMismatchError(f"the cut of {business_date} should lead to {next_date}")
        self._compare([], [])

    @rule(clean=_flags, down_ns=st.sampled_from([0, 0, HOUR_NS, 2 * DAY_NS]))
    def restart(self, clean: bool, down_ns: int) -> None:
        to_ns = self.model.now_ns + down_ns
        self.world.restart(to_ns, clean=clean)
        self.model.advance(to_ns, in_steps=not self.leaps)
        self._compare([], [])

    # From wishes to commands

    def _command(self, wish: Wish) -> Command:
        """Return the command that a wish comes to, as things stand."""
        command = self._plain(wish)
        if wish.kind not in NOTED:
            return command
        note: dict[str, Any] = {"description": "two 茶", "metadata": {"till": "7", "by": "é"}}
        given = {1: ("description",), 2: ("metadata",), 3: tuple(note)}.get(wish.note, ())
        return {**command, **{name: note[name] for name in given}}

    def _plain(self, wish: Wish) -> Command:
        account_no = wish.account
        owner = account_no if wish.kind in _MOVING else wish.merchant
        currency = CURRENCIES.get(owner[0], "CNY")
        if wish.foreign:
            currency = "CNY" if currency == "USD" else "USD"
        if wish.kind == "fund_account":
            amount = wish.amount if isinstance(wish.amount, int) else 5_000 + wish.amount[1]
            return _funding(account_no, self._number("funding", wish.number), amount, currency)
        if wish.kind in _MOVING:
            transfer = wish.kind == "create_transfer"
            space = "transfer" if transfer else "withdrawal"
            return {
                "command": wish.kind,
                "account_no": account_no,
                f"{space}_no": self._number(space, wish.number),
                **({"to": RECEIVERS[wish.original]} if transfer else {}),
                "amount_minor": self._amount(wish, None),
                "currency": currency,
            }
        if wish.kind in _GOVERNING:
            return self._governing(wish)
        space, field = NUMBERS[wish.kind]
        if wish.kind in {"create_payment", "create_authorization"}:
            command: dict[str, Any] = {
                "command": wish.kind,
                "merchant_no": wish.merchant,
                field: self._number(f"{space}/{wish.merchant}", wish.number),
                "payer": account_no,
                "amount_minor": self._amount(wish, None),
                "currency": currency,
            }
            if wish.kind == "create_authorization":
                command["valid_s"] = wish.valid_s
            return command
        name = self._original(wish)
        kind, merchant_no, original = name.split("/")
        command = {
            "command": wish.kind,
            "merchant_no": merchant_no,
            field: self._number(f"{space}/{merchant_no}", wish.number),
            {"authorization": "hold_no", "refund": "refund_no"}.get(kind, "order_no"): original,
        }
        if wish.kind == "redirect_refund":
            command["account_no"] = wish.account
        if wish.kind in _REMEDIES:
            return command
        if wish.kind not in {"reverse_payment", "void_authorization", "release_authorization"}:
            command["amount_minor"] = self._amount(wish, self.model.things.get(name))
        if wish.kind == "capture_authorization":
            command["final"] = wish.final
        if wish.kind in _REFUNDING:
            command["wait_for_funds"] = wish.final
        return command

    def _governing(self, wish: Wish) -> Command:
        """Return a command that an account decides at once."""
        account_no = wish.account
        field = OWN_NUMBERS[wish.kind]
        command: dict[str, Any] = {
            "command": wish.kind,
            "account_no": account_no,
            field: self._number(f"{field}/{account_no}", wish.number),
        }
        if wish.kind == "freeze_amount":
            return {**command, "amount_minor": self._amount(wish, None)}
        if wish.kind == "unfreeze_amount":
            frozen = [
                name.rpartition("/")[2]
                for name in self._names(f"freeze/{account_no}")
                if wish.original > 6 or self.model.things[name]["state"] == "FROZEN"
            ]
            freeze_no = frozen[-1 - wish.original % len(frozen)] if frozen else "missing"
            return {**command, "freeze_no": freeze_no}
        if wish.kind == "sign_agreement":
            command["merchant_no"] = wish.merchant
        elif wish.kind == "set_account_limits":
            command["method"] = METHODS[wish.original % 4]
        else:
            command["agreement_no"] = self._agreement_no(wish)
        if wish.kind != "cancel_agreement":
            limit = self._amount(wish, None)
            command["payment_limit_minor"] = limit if wish.number % 5 == 1 else None
            command["daily_limit_minor"] = limit if wish.final else None
        return command

    def _agreement_no(self, wish: Wish) -> str:
        """Return the agreement that a wish is about: mostly the one in force."""
        allowance = self.model.things.get(f"allowance/{wish.account}/{wish.merchant}", {})
        in_force: str = allowance.get("agreement_no", "")
        if in_force and wish.original < 7:
            return in_force
        names = self._names(f"agreement/{wish.account}")
        if not names or wish.original == 9:
            return "missing"
        return names[-1 - wish.original % min(len(names), 3)].rpartition("/")[2]

    def _number(self, space: str, number: int) -> str:
        used = self._used.setdefault(space, [])
        if number == 0 and used:
            return used[-1]
        used.append(str(len(used) + 8))  # soon "10", which comes before "9" in a store
        return used[-1]

    def _original(self, wish: Wish) -> str:
        """Return the name of the payment or hold that a wish is about."""
        kind = _original_kind(wish.kind)
        names = [] if wish.original < 7 else self._names(kind)
        names = names or self._fitting(wish) or self._names(kind)
        if not names or wish.original == 9:
            return f"{kind}/{wish.merchant}/missing"
        return names[-1 - wish.original % min(len(names), 3)]

    def _names(self, kind: str) -> list[str]:
        return [name for name in self.model.things if name.startswith(f"{kind}/")]

    def _fitting(self, wish: Wish) -> list[str]:
        """Return the names of what a wish may be about with some hope of success."""
        things = self.model.things
        return [
            name
            for name in self._names(_original_kind(wish.kind))
            if things[name]["state"] in FIT[wish.kind]
        ]

    def _amount(self, wish: Wish, original: Thing | None) -> int:
        """Return the amount of a wish: as it is, or where something is just or no longer enough."""
        if isinstance(wish.amount, int):
            return wish.amount
        which, delta = wish.amount
        edges = self._edges(wish, original)
        return min(max(edges[which % len(edges)] + delta, 1), AMOUNT_MAX)

    def _edges(self, wish: Wish, original: Thing | None) -> list[int]:
        things = self.model.things
        if wish.kind in _PAYING or wish.kind in _GOVERNING:
            available = self.model.available_minor(wish.account)
            allowance = things.get(f"allowance/{wish.account}/{wish.merchant}", {})
            payment_limit = allowance.get("payment_limit_minor") or available
            daily_limit = left = allowance.get("daily_limit_minor") or available
            if allowance.get("used_date") == self.model.business_date:
                left -= allowance["used_minor"]
            if wish.kind in _AGREEING:
                left = daily_limit - left  # what is used
            if wish.kind == "set_account_limits" and f"account/{wish.account}" in things:
                account = things[f"account/{wish.account}"]
                left = self.model.used_by(account, METHODS[wish.original % 4])
            return [available, left, payment_limit, daily_limit]
        if original is None:
            return [1]
        amount, captured = original["amount_minor"], original.get("captured_minor", 0)
        if wish.kind in _REFUNDING:
            taken = amount if wish.kind == "refund_payment" else captured
            left = taken - original["refunded_minor"] - original["refunding_minor"]
            return [left, left // 2 + 1, taken, left // 3]
        available = self.model.available_minor(original["payer"])
        if wish.kind == "increment_authorization":
            return [available, 100]
        rest, limit = amount - captured, amount * original["limit_bps"] // 10_000
        return [rest, limit - captured, rest + available, limit, rest // 2]

    def _expiry(self, which: int) -> int:
        """Return when one of the open holds runs out; now, if there is none."""
        due = [
            thing["due_ns"]
            for name, thing in self.model.things.items()
            if name.startswith("timer/")
        ]
        return int(due[which % len(due)]) if due else self.model.now_ns

    # Both sides

    def _wait(self, to_ns: int) -> None:
        self.world.advance(to_ns)
        self.model.advance(to_ns, in_steps=not self.leaps)
        self._compare([], [])

    def _do(self, *commands: Command) -> None:
        """Do commands one after the other, on both sides."""
        self.asked += commands
        if self._hurried:
            told = [answer for command in commands for answer in self.world.submit([command])]
        else:
            told = self.world.submit(commands)
        self._compare(commands, told)

    def _race(self, wishes: Sequence[Wish], twice: bool, plan: Plan | None) -> None:
        """Do commands all at once; the first perhaps twice."""
        commands = [self._command(wish) for wish in wishes]
        # A closed account sends money back. What is refused in between, because it is on its
        # way, is rightly refused, though in no order of whole commands would it be.
        commands = [command for command in commands if not self._comes_back(command)]
        commands = self._one_of_each_that_closes(commands)
        if not commands:
            return
        if twice:
            commands.append(commands[0])
        self._race_of(commands, plan)

    def _race_of(self, commands: list[Command], plan: Plan | None) -> None:
        self.asked += commands
        dying = plan is not None and (plan.crash_after >= 0 or plan.commit is not None)
        self._explain(commands, self.world.submit(commands, plan), dying=dying)

    def _one_of_each_that_closes(self, commands: list[Command]) -> list[Command]:
        """Return one command of each merchant that is closing, and all of the others.

        It is closed with the last thing that it owes. Of two refunds of that the second is refused
        as there is not as much left, and in an order of whole commands it would find the merchant
        closed.
        """
        chosen: list[Command] = []
        closing: set[str] = set()
        for command in commands:
            merchant = self.model.things.get(f"merchant/{command.get('merchant_no')}", {})
            if merchant.get("status") == "CLOSING":
                if command["merchant_no"] in closing:
                    continue
                closing.add(command["merchant_no"])
            chosen.append(command)
        return chosen

    def _comes_back(self, command: Command) -> bool:
        if command["command"] in {"fund_account", "create_transfer"}:
            account_no = command.get("to", command["account_no"])
            currency = command["currency"]
            return self._refuses(account_no, currency)
        if command["command"] == "redirect_refund" and self._refuses(command["account_no"], "USD"):
            return True
        merchant = self.model.things.get(f"merchant/{command.get('merchant_no')}", {})
        for number in merchant.get("pending", ()):
            refund = self.model.things[f"refund/{command['merchant_no']}/{number}"]
            if self._refuses(refund["payer"], refund["currency"]):
                return True
        kind = _original_kind(command["command"])
        field = "hold_no" if kind == "authorization" else "order_no"
        original = self.model.things.get(
            f"{kind}/{command.get('merchant_no')}/{command.get(field)}"
        )
        return original is not None and self._refuses(original["payer"], original["currency"])

    def _refuses(self, account_no: str, currency: str) -> bool:
        return self.model.refuse_credit(account_no, currency) is not None

    def _compare(
        self, commands: Sequence[Command], told: Sequence[Answer | FaultCode | None]
    ) -> None:
        """Do the commands on the model; everything must be the same."""
        for command, answer in zip(commands, told, strict=True):
            expected = self.model.do(command)
            if answer != expected:
                raise ModelMismatchError(f"{command}\n  was told {answer}\n  and not  {expected}")
        sight = self.world.look()
        if not self.leaps:
            self._take_order_of_expiries(sight.things)
        differences = _difference(sight, self.model)
        if differences:
            about = "\n".join(map(str, commands)) or "no command"
            raise ModelMismatchError(f"after {about}:\n{differences}")
        self.model.postings.clear()

    def _take_order_of_expiries(self, things: Mapping[str, Thing]) -> None:
        """Holds on several shards that run out at one instant come to their merchant in some
        order, and it is the one that is seen."""
        for name in _event_names(things):
            seen, expected = things[name], self.model.things.get(name)
            if expected and _untied(seen["items"]) == _untied(expected["items"]):
                self.model.things[name] = seen

    def _explain(
        self,
        commands: Sequence[Command],
        told: Sequence[Answer | FaultCode | None],
        *,
        dying: bool,
    ) -> None:
        """Find an order of whole commands that has this outcome; the model goes on from there.

        Commands that were told IN_FLIGHT did not happen. Where the process died, those without
        an answer may or may not have happened.
        """
        unknown = {
            index
            for index, answer in enumerate(told)
            if answer is FaultCode.OUTCOME_UNKNOWN and dying
        }
        busy = {index for index, answer in enumerate(told) if _is_in_flight(answer)}
        # A merchant that is being closed is CLOSING while something is under way, though that may
        # come to nothing in the end; in an order of whole commands it is closed at once.
        closing = any(command["command"] == "close_merchant" for command in commands)
        for index in busy:
            others = [*commands[:index], *commands[index + 1 :]]
            if not any(_same_original(commands[index], other) for other in others):
                raise ModelMismatchError(f"{commands[index]} was told IN_FLIGHT; nothing is")
        look = self.world.look()
        sight = look._replace(things=self._unordered(look.things))

        def search(bank: Bank, left: frozenset[int]) -> Bank | None:
            if left <= unknown and not self._differs(sight, bank):
                return bank
            for index in sorted(left):
                trial = bank.copy()
                answer = trial.do(commands[index])
                if index in unknown or _alike(answer, told[index], closing=closing):
                    found = search(trial, left - {index})
                    if found is not None:
                        return found
            return None

        found = search(self.model, frozenset(range(len(commands))) - busy)
        if found is None:
            pairs = zip(commands, told, strict=True)
            lines = (f"{command}\n  was told {answer}" for command, answer in pairs)
            trial = self.model.copy()
            answers = [trial.do(command) for command in commands]
            raise ModelMismatchError(
                "no order of these explains what came of them:\n"
                + "\n".join(lines)
                + f"\nin this order they would be told {answers}\n"
                + _difference(sight, trial)
            )
        self.model = found
        # What happened at the same time happened in some order, and it is this one.
        self.model.things |= {name: look.things[name] for name in _event_names(look.things)}
        self.model.postings.clear()

    def _differs(self, sight: Sight, bank: Bank) -> bool:
        return sight != (self._unordered(bank.things), Counter(bank.postings))

    def _unordered(self, things: Mapping[str, Thing]) -> dict[str, Thing]:
        """Return things with the events that are new since the last look in no order of theirs."""
        sorted_ = dict(things)
        for name in _event_names(things):
            items = things[name]["items"]
            known = len(self.model.things.get(name, {"items": ()})["items"])
            sorted_[name] = {"items": (*items[:known], *sorted(items[known:], key=repr))}
        return sorted_


def _event_names(things: Mapping[str, Thing]) -> list[str]:
    return [name for name in things if name.startswith("events/")]


def _together(wishes: list[Wish]) -> list[Wish]:
    """Return the wishes, all about the newest original."""
    return [wish._replace(original=0) for wish in wishes]


def _original_kind(kind: str) -> str:
    if kind in _REMEDIES:
        return "refund"
    return "authorization" if "authorization" in kind else "payment"


def _untied(events: Sequence[Thing]) -> list[Thing]:
    """Return events with neighbouring expiries of one instant in the order of their numbers."""
    untied: list[Thing] = []
    for _, tied in groupby(
        events, lambda event: (event["type"] == "authorization.expired", event["occurred_at"])
    ):
        group = list(tied)
        expiries = group[0]["type"] == "authorization.expired"
        untied += sorted(group, key=itemgetter("number")) if expiries else group
    return untied


def _difference(sight: Sight, model: Bank) -> str:
    """Return how what is stored differs from the model, empty where it does not."""
    posted = Counter(model.postings)
    if sight == (model.things, posted):
        return ""
    things = sight.things
    lines = [
        f"  {name}\n    is      {things.get(name)}\n    and not {model.things.get(name)}"
        for name in sorted(things.keys() | model.things.keys())
        if things.get(name) != model.things.get(name)
    ]
    lines += [f"  posted {posting}, not expected" for posting in sight.posted - posted]
    lines += [f"  expected {posting}, not posted" for posting in posted - sight.posted]
    return "\n".join(lines)


def _alike(expected: Answer, told: Answer | FaultCode | None, *, closing: bool) -> bool:
    """Return whether an answer is the expected one.

    Where a merchant is being closed, one that is CLOSING may be CLOSED in an order of whole
    commands, and does not know yet what is still under way.
    """
    if not closing or not isinstance(told, tuple):
        return expected == told
    unknown = {"posted_minor", "fees_minor"} if told[0].get("status") == "CLOSING" else set()
    texts = [
        {
            key: value.replace("CLOSING", "CLOSED") if isinstance(value, str) else value
            for key, value in answer[0].items()
            if key not in unknown
        }
        for answer in (expected, told)
    ]
    return texts[0] == texts[1] and expected[1] == told[1]


def _is_in_flight(answer: Answer | FaultCode | None) -> bool:
    return _code(answer) == "IN_FLIGHT"


def _code(answer: Answer | FaultCode | None) -> str | None:
    return answer[0].get("code") if isinstance(answer, tuple) else None


def _same_original(one: Command, other: Command) -> bool:
    if one["command"] in _REMEDIES:
        # Whatever brings the merchant money may have sent the refund on its way.
        return bool(one["merchant_no"] == other.get("merchant_no"))
    fields = ("order_no", "hold_no")
    return one.get("merchant_no") == other.get("merchant_no") and any(
        field in one and one[field] == other.get(field) for field in fields
    )


def _something_else(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return 1
    if isinstance(value, dict):
        return {**value, "till": "8"}
    others = {"currency": "EUR", "payer": "A3", "to": "A3", "method": "transfer"}
    return others.get(name, "other")


def _opening(account_no: str) -> Command:
    currency = CURRENCIES.get(account_no[0], "CNY")
    return {"command": "open_account", "account_no": account_no, "currency": currency}


def _opening_merchant(merchant_no: str, fee_bps: int, over_capture: bool) -> Command:
    return {
        "command": "open_merchant",
        "merchant_no": merchant_no,
        "currency": CURRENCIES.get(merchant_no[0], "CNY"),
        "fee_bps": fee_bps,
        "over_capture": over_capture,
    }


def _agreement(
    account_no: str,
    merchant_no: str,
    payment_limit: int | None,
    daily_limit: int | None,
    agreement_no: str = "",
) -> Command:
    return {
        "command": "sign_agreement",
        "account_no": account_no,
        "agreement_no": agreement_no or merchant_no,
        "merchant_no": merchant_no,
        "payment_limit_minor": payment_limit,
        "daily_limit_minor": daily_limit,
    }


def _funding(account_no: str, funding_no: str, amount_minor: int, currency: str) -> Command:
    return {
        "command": "fund_account",
        "account_no": account_no,
        "funding_no": funding_no,
        "amount_minor": amount_minor,
        "currency": currency,
    }
