"""The bank's own calls: accounts, their money and agreements, merchants, and the day.

Like `merchant_calls`, for whoever has a certificate of the bank: these show balances, which
merchants never see.
"""

from collections.abc import Mapping
from typing import Final

from actors.answers import (
    AccountLimitsView,
    AccountView,
    AgreementChangeView,
    AgreementView,
    CertificateView,
    FreezeView,
    LimitsChangeView,
    MerchantView,
    ProfileView,
    TransferView,
    UnfreezeView,
)
from actors.commands import (
    ActivateMerchant,
    AmendMerchant,
    ApplyMerchant,
    ApproveMerchant,
    CancelAgreement,
    ChangeAgreement,
    CloseAccount,
    CloseMerchant,
    CreateTransfer,
    FreezeAccount,
    FreezeAmount,
    FundAccount,
    Method,
    OpenAccount,
    OpenMerchant,
    RejectMerchant,
    RevocationReason,
    RevokeCertificate,
    SetAccountLimits,
    SignAgreement,
    SignMerchant,
    SubmitMerchant,
    SuspendMerchant,
    UnfreezeAccount,
    UnfreezeAmount,
    WithdrawFunds,
)
from gateway.client.call import Call, Listing, listing, look, note, order, post
from gateway.client.views import CodeView, DayCutView, NodeView, PostingView

_ACCOUNT: Final = "/v1/accounts/{account_no}"
_AGREEMENT: Final = f"{_ACCOUNT}/agreements/{{agreement_no}}"
_FREEZE: Final = f"{_ACCOUNT}/freezes/{{freeze_no}}"


class BankCalls:
    """The calls of the bank itself."""

    # Accounts.

    def open_account(self, account_no: str, *, currency: str) -> Call[AccountView]:
        """Open a customer's account."""
        return order(OpenAccount(account_no, currency), AccountView)

    def get_account(self, account_no: str) -> Call[AccountView]:
        """Look an account up."""
        return look(AccountView, _ACCOUNT, account_no=account_no)

    def accounts(self) -> Listing[AccountView]:
        """List all accounts, internal ones too."""
        return listing(AccountView, "/v1/accounts", {})

    def postings(
        self, account_no: str, *, from_date: str | None = None, to_date: str | None = None
    ) -> Listing[PostingView]:
        """List an account's postings, newest first, between two business dates inclusive."""
        query = {"from_date": from_date, "to_date": to_date}
        return listing(PostingView, f"{_ACCOUNT}/postings", query, account_no=account_no)

    def freeze_account(self, account_no: str) -> Call[AccountView]:
        """Let nothing new leave an account; open holds and credits go on."""
        return order(FreezeAccount(account_no), AccountView)

    def unfreeze_account(self, account_no: str) -> Call[AccountView]:
        """Take a freeze back."""
        return order(UnfreezeAccount(account_no), AccountView)

    def close_account(self, account_no: str) -> Call[AccountView]:
        """Close an empty account with nothing open, for ever."""
        return order(CloseAccount(account_no), AccountView)

    # Money in, out and across.

    def fund(
        self,
        account_no: str,
        funding_no: str,
        *,
        amount_minor: int,
        currency: str,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[TransferView]:
        """Move money into an account from the currency's clearing account."""
        noted = note(description, metadata)
        command = FundAccount(account_no, funding_no, amount_minor, currency, *noted)
        return order(command, TransferView)

    def get_funding(
        self, account_no: str, funding_no: str, *, currency: str | None = None
    ) -> Call[TransferView]:
        """Look a funding up; `currency` only where it was not in the account's own."""
        path = f"{_ACCOUNT}/fundings/{{funding_no}}"
        query = {"currency": currency}
        return look(TransferView, path, query, account_no=account_no, funding_no=funding_no)

    def withdraw(
        self,
        account_no: str,
        withdrawal_no: str,
        *,
        amount_minor: int,
        currency: str,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[TransferView]:
        """Move money from an account to the currency's clearing account."""
        noted = note(description, metadata)
        command = WithdrawFunds(account_no, withdrawal_no, amount_minor, currency, *noted)
        return order(command, TransferView)

    def get_withdrawal(self, account_no: str, withdrawal_no: str) -> Call[TransferView]:
        """Look a withdrawal up."""
        path = f"{_ACCOUNT}/withdrawals/{{withdrawal_no}}"
        return look(TransferView, path, account_no=account_no, withdrawal_no=withdrawal_no)

    def transfer(
        self,
        account_no: str,
        transfer_no: str,
        *,
        to: str,
        amount_minor: int,
        currency: str,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[TransferView]:
        """Move money from one customer's account to another."""
        noted = note(description, metadata)
        command = CreateTransfer(account_no, transfer_no, to, amount_minor, currency, *noted)
        return order(command, TransferView)

    def get_transfer(self, account_no: str, transfer_no: str) -> Call[TransferView]:
        """Look a transfer up, by the account that was debited."""
        path = "/v1/transfers/{account_no}/{transfer_no}"
        return look(TransferView, path, account_no=account_no, transfer_no=transfer_no)

    def transfers(self, account_no: str) -> Listing[TransferView]:
        """List the transfers from an account, in the order of their numbers."""
        return listing(TransferView, "/v1/transfers", {"account_no": account_no})

    # What may be taken from an account.

    def sign_agreement(
        self,
        account_no: str,
        agreement_no: str,
        *,
        merchant_no: str,
        payment_limit_minor: int | None = None,
        daily_limit_minor: int | None = None,
    ) -> Call[AgreementView]:
        """Let a merchant debit an account, within limits; None means no limit."""
        limits = payment_limit_minor, daily_limit_minor
        command = SignAgreement(account_no, agreement_no, merchant_no, *limits)
        return order(command, AgreementView)

    def get_agreement(self, account_no: str, agreement_no: str) -> Call[AgreementView]:
        """Look an agreement up, with today's use."""
        return look(AgreementView, _AGREEMENT, account_no=account_no, agreement_no=agreement_no)

    def agreements(self, account_no: str) -> Listing[AgreementView]:
        """List an account's agreements, cancelled and refused ones too."""
        return listing(AgreementView, f"{_ACCOUNT}/agreements", {}, account_no=account_no)

    def change_agreement(
        self,
        account_no: str,
        agreement_no: str,
        change_no: str,
        *,
        payment_limit_minor: int | None = None,
        daily_limit_minor: int | None = None,
    ) -> Call[AgreementChangeView]:
        """Set both limits of an agreement anew; None means no limit."""
        limits = payment_limit_minor, daily_limit_minor
        command = ChangeAgreement(account_no, agreement_no, change_no, *limits)
        return order(command, AgreementChangeView)

    def cancel_agreement(
        self, account_no: str, agreement_no: str, cancel_no: str
    ) -> Call[AgreementChangeView]:
        """End an agreement for ever; open holds and refunds go on."""
        command = CancelAgreement(account_no, agreement_no, cancel_no)
        return order(command, AgreementChangeView)

    def set_limits(
        self,
        account_no: str,
        limits_no: str,
        *,
        method: Method,
        payment_limit_minor: int | None = None,
        daily_limit_minor: int | None = None,
    ) -> Call[LimitsChangeView]:
        """Set both of an account's own limits for a method of paying; None means no limit."""
        limits = payment_limit_minor, daily_limit_minor
        return order(SetAccountLimits(account_no, limits_no, method, *limits), LimitsChangeView)

    def get_limits(self, account_no: str) -> Call[AccountLimitsView]:
        """Look up an account's own limits, and what is used of them today."""
        return look(AccountLimitsView, f"{_ACCOUNT}/limits", account_no=account_no)

    def freeze_amount(
        self, account_no: str, freeze_no: str, *, amount_minor: int
    ) -> Call[FreezeView]:
        """Set some of an account's available money aside."""
        return order(FreezeAmount(account_no, freeze_no, amount_minor), FreezeView)

    def unfreeze_amount(
        self, account_no: str, freeze_no: str, unfreeze_no: str
    ) -> Call[UnfreezeView]:
        """Make a frozen amount available again."""
        return order(UnfreezeAmount(account_no, freeze_no, unfreeze_no), UnfreezeView)

    def get_freeze(self, account_no: str, freeze_no: str) -> Call[FreezeView]:
        """Look a frozen amount up."""
        return look(FreezeView, _FREEZE, account_no=account_no, freeze_no=freeze_no)

    def freezes(self, account_no: str) -> Listing[FreezeView]:
        """List an account's frozen amounts, released ones too."""
        return listing(FreezeView, f"{_ACCOUNT}/freezes", {}, account_no=account_no)

    # Merchants.

    def open_merchant(
        self, merchant_no: str, *, currency: str, fee_bps: int = 0, over_capture: bool = False
    ) -> Call[MerchantView]:
        """Open a merchant whose onboarding happened elsewhere.

        Args:
            fee_bps: of what it takes, in basis points.
            over_capture: whether it may capture up to 115 % of a hold.
        """
        command = OpenMerchant(merchant_no, currency, fee_bps, over_capture)
        return order(command, MerchantView)

    def apply_merchant(
        self,
        merchant_no: str,
        *,
        currency: str,
        legal_name: str,
        contact: str,
        fee_bps: int = 0,
        over_capture: bool = False,
    ) -> Call[MerchantView]:
        """Note who would like to be a merchant, on which terms."""
        command = ApplyMerchant(merchant_no, currency, legal_name, contact, fee_bps, over_capture)
        return order(command, MerchantView)

    def amend_merchant(
        self,
        merchant_no: str,
        *,
        currency: str,
        legal_name: str,
        contact: str,
        fee_bps: int = 0,
        over_capture: bool = False,
    ) -> Call[MerchantView]:
        """Set everything of an application anew, before it is submitted."""
        command = AmendMerchant(merchant_no, currency, legal_name, contact, fee_bps, over_capture)
        return order(command, MerchantView)

    def submit_merchant(self, merchant_no: str, *, operator: str = "") -> Call[MerchantView]:
        """Have an application audited; `operator` is noted, here and below."""
        return order(SubmitMerchant(merchant_no, operator), MerchantView)

    def approve_merchant(self, merchant_no: str, *, operator: str = "") -> Call[MerchantView]:
        """Find nothing against a merchant."""
        return order(ApproveMerchant(merchant_no, operator), MerchantView)

    def reject_merchant(
        self, merchant_no: str, *, reason: str, operator: str = ""
    ) -> Call[MerchantView]:
        """Turn an application down for ever."""
        return order(RejectMerchant(merchant_no, reason, operator), MerchantView)

    def sign_merchant(
        self, merchant_no: str, *, contract_no: str, operator: str = ""
    ) -> Call[MerchantView]:
        """Note that the contract is signed: the merchant may have a certificate."""
        return order(SignMerchant(merchant_no, contract_no, operator), MerchantView)

    def get_profile(self, merchant_no: str) -> Call[ProfileView]:
        """Look up how a merchant that has applied was taken on."""
        return look(ProfileView, "/v1/merchants/{merchant_no}/profile", merchant_no=merchant_no)

    def get_merchant(self, merchant_no: str) -> Call[MerchantView]:
        """Look a merchant up."""
        return look(MerchantView, "/v1/merchants/{merchant_no}", merchant_no=merchant_no)

    def merchants(self) -> Listing[MerchantView]:
        """List all merchants."""
        return listing(MerchantView, "/v1/merchants", {})

    def suspend_merchant(self, merchant_no: str) -> Call[MerchantView]:
        """Let a merchant take nothing new; it may still give money back."""
        return order(SuspendMerchant(merchant_no), MerchantView)

    def activate_merchant(self, merchant_no: str) -> Call[MerchantView]:
        """Let a merchant that has a certificate begin, or take a suspension back."""
        return order(ActivateMerchant(merchant_no), MerchantView)

    def close_merchant(self, merchant_no: str) -> Call[MerchantView]:
        """End a merchant: it is closed for ever once nothing is open with it any more."""
        return order(CloseMerchant(merchant_no), MerchantView)

    def revoke_certificate(
        self, merchant_no: str, serial: str, *, reason: RevocationReason = "unspecified"
    ) -> Call[CertificateView]:
        """End a merchant's certificate at once and for ever."""
        return order(RevokeCertificate(merchant_no, serial, reason), CertificateView)

    # The bank's day, and the node.

    def cut_day(self, business_date: str) -> Call[DayCutView]:
        """Close a business date (ISO 8601); again, it gives the first outcome."""
        return post(DayCutView, "/v1/day-cuts", {"business_date": business_date})

    def get_day_cut(self, business_date: str) -> Call[DayCutView]:
        """Look up a business date that was cut."""
        path = "/v1/day-cuts/{business_date}"
        return look(DayCutView, path, business_date=business_date)

    def node(self) -> Call[NodeView]:
        """Look up where the node stands."""
        return look(NodeView, "/v1/node")

    def codes(self) -> Call[list[CodeView]]:
        """Look up all codes that the bank may answer with."""
        return look(list[CodeView], "/v1/errors")
