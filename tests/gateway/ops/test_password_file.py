"""Passwords as a shell gives them: none is stored with which nobody could log in."""

import getpass
import sys
from pathlib import Path

import pytest

from gateway.ca import private_files
from gateway.commands.operator import _password
from gateway.exits import INPUT, CommandError
from gateway.ops.passwords import fits

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"a password of some length", "a password of some length"),
        (b"a password of some length\r\nmore", "a password of some length"),
        ("pässwörter sind lang\n".encode(), "pässwörter sind lang"),
    ],
)
def test_first_line_of_a_file_is_the_password(
    tmp_path: Path, content: bytes, password: str
) -> None:
    private_files.write_new(tmp_path / "password", content)
    assert fits(_password(tmp_path / "password"), password)


@pytest.mark.parametrize(
    ("content", "about"),
    [
        ("pässwörter sind lang\n".encode("latin-1"), "is not UTF-8"),
        (b"a password\twith a tab in it\n", "U+0009 in a text"),
        ("a password on\u2028two lines".encode(), "U+2028 in a text"),
        (b"short\n", "12 to 256 characters"),
        (b"\n", "12 to 256 characters"),
        (b"", "12 to 256 characters"),
    ],
)
def test_password_that_no_login_could_have_is_refused(
    tmp_path: Path, content: bytes, about: str
) -> None:
    """The listener takes JSON in UTF-8 without control characters."""
    private_files.write_new(tmp_path / "password", content)
    with pytest.raises(CommandError, match=about.replace("+", r"\+")) as refused:
        _password(tmp_path / "password")
    assert refused.value.code == INPUT


def test_terminal_that_ends_gives_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", ended)
    with pytest.raises(CommandError, match="no password was given") as refused:
        _password(None)
    assert refused.value.code == INPUT
