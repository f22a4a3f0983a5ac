"""The life of a merchant from its application on: state × command → outcome, and what is noted."""

import pytest

from actors import commands
from actors.answers import Refused, Replayed
from actors.lifecycle import PROFILE, PROFILES
from actors.merchant import Merchant
from actors.states import MERCHANT as MACHINE
from actors.states import START, allowed
from tests.actors.driver import (
    MERCHANT,
    SECOND,
    Bank,
    application,
    payment,
    registering,
    table,
)

ONBOARDING: list[commands.Command] = [
    application(),
    commands.SubmitMerchant("M1", "clerk"),
    commands.ApproveMerchant("M1", "auditor"),
    commands.SignMerchant("M1", "K-1", "lawyer"),
    registering("C1", "ab"),
    commands.ActivateMerchant("M1"),
]
STEPS = ["none", "DRAFT", "AUDITING", "TO_BE_SIGNED", "PROVISIONING", "certified", "ACTIVE"]
STATES = [*STEPS, "REJECTED", "SUSPENDED", "CLOSING", "CLOSED"]


def _bank_with(state: str) -> Bank:
    """Return a bank whose merchant M1 has applied and come to a status."""
    bank = Bank()
    bank.do(commands.OpenAccount("A1", "USD"))
    bank.do(commands.FundAccount("A1", "F1", 10_000, "USD"))
    bank.do(commands.SignAgreement("A1", "M1", "M1"))
    steps = STEPS.index(state if state in STEPS else "ACTIVE")
    if state == "REJECTED":
        steps = STEPS.index("AUDITING")
    for command in ONBOARDING[:steps]:
        bank.do(command)
    if state == "REJECTED":
        bank.do(commands.RejectMerchant("M1", "no such shop"))
    if state == "SUSPENDED":
        bank.do(commands.SuspendMerchant("M1"))
    if state == "CLOSING":
        bank.do(payment("O0"))
    if state in {"CLOSING", "CLOSED"}:
        bank.do(commands.CloseMerchant("M1"))
    return bank


EVERY: dict[str, commands.Command] = {
    "open": commands.OpenMerchant("M1", "USD"),
    "apply": application(),
    "apply-other": application(fee_bps=61),
    "amend": commands.AmendMerchant("M1", "EUR", "Other Ltd", "other@example.com", 5, True),
    "submit": commands.SubmitMerchant("M1", "somebody"),
    "approve": commands.ApproveMerchant("M1", "somebody"),
    "reject": commands.RejectMerchant("M1", "no such shop", "somebody"),
    "reject-other": commands.RejectMerchant("M1", "other reason"),
    "sign": commands.SignMerchant("M1", "K-1", "somebody"),
    "sign-other": commands.SignMerchant("M1", "K-2"),
    "certify": registering("C2", "cd"),
    "activate": commands.ActivateMerchant("M1"),
    "suspend": commands.SuspendMerchant("M1"),
    "close": commands.CloseMerchant("M1"),
    "pay": payment("O1"),
    "refund": commands.RefundPayment("M1", "R1", "O0", 1_000),
    "void": commands.VoidAuthorization("M1", "H0", "V1"),
    "revoke": commands.RevokeCertificate("M1", "ab"),
}

# A command, what comes of it, and in which states it does.
LIFE = table("""
    open          ACTIVE                 none
    open          NUMBER_USED            DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    apply         DRAFT                  none
    apply         repeats                DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    apply-other   DRAFT                  none
    apply-other   NUMBER_USED            DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    amend         MERCHANT_NOT_FOUND     none
    amend         DRAFT                  DRAFT
    amend         STATE_CONFLICT         AUDITING TO_BE_SIGNED PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    submit        MERCHANT_NOT_FOUND     none
    submit        AUDITING               DRAFT AUDITING
    submit        STATE_CONFLICT         TO_BE_SIGNED PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    approve       MERCHANT_NOT_FOUND     none
    approve       TO_BE_SIGNED           AUDITING TO_BE_SIGNED
    approve       STATE_CONFLICT         DRAFT PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    reject        MERCHANT_NOT_FOUND     none
    reject        REJECTED               AUDITING REJECTED
    reject        STATE_CONFLICT         DRAFT TO_BE_SIGNED PROVISIONING certified ACTIVE SUSPENDED CLOSING CLOSED
    reject-other  MERCHANT_NOT_FOUND     none
    reject-other  REJECTED               AUDITING
    reject-other  STATE_CONFLICT         DRAFT TO_BE_SIGNED PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    sign          MERCHANT_NOT_FOUND     none
    sign          PROVISIONING           TO_BE_SIGNED PROVISIONING certified
    sign          STATE_CONFLICT         DRAFT AUDITING ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    sign-other    MERCHANT_NOT_FOUND     none
    sign-other    PROVISIONING           TO_BE_SIGNED
    sign-other    STATE_CONFLICT         DRAFT AUDITING PROVISIONING certified ACTIVE REJECTED SUSPENDED CLOSING CLOSED
    certify       MERCHANT_NOT_FOUND     none
    certify       ok                     PROVISIONING certified ACTIVE SUSPENDED
    certify       STATE_CONFLICT         DRAFT AUDITING TO_BE_SIGNED REJECTED CLOSING CLOSED
    activate      MERCHANT_NOT_FOUND     none
    activate      CERTIFICATE_MISSING    PROVISIONING
    activate      ACTIVE                 certified ACTIVE SUSPENDED
    activate      STATE_CONFLICT         DRAFT AUDITING TO_BE_SIGNED REJECTED CLOSING CLOSED
    suspend       MERCHANT_NOT_FOUND     none
    suspend       SUSPENDED              ACTIVE SUSPENDED
    suspend       STATE_CONFLICT         DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified REJECTED CLOSING CLOSED
    close         MERCHANT_NOT_FOUND     none
    close         CLOSED                 DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified ACTIVE SUSPENDED CLOSED
    close         CLOSING                CLOSING
    close         STATE_CONFLICT         REJECTED
    pay           MERCHANT_NOT_FOUND     none
    pay           MERCHANT_NOT_ACTIVE    DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified REJECTED
    pay           ok                     ACTIVE
    pay           MERCHANT_SUSPENDED     SUSPENDED
    pay           MERCHANT_CLOSING       CLOSING
    pay           MERCHANT_CLOSED        CLOSED
    refund        MERCHANT_NOT_FOUND     none
    refund        MERCHANT_NOT_ACTIVE    DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified REJECTED
    refund        NO_SUCH_PAYMENT        ACTIVE SUSPENDED
    refund        CLOSED                 CLOSING
    refund        MERCHANT_CLOSED        CLOSED
    void          MERCHANT_NOT_FOUND     none
    void          MERCHANT_NOT_ACTIVE    DRAFT AUDITING TO_BE_SIGNED PROVISIONING certified REJECTED
    void          NO_SUCH_HOLD           ACTIVE SUSPENDED CLOSING
    void          MERCHANT_CLOSED        CLOSED
    revoke        MERCHANT_NOT_FOUND     none
    revoke        CERTIFICATE_NOT_FOUND  DRAFT AUDITING TO_BE_SIGNED PROVISIONING REJECTED
    revoke        ok                     certified ACTIVE SUSPENDED CLOSING CLOSED
""")  # noqa: E501

CELLS = [(row[0], state, row[1]) for row in LIFE for state in row[2:]]
LEFT_ALONE = {"MERCHANT_NOT_FOUND", "NUMBER_USED", "STATE_CONFLICT", "repeats", "MERCHANT_CLOSED",
              "MERCHANT_NOT_ACTIVE", "MERCHANT_CLOSING", "MERCHANT_SUSPENDED",
              "CERTIFICATE_MISSING", "CERTIFICATE_NOT_FOUND"}  # fmt: skip


def test_table_has_every_command_in_every_state_once() -> None:
    cells = [(command, state) for command, state, _ in CELLS]
    assert sorted(cells) == sorted((command, state) for command in EVERY for state in STATES)


@pytest.mark.parametrize(("command", "state", "outcome"), CELLS)
def test_merchant_in_state_on_command_comes_to(command: str, state: str, outcome: str) -> None:
    bank = _bank_with(state)
    before = (dict(bank.states), dict(bank.rows))
    status = "" if state == "none" else bank.merchant("M1").status
    answer = bank.ask(EVERY[command])
    after = getattr(bank.states.get(MERCHANT), "status", "")
    if outcome in LEFT_ALONE:
        assert before == (bank.states, bank.rows)
    if outcome == "repeats":
        assert isinstance(answer, Replayed)
        assert getattr(answer.outcome, "status", "") == "DRAFT"
    elif isinstance(answer, Refused):
        assert answer.code == outcome
        if outcome == "STATE_CONFLICT":
            tag = type(EVERY[command]).__struct_config__.tag
            assert (answer.current, answer.allowed) == (status, allowed(MACHINE, str(tag)))
            assert status not in answer.allowed
    elif outcome in MACHINE.states:
        assert after == outcome
    else:
        assert (outcome, after) == ("ok", status)


def test_every_transition_of_the_machine_is_in_the_table() -> None:
    """What the page of state machines shows is what the table above tries."""
    as_status = {"none": START, "certified": "PROVISIONING"}
    tried = set()
    for command, state, outcome in CELLS:
        tag = str(type(EVERY[command]).__struct_config__.tag)
        source = as_status.get(state, state)
        target = source if outcome == "ok" else outcome
        tried.add((source, tag, target))
    # Closing with something open: tests/actors/test_merchants.py and below.
    closings = {(each, "close_merchant", "CLOSING")
                for each in ("PROVISIONING", "ACTIVE", "SUSPENDED")}  # fmt: skip
    by_itself = {("CLOSING", "close_merchant", "CLOSED")}
    assert MACHINE.legal - tried == closings | by_itself


def test_application_is_repeated_for_ever_as_it_was_first() -> None:
    bank = Bank()
    first = bank.ask(application())
    bank.do(EVERY["amend"])
    amended = bank.merchant("M1")
    assert (amended.currency, amended.fee_bps, amended.over_capture) == ("EUR", 5, True)
    bank.wait(5 * SECOND)
    assert bank.ask(application()) == Replayed(first)  # type: ignore[arg-type]
    assert bank.merchant("M1") == amended


def test_application_that_is_amended_takes_effect_with_its_terms() -> None:
    bank = Bank()
    bank.do(application())
    bank.do(commands.AmendMerchant("M1", "USD", "Shop and Sons", "sons@example.com", 1_000))
    for command in ONBOARDING[1:]:
        bank.do(command)
    bank.do(commands.OpenAccount("A1", "USD"))
    bank.do(commands.FundAccount("A1", "F1", 1_000, "USD"))
    bank.do(commands.SignAgreement("A1", "M1", "M1"))
    bank.do(payment("O1"))
    assert bank.merchant("M1").fees_minor == 100
    profile = bank.get(MERCHANT, PROFILES, PROFILE)
    assert (profile.legal_name, profile.contact) == ("Shop and Sons", "sons@example.com")


def test_profile_says_who_did_what_and_when() -> None:
    bank = Bank()
    for command in ONBOARDING:
        bank.do(command)
        bank.wait(SECOND)
    profile = bank.get(MERCHANT, PROFILES, PROFILE)
    assert (profile.submitted_by, profile.decided_by, profile.signed_by) == (
        "clerk",
        "auditor",
        "lawyer",
    )
    assert 0 < profile.submitted_ns < profile.decided_ns < profile.signed_ns
    assert (profile.contract_no, profile.reason) == ("K-1", "")


def test_step_that_is_repeated_leaves_the_profile_as_it_was() -> None:
    bank = Bank()
    for command in ONBOARDING[:4]:
        bank.do(command)
        before = dict(bank.rows)
        bank.wait(SECOND)
        if not isinstance(command, commands.ApplyMerchant):
            bank.do(command)
        assert bank.rows == before


def test_opened_merchant_has_no_profile_and_needs_no_certificate() -> None:
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD"))
    assert list(bank.records()) == []
    bank.do(commands.SuspendMerchant("M1"))
    assert bank.do(commands.ActivateMerchant("M1")).status == "ACTIVE"
    assert bank.ask(application()) == Refused("NUMBER_USED", "M1")  # type: ignore[arg-type]


def test_certificate_under_way_is_none_to_be_activated_with() -> None:
    bank = _bank_with("PROVISIONING")
    bank.send(registering("C1", "ab"))
    while bank.queue:
        assert bank.told(bank.send(commands.ActivateMerchant("M1"))) == "CERTIFICATE_MISSING"
        bank.deliver_at(0)
    assert bank.do(commands.ActivateMerchant("M1")).status == "ACTIVE"


@pytest.mark.parametrize("why", ["revoked", "ended"])
def test_certificate_that_is_not_valid_is_none_to_be_activated_with(why: str) -> None:
    bank = _bank_with("certified")
    if why == "revoked":
        bank.do(commands.RevokeCertificate("M1", "ab", "keyCompromise"))
    else:
        bank.wait(365 * 86_400 * SECOND)
    assert bank.code(commands.ActivateMerchant("M1")) == "CERTIFICATE_MISSING"
    bank.do(registering("C2", "cd", 400))
    assert bank.do(commands.ActivateMerchant("M1")).status == "ACTIVE"


def test_suspension_needs_no_certificate_to_be_taken_back() -> None:
    bank = _bank_with("SUSPENDED")
    bank.do(commands.RevokeCertificate("M1", "ab"))
    assert bank.do(commands.ActivateMerchant("M1")).status == "ACTIVE"


def test_merchant_that_was_never_active_waits_for_its_certificate_to_close() -> None:
    bank = _bank_with("PROVISIONING")
    token = bank.send(registering("C1", "ab"))
    assert bank.told(bank.send(commands.CloseMerchant("M1"))) == "CLOSING"
    bank.run()
    assert bank.told(token) == "ACTIVE"
    assert bank.merchant("M1").status == "CLOSED"


def test_merchant_s_own_row_has_not_grown() -> None:
    """Each payment writes it, and pays for every byte of it."""
    fields = set(Merchant.__struct_fields__)
    assert not fields & {"legal_name", "contact", "contract_no", "certificates"}
