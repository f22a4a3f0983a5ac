"""Races: random commands, messages delivered in random order, the day cut and timers in between.

The driver audits the whole bank after every turn. In the end everything is delivered and nothing
may be left over: no message, no reservation, no caller without an answer.
"""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from actors import commands
from actors.answers import Outcome, Refused, Replayed
from actors.method import METHODS
from tests.actors.driver import SECOND, Bank, registering
from tests.effort import effort

_accounts = st.sampled_from(["A1", "A1", "A2", "A3"])
_merchants = st.sampled_from(["M1", "M1", "M2"])
_originals = st.sampled_from(["1", "2", "3"])
_numbers = st.sampled_from(["a", "b", "c", "d", "e", "f"])
_amounts = st.sampled_from([1, 60, 100, 115, 250])
_currencies = st.sampled_from(["USD"] * 9 + ["EUR"])


def _command() -> SearchStrategy[commands.Command]:
    c, flags = commands, st.booleans()
    paying = (_merchants, _originals, _accounts, _amounts, _currencies)
    operation = (_merchants, _originals, _numbers)
    refund = (_merchants, _numbers, _originals, _amounts)
    lives = st.sampled_from([c.FreezeAccount, c.UnfreezeAccount, c.CloseAccount])
    merchants = st.sampled_from([c.SuspendMerchant, *[c.ActivateMerchant] * 2, c.CloseMerchant])
    limits = st.sampled_from([None, 100, 250])
    methods = st.sampled_from(METHODS)
    return st.one_of(
        st.builds(lambda life, account_no: life(account_no), lives, _accounts),
        st.builds(c.FundAccount, _accounts, _numbers, _amounts, _currencies),
        st.builds(c.WithdrawFunds, _accounts, _numbers, _amounts, _currencies),
        st.builds(c.CreateTransfer, _accounts, _numbers, _accounts, _amounts, _currencies),
        st.builds(c.CreatePayment, *paying),
        st.builds(c.CreateAuthorization, *paying, st.sampled_from([10, 1_000])),
        st.builds(c.RefundPayment, *refund),
        st.builds(c.ReversePayment, *operation),
        st.builds(c.RefundPayment, *refund),
        st.builds(c.IncrementAuthorization, *operation, _amounts),
        st.builds(c.CaptureAuthorization, *operation, _amounts, flags),
        st.builds(c.CaptureAuthorization, *operation, _amounts),
        st.builds(c.VoidAuthorization, *operation),
        st.builds(c.ReleaseAuthorization, *operation),
        st.builds(c.RefundAuthorization, *refund),
        st.builds(c.SignAgreement, _accounts, _numbers, _merchants, limits, limits),
        st.builds(c.ChangeAgreement, _accounts, _numbers, _numbers, limits, limits),
        st.builds(c.CancelAgreement, _accounts, _numbers, _numbers),
        st.builds(c.SetAccountLimits, _accounts, _numbers, methods, limits, limits),
        st.builds(c.FreezeAmount, _accounts, _numbers, _amounts),
        st.builds(c.UnfreezeAmount, _accounts, _numbers, _numbers),
        st.builds(lambda life, merchant_no: life(merchant_no), merchants, _merchants),
        st.builds(
            lambda number, merchant_no: registering(number, f"0{number}", merchant_no=merchant_no),
            _numbers,
            _merchants,
        ),
    )


_deliveries = st.integers(0, 9)
_steps = st.lists(
    st.one_of(
        _command(),
        _command(),
        _deliveries,
        _deliveries,
        st.sampled_from([0, 1, "wait", "cut"]),
    ),
    min_size=30,
    max_size=100,
)


def opened() -> Bank:
    """Return a bank whose payers have money for a payment or two, and different limits."""
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD", 250, over_capture=True))
    bank.do(commands.OpenMerchant("M2", "USD"))
    for account_no in ("A1", "A2"):
        bank.do(commands.OpenAccount(account_no, "USD"))
        bank.do(commands.FundAccount(account_no, "0", 500, "USD"))
    bank.do(commands.SignAgreement("A1", "a", "M1"))
    bank.do(commands.SignAgreement("A1", "b", "M2", 100, 250))
    bank.do(commands.SignAgreement("A2", "a", "M1", None, 300))
    for merchant_no in ("M1", "M2"):
        bank.do(commands.CreatePayment(merchant_no, "1", "A1", 100, "USD"))
        bank.do(commands.CreateAuthorization(merchant_no, "1", "A1", 100, "USD", 1_000))
    bank.do(commands.CreatePayment("M1", "2", "A2", 200, "USD"))
    bank.do(commands.CreateAuthorization("M1", "2", "A2", 100, "USD", 1_000))
    return bank


@settings(max_examples=effort(80, 200))
@given(_steps)
def test_commands_in_any_interleaving_keep_every_invariant(
    steps: list[commands.Command | int | str],
) -> None:
    bank = opened()
    tokens = {}
    for step in steps:
        if isinstance(step, commands.Command):
            tokens[bank.send(step)] = step
        elif isinstance(step, int):
            if bank.queue:
                bank.deliver_at(step % len(bank.queue))
        elif step == "wait":
            bank.wait(11 * SECOND)
            bank.fire()
        else:
            bank.business_date = f"2026-01-{int(bank.business_date[-2:]) % 28 + 1:02d}"
    bank.run()
    bank.wait(1_000 * SECOND)
    bank.fire()
    bank.run()
    assert not bank.timers
    for account_no in ("A1", "A2"):
        account = bank.account(account_no)
        assert (account.held_minor, account.holds_open, account.transfers_out) == (0, 0, 0)
    outcomes: defaultdict[commands.Command, set[Outcome]] = defaultdict(set)
    for token, command in tokens.items():
        _note(outcomes[command], bank.answer(token))
        _note(outcomes[command], bank.ask(command))
    for command, told in outcomes.items():
        assert len(told) <= 1 or isinstance(command, _LIFE), (command, told)


_LIFE = (
    commands.FreezeAccount
    | commands.UnfreezeAccount
    | commands.CloseAccount
    | commands.SuspendMerchant
    | commands.ActivateMerchant
    | commands.CloseMerchant
)
"""They bear no number; each answers with the account or merchant as it stands."""


def _note(outcomes: set[Outcome], answer: Outcome | Replayed) -> None:
    """Note what binds: every success, and every refusal that was told again."""
    if isinstance(answer, Replayed):
        outcomes.add(answer.outcome)
    elif not isinstance(answer, Refused):
        outcomes.add(answer)
