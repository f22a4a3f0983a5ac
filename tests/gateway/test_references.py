"""Which items of an array wait for which: a table, array → the earlier items each refers to."""

import pytest

from actors.commands import (
    AnyCommand,
    ApplyMerchant,
    CancelAgreement,
    CaptureAuthorization,
    ChangeAgreement,
    CloseRefund,
    CreateAuthorization,
    CreatePayment,
    CreateTransfer,
    FreezeAccount,
    FreezeAmount,
    FundAccount,
    GatewayCommand,
    OpenAccount,
    OpenMerchant,
    RedirectRefund,
    RefundAuthorization,
    RefundPayment,
    ReversePayment,
    SetAccountLimits,
    SignAgreement,
    SubmitMerchant,
    SuspendMerchant,
    UnfreezeAmount,
    WithdrawFunds,
)
from gateway import references
from gateway.answer import STATUS
from gateway.references import References

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

ACCOUNT = OpenAccount("A1", "USD")
MERCHANT = OpenMerchant("M1", "USD")
FUNDING = FundAccount("A1", "F1", 100, "USD")
SIGNED = SignAgreement("A1", "M1", "M1")


def _payment(order_no: str, merchant_no: str = "M1", payer: str = "A1") -> CreatePayment:
    return CreatePayment(merchant_no, order_no, payer, 100, "USD")


HOLD = CreateAuthorization("M1", "H1", "A1", 100, "USD")


@pytest.mark.parametrize(
    ("array", "waits_for"),
    [
        ([_payment("O1"), _payment("O2")], [[], []]),
        ([_payment("O1"), _payment("O1")], [[], [0]]),
        ([_payment("O1"), _payment("O1", merchant_no="M2")], [[], []]),
        ([ACCOUNT, MERCHANT, SIGNED, _payment("O1")], [[], [], [0, 1], [0, 1, 2]]),
        ([ACCOUNT, FUNDING, _payment("O1")], [[], [0], [1]]),
        ([FUNDING, _payment("O1", payer="A2")], [[], []]),
        ([ACCOUNT, SIGNED, SignAgreement("A1", "M2", "M2")], [[], [0], [0]]),
        ([SIGNED, ChangeAgreement("A1", "M1", "C1"), _payment("O1")], [[], [0], [0, 1]]),
        ([SignAgreement("A1", "G1", "M1"), CancelAgreement("A1", "G1", "E1")], [[], [0]]),
        ([SignAgreement("A1", "G1", "M1"), CancelAgreement("A1", "G2", "E1")], [[], []]),
        (
            [CancelAgreement("A1", "G1", "E1"), SignAgreement("A1", "G2", "M1"), _payment("O1")],
            [[], [0], [0, 1]],
        ),
        ([FreezeAmount("A1", "Z1", 1), UnfreezeAmount("A1", "Z1", "U1")], [[], [0]]),
        ([SetAccountLimits("A1", "L1", "agreement", 1), _payment("O1")], [[], [0]]),
        ([MERCHANT, SuspendMerchant("M1"), _payment("O1")], [[], [0], [1]]),
        (
            [ApplyMerchant("M1", "USD", "Shop", "Somebody"), SubmitMerchant("M1"), _payment("O1")],
            [[], [0], [1]],
        ),
        ([_payment("O1"), RefundPayment("M1", "R1", "O1", 1)], [[], [0]]),
        ([_payment("O1"), RefundPayment("M1", "R1", "O2", 1)], [[], []]),
        ([_payment("O1"), RefundPayment("M2", "R1", "O1", 1)], [[], []]),
        ([_payment("O1"), ReversePayment("M1", "O1", "V1")], [[], [0]]),
        (
            [
                HOLD,
                CaptureAuthorization("M1", "H1", "C1", 1),
                RefundAuthorization("M1", "R", "H1", 1),
            ],
            [[], [0], [1]],
        ),
        ([HOLD, _payment("H1")], [[], []]),
        (
            [
                RefundPayment("M1", "R1", "O1", 1),
                RedirectRefund("M1", "R1", "D1", "A1"),
                CloseRefund("M1", "R1", "X1"),
                CloseRefund("M1", "R2", "X2"),
                RefundPayment("M1", "R2", "O1", 1),
                OpenAccount("A2", "USD"),
                RedirectRefund("M1", "R2", "D2", "A2"),
            ],
            [[], [0], [1], [], [0], [], [4, 5]],
        ),
        ([WithdrawFunds("A1", "W1", 1, "USD"), FreezeAccount("A1")], [[], [0]]),
        (
            [
                ACCOUNT,
                OpenAccount("A2", "USD"),
                CreateTransfer("A1", "T1", "A2", 1, "USD"),
                _payment("O1", payer="A2"),
                FreezeAccount("A1"),
            ],
            [[], [], [0, 1], [2], [2]],
        ),
    ],
)
def test_item_waits_for_the_numbers_it_refers_to(
    array: list[AnyCommand], waits_for: list[list[int]]
) -> None:
    noted = References()
    found = [sorted(noted.note(index, each)) for index, each in enumerate(array)]
    assert found == waits_for


def test_table_knows_every_command_of_an_array() -> None:
    assert set(references._NEEDS) == set(AnyCommand.__args__)
    assert set(STATUS) == {*AnyCommand.__args__, *GatewayCommand.__args__}
