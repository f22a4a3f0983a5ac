"""A client process: calls a node over many connections, in rounds, and reports what it was told.

It is started by `bench.load.clients` and tied to its parent (`bench.tether`): the first line says
whose keys it has, each further line is a round. Everything runs in one thread
(`bench.load.loop`).
"""

import gc
from typing import Final, Literal

import msgspec
from msgspec import Struct

from bench.load.callers import Caller, HttpCaller, StreamCaller, Terms
from bench.load.identities import Forger, Known, Signer
from bench.load.loop import Loop
from bench.load.tally import Tally
from bench.load.workload import Form, Orders, Workload
from bench.tether import report, tie_to_parent
from gateway.signatures.keys import PublicKey

Transport = Literal["express", "hypercorn", "websocket"]

PATIENCE_S: Final = 30.0
"""How long an answer is waited for after the end of a round."""


class Round(Struct, frozen=True):
    """What a client process does in one round.

    Attributes:
        address: host and port of the node's listener.
        connections: numbers of those that it has.
        batch, depth: see `bench.load.callers.Terms`.
        prefix: begins every order number of the round.
        start_ns, gather_ns: when the first connection is made, and for how long others follow.
        begin_ns, end_ns: the window that is measured; nothing is begun after it. All times are of
            the monotonic clock.
        heeds, pause_s: see `Terms`.
        forged: whether the signatures are wrong.
    """

    transport: Transport
    address: tuple[str, int]
    workload: Workload
    connections: list[int]
    batch: int
    depth: int
    prefix: str
    start_ns: int
    gather_ns: int
    begin_ns: int
    end_ns: int
    heeds: bool = True
    pause_s: float = 0.0
    forged: bool = False


class Ready(Struct, frozen=True, tag_field="event", tag="ready"):
    """What a client process says once: it waits for rounds."""


class Client:
    """Runs rounds.

    Args:
        known: keys; None where nothing is signed.
    """

    def __init__(self, known: Known | None) -> None:
        self._holders = {} if known is None else {each.merchant_no: each for each in known.holders}
        self._bank_keyid = "" if known is None else known.bank_keyid
        self._bank = None if known is None else PublicKey.from_spki(known.bank_spki)
        self._signers: dict[tuple[str, str], Signer] = {}

    def run(self, round_: Round) -> Tally:
        """Call until the round is over and everything is answered."""
        loop = Loop()
        tally = Tally(round_.begin_ns, round_.end_ns)
        terms = Terms(
            round_.address,
            round_.batch,
            round_.depth,
            round_.end_ns,
            round_.heeds,
            round_.pause_s,
        )
        callers = [self._caller(loop, round_, terms, each, tally) for each in round_.connections]
        for n, caller in enumerate(callers):
            # A crowd gathers; it does not come out of the ground.
            loop.at(round_.start_ns + round_.gather_ns * n // len(callers), caller.begin)
        loop.run(round_.end_ns + int(PATIENCE_S * 1e9))
        for caller in callers:
            caller.unanswered()
        loop.close()
        return tally

    def _caller(
        self, loop: Loop, round_: Round, terms: Terms, connection: int, tally: Tally
    ) -> Caller:
        prefix = f"{round_.prefix}{connection:04d}"
        form: Form = "single" if round_.batch == 1 else "array"
        if round_.transport == "websocket":
            form = "frame"
        orders = Orders(round_.workload, connection, prefix, form)
        signer = self._signer(orders.merchant_no, terms.authority)
        if signer is not None and round_.forged:
            signer = Forger(signer)
        if form == "frame":
            return StreamCaller(loop, terms, orders, signer, tally)
        return HttpCaller(loop, terms, orders, signer, tally)

    def _signer(self, merchant_no: str, authority: str) -> Signer | None:
        if self._bank is None:
            return None
        key = (merchant_no, authority)
        if key not in self._signers:
            self._signers[key] = Signer(
                self._holders[merchant_no], self._bank_keyid, self._bank, authority
            )
        return self._signers[key]


def main() -> None:
    """Do what the parent says until it says no more."""
    lines = tie_to_parent()
    client = Client(msgspec.json.decode(lines.get(), type=Known | None))
    decode = msgspec.json.Decoder(Round).decode
    gc.freeze()
    # What a client makes has no cycles; looking for them would only add to its share of the CPU.
    gc.disable()
    report(Ready())
    while True:
        round_ = decode(lines.get())
        report(client.run(round_).counted())


if __name__ == "__main__":
    main()
