"""Which URLs and addresses webhooks are sent to: a table of tricks, and what was allowed."""

from ipaddress import ip_address

import pytest

from gateway.exits import CommandError
from gateway.webhooks.reach import Reach, is_public, read_ips
from gateway.webhooks.target import TargetError, read_target

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

GOOD = """
    https://shop.example                 https://shop.example/
    HTTPS://Shop.Example/Hook            https://shop.example/Hook
    https://shop.example:443/            https://shop.example/
    https://shop.example:8443/a/b?c=d&e  https://shop.example:8443/a/b?c=d&e
    https://xn--80ak6aa92e.com/          https://xn--80ak6aa92e.com/
    https://8.8.8.8/                     https://8.8.8.8/
    https://[2606:4700::1111]/           https://[2606:4700::1111]/
    https://shop.example/%E4%BD%A0       https://shop.example/%E4%BD%A0
    https://1.2.3.4.shop.example/        https://1.2.3.4.shop.example/
"""


@pytest.mark.parametrize(
    "row", [line.split() for line in GOOD.strip().splitlines()], ids=lambda row: row[0]
)
def test_url_of_a_public_server_is_taken_in_its_one_form(row: list[str]) -> None:
    target = read_target(row[0])
    Reach().check(target)
    assert target.url == row[1]
    assert read_target(target.url) == target


MALFORMED = (
    "",
    "shop.example",
    "//shop.example/",
    "ftp://shop.example/",
    "javascript://shop.example/",
    "https:/shop.example/",
    "https://",
    "https:///hook",
    "https://user@shop.example/",
    "https://user:pass@shop.example/",
    "https://shop.example@169.254.169.254/",
    "https://shop.example/#fragment",
    "https://shop.example#@127.0.0.1/",
    "https://shop.example\\@127.0.0.1/",
    "https://shop.example/\\..\\",
    "https://shop.example /",
    " https://shop.example/",
    "https://shop.example/\n",
    "https://shop.example/a b",
    "https://shop.example/\x00",
    "https://sho\tp.example/",
    "https://shop.example/../x",
    "https://shop.example/a/%2e%2e/x",
    "https://shop.example/.",
    "https://shop.example/%zz",
    "https://shop.example/%",
    "https://shop.example/\u4f60",
    "https://sh\u00f6p.example/",
    "https://\u24e2hop.example/",  # a circled s
    "https://127.0.0.1\uff0e1/",
    "https://shop_1.example/",
    "https://-shop.example/",
    "https://shop-.example/",
    "https://shop..example/",
    "https://.shop.example/",
    "https://shop.example./",
    "https://%73hop.example/",
    "https://shop.example:/",
    "https://shop.example:0/",
    "https://shop.example:0443/",
    "https://shop.example:65536/",
    "https://shop.example:+443/",
    "https://shop.example:443:443/",
    f"https://{'a' * 64}.example/",
    f"https://{'a.' * 130}example/",
    f"https://shop.example/{'a' * 2_048}",
    # What C's inet_aton, and browsers with it, take for an address.
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://127.0.0.0x1/",
    "https://127.0.0.01/",
    "https://127.0.0.256/",
    "https://1.2.3.4.5/",
    "https://shop.example.0x/",
    "https://127.0.0.1./",
    "https://[::1/",
    "https://::1/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[v1.fe80]/",
    "https://[]/",
    "http\u017f://shop.example/",
    "https://shop.example.\u212aom/",
    "https://shop.example/\u212a",
)


@pytest.mark.parametrize("text", MALFORMED)
def test_url_that_may_be_read_differently_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        read_target(text)


NOT_PUBLIC = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "::127.0.0.1",
    "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_address_that_is_not_public_is_refused(text: str) -> None:
    ip = ip_address(text)
    assert not is_public(ip)
    url = f"https://[{ip}]/" if ip.version == 6 else f"https://{ip}/"
    with pytest.raises(TargetError):
        Reach().check(read_target(url))
    name = read_target("https://shop.example/")
    assert not Reach().admits(name, [ip])
    # One that is public beside it changes nothing, in whatever order they come.
    assert not Reach().admits(name, [ip_address("8.8.8.8"), ip])
    assert not Reach().admits(name, [ip, ip_address("8.8.8.8")])


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "192.0.1.1",
             "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:200::1"]
)  # fmt: skip
def test_address_that_is_public_is_taken(text: str) -> None:
    assert is_public(ip_address(text))
    assert Reach().admits(read_target("https://shop.example/"), [ip_address(text)])


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "https://shop.example:22/",
        "https://shop.example:25/",
        "https://shop.example:80/",
        "https://shop.example:1023/",
        "https://8.8.8.8:465/",
        "http://8.8.8.8/",
        "https://localhost/",
        "https://intranet/",
    ],
)
def test_url_elsewhere_than_where_webhooks_go_is_refused(url: str) -> None:
    with pytest.raises(TargetError):
        Reach().check(read_target(url))


def test_name_without_an_address_is_refused() -> None:
    assert not Reach().admits(read_target("https://shop.example/"), [])


def test_addresses_with_a_zone_are_none() -> None:
    assert read_ips(["fe80::1%eth0"]) is None
    assert read_ips(["8.8.8.8", "nonsense"]) is None
    assert read_ips(["8.8.8.8", "8.8.8.8"]) == [ip_address("8.8.8.8")]


ALLOWED = """
    127.0.0.0/8          http://127.0.0.1:9000/    127.0.0.1   yes
    127.0.0.0/8          http://localhost:9000/    127.0.0.1   yes
    127.0.0.0/8          https://localhost:9000/   127.0.0.1   yes
    127.0.0.0/8          http://localhost:9000/    8.8.8.8     no
    127.0.0.0/8          http://shop.example/      10.0.0.1    no
    127.0.0.0/8          https://shop.example:25/  8.8.8.8     no
    10.1.0.0/16          https://shop.example/     10.1.2.3    yes
    10.1.0.0/16          https://shop.example/     10.2.2.3    no
    10.1.0.0/16          http://shop.example/      10.1.2.3    no
    localhost:9000       http://localhost:9000/    127.0.0.1   yes
    localhost:9000       http://localhost:9000/    10.0.0.1    no
    localhost:9000       https://localhost:9000/   10.0.0.1    yes
    localhost:9000       https://localhost:9001/   127.0.0.1   no
    [::1]:9000           http://[::1]:9000/        ::1         yes
    shop.example:25      https://shop.example:25/  10.0.0.1    yes
"""


@pytest.mark.parametrize(
    "row", [line.split() for line in ALLOWED.strip().splitlines()], ids=" ".join
)
def test_what_was_allowed_is_reached_and_nothing_beside_it(row: list[str]) -> None:
    allow, url, ip, expected = row
    reach = Reach([allow])
    target = read_target(url)
    good = reach.admits(target, [ip_address(ip)])
    if good:
        reach.check(target)
    assert good == (expected == "yes")


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "localhost:port", ":80", "127.0.0.1/8", "1/2/3",
             "localhost:65536", "10.0.0.0/33"]
)  # fmt: skip
def test_allowance_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(CommandError):
        Reach([text])
