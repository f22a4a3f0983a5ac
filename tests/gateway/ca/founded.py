"""A bank's CA as tests use it, and requests for certificates from it."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.ca import profile
from gateway.ca.algorithm import PrivateKey
from gateway.ca.authority import Issued
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import new_csr, new_key, read_csr
from gateway.ca.errors import KeysError, KeysReason
from gateway.ca.master_key import MasterKey
from gateway.exits import INPUT


class Founded(NamedTuple):
    """A keys folder, what opens it, and what was loaded from it."""

    folder: Path
    master_key: MasterKey
    bank: BankKeys


def refused(do: Callable[..., object], *arguments: object, **named: object) -> KeysReason:
    """Return why the CA's keys refuse something, in one line and with exit code 2."""
    with pytest.raises(KeysError) as caught:
        do(*arguments, **named)
    assert "\n" not in str(caught.value)
    assert caught.value.code == INPUT
    return caught.value.reason


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file or folder belong to another user than the one who runs this."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


class Client(NamedTuple):
    """A private key and the certificate that was issued for it."""

    key: PrivateKey
    issued: Issued


def issue(bank: BankKeys, now: datetime, number: str = "M1", algorithm: str = "ed25519") -> Client:
    """Issue a certificate for a new key of a merchant."""
    key = new_key(algorithm)
    request = read_csr(new_csr(key, "whatever"))
    return Client(key, bank.issuing.issue(request, profile.merchant(number), now=now))
