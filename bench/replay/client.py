"""The replay's client: a process of its own that sends a file's rows through a node's gateway.

It is tied to its parent (`bench.tether`). Step by step it sends what the plan puts together, each
step when all of the one before is answered; what the next ones need to have been opened goes on
its way meanwhile. When the date of the rows changes, so does the node's: the clock moves
on to the end of the day, with all timers that are due by then, and the date is cut.
"""

import argparse
import sys
import time
from collections import deque
from concurrent.futures import Future
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from actors.commands import Command, FundAccount
from bench.connection import AdvanceClock, encode, node_at
from bench.replay.file import FileError, Fingerprint, Place, ReplayFile
from bench.replay.floors import FLOORS_MAX, Floors
from bench.replay.logbook import Logbook, Progress, RefusedRow
from bench.replay.plan import END_OF_DAY, Plan, Settings, Step
from bench.replay.report import Failed, Finished, Planned, Progressed
from bench.sandbox import SANDBOX
from bench.tether import report, tie_to_parent
from gateway.client import BankClient, Item
from gateway.client.errors import problem_in
from gateway.client.views import NodeView
from gateway.exits import INPUT, UNREACHABLE, CommandError

_AHEAD: Final = 2
"""Steps that are made ahead: what the second one needs is opened while the first is carried out."""
_SAVE_S: Final = 0.25
"""Seconds between two savings of the logbook: its pages are written once instead of many times."""


class Replay:
    """The replay of a file against one node."""

    def __init__(
        self, node: BankClient, file: ReplayFile, logbook: Logbook, settings: Settings
    ) -> None:
        self._node = node
        self._openings: Future[list[Item]] | None = None  # those that are under way
        self._file = file
        self._logbook = logbook
        self._settings = settings
        self._fingerprint = Fingerprint(file.path)
        self._floors = Floors()
        self._known_all = True
        self._today = ""
        self._over = ""  # the date whose end the clock has reached
        self._rows = 0
        self._not_done = 0
        # Done, and not yet in the logbook.
        self._place = file.begin
        self._refused: list[RefusedRow] = []
        self._malformed: list[tuple[int, str]] = []
        self._saved_at = 0.0

    def close(self) -> None:
        """Let go of the file."""
        self._fingerprint.close()

    def run(self) -> Finished:
        """Do all that is left to do.

        Raises:
            PiaohaoError: the node is away, or refuses an array or a cut as a whole.
            CommandError: the file, the logbook or the store is not one that fits the others, or
                the node fails on a command.
        """
        begun = time.perf_counter()
        node = self._node.node()
        self._today = node.business_date
        place = self._place = self._begin(node)
        rows_before = self._rows
        report(Planned(rows_before, rows_before + self._file.lines_behind(place)))
        self._learn_floors()
        plan = Plan(self._file.rows(place), self._logbook, self._floors, self._settings)
        ahead: deque[Step] = deque()
        while (step := ahead.popleft() if ahead else plan.next()) is not None:
            self._turn_to(step)
            self._open(step)
            rows = self._start(step.items) if step.covered and step.items else None
            # While the node works: what it has done before is noted, what comes next is made.
            self._save(plan)
            self._look_ahead(plan, ahead)
            if not step.covered:
                self._one_by_one(plan, step)
            elif rows is not None:
                self._settle(plan, step, rows.result())
            if step.ends_date:
                self._over = step.date
        self._save(plan, at_once=True)
        return Finished(time.perf_counter() - begun, self._rows - rows_before)

    # Where to begin.

    def _begin(self, node: NodeView) -> Place:
        """Return where to go on in the file, having made sure that it is the same file."""
        logbook, settings = self._logbook, self._settings
        terms = f"{settings.opening_balance_minor} {settings.fee_bps}"
        progress = logbook.progress()
        if progress is None:
            self._check_store(node)
            logbook.note(terms=terms, incarnation=node.incarnation)
            self._write(self._file.begin, [], [])
            return self._file.begin
        if logbook.fact("terms") != terms:
            balance, fee = (logbook.fact("terms") or " ").split(" ")
            raise CommandError(
                INPUT,
                f"{logbook.path.parent} was begun with"
                f" --opening-balance-minor {balance} --fee-bps {fee}",
            )
        if self._fingerprint.up_to(progress.place.offset) != progress.fingerprint:
            detail = "is not the file whose replay is in"
            raise FileError(self._file.path, f"{detail} {logbook.path.parent}, or was changed")
        place = progress.place
        if logbook.fact("incarnation") != node.incarnation:
            # A backup was restored: the logbook may be ahead of it, so everything is sent again.
            logbook.start_over()
            logbook.note(incarnation=node.incarnation)
            self._fingerprint.close()
            self._fingerprint = Fingerprint(self._file.path)
            self._write(self._file.begin, [], [])
            return self._file.begin
        logbook.forget_behind(place.line)
        self._rows = progress.rows
        refused, malformed = logbook.counts()
        self._not_done = refused.total() + malformed
        return place

    def _check_store(self, node: NodeView) -> None:
        first = self._file.first_time()
        if first is not None and node.business_date > first[:10]:
            raise CommandError(
                INPUT,
                f"the store in {self._logbook.path.parent} stands at {node.business_date},"
                f" and the file begins on {first[:10]}",
            )

    def _learn_floors(self) -> None:
        """Learn what there is in the accounts of a store that is gone on with."""
        for number, each in enumerate(self._node.accounts()):
            if number == FLOORS_MAX:
                self._known_all = False
                return
            self._floors.begin(f"account/{each.account_no}", each.available_minor)

    # Step by step.

    def _look_ahead(self, plan: Plan, ahead: deque[Step]) -> None:
        """Make the steps to come, and have opened what they need as long as it is their date."""
        while len(ahead) < _AHEAD and (step := plan.next()) is not None:
            ahead.append(step)
        for each in ahead:
            if each.date not in {"", self._today}:
                break
            if not each.sent:
                self._send_openings(each)
                break
            self._open(each)

    def _start(self, items: list[Command]) -> Future[list[Item]]:
        return self._node.start_array(encode(items))

    def _send_openings(self, step: Step) -> None:
        step.sent = True
        if step.opening:
            self._openings = self._start(step.opening)

    def _open(self, step: Step) -> None:
        """Wait until all is open that a step needs, and whether the plan may reckon with it.

        Refusals stay what they are: what is not open shows in the rows that need it.
        """
        if step.open:
            return
        if not step.sent:
            self._send_openings(step)
        step.open = True
        if step.opening:
            assert self._openings is not None, "they were sent"
            items = self._openings.result()
            for command, item in zip(step.opening, items, strict=True):
                self._check(command, item)
                if isinstance(command, FundAccount) and (
                    item.status >= 400 or (item.replayed and not self._known_all)
                ):
                    self._floors.add(f"account/{command.account_no}", -command.amount_minor)
                    step.covered = False
        for task in step.refused:
            task.done = True

    def _one_by_one(self, plan: Plan, step: Step) -> None:
        """Carry a step out without relying on what the plan took to be certain."""
        for item, task in zip(step.items, step.tasks, strict=True):
            answers = self._node.send_array(encode([item]))
            self._settle(plan, Step(items=[item], tasks=[task]), answers)

    def _settle(self, plan: Plan, step: Step, items: list[Item]) -> None:
        for command, task, item in zip(step.items, step.tasks, items, strict=True):
            code = self._check(command, item)
            if task is not None:
                plan.settle(task, code, item.replayed)

    def _check(self, command: Command, item: Item) -> str | None:
        """Return the code of a refusal, None for what was carried out."""
        if item.status < 400:
            return None
        problem = problem_in(item.body)
        if item.status >= 500 or isinstance(command, AdvanceClock):
            detail = f"the node fails: {problem.code} {problem.detail}".rstrip()
            raise CommandError(UNREACHABLE, detail)
        return problem.code

    def _save(self, plan: Plan, *, at_once: bool = False) -> None:
        """Note what is done up to the first row that is not; in the logbook now and then."""
        refused, malformed = self._refused, self._malformed
        done = 0
        while plan.open and plan.open[0].done:
            task = plan.open.popleft()
            self._place = task.after
            done += 1
            if task.code is None:
                continue
            if task.malformed:
                malformed.append((task.line, task.code))
            else:
                refused.append(RefusedRow(task.line, task.reference, task.code))
        self._rows += done
        if done:
            not_done = self._not_done + len(refused) + len(malformed)
            report(Progressed(self._today, done, not_done))
        now = time.perf_counter()
        if (done and now - self._saved_at >= _SAVE_S) or at_once:
            self._write(self._place, refused, malformed)
            self._not_done += len(refused) + len(malformed)
            refused.clear()
            malformed.clear()
            self._saved_at = now

    def _write(
        self, place: Place, refused: list[RefusedRow], malformed: list[tuple[int, str]]
    ) -> None:
        fingerprint = self._fingerprint.up_to(place.offset)
        self._logbook.save(Progress(place, fingerprint, self._rows), refused, malformed)

    def _turn_to(self, step: Step) -> None:
        """Cut all dates before the step's: everything on them has been carried out."""
        while self._today < step.date:
            if self._over < self._today:
                end = AdvanceClock(f"{self._today}{END_OF_DAY}")
                self._check(end, *self._node.send_array(encode([end])))
            self._node.cut_day(self._today)
            self._today = (date.fromisoformat(self._today) + timedelta(days=1)).isoformat()


def main() -> int:
    """Replay, and return the exit code: 0 done, 2 the file, 3 the logbook, 4 the node."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay.client")
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the store's folder")
    parser.add_argument("--opening-balance-minor", type=int, required=True)
    parser.add_argument("--fee-bps", type=int, required=True)
    asked = parser.parse_args()
    address = tie_to_parent()
    settings = Settings(asked.opening_balance_minor, asked.fee_bps)
    try:
        with (
            ReplayFile(asked.file) as file,
            Logbook(asked.data) as logbook,
            node_at(address.get(), asked.data / SANDBOX) as node,
            closing(Replay(node, file, logbook, settings)) as replay,
        ):
            finished = replay.run()
        report(finished)
    except CommandError as error:
        report(Failed(error.code, str(error)))
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
