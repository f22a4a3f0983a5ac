"""`piaohao operator`: take operators on, list them, send them away, help them in again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from gateway.exits import INPUT, CommandError

if TYPE_CHECKING:
    from gateway.ops.operators import Role

app = App(
    name="piaohao operator",
    help="Take operators on, list them, send them away, help them in again.",
    version_flags=(),
)

Flag = Annotated[bool, Parameter(negative=())]


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(INPUT, "say what to do: piaohao operator add|list|disable|reset --data DIR")


@app.command
def add(
    name: str,
    /,
    *,
    data: Path,
    role: Literal["viewer", "operator", "auditor", "admin"],
    password_file: Path | None = None,
    master_key: Path | None = None,
    json: Flag = False,
) -> None:
    """Take an operator on, on a running node or where none is.

    The password is asked for, or read from a file. All but viewers get a secret for one-time codes:
    it is shown once, for the operator's authenticator app.

    Example: piaohao operator add duty-1 --role admin --data bank --master-key master.key

    Parameters
    ----------
    name:
        Up to 32 of a-z, 0-9, dot, underscore and dash.
    data:
        Folder of the store.
    role:
        `viewer` looks, `operator` acts too, `auditor` looks and reads the audit log, `admin` may
        do all of it.
    password_file:
        A file whose first line is the password, which only its owner may read.
    master_key:
        File of the bank's master key, under which the secret is stored; PIAOHAO_MASTER_KEY if
        absent. Viewers need none.
    json:
        Print one JSON object.
    """
    from gateway.ops.office import AddOperator
    from gateway.ops.operators import Role

    of_role = Role(role)
    _check_name(name)
    password_hash = _password(password_file)
    secret, totp_sealed = _secret(name, of_role, master_key)
    _give(data, AddOperator(name, of_role, password_hash, totp_sealed), secret, as_json=json)


@app.command
def reset(
    name: str,
    /,
    *,
    data: Path,
    password_file: Path | None = None,
    master_key: Path | None = None,
    json: Flag = False,
) -> None:
    """Give an operator a new password and a new secret; locks and sessions end.

    It lets an operator in again who was sent away.

    Example: piaohao operator reset duty-1 --data bank --master-key master.key

    Parameters
    ----------
    name:
        Of the operator.
    data:
        Folder of the store.
    password_file:
        A file whose first line is the password, which only its owner may read.
    master_key:
        As for `add`.
    json:
        Print one JSON object.
    """
    from gateway.operator import administer
    from gateway.ops.office import ListOperators, ResetOperator
    from gateway.ops.operators import Role

    _check_name(name)
    listed = administer(data, ListOperators())["operators"]
    roles = {each["name"]: Role(each["role"]) for each in listed}
    if name not in roles:
        raise CommandError(INPUT, f"there is no operator {name}")
    password_hash = _password(password_file)
    secret, totp_sealed = _secret(name, roles[name], master_key)
    _give(data, ResetOperator(name, password_hash, totp_sealed), secret, as_json=json)


@app.command
def disable(name: str, /, *, data: Path, json: Flag = False) -> None:
    """Let an operator in no more; sessions end at once.

    Example: piaohao operator disable duty-1 --data bank

    Parameters
    ----------
    name:
        Of the operator.
    data:
        Folder of the store.
    json:
        Print one JSON object.
    """
    from gateway.commands.printing import give, give_json
    from gateway.operator import administer
    from gateway.ops.office import DisableOperator

    _check_name(name)
    view = administer(data, DisableOperator(name))
    if json:
        give_json(view)
    else:
        give(f"{name} is let in no more")


@app.command(name="list")
def list_(*, data: Path, json: Flag = False) -> None:
    """List all operators.

    Example: piaohao operator list --data bank

    Parameters
    ----------
    data:
        Folder of the store.
    json:
        Print one JSON object.
    """
    import time

    from gateway.commands.printing import give, give_json
    from gateway.operator import administer
    from gateway.ops.office import ListOperators

    result = administer(data, ListOperators())
    if json:
        give_json(result)
        return
    for each in result["operators"]:
        locked = each["locked_until_ns"] > time.time_ns()
        state = "disabled" if each["disabled"] else "locked" if locked else "active"
        give(f"{each['name']}: {each['role']}, {state}")
    give(f"{len(result['operators'])} operators")


def _check_name(name: str) -> None:
    import msgspec

    from gateway.ops.operators import Name

    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        detail = f"{name!r} is no name: up to 32 of a-z, 0-9, dot, underscore and dash"
        raise CommandError(INPUT, detail) from None


def _password(file: Path | None) -> str:
    """Return the hash of the new password."""
    import getpass

    from gateway.ca import private_files
    from gateway.ops.passwords import PasswordError, hashed

    if file is not None:
        first, _, _ = private_files.read(file, follow=True).partition(b"\n")
        try:
            password = first.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise CommandError(INPUT, f"{file} is not UTF-8") from None
    elif sys.stdin.isatty():
        try:
            password = getpass.getpass("Password: ")
            again = getpass.getpass("The same again: ")
        except EOFError:
            raise CommandError(INPUT, "no password was given") from None
        if again != password:
            raise CommandError(INPUT, "the two are not the same")
    else:
        raise CommandError(INPUT, "there is no terminal to ask at; give --password-file FILE")
    try:
        return hashed(password)
    except PasswordError as error:
        raise CommandError(INPUT, str(error)) from None


def _secret(name: str, role: "Role", master_key: Path | None) -> tuple[str, bytes]:
    """Return a new secret for one-time codes, and as it is stored; viewers have none."""
    from gateway.ca.master_key import find_master_key
    from gateway.ops.operators import Role
    from gateway.ops.passwords import new_secret, sealed

    if role is Role.VIEWER:
        return "", b""
    secret = new_secret()
    return secret, sealed(find_master_key(master_key), name, secret)


def _give(data: Path, asked: object, secret: str, *, as_json: bool) -> None:
    from gateway.commands.printing import give, give_json
    from gateway.operator import administer
    from gateway.ops.passwords import enrolment

    view = administer(data, asked)  # type: ignore[arg-type]
    uri = enrolment(secret, view["name"]) if secret else ""
    if as_json:
        give_json({**view, "totp_secret": secret, "totp_uri": uri})
        return
    give(f"{view['name']} is {view['role']}")
    if secret:
        give(f"one-time codes, shown once: {secret}")
        give(uri)
