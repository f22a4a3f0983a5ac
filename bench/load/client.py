"""A client process: calls a node over many connections, in rounds, and reports what it was told.

It is started by `bench.load.clients` and tied to its parent (`bench.tether`): the first line says
whose keys it has, each further line is a round. Everything runs in one thread
(`bench.load.loop`).
"""

import gc
from typing import Final, Literal

import msgspec
from msgspec import Struct

from bench.load.arrivals import Phase, arrivals
from bench.load.callers import Caller, HttpCaller, StreamCaller, Terms
from bench.load.identities import Forger, Known, Signer
from bench.load.loop import Loop
from bench.load.pace import AsItComes, AtOnce, Pace
from bench.load.tally import TENTH_NS, Tally
from bench.load.workload import Workload
from bench.tether import report, tie_to_parent
from bench.workloads.errand import Source
from bench.workloads.lifecycle import Lifecycle
from bench.workloads.payments import Payments
from gateway.signatures.keys import PublicKey

Transport = Literal["express", "hypercorn", "websocket"]

AnyWorkload = Workload | Payments | Lifecycle

PATIENCE_S: Final = 30.0
"""How long an answer is waited for after the end of a round."""


class OpenLoop(Struct, frozen=True):
    """When one client process begins operations that do not wait for those before.

    Attributes:
        phases: rates of this process, from the round's `start_ns` on; the last ends at `end_ns`.
        seed: of its arrivals.
    """

    phases: list[Phase]
    seed: int


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
        every_ns: the length of the tally's intervals.
        arriving: for an open loop; None for a closed one.
    """

    transport: Transport
    address: tuple[str, int]
    workload: AnyWorkload
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
    every_ns: int = TENTH_NS
    arriving: OpenLoop | None = None


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
        arriving = round_.arriving is not None
        tally = Tally(round_.begin_ns, round_.end_ns, round_.every_ns, arriving=arriving)
        terms = Terms(
            round_.address,
            round_.batch,
            round_.depth,
            round_.end_ns,
            round_.heeds,
            round_.pause_s,
        )
        pace = _pace(loop, round_, tally)
        sources = sources_of(round_)
        callers = [
            self._caller(loop, round_, terms, each, source, pace, tally)
            for each, source in zip(round_.connections, sources, strict=True)
        ]
        for n, caller in enumerate(callers):
            # A crowd gathers; it does not come out of the ground.
            loop.at(round_.start_ns + round_.gather_ns * n // len(callers), caller.begin)
        loop.run(round_.end_ns + int(PATIENCE_S * 1e9))
        for caller in callers:
            caller.unanswered()
        loop.close()
        return tally

    def _caller(
        self,
        loop: Loop,
        round_: Round,
        terms: Terms,
        connection: int,
        source: Source,
        pace: Pace,
        tally: Tally,
    ) -> Caller:
        forgers: dict[str, Signer] = {}

        def signers(merchant_no: str) -> Signer | None:
            signer = self._signer(merchant_no, terms.authority)
            if signer is not None and round_.forged:
                return forgers.setdefault(merchant_no, Forger(signer))
            return signer

        if round_.transport == "websocket":
            own = round_.workload.own_merchant(connection)
            return StreamCaller(loop, terms, source, pace, signers, tally, own)
        return HttpCaller(loop, terms, source, pace, signers, tally)

    def _signer(self, merchant_no: str, authority: str) -> Signer | None:
        if self._bank is None:
            return None
        key = (merchant_no, authority)
        if key not in self._signers:
            self._signers[key] = Signer(
                self._holders[merchant_no], self._bank_keyid, self._bank, authority
            )
        return self._signers[key]


def sources_of(round_: Round) -> list[Source]:
    """Return who thinks of the errands of each connection."""

    def source(connection: int) -> Source:
        return round_.workload.source(connection, f"{round_.prefix}{connection:04d}")

    if isinstance(round_.workload, Lifecycle):
        # One for all of them: whoever pays on one connection asks for the refund on another. With
        # one each, and many connections, most would hardly have a payment that they could refund.
        return [source(round_.connections[0])] * len(round_.connections)
    return [source(each) for each in round_.connections]


def _pace(loop: Loop, round_: Round, tally: Tally) -> Pace:
    arriving = round_.arriving
    if arriving is None:
        return AtOnce(round_.end_ns)
    offsets = arrivals(arriving.phases, arriving.seed, together=round_.batch)
    times = (round_.start_ns + offset for offset in offsets)
    return AsItComes(loop, times, round_.end_ns, tally, round_.batch)


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
