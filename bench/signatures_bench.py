"""What signatures cost: the profile and the gate beside the bare primitive, and a library.

The gate's is all that a signed request costs the node beyond its handling: the certificate's row on
a real store, the signature, the nonce, and the bank's signature under the answer.

Rounds of all measures take turns, and each figure is the median over the rounds; so what else the
machine does falls on all alike, and differences mean more than the figures themselves. Time is the
thread's CPU. The library is http-message-signatures, where it is installed.
"""

import secrets
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec import Struct

from bench.gate import Opened, open_gate
from gateway.counter import Request
from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import (
    read_request,
    request_base,
    sign_request,
    sign_response,
    verify_request,
)

_BATCH_S: Final = 0.005
_KEYID: Final = "5f3a9c0d4b7e82165f3a9c0d4b7e8216"
_BANK: Final = "ecdsa-p256-sha256"
"""How the bank signs, whatever its callers do."""
_NONCE: Final = "Zk3v9QmB7xY1tR5wLs8HdA"
_BODY: Final = b'{"amount_minor":2599}'.ljust(300)
_TARGET: Final[dict[str, str]] = {
    "method": "POST",
    "authority": "api.bank.example",
    "path": "/v1/payments",
    "query": "",
}

_SHA512: Final = hashes.SHA512()
_ARGUMENTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "ed25519": (),
    "ecdsa-p256-sha256": (ec.ECDSA(hashes.SHA256()),),
    "rsa-pss-sha512": (padding.PSS(mgf=padding.MGF1(_SHA512), salt_length=64), _SHA512),
}

Measures = dict[str, Callable[[], object]]


class Cost(Struct, frozen=True, omit_defaults=True):
    """CPU microseconds of one algorithm; `library_*` only where the library is installed.

    `identify_us` and `answer_us` are the gate's (`gateway.gate.Gate`). The bank signs with ECDSA,
    so `answer_above_us` is above that key's bare primitive.
    """

    bare_verify_us: float
    verify_request_us: float
    verify_above_us: float
    identify_us: float
    identify_above_us: float
    bare_sign_us: float
    sign_request_us: float
    sign_response_us: float
    answer_us: float
    answer_above_us: float
    library_verify_us: float | None = None
    library_sign_us: float | None = None


def run(seconds: float, *, as_json: bool) -> int:
    """Measure for about so many seconds and print the figures; returns the exit code."""
    costs = measure(seconds)
    if as_json:
        sys.stdout.write(msgspec.json.encode(costs).decode() + "\n")
    else:
        sys.stdout.write(_table(costs))
    return 0


def measure(seconds: float) -> dict[str, Cost]:
    """Measure every algorithm; returns algorithm → its costs.

    Args:
        seconds: of CPU, all algorithms together; at least three rounds are made.
    """
    raw: list[tuple[Any, str]] = [
        (ed25519.Ed25519PrivateKey.generate(), "ED25519"),
        (ec.generate_private_key(ec.SECP256R1()), "ECDSA_P256_SHA256"),
        (rsa.generate_private_key(65_537, 2_048), "RSA_PSS_SHA512"),
    ]
    keys = {name: (private, PrivateKey(private)) for private, name in raw}
    costs: dict[str, Cost] = {}
    for name, (private, key) in keys.items():
        with open_gate({_KEYID: key.public}) as opened:
            measures = _profile(private, key) | _gate(opened, key)
            if find_spec("http_message_signatures") is not None:
                measures |= _library(private, key, name)
            costs[key.alg] = _cost(measures, seconds / len(raw))
    return costs


def _cost(measures: Measures, seconds: float) -> Cost:
    rounds: dict[str, list[float]] = {name: [] for name in measures}
    calls = {name: max(1, round(_BATCH_S / _timed(call, 5))) for name, call in measures.items()}
    until = time.thread_time() + seconds
    while time.thread_time() < until or len(rounds["bare_verify_us"]) < 3:
        for name, call in measures.items():
            rounds[name].append(_timed(call, calls[name]) * 1e6)

    def above(whole: str, bare: str) -> float:
        both = zip(rounds[whole], rounds[bare], strict=True)
        return statistics.median(each - beside for each, beside in both)

    medians = {name: statistics.median(times) for name, times in rounds.items()}
    del medians["bare_answer_us"]
    return Cost(
        verify_above_us=above("verify_request_us", "bare_verify_us"),
        identify_above_us=above("identify_us", "bare_verify_us"),
        answer_above_us=above("answer_us", "bare_answer_us"),
        **medians,
    )


def _timed(call: Callable[[], object], times: int) -> float:
    """Seconds of CPU for one call."""
    if isinstance(call, _Fresh):
        call.prepare(times)
    begun = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - begun) / times


class _Fresh:
    """A call that takes another request each time; these are made beforehand.

    Args:
        make: makes one.
        use: what is measured.
    """

    def __init__(self, make: Callable[[], Request], use: Callable[[Request], object]) -> None:
        self._make = make
        self._use = use
        self._ready: list[Request] = []

    def prepare(self, times: int) -> None:
        self._ready = [self._make() for _ in range(times)]

    def __call__(self) -> object:
        return self._use(self._ready.pop())


def _gate(opened: Opened, key: PrivateKey) -> Measures:
    """Return what a signed command costs at the gate: its nonce is a new one each time."""
    gate, bank = opened.gate, opened.keys.signing.key

    def make() -> Request:
        created, nonce = int(time.time()), secrets.token_urlsafe(16)
        signed = sign_request(key, _KEYID, **_TARGET, body=_BODY, created=created, nonce=nonce)
        headers = {"host": _TARGET["authority"], "content-type": "application/json", **signed}
        return Request("POST", _TARGET["path"], b"", headers, _BODY, "https")

    def identify(request: Request) -> object:
        return gate.identify(request, commands=True)

    identity = gate.identify(make(), commands=True)
    arguments = _ARGUMENTS[_BANK]
    return {
        "identify_us": _Fresh(make, identify),
        "bare_answer_us": lambda: bank.sign(_BODY, *arguments),
        "answer_us": lambda: gate.sign(201, _BODY, identity),
    }


def _profile(private: Any, key: PrivateKey) -> Measures:
    now = int(time.time())

    def sign() -> dict[str, str]:
        return sign_request(key, _KEYID, **_TARGET, body=_BODY, created=now, nonce=_NONCE)

    headers = sign()
    found = read_request(headers["signature-input"], headers["signature"])
    digest = headers["content-digest"]
    base = request_base(found.parameters, **_TARGET, content_digest=digest)
    public = key.public
    # As cryptography has them: ECDSA in DER, and its arguments made beforehand.
    arguments = _ARGUMENTS[key.alg]
    raw_public, raw_signature = private.public_key(), private.sign(base, *arguments)

    def verify() -> None:
        signature = read_request(headers["signature-input"], headers["signature"])
        verify_request(public, signature, **_TARGET, content_digest=digest, body=_BODY, now=now)

    return {
        "bare_verify_us": lambda: raw_public.verify(raw_signature, base, *arguments),
        "verify_request_us": verify,
        "bare_sign_us": lambda: private.sign(base, *arguments),
        "sign_request_us": sign,
        "sign_response_us": lambda: sign_response(
            key, _KEYID, status=200, body=_BODY, created=now, request_signature=found.header
        ),
    }


def _library(private: Any, key: PrivateKey, name: str) -> Measures:
    # For tests and benches only: an installed gateway does not have it.
    import http_message_signatures as library  # noqa: PLC0415
    from http_message_signatures import algorithms, resolvers  # noqa: PLC0415

    public: Any = load_der_public_key(key.public.spki)
    resolver = resolvers.MappingKeyResolver(
        public_keys={_KEYID: public}, private_keys={_KEYID: private}
    )
    algorithm = getattr(algorithms, name)
    signer = library.HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=resolver)
    verifier = library.HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=resolver)
    components = ("@method", "@authority", "@path", "@query", "content-digest")
    now = datetime.now(UTC)

    def sign() -> _Sent:
        sent = _Sent("POST", "https://api.bank.example/v1/payments", {})
        signer.sign(
            sent,
            key_id=_KEYID,
            created=now,
            nonce=_NONCE,
            label="sig1",
            tag="piaohao-v1",
            covered_component_ids=components,
            body=_BODY,
        )
        return sent

    signed = sign()

    def verify() -> None:
        verifier.verify(
            signed,
            max_age=timedelta(hours=1),
            expect_tag="piaohao-v1",
            require_components=components,
            body=_BODY,
        )

    return {"library_verify_us": verify, "library_sign_us": sign}


class _Sent(Struct):
    """A request as the library wants it."""

    method: str
    url: str
    headers: dict[str, str]


def _table(costs: Mapping[str, Cost]) -> str:
    lines = [f"{'CPU us':<22}" + "".join(f"{alg:>20}" for alg in costs)]
    names = {
        "bare_verify_us": "verify, bare",
        "verify_request_us": "verify_request",
        "verify_above_us": "  above the bare",
        "identify_us": "identify",
        "identify_above_us": "  above the bare",
        "library_verify_us": "  the library",
        "bare_sign_us": "sign, bare",
        "sign_request_us": "sign_request",
        "sign_response_us": "sign_response",
        "answer_us": "answer (ECDSA)",
        "answer_above_us": "  above the bare",
        "library_sign_us": "  the library",
    }
    for field, name in names.items():
        figures = [getattr(cost, field) for cost in costs.values()]
        if None not in figures:
            lines.append(f"{name:<22}" + "".join(f"{figure:>20.1f}" for figure in figures))
    return "\n".join(lines) + "\n"
