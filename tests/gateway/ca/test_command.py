"""`piaohao ca`: what it prints, what it leaves, and that it never says a secret."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from gateway import cli
from gateway.ca.bank_keys import BankKeys
from gateway.ca.master_key import VARIABLE, find_master_key
from gateway.exits import INPUT, OK

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough


class Terminal:
    """A folder with a master key and a CA in it, and a command line to use them with."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.keys = folder / "keys"
        self.master = folder / "master.key"
        self._capsys = capsys

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run `piaohao ca`; returns exit code, stdout and stderr. No secret is in either."""
        self._capsys.readouterr()
        code = cli.run(["ca", *map(str, arguments)])
        captured = self._capsys.readouterr()
        if self.master.exists():
            secret = self.master.read_text("ascii").strip()
            assert secret not in captured.out + captured.err
        return code, captured.out, captured.err

    def refused(self, *arguments: str | Path) -> str:
        """Run what is refused; returns the one line on stderr."""
        code, out, err = self.run(*arguments)
        assert (code, out) == (INPUT, "")
        assert err.startswith("piaohao: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture
def terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return Terminal(tmp_path, capsys)


@pytest.fixture
def made(terminal: Terminal) -> Terminal:
    assert terminal.run("master-key", "--out", terminal.master)[0] == OK
    arguments = ("--keys", terminal.keys, "--bank", "Example Bank", "--master-key", terminal.master)
    assert terminal.run("init", *arguments)[0] == OK
    return terminal


def test_ca_is_made_used_and_renewed_by_the_command_line(made: Terminal) -> None:
    (made.keys / "root.key").unlink()
    common = ("--keys", made.keys, "--master-key", made.master)
    names = ("--name", "pay.example", "--name", "127.0.0.1")
    code, out, err = made.run("tls", *common, *names, "--days", "100", "--json")
    assert (code, err) == (OK, "")
    row = json.loads(out)
    assert (row["name"], row["hosts"]) == ("tls-1", ["pay.example", "127.0.0.1"])
    for which, name in (("signing", "signing-2"), ("tls", "tls-2")):
        code, out, err = made.run("renew", which, *common)
        assert (code, err) == (OK, "")
        assert out.startswith(f"{name}\n  subject  ")
    assert "root.key is not there" in made.refused("renew", "issuing", *common)
    bank = BankKeys.load(made.keys, find_master_key(made.master))
    assert bank.issuing.bank == "Example Bank"
    assert len(bank.signing_certificates) == 2


def test_show_wants_no_master_key_and_tells_all_there_is(made: Terminal) -> None:
    (made.keys / "root.key").unlink()
    code, out, err = made.run("show", "--keys", made.keys)
    assert (code, err) == (OK, "")
    assert out.startswith(f"Example Bank: {made.keys}\nrevocation list: no certificate names one\n")
    assert "\nroot: its key is not here\n" in out
    code, out, err = made.run("show", "--keys", made.keys, "--json")
    assert (code, err) == (OK, "")
    assert out.count("\n") == 1
    shown = json.loads(out)
    assert list(shown) == ["keys", "bank", "crl_url", "certificates"]
    rows = {row["name"]: row for row in shown["certificates"]}
    assert list(rows) == ["root", "issuing-1", "signing-1"]
    assert [row["private_key"] for row in rows.values()] == [False, True, True]
    for name, row in rows.items():
        certificate = x509.load_pem_x509_certificate((made.keys / f"{name}.crt").read_bytes())
        assert row["keyid"] == f"{certificate.serial_number:x}"
        assert row["not_after"] == certificate.not_valid_after_utc.isoformat().replace(
            "+00:00", "Z"
        )
        assert row["in_use"] is True
        assert row["standing"] is None
        assert len(row["sha256"]) == 64


def test_chain_is_what_merchants_are_given(made: Terminal) -> None:
    code, out, err = made.run("chain", "--keys", made.keys)
    assert (code, err) == (OK, "")
    bank = BankKeys.load(made.keys, find_master_key(made.master))
    assert out.encode() == bank.chain_pem


def test_init_says_what_to_take_away_and_remembers_the_crl_url(terminal: Terminal) -> None:
    terminal.run("master-key", "--out", terminal.master)
    url = "http://pay.example/v1/crl"
    common = ("--keys", terminal.keys, "--bank", "票号", "--master-key", terminal.master)
    code, out, _ = terminal.run("init", *common, "--crl-url", url)
    assert code == OK
    assert f"Now take {terminal.keys / 'root.key'} away" in out
    assert f"revocation list: {url}\n" in out
    assert stat.S_IMODE(terminal.keys.stat().st_mode) == 0o700


def test_master_key_is_written_for_its_owner_alone_and_once(terminal: Terminal) -> None:
    assert terminal.run("master-key", "--out", terminal.master)[0] == OK
    assert stat.S_IMODE(terminal.master.stat().st_mode) == 0o600
    before = terminal.master.read_bytes()
    assert "there already" in terminal.refused("master-key", "--out", terminal.master)
    assert terminal.master.read_bytes() == before
    assert "No such file" in terminal.refused("master-key", "--out", "nowhere/master.key")


def test_master_key_may_come_from_the_environment(
    made: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"--master-key FILE, or {VARIABLE}" in made.refused(
        "renew", "signing", "--keys", made.keys
    )
    monkeypatch.setenv(VARIABLE, made.master.read_text("ascii").strip())
    assert made.run("renew", "signing", "--keys", made.keys)[0] == OK


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("init",),
        ("init", "--keys", "new"),
        ("init", "--keys", "new", "--bank", "Bank"),
        ("init", "--keys", "new", "--bank", "", "--master-key", "master.key"),
        ("init", "--keys", "new", "--bank", "a\nb", "--master-key", "master.key"),
        ("init", "--keys", "new", "--bank", "B", "--master-key", "master.key", "--crl-url", "x"),
        ("init", "--keys", "keys", "--bank", "Bank", "--master-key", "master.key"),
        ("init", "--keys", "master.key", "--bank", "Bank", "--master-key", "master.key"),
        ("init", "--keys", "master.key/x", "--bank", "Bank", "--master-key", "master.key"),
        ("init", "--keys", "new", "--bank", "Bank", "--master-key", "nowhere"),
        ("init", "--keys", "new", "--bank", "Bank", "--master-key", "keys/root.crt"),
        ("master-key",),
        ("tls", "--keys", "keys", "--master-key", "master.key"),
        ("tls", "--keys", "keys", "--name", "pay.example"),
        ("tls", "--keys", "keys", "--name", "*.example", "--master-key", "master.key"),
        ("tls", "--keys", "keys", "--name", "x", "--days", "0", "--master-key", "master.key"),
        ("tls", "--keys", "keys", "--name", "x", "--days", "1.5", "--master-key", "master.key"),
        ("tls", "--keys", "keys", "--name", "x", "--days", "3651", "--master-key", "master.key"),
        ("renew", "--keys", "keys", "--master-key", "master.key"),
        ("renew", "root", "--keys", "keys", "--master-key", "master.key"),
        ("renew", "tls", "--keys", "keys", "--master-key", "master.key"),
        ("renew", "signing", "--keys", "nowhere", "--master-key", "master.key"),
        ("show",),
        ("show", "--keys", "nowhere"),
        ("show", "--keys", "master.key"),
        ("chain", "--keys", "nowhere"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    arguments: tuple[str, ...], made: Terminal
) -> None:
    before = sorted(made.keys.parent.rglob("*"))
    made.refused(*arguments)
    assert sorted(made.keys.parent.rglob("*")) == before


@pytest.mark.parametrize("what", ["keys", "keys/issuing-1.key", "master.key"])
def test_permissions_that_are_too_wide_are_refused_with_what_mends_them(
    what: str, made: Terminal
) -> None:
    path = made.keys.parent / what
    path.chmod(path.stat().st_mode | 0o040)
    told = made.refused("renew", "signing", "--keys", made.keys, "--master-key", made.master)
    assert "chmod" in told
    assert what in told


def test_another_master_key_is_refused(made: Terminal) -> None:
    other = made.keys.parent / "other.key"
    made.run("master-key", "--out", other)
    told = made.refused("renew", "signing", "--keys", made.keys, "--master-key", other)
    assert "the master key does not open it" in told
    assert not (made.keys / "signing-2.crt").exists()


def test_commands_of_the_document_do_what_it_says(terminal: Terminal) -> None:
    """docs/CERTIFICATES.md, line by line, with the root's key taken away where it says so."""
    text = (Path(__file__).parents[3] / "docs/CERTIFICATES.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("$ piaohao ca ")]
    assert len(lines) == 7
    for line in lines:
        command, _, into = line.removeprefix("$ piaohao ca ").partition(" > ")
        code, out, err = terminal.run(*shlex.split(command))
        assert (code, err) == (OK, ""), line
        if into:
            Path(into).write_text(out, "ascii")
        if command.startswith("show"):
            Path("bank-keys/root.key").unlink()
    bank = BankKeys.load(Path("bank-keys"), find_master_key(Path("master.key")))
    assert Path("bank-ca.pem").read_bytes() == bank.chain_pem
    assert bank.tls is not None
    assert (bank.tls.key_path.name, len(bank.signing_certificates)) == ("tls-2.key", 2)


@pytest.mark.parametrize("name", ["master-key", "init", "tls", "renew", "show", "chain"])
def test_help_of_each_command_has_an_example(name: str, terminal: Terminal) -> None:
    code, out, _ = terminal.run(name, "--help")
    assert code == OK
    assert f"Example: piaohao ca {name}" in out


def test_process_of_its_own_has_no_secret_in_its_arguments(made: Terminal) -> None:
    """The command line takes a file's name or the environment; there is no option for a key."""
    secret = made.master.read_text("ascii").strip()
    code = "from gateway.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, "ca", "renew", "signing", "--keys", made.keys],
        env=os.environ | {VARIABLE: secret},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("signing-2\n")
    assert secret not in run.stdout + run.stderr
