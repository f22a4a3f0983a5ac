"""The test vectors of RFC 9421, appendix B: keys, messages, signature bases, signatures.

Facts, as the RFC prints them, its folded lines joined. The private keys are public knowledge.
"""

import base64
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gateway.signatures.base import Request, Response

RSA_PSS: Final = b"""\
-----BEGIN PRIVATE KEY-----
MIIEvgIBADALBgkqhkiG9w0BAQoEggSqMIIEpgIBAAKCAQEAr4tmm3r20Wd/Pbqv
P1s2+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry5
3mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7Oyr
FAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUA
AN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw
9lq4aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oy
c6XI2wIDAQABAoIBAQCUB8ip+kJiiZVKF8AqfB/aUP0jTAqOQewK1kKJ/iQCXBCq
pbo360gvdt05H5VZ/RDVkEgO2k73VSsbulqezKs8RFs2tEmU+JgTI9MeQJPWcP6X
aKy6LIYs0E2cWgp8GADgoBs8llBq0UhX0KffglIeek3n7Z6Gt4YFge2TAcW2WbN4
XfK7lupFyo6HHyWRiYHMMARQXLJeOSdTn5aMBP0PO4bQyk5ORxTUSeOciPJUFktQ
HkvGbym7KryEfwH8Tks0L7WhzyP60PL3xS9FNOJi9m+zztwYIXGDQuKM2GDsITeD
2mI2oHoPMyAD0wdI7BwSVW18p1h+jgfc4dlexKYRAoGBAOVfuiEiOchGghV5vn5N
RDNscAFnpHj1QgMr6/UG05RTgmcLfVsI1I4bSkbrIuVKviGGf7atlkROALOG/xRx
DLadgBEeNyHL5lz6ihQaFJLVQ0u3U4SB67J0YtVO3R6lXcIjBDHuY8SjYJ7Ci6Z6
vuDcoaEujnlrtUhaMxvSfcUJAoGBAMPsCHXte1uWNAqYad2WdLjPDlKtQJK1diCm
rqmB2g8QE99hDOHItjDBEdpyFBKOIP+NpVtM2KLhRajjcL9Ph8jrID6XUqikQuVi
4J9FV2m42jXMuioTT13idAILanYg8D3idvy/3isDVkON0X3UAVKrgMEne0hJpkPL
FYqgetvDAoGBAKLQ6JZMbSe0pPIJkSamQhsehgL5Rs51iX4m1z7+sYFAJfhvN3Q/
OGIHDRp6HjMUcxHpHw7U+S1TETxePwKLnLKj6hw8jnX2/nZRgWHzgVcY+sPsReRx
NJVf+Cfh6yOtznfX00p+JWOXdSY8glSSHJwRAMog+hFGW1AYdt7w80XBAoGBAImR
NUugqapgaEA8TrFxkJmngXYaAqpA0iYRA7kv3S4QavPBUGtFJHBNULzitydkNtVZ
3w6hgce0h9YThTo/nKc+OZDZbgfN9s7cQ75x0PQCAO4fx2P91Q+mDzDUVTeG30mE
t2m3S0dGe47JiJxifV9P3wNBNrZGSIF3mrORBVNDAoGBAI0QKn2Iv7Sgo4T/XjND
dl2kZTXqGAk8dOhpUiw/HdM3OGWbhHj2NdCzBliOmPyQtAr770GITWvbAI+IRYyF
S7Fnk6ZVVVHsxjtaHy1uJGFlaZzKR4AGNaUTOJMs6NadzCmGPAxNQQOCqoUjn4XR
rOjr9w349JooGXhOxbu8nOxX
-----END PRIVATE KEY-----
"""
ECC_P256: Final = b"""\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIFKbhfNZfpDsW43+0+JjUr9K+bTeuxopu653+hBaXGA7oAoGCCqGSM49
AwEHoUQDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM
4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END EC PRIVATE KEY-----
"""
ED25519: Final = b"""\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
SHARED_SECRET: Final = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
"""B.1.2, B.1.3, B.1.4, B.1.5."""

REQUEST_BODY: Final = b'{"hello": "world"}'
RESPONSE_BODY: Final = b'{"message": "good dog"}'
REQUEST_DIGEST: Final = (
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew"
    "==:"
)
RESPONSE_DIGEST: Final = (
    "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ"
    "==:"
)

REQUEST: Final = Request(
    "POST",
    "https",
    "example.com",
    "/foo",
    "param=Value&Pet=dog",
    [
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Digest", REQUEST_DIGEST),
        ("Content-Length", "18"),
    ],
)
RESPONSE: Final = Response(
    200,
    [
        ("Date", "Tue, 20 Apr 2021 02:07:56 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Digest", RESPONSE_DIGEST),
        ("Content-Length", "23"),
    ],
)

CLIENT_CERT: Final = (
    ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGU"
    "xGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzN"
    "aMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWal"
    "RhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAI"
    "wADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAw"
    "wCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEU"
    "CIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydB"
    "VoU4hBVZ1yhk=:"
)
PROXIED: Final = Request(
    "POST",
    "https",
    "service.internal.example",
    "/foo",
    "param=Value&Pet=dog",
    [
        ("Host", "service.internal.example"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Length", "18"),
        ("Client-Cert", CLIENT_CERT),
    ],
)
"""B.3: what a TLS-terminating proxy passes on."""


def transformed(
    *fields: tuple[str, str],
    method: str = "GET",
    authority: str = "example.org",
    query: str = "name1=Value1&Name2=value2",
) -> Request:
    """A message of B.4, which a proxy may have changed on its way."""
    return Request(method, "https", authority, "/demo", query, fields)


class Vector(Struct, frozen=True):
    """A signature of the RFC: the message, the components with their values, the parameters."""

    name: str
    message: Request | Response
    label: str
    components: Sequence[tuple[str, str]]
    parameters: str
    signature: str

    @property
    def signed(self) -> str:
        """The member of Signature-Input, which is also the base's last value."""
        return f"({' '.join(identifier for identifier, _ in self.components)}){self.parameters}"

    @property
    def base(self) -> bytes:
        lines = [f"{identifier}: {value}" for identifier, value in self.components]
        return "\n".join([*lines, f'"@signature-params": {self.signed}']).encode()


VECTORS: Final = [
    Vector(
        "B.2.1",
        REQUEST,
        "sig-b21",
        [],
        ';created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
        (
            "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it+"
            "+wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2"
            "cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvt"
            "l6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bL"
            "hdxO5Nyt8C8ssinQ98Xw9Q=="
        ),
    ),
    Vector(
        "B.2.2",
        REQUEST,
        "sig-b22",
        [
            ('"@authority"', "example.com"),
            ('"content-digest"', REQUEST_DIGEST),
            ('"@query-param";name="Pet"', "dog"),
        ],
        ';created=1618884473;keyid="test-key-rsa-pss";tag="header-example"',
        (
            "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDf"
            "KtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TR"
            "JQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiK"
            "Yd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUE"
            "b0rQl3/XaVe4bXTugEjHSw=="
        ),
    ),
    Vector(
        "B.2.3",
        REQUEST,
        "sig-b23",
        [
            ('"date"', "Tue, 20 Apr 2021 02:07:55 GMT"),
            ('"@method"', "POST"),
            ('"@path"', "/foo"),
            ('"@query"', "?param=Value&Pet=dog"),
            ('"@authority"', "example.com"),
            ('"content-type"', "application/json"),
            ('"content-digest"', REQUEST_DIGEST),
            ('"content-length"', "18"),
        ],
        ';created=1618884473;keyid="test-key-rsa-pss"',
        (
            "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeG"
            "t683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/y"
            "PViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldml"
            "u9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAF"
            "L2FUo5fTIztsDZKEgM4cUA=="
        ),
    ),
    Vector(
        "B.2.4",
        RESPONSE,
        "sig-b24",
        [
            ('"@status"', "200"),
            ('"content-type"', "application/json"),
            ('"content-digest"', RESPONSE_DIGEST),
            ('"content-length"', "23"),
        ],
        ';created=1618884473;keyid="test-key-ecc-p256"',
        (
            "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+3"
            "2oiasw=="
        ),
    ),
    Vector(
        "B.2.5",
        REQUEST,
        "sig-b25",
        [
            ('"date"', "Tue, 20 Apr 2021 02:07:55 GMT"),
            ('"@authority"', "example.com"),
            ('"content-type"', "application/json"),
        ],
        ';created=1618884473;keyid="test-shared-secret"',
        ("pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="),
    ),
    Vector(
        "B.2.6",
        REQUEST,
        "sig-b26",
        [
            ('"date"', "Tue, 20 Apr 2021 02:07:55 GMT"),
            ('"@method"', "POST"),
            ('"@path"', "/foo"),
            ('"@authority"', "example.com"),
            ('"content-type"', "application/json"),
            ('"content-length"', "18"),
        ],
        ';created=1618884473;keyid="test-key-ed25519"',
        (
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WP"
            "pBKRCw=="
        ),
    ),
    Vector(
        "B.3",
        PROXIED,
        "ttrp",
        [
            ('"@path"', "/foo"),
            ('"@query"', "?param=Value&Pet=dog"),
            ('"@method"', "POST"),
            ('"@authority"', "service.internal.example"),
            ('"client-cert"', CLIENT_CERT),
        ],
        ';created=1618884473;keyid="test-key-ecc-p256"',
        (
            "xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwML"
            "Ogmizw=="
        ),
    ),
    Vector(
        "B.4",
        transformed(("Accept", "application/json"), ("Accept", "*/*")),
        "transform",
        [
            ('"@method"', "GET"),
            ('"@path"', "/demo"),
            ('"@authority"', "example.org"),
            ('"accept"', "application/json, */*"),
        ],
        ';created=1618884473;keyid="test-key-ed25519"',
        (
            "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0p"
            "mj3NDA=="
        ),
    ),
]
