"""`piaohao merchant`: take merchants on, certify, suspend and close them, on a running node."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from gateway.commands.merchant_webhook import app as webhook
from gateway.commands.whole import whole
from gateway.exits import INPUT, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

app = App(
    name="piaohao merchant",
    help="Take merchants on, certify, suspend and close them, on a running node.",
    version_flags=(),
)

app.command(webhook)

Json = Annotated[bool, Parameter(name="--json", negative=())]
Bps = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=0, lte=10_000))]


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao merchant --help lists it")


@app.command(name="open")
def open_(
    merchant_no: str,
    /,
    *,
    data: Path,
    currency: str,
    fee_bps: Bps = 0,
    over_capture: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Open a merchant at once that was taken on elsewhere; it can do business with a certificate.

    Example: piaohao merchant open M1 --data bank --currency CNY --fee-bps 38

    Parameters
    ----------
    merchant_no:
        Its number.
    data:
        Folder of the running node's store.
    currency:
        ISO 4217.
    fee_bps:
        Fee on payments and captures, in basis points.
    over_capture:
        Holds may be captured up to 115 %.
    json:
        Print one JSON object.
    """
    terms = {"currency": currency, "fee_bps": fee_bps, "over_capture": over_capture}
    _do(data, "/v1/merchants", {"merchant_no": merchant_no, **terms}, json)


@app.command
def apply(
    merchant_no: str,
    /,
    *,
    data: Path,
    currency: str,
    legal_name: str,
    contact: str,
    fee_bps: Bps = 0,
    over_capture: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Note an application: DRAFT, until it is submitted.

    Example: piaohao merchant apply M1 --data bank --currency CNY --legal-name "Corner Shop Ltd"
    --contact owner@shop.example

    Parameters
    ----------
    merchant_no:
        Its number.
    data:
        Folder of the running node's store.
    currency:
        ISO 4217.
    legal_name, contact:
        Who it is, and how to reach it.
    fee_bps:
        Fee on payments and captures, in basis points.
    over_capture:
        Holds may be captured up to 115 %.
    json:
        Print one JSON object.
    """
    terms = {"currency": currency, "fee_bps": fee_bps, "over_capture": over_capture}
    who = {"legal_name": legal_name, "contact": contact}
    _do(data, f"{_path(merchant_no)}/apply", {**terms, **who}, json)


@app.command
def submit(merchant_no: str, /, *, data: Path, operator: str = "", json: Json = False) -> None:
    """Hand an application over to be audited.

    Example: piaohao merchant submit M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/submit", {"operator": operator}, json)


@app.command
def approve(merchant_no: str, /, *, data: Path, operator: str = "", json: Json = False) -> None:
    """Find nothing against a merchant; now the contract is to be signed.

    Example: piaohao merchant approve M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/approve", {"operator": operator}, json)


@app.command
def reject(
    merchant_no: str, /, *, data: Path, reason: str, operator: str = "", json: Json = False
) -> None:
    """Turn an application down for ever.

    Example: piaohao merchant reject M1 --data bank --reason "no such company"
    """
    _do(data, f"{_path(merchant_no)}/reject", {"reason": reason, "operator": operator}, json)


@app.command
def sign(
    merchant_no: str, /, *, data: Path, contract_no: str, operator: str = "", json: Json = False
) -> None:
    """Note that the contract is signed; now the merchant may be given a certificate.

    Example: piaohao merchant sign M1 --data bank --contract-no C-2026-17
    """
    signed = {"contract_no": contract_no, "operator": operator}
    _do(data, f"{_path(merchant_no)}/sign", signed, json)


@app.command
def activate(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """Let a merchant that has a certificate begin, or take a suspension back.

    Example: piaohao merchant activate M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/activate", {}, json)


@app.command
def suspend(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """Let a merchant take nothing new; it can still give money back, and look.

    Example: piaohao merchant suspend M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/suspend", {}, json)


@app.command
def close(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """End a merchant: it takes nothing new, and is closed once nothing is open with it.

    Example: piaohao merchant close M1 --data bank
    """
    _do(data, f"{_path(merchant_no)}/close", {}, json)


@app.command
def show(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """Show a merchant as it stands.

    Example: piaohao merchant show M1 --data bank
    """
    from gateway.commands.calling import look

    _give(look(data, _path(merchant_no)), json)


@app.command(name="list")
def list_(*, data: Path, json: Json = False) -> None:
    """List all merchants, one a line.

    Example: piaohao merchant list --data bank
    """
    from gateway.commands.calling import look_through

    for each in look_through(data, "/v1/merchants"):
        _give(each, json)


@app.command
def certificate(
    merchant_no: str,
    /,
    *,
    data: Path,
    csr: Path,
    out: Path,
    certificate_no: str | None = None,
    renews: str | None = None,
    json: Json = False,
) -> None:
    """Have the bank's CA sign a certificate for a merchant's key, and write it to a file.

    Example: piaohao merchant certificate M1 --data bank --csr m1.csr --out m1.pem

    Parameters
    ----------
    merchant_no:
        Whose.
    data:
        Folder of the running node's store.
    csr:
        The merchant's certificate signing request, PEM; its key never leaves the merchant.
    out:
        File to write the certificate to; it must not exist.
    certificate_no:
        The bank's number for it; what the same number is asked for again is the same certificate.
        The name of the request's file if it is not given.
    renews:
        Serial of the certificate that it replaces, which then ends within 15 days.
    json:
        Print one JSON object.
    """
    from gateway.commands.calling import certified

    body = {"certificate_no": certificate_no or csr.stem, "renews": renews}
    _give(certified(data, f"{_path(merchant_no)}/certificates", body, csr, out), json)


@app.command
def certificates(merchant_no: str, /, *, data: Path, json: Json = False) -> None:
    """List a merchant's certificates, one a line.

    Example: piaohao merchant certificates M1 --data bank
    """
    from gateway.commands.calling import look_through

    for each in look_through(data, f"{_path(merchant_no)}/certificates"):
        _give(each, json)


@app.command
def revoke(
    merchant_no: str,
    serial: str,
    /,
    *,
    data: Path,
    reason: str = "unspecified",
    json: Json = False,
) -> None:
    """Revoke a merchant's certificate at once and for ever.

    Example: piaohao merchant revoke M1 4f2a…91 --data bank --reason keyCompromise

    Parameters
    ----------
    merchant_no:
        Whose.
    serial:
        The certificate's, in lower-case hex, as it was listed.
    data:
        Folder of the running node's store.
    reason:
        By its name in RFC 5280.
    json:
        Print one JSON object.
    """
    _do(data, f"{_path(merchant_no)}/certificates/{serial}/revoke", {"reason": reason}, json)


def _path(merchant_no: str) -> str:
    from urllib.parse import quote

    return f"/v1/merchants/{quote(merchant_no, safe='')}"


def _do(data: Path, path: str, body: "Mapping[str, Any]", as_json: bool) -> None:
    from gateway.commands.calling import have_done

    _give(have_done(data, path, body), as_json)


def _give(view: "Mapping[str, Any]", as_json: bool) -> None:
    from gateway.commands.printing import give_view

    give_view(view, as_json=as_json)
