"""`piaohao bank`: certify the bank's own systems and operators, on a running node."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from gateway.exits import INPUT, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

app = App(
    name="piaohao bank",
    help="Certify the bank's own systems and operators, on a running node.",
    version_flags=(),
)

Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao bank certificate|certificates|revoke")


@app.command
def certificate(
    name: str,
    /,
    *,
    data: Path,
    csr: Path,
    out: Path,
    renews: str | None = None,
    json: Json = False,
) -> None:
    """Have the bank's CA sign a certificate with which a system or operator acts for the bank.

    Example: piaohao bank certificate core-banking --data bank --csr core.csr --out core.pem

    Parameters
    ----------
    name:
        Whose; a new one for each certificate. What the same name and key are asked for again is
        the same certificate.
    data:
        Folder of the running node's store.
    csr:
        Its certificate signing request, PEM.
    out:
        File to write the certificate to; it must not exist.
    renews:
        Serial of the certificate that it replaces, which then ends within 15 days.
    json:
        Print one JSON object.
    """
    from gateway.commands.calling import certified

    body = {"certificate_no": name, "renews": renews}
    _give(certified(data, "/v1/bank/certificates", body, csr, out), json)


@app.command
def certificates(*, data: Path, json: Json = False) -> None:
    """List the certificates of the bank's systems and operators, one a line.

    Example: piaohao bank certificates --data bank
    """
    from gateway.commands.calling import look_through

    for each in look_through(data, "/v1/bank/certificates"):
        _give(each, json)


@app.command
def revoke(serial: str, /, *, data: Path, reason: str = "unspecified", json: Json = False) -> None:
    """Revoke a certificate of the bank's at once and for ever.

    Example: piaohao bank revoke 4f2a…91 --data bank --reason keyCompromise
    """
    from gateway.commands.calling import have_done

    _give(have_done(data, f"/v1/bank/certificates/{serial}/revoke", {"reason": reason}), json)


def _give(view: "Mapping[str, Any]", as_json: bool) -> None:
    from gateway.commands.printing import give_view

    give_view(view, as_json=as_json)
