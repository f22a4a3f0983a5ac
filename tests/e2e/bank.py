"""A bank whose node takes signed requests only: its keys, its store, and whom it has certified.

Keys come from the same ceremonies as `piaohao ca`, the node is a process, and whatever operators
do goes over its control socket. Requests are either the client library's, or `Signed` ones, which
a test may send when and as often as it likes.
"""

import secrets
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import trio
from msgspec import Struct

from gateway.ca import ceremony
from gateway.ca.bank_keys import pem
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.ca.master_key import new_master_key
from gateway.ca.vault import Role
from gateway.client import AsyncBankClient, AsyncClient, Identity, Terms
from gateway.client.exchange import Came
from gateway.client.seal import Seal
from gateway.client.trust import Trust
from gateway.commands.calling import have_done, look
from gateway.exits import CommandError
from gateway.signatures.profile import sign_request
from tests.e2e.process import LIMIT_S, NodeProcess, make_store, node
from tests.shards import SHARDS

NAME: Final = "pay.example"
"""By this name `Signed` requests address a node, wherever it listens."""
QUICK: Final = Terms(pause_s=0.01, pause_max_s=0.1)
"""Patient, with short pauses."""


class Signed(Struct, frozen=True):
    """A request that was signed once; sent a second time it is the very same.

    Attributes:
        seal: what its answers are checked with.
    """

    method: str
    target: str
    body: bytes
    headers: dict[str, str]
    seal: Seal


class Bank:
    """A bank in a folder.

    Attributes:
        data, keys, master_key, root: the store, the folder of keys, and two files.
        trust: the keys that sign its answers.
    """

    def __init__(self, folder: Path) -> None:
        self.data, self.keys = folder / "data", folder / "keys"
        self.master_key, self.root = folder / "master.key", folder / "root.pem"
        master_key = new_master_key()
        master_key.write(self.master_key)
        now = datetime.now(UTC)
        vault = ceremony.found(self.keys, "Example Bank", master_key, now=now)
        ceremony.add_tls(vault, master_key, ["localhost", "127.0.0.1"], now=now)
        root = vault.current(Role.ROOT)
        vault.key_path(root).unlink()  # it goes to a safe place; no node needs it
        self.root.write_bytes(pem(vault.certificate(root)))
        self.trust = Trust(self.root.read_bytes())

    @asynccontextmanager
    async def serving(
        self, *options: str, listen: str = "127.0.0.1:0"
    ) -> AsyncIterator[NodeProcess]:
        """Run a node; the store is made with the first one."""
        if not self.data.exists():
            await make_store(self.data, SHARDS)
        keys = ("--keys", str(self.keys), "--master-key", str(self.master_key))
        async with node(self.data, *keys, *options, listen=listen) as running:
            yield running

    async def do(self, path: str, **body: Any) -> dict[str, Any]:
        """Have the running node do something, as an operator."""
        return await trio.to_thread.run_sync(have_done, self.data, path, body)

    async def look(self, path: str) -> dict[str, Any]:
        """Look something up, as an operator."""
        return await trio.to_thread.run_sync(look, self.data, path)

    async def until_there(self, path: str) -> None:
        """Wait until there is something at a path."""
        with trio.fail_after(LIMIT_S):
            while True:
                try:
                    await self.look(path)
                    return
                except CommandError as error:
                    if "_NOT_FOUND" not in str(error) and "NO_SUCH_" not in str(error):
                        raise

    async def certify(self, path: str, number: str, alg: str = "ed25519") -> Identity:
        """Have a new key certified under a number."""
        key = new_key(alg)
        made = await self.do(path, certificate_no=number, csr=body_of(new_csr(key, number)))
        return Identity(key, made["pem"].encode())

    async def merchant(self, number: str = "M1", certificate_no: str = "K1") -> Identity:
        """Have a merchant certified that is open."""
        return await self.certify(f"/v1/merchants/{number}/certificates", certificate_no)

    async def system(self, name: str = "core") -> Identity:
        """Have one of the bank's own systems certified."""
        return await self.certify("/v1/bank/certificates", name, "ecdsa-p256-sha256")

    async def open_business(self) -> None:
        """Open merchant M1 and account A1 with 1,000.00 in it, and let the one debit the other."""
        await self.do("/v1/merchants", merchant_no="M1", currency="USD")
        await self.do("/v1/accounts", account_no="A1", currency="USD")
        funding = {"funding_no": "F1", "amount_minor": 100_000, "currency": "USD"}
        await self.do("/v1/accounts/A1/fundings", **funding)
        agreement = {"agreement_no": "G1", "merchant_no": "M1"}
        await self.do("/v1/accounts/A1/agreements", **agreement)

    def client(self, running: NodeProcess, identity: Identity) -> AsyncClient:
        """Return a merchant's client."""
        return AsyncClient(running.address, identity, self.root, terms=QUICK)

    def own_client(self, running: NodeProcess, identity: Identity) -> AsyncBankClient:
        """Return the bank's own client."""
        return AsyncBankClient(running.address, identity, self.root, terms=QUICK)

    def tls(self) -> ssl.SSLContext:
        """Return the context of somebody who trusts the bank's root."""
        return ssl.create_default_context(cafile=str(self.root))

    def signed(
        self,
        identity: Identity,
        method: str,
        target: str,
        body: Any = None,
        *,
        scheme: str = "https",
        **changes: Any,
    ) -> Signed:
        """Sign a request to the node called NAME.

        Args:
            changes: of what `sign_request` is given.
        """
        content = b"" if body is None else msgspec.json.encode(body)
        path, _, query = target.partition("?")
        details: dict[str, Any] = {
            "key": identity.key,
            "keyid": identity.keyid,
            "method": method,
            "authority": NAME,
            "path": path,
            "query": query,
            "body": content,
            "created": int(time.time()),
            "nonce": secrets.token_urlsafe(18),
            "scheme": scheme,
        }
        headers = sign_request(**{**details, **changes})
        headers["host"] = NAME
        if content:
            headers["content-type"] = "application/json"
        return Signed(method, target, content, headers, Seal(identity, self.trust, scheme, NAME))

    async def send(
        self, client: httpx2.AsyncClient, running: NodeProcess, request: Signed
    ) -> tuple[int, Any]:
        """Send a request as it is; returns status and body of an answer that the bank has signed.

        Who is told more than that it could not be verified, is told so for this very request.
        """
        answer = await client.request(
            request.method,
            running.address + request.target,
            headers=request.headers,
            content=request.body or None,
        )
        await self.check(
            client, running, request, answer.status_code, answer.headers, answer.read()
        )
        return answer.status_code, answer.json()

    async def check(
        self,
        client: httpx2.AsyncClient,
        running: NodeProcess,
        request: Signed,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Check that an answer is the bank's, to this request."""
        came = Came(status, headers, body)
        signature = request.seal.read(came)
        assert signature is not None, (status, body)
        if self.trust.key(signature.keyid, time.time()) is None:
            listed = await client.get(
                f"{running.address}/v1/signing-certificates", headers={"host": NAME}
            )
            self.trust.learn(listed.content, time.time())
        request.seal.verify(came, signature, request.headers, now=time.time())
