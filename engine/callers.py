"""Callers: who has given a command and waits for what comes of it.

Each is told once: what a turn answered, once the batch that holds the turn is durable (the output
gate); TIMEOUT where there was no turn by the deadline; OUTCOME_UNKNOWN where there was one and the
rest is not known. A command's slot is free again when its caller has been told and its chain of
messages is over, here and on other shards.
"""

from typing import Any

from engine.admission import Admission, Ask, tell_caller
from engine.batch import Batch
from engine.fault import OUTCOME_UNKNOWN, TIMEOUT
from engine.message import Token
from engine.stage import Stage


class Callers:
    """The callers of one shard.

    Args:
        stage: has their commands, from admission until the slot is free.
        admission: has their slots.
    """

    def __init__(self, stage: Stage, admission: Admission) -> None:
        self._stage = stage
        self._asks = stage.asks
        self._admission = admission

    def open_gate(self, batch: Batch) -> None:
        """Tell everybody what rests on a batch that is durable now."""
        for ask in batch.ended:
            ask.ended = True
            if ask.done:
                self._forget(ask)
        tell = self.tell
        for ask, body in batch.answers:
            tell(ask, body)
        for reply, body in batch.controlled:
            tell_caller(reply, body)

    def tell(self, ask: Ask, outcome: Any) -> None:
        """Tell a caller once; forget the command if its chain has ended too."""
        if ask.done:
            return
        ask.done = True
        if ask.ended:
            self._forget(ask)
        tell_caller(ask.reply, outcome)

    def tell_by_token(self, token: Token, outcome: Any) -> None:
        """Tell a caller what a turn on another shard, durable by now, answered."""
        ask = self._stage.ask_of(token)
        if ask is not None:
            self.tell(ask, outcome)

    def moved(self, token: Token, messages: int) -> None:
        """Count what turns elsewhere, durable by now, did to a chain that began here."""
        ask = self._stage.ask_of(token)
        if ask is not None:
            ask.pending += messages
            if not ask.pending:
                ask.ended = True
                if ask.done:
                    self._forget(ask)

    def tell_all(self, outcome: Any) -> None:
        """Tell everybody who waits the same."""
        for ask in list(self._asks.values()):
            self.tell(ask, outcome)

    def expire(self, now: float) -> None:
        """Tell those whose deadline has passed."""
        late = [ask for ask in self._asks.values() if ask.deadline <= now and not ask.done]
        for ask in late:
            if ask.started:
                self.tell(ask, OUTCOME_UNKNOWN)
            else:
                self.drop(ask)

    def drop(self, ask: Ask) -> None:
        """Tell TIMEOUT before the first turn. Where the command still waits in its lane, `done`
        makes the schedule pass it over."""
        ask.pending = 0
        ask.ended = True
        self.tell(ask, TIMEOUT)

    def _forget(self, ask: Ask) -> None:
        """Free the slot of a command whose caller has been told and whose chain has ended."""
        self._admission.release(ask.to)
        del self._asks[ask.n]
