"""Certificates: registered, renewed and revoked by their holders, under their holders' numbers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actors import commands
from actors.answers import Refused, Replayed
from actors.audit import audit
from actors.certificate import Certificate
from actors.commands import BANK, RegisterBankCertificate, RevokeBankCertificate, RevokeCertificate
from actors.registration import (
    CERTIFICATES,
    LIVE_MAX,
    RENEWED_NS,
    ROSTER,
    ROSTERS,
    SERIALS,
    Registered,
)
from tests.actors.driver import DAY, MERCHANT, MORNING, Bank, issued, registering

LIMIT = LIVE_MAX["merchant"]


def _bank() -> Bank:
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD"))
    bank.do(commands.OpenMerchant("M2", "USD"))
    return bank


def _certificate(bank: Bank, serial: str) -> Certificate:
    state = bank.states[f"certificate/{serial}"]
    assert isinstance(state, Certificate)
    return state


def _registered(bank: Bank, number: str) -> Registered:
    return bank.get(MERCHANT, CERTIFICATES, number)


def _live(bank: Bank) -> dict[str, int]:
    return dict(bank.get(MERCHANT, ROSTERS, ROSTER).live)


def test_registered_certificate_can_be_verified_against() -> None:
    bank = _bank()
    view = bank.do(registering("C1", "ab12"))
    assert view.state == "ACTIVE"
    assert (view.merchant_no, view.certificate_no, view.serial) == ("M1", "C1", "ab12")
    assert (view.not_before, view.ends_at) == (
        "2026-01-05T08:00:00.000Z",
        "2027-01-05T08:00:00.000Z",
    )
    assert view.pem == (
        "-----BEGIN CERTIFICATE-----\nY2VydGlmaWNhdGUgYWIxMg==\n-----END CERTIFICATE-----\n"
    )
    certificate = _certificate(bank, "ab12")
    assert (certificate.holder, certificate.name) == (MERCHANT, "C1")
    assert (certificate.status, certificate.spki) == ("ACTIVE", b"key of ab12")


def test_repetition_gets_the_first_certificate_whatever_the_ca_has_signed_since() -> None:
    bank = _bank()
    first = bank.ask(registering("C1", "ab"))
    before = (dict(bank.states), dict(bank.rows))
    again = registering("C1", "cd", 300, start_ns=MORNING + DAY)
    assert bank.ask(again) == Replayed(first)  # type: ignore[arg-type]
    assert before == (bank.states, bank.rows)
    bank.do(registering("C2", "ef", renews="ab"))
    bank.do(RevokeCertificate("M1", "ab", "superseded"))
    assert bank.ask(again) == Replayed(first)  # type: ignore[arg-type]


def test_repetition_in_flight_gets_the_one_certificate() -> None:
    bank = _bank()
    first = bank.send(registering("C1", "ab"))
    joined = bank.send(registering("C1", "cd"))
    bank.run()
    assert bank.answer(joined) == Replayed(bank.answer(first))  # type: ignore[arg-type]
    assert "certificate/cd" not in bank.states


@pytest.mark.parametrize("other", [{"request": "other"}, {"renews": "ab"}])
def test_number_with_another_request_is_used(other: dict[str, str]) -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    assert bank.code(registering("C1", "cd", **other)) == "NUMBER_USED"  # type: ignore[arg-type]
    assert "certificate/cd" not in bank.states


def test_numbers_are_each_merchant_s_own() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    assert bank.do(registering("C1", "cd", merchant_no="M2")).serial == "cd"
    assert bank.code(RevokeCertificate("M2", "ab")) == "CERTIFICATE_NOT_FOUND"
    assert bank.code(registering("C2", "ef", renews="cd")) == "CERTIFICATE_NOT_FOUND"


def test_renewed_certificate_is_valid_beside_the_new_one_for_fifteen_days() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    bank.wait(300 * DAY)
    bank.do(registering("C2", "cd", 400, renews="ab", start_ns=MORNING + 300 * DAY))
    assert _certificate(bank, "ab").ends_ns == MORNING + 315 * DAY == bank.now_ns + RENEWED_NS
    assert _certificate(bank, "cd").ends_ns == MORNING + 700 * DAY
    assert set(_live(bank)) == {"C1", "C2"}
    assert _registered(bank, "C1").ends_ns == MORNING + 315 * DAY
    bank.wait(15 * DAY)
    bank.do(registering("C3", "ef", 700))
    assert set(_live(bank)) == {"C2", "C3"}


def test_renewed_certificate_that_ends_earlier_keeps_its_end() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab", days=20))
    bank.wait(10 * DAY)
    bank.do(registering("C2", "cd", renews="ab", start_ns=MORNING + 10 * DAY))
    assert _certificate(bank, "ab").ends_ns == MORNING + 20 * DAY


def test_certificate_renewed_twice_ends_with_the_first_renewal() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    bank.do(registering("C2", "cd", renews="ab"))
    bank.wait(14 * DAY)
    bank.do(registering("C3", "ef", renews="ab"))
    assert _certificate(bank, "ab").ends_ns == MORNING + 15 * DAY


@pytest.mark.parametrize("why", ["unknown", "refused", "revoked", "ended"])
def test_certificate_that_is_not_valid_is_not_renewed(why: str) -> None:
    bank = _bank()
    expected = {"revoked": "CERTIFICATE_REVOKED", "ended": "CERTIFICATE_ENDED"}
    if why != "unknown":
        bank.do(registering("C1", "ab", merchant_no="M2" if why == "refused" else "M1"))
    if why == "refused":
        assert bank.code(registering("C1", "ab")) == "CERTIFICATE_EXISTS"
    if why == "revoked":
        bank.do(RevokeCertificate("M1", "ab"))
    if why == "ended":
        bank.wait(365 * DAY)
    renewing = registering("C2", "cd", 700, renews="ab")
    first = bank.ask(renewing)
    assert isinstance(first, Refused)
    assert first.code == expected.get(why, "CERTIFICATE_NOT_FOUND")
    assert bank.ask(renewing) == Replayed(first)
    assert "certificate/cd" not in bank.states
    assert _registered(bank, "C2").certificate == b""


def test_old_certificate_revoked_during_its_renewal_stays_revoked() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    renewing = bank.send(registering("C2", "cd", renews="ab"))
    bank.send(RevokeCertificate("M1", "ab", "keyCompromise"))
    bank.run()
    assert bank.told(renewing) == "ACTIVE"
    assert _certificate(bank, "ab").status == "REVOKED"
    assert _certificate(bank, "ab").ends_ns == MORNING + 365 * DAY


def test_ten_certificates_are_valid_at_once_and_no_more() -> None:
    bank = _bank()
    for n in range(LIMIT - 1):
        bank.do(registering(f"C{n}", f"a{n}"))
    under_way = bank.send(registering("C98", "b8"))
    assert bank.told(bank.send(registering("C99", "b9"))) == "CERTIFICATE_LIMIT"
    bank.run()
    assert bank.told(under_way) == "ACTIVE"
    assert bank.code(registering("D1", "c1", renews="a0")) == "CERTIFICATE_LIMIT"
    bank.do(RevokeCertificate("M1", "a1"))
    assert bank.do(registering("D2", "c2")).state == "ACTIVE"
    assert bank.code(registering("D3", "c3")) == "CERTIFICATE_LIMIT"
    bank.wait(365 * DAY)
    assert bank.do(registering("D4", "c4", 700)).state == "ACTIVE"
    assert set(_live(bank)) == {"D4"}


@pytest.mark.parametrize("whose", ["M1", "M2", "bank"])
def test_serial_that_exists_is_refused_without_harm(whose: str) -> None:
    bank = _bank()
    if whose == "bank":
        bank.do(RegisterBankCertificate("B1", "0" * 64, issued("ab")))
    else:
        bank.do(registering("X1", "ab", merchant_no=whose))
    before = _certificate(bank, "ab")
    again = registering("C2", "ab")
    first = bank.ask(again)
    assert first == Refused("CERTIFICATE_EXISTS", "C2")  # type: ignore[arg-type]
    assert bank.ask(again) == Replayed(first)
    assert _certificate(bank, "ab") == before
    assert "C2" not in _live(bank)
    assert _registered(bank, "C2").certificate == b""
    if whose == "M1":  # its own is still known by its own number, and can be revoked
        assert bank.do(RevokeCertificate("M1", "ab")).certificate_no == "X1"
    else:
        assert bank.code(RevokeCertificate("M1", "ab")) == "CERTIFICATE_NOT_FOUND"


def test_revoked_certificate_stays_as_it_was_revoked_first() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    bank.wait(DAY)
    first = bank.do(RevokeCertificate("M1", "ab", "keyCompromise"))
    assert (first.state, first.reason) == ("REVOKED", "keyCompromise")
    assert first.revoked_at == "2026-01-06T08:00:00.000Z"
    bank.wait(DAY)
    assert bank.do(RevokeCertificate("M1", "ab", "superseded")) == first
    assert _certificate(bank, "ab").reason == _registered(bank, "C1").reason == "keyCompromise"


def test_revocation_is_told_only_by_the_certificate_that_is_revoked() -> None:
    """So that the answer rests on the row that requests are verified against."""
    bank = _bank()
    bank.do(registering("C1", "ab"))
    first, second = (bank.send(RevokeCertificate("M1", "ab")) for _ in range(2))
    assert _registered(bank, "C1").state == "REVOKED"
    assert (bank.answers[first], _certificate(bank, "ab").status) == ([], "ACTIVE")
    bank.deliver_at(0)
    assert (bank.told(first), _certificate(bank, "ab").status) == ("REVOKED", "REVOKED")
    assert bank.answers[second] == []
    bank.run()
    assert bank.answer(second) == bank.answer(first)


def test_certificate_under_way_cannot_be_revoked_yet() -> None:
    bank = _bank()
    bank.send(registering("C1", "ab"))
    bank.deliver_at(0)
    assert bank.told(bank.send(RevokeCertificate("M1", "ab"))) == "CERTIFICATE_NOT_FOUND"
    bank.run()
    assert bank.do(RevokeCertificate("M1", "ab")).state == "REVOKED"


@pytest.mark.parametrize("command", [commands.SuspendMerchant, commands.CloseMerchant])
def test_end_of_a_merchant_leaves_its_certificates_valid_and_revocable(command: Any) -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    bank.do(command("M1"))
    assert _certificate(bank, "ab").status == "ACTIVE"
    assert bank.do(RevokeCertificate("M1", "ab", "cessationOfOperation")).state == "REVOKED"


def test_bank_s_own_certificates_are_numbered_by_the_bank() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    command = RegisterBankCertificate("C1", "0" * 64, issued("cd"))
    first = bank.ask(command)
    assert not isinstance(first, Refused | Replayed)
    assert getattr(first, "merchant_no", "") is None
    again = replace(command, issued=issued("ef"))
    assert bank.ask(again) == Replayed(first)
    assert bank.code(replace(command, request="1" * 64)) == "NUMBER_USED"
    assert _certificate(bank, "cd").holder == BANK
    assert bank.code(RevokeCertificate("M1", "cd")) == "CERTIFICATE_NOT_FOUND"
    assert bank.code(RevokeBankCertificate("ab")) == "CERTIFICATE_NOT_FOUND"
    renewing = RegisterBankCertificate("C2", "2" * 64, issued("12"), renews="cd")
    assert bank.do(renewing).state == "ACTIVE"
    assert _certificate(bank, "cd").ends_ns == MORNING + RENEWED_NS
    assert bank.do(RevokeBankCertificate("cd", "superseded")).state == "REVOKED"


def test_nothing_is_revoked_before_the_bank_has_any_certificate() -> None:
    bank = Bank()
    assert bank.code(RevokeBankCertificate("ab")) == "CERTIFICATE_NOT_FOUND"
    assert BANK not in bank.states


def test_too_large_a_certificate_is_our_own_bug() -> None:
    bank = _bank()
    command = registering("C1", "ab")
    for large in (
        replace(command.issued, spki=bytes(601)),
        replace(command.issued, certificate=bytes(4_097)),
    ):
        with pytest.raises(AssertionError):
            bank.send(replace(command, issued=large))


def test_every_record_of_a_registration_is_under_its_holder() -> None:
    bank = _bank()
    bank.do(registering("C1", "ab"))
    found = [(address, kind.type.__name__, name) for address, kind, name, _ in bank.records()]
    assert sorted(found) == [
        (MERCHANT, "Named", "ab"),
        (MERCHANT, "Registered", "C1"),
        (MERCHANT, "Roster", "roster"),
    ]
    assert bank.get(MERCHANT, SERIALS, "ab").certificate_no == "C1"


_numbers = st.sampled_from(["C1", "C2", "C3", "C4"])
_serials = st.sampled_from(["a1", "a2", "a3", "a4", "a5", "a6"])
_merchants = st.sampled_from(["M1", "M1", "M2"])
_requests = st.sampled_from(["one", "one", "two"])
_renewed = st.one_of(st.none(), _serials)
_days = st.sampled_from([5, 20, 365])
_command = st.one_of(
    *[
        st.builds(
            lambda number, serial, days, request, renews, merchant_no: registering(
                number, serial, days, request=request, renews=renews, merchant_no=merchant_no
            ),
            _numbers,
            _serials,
            _days,
            _requests,
            _renewed,
            _merchants,
        )
    ]
    * 2,
    st.builds(RevokeCertificate, _merchants, _serials, st.sampled_from(["superseded"])),
    st.builds(
        lambda number, serial, renews: RegisterBankCertificate(
            number, "0" * 64, issued(serial), renews
        ),
        _numbers,
        _serials,
        _renewed,
    ),
    st.builds(RevokeBankCertificate, _serials),
    st.builds(commands.CloseMerchant, st.just("M2")),
)
_steps = st.lists(st.one_of(_command, st.integers(0, 9), st.just("wait")), max_size=40)


@settings(max_examples=60)
@given(_steps)
def test_registrations_in_any_interleaving_keep_both_sides_alike(
    steps: list[commands.Command | int | str],
) -> None:
    """The driver audits after every turn; in the end everybody is told, and told the same again."""
    bank = _bank()
    tokens = {}
    for step in steps:
        if isinstance(step, commands.Command):
            tokens[bank.send(step)] = step
        elif step == "wait":
            bank.wait(7 * DAY)
        elif bank.queue:
            bank.deliver_at(int(step) % len(bank.queue))
    bank.run()
    outcomes: dict[tuple[str, str, str], object] = {}
    for token, command in tokens.items():
        answer = bank.answer(token)
        outcome = answer.outcome if isinstance(answer, Replayed) else answer
        free = isinstance(outcome, Refused) and outcome.code in {
            "NUMBER_USED",
            "STATE_CONFLICT",
            "IN_FLIGHT",
        }
        if isinstance(command, commands.Registration) and not free:
            owner = commands.first_actor(command)
            key = (owner, command.certificate_no, command.request + str(command.renews))
            assert outcomes.setdefault(key, outcome) == outcome
    serials = [
        record.serial
        for _, kind, _, record in bank.records()
        if kind is CERTIFICATES and isinstance(record, Registered) and record.state != "FAILED"
    ]
    assert sorted(serials) == sorted(
        address.partition("/")[2] for address in bank.states if address.startswith("certificate/")
    )
    assert list(audit(bank.view())) == []
