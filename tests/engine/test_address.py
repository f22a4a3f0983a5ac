"""Addresses: what is no number is refused by whatever takes one."""

import pytest

from engine.address import AddressError, compose, is_address, split


@pytest.mark.parametrize("number", ["M1", "0", "a.b_c:d@e+f-g", "x" * 64])
def test_address_of_a_number_is_composed_and_split(number: str) -> None:
    address = compose("merchant", number)
    assert split(address) == ("merchant", number)
    assert is_address(address)


@pytest.mark.parametrize("number", ["", "M1\n", "\nM1", "M 1", "M/1", "-M1", "商户", "x" * 65])
def test_address_of_no_number_is_refused(number: str) -> None:
    """Also a newline at the end, which Python's `$` lets pass."""
    with pytest.raises(AddressError):
        compose("merchant", number)
    with pytest.raises(AddressError):
        split(f"merchant/{number}")
    assert not is_address(f"merchant/{number}")
