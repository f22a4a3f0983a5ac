"""The plan: which rows go to the node together, so that all comes out as if one by one.

Rows start in the order of the file, each at its own time. Within a step no two rows depend on each
other; a row that depends on an earlier one of the step waits for the next, behind nothing that it
depends on, while others go on. What makes rows depend on each other:

- the number of a payment or hold, for it and all that belongs to it, and every row's own number;
- the payer's funds, and for refunds and reversals the merchant's. Credits do not depend on each
  other, nor do debits that are covered whatever happens (`floors`); a debit that may be refused
  depends on every other row that touches the same funds.

A step is carried out on one business date, and a row that waits is carried out later than its own
time, but on its date. Where that could change its outcome (a hold's time would begin or run out, a
refund's window end, funds come free) it does not wait: everything behind it does.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from actors.account import is_internal
from actors.commands import Command
from actors.money import fee_minor
from actors.refusal import Refusal
from bench.connection import ARRAY_MAX, AdvanceClock
from bench.replay import commands
from bench.replay.file import Place, Read
from bench.replay.floors import Floors
from bench.replay.logbook import Logbook
from bench.replay.row import Row

CARRIED_MAX: Final = 400
"""Rows that wait at most; with more of them nothing new is begun."""
OPEN_MAX: Final = 20_000
"""Rows that were read and are not known to be done up to there."""
READ_MAX: Final = 2_000
"""Rows that are read for a step at most; malformed ones and such count too."""
END_OF_DAY: Final = "T23:59:59.999999Z"
"""Behind a date: the last instant before the next one, where timers due on the date have fired."""

_DAY_US: Final = 86_400 * 1_000_000
_SURELY_REFUNDABLE_US: Final = 364 * _DAY_US
"""A day less than the window: rows are carried out on their date."""


class Settings(Struct, frozen=True):
    """What accounts and merchants are opened with."""

    opening_balance_minor: int
    fee_bps: int


class Task(Struct):
    """A row on its way.

    Attributes:
        line, reference, at, at_us: the row's; nothing but its line for a malformed one.
        command: None where nothing is sent.
        opening: commands that have to be carried out before it.
        numbers: what it has for itself while it is under way.
        touches: whose funds it touches, the debited ones first.
        debit_minor: what it takes from the first of them, 0 for nothing.
        credits: whose funds grow by how much when it succeeds.
        patient: whether it may be carried out later on its date with the same outcome.
        unsure: the debit may be refused.
        code: why it was refused, or what is wrong with it.
    """

    line: int
    after: Place
    reference: str = ""
    at: str = ""
    at_us: int = 0
    command: Command | None = None
    opening: list[Command] = field(default_factory=list)
    numbers: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    debit_minor: int = 0
    credits: tuple[tuple[str, int], ...] = ()
    patient: bool = True
    unsure: bool = False
    code: str | None = None
    malformed: bool = False
    done: bool = False

    @property
    def date(self) -> str:
        """The business date it belongs to."""
        return self.at[:10]


class Step(Struct):
    """Rows that are carried out together.

    Attributes:
        date: their business date, empty for a step without any.
        opening: commands to be carried out before.
        items: their commands, and the moves of the clock between them.
        tasks: for each item its row, None for a move of the clock.
        refused: rows that are not sent, but whose parties are among those to be opened.
        ends_date: nothing of the date is left, and the clock moves on to its end.
        sent, open: how far its opening is.
        covered: the accounts have what the plan reckons with.
    """

    date: str = ""
    opening: list[Command] = field(default_factory=list)
    items: list[Command] = field(default_factory=list)
    tasks: list[Task | None] = field(default_factory=list)
    refused: list[Task] = field(default_factory=list)
    ends_date: bool = False
    sent: bool = False
    open: bool = False
    covered: bool = True


class _Dependencies:
    """What the rows of a step, and those that wait, have taken hold of."""

    def __init__(self) -> None:
        self._numbers: set[str] = set()
        self._touched: dict[str, bool] = {}  # whether by a debit that is unsure

    def hinder(self, task: Task) -> bool:
        """Return whether the task depends on any before it."""
        if not self._numbers.isdisjoint(task.numbers):
            return True
        unsure = task.unsure
        for funds in task.touches:
            earlier_unsure = self._touched.get(funds)
            if earlier_unsure or (unsure and earlier_unsure is not None):
                return True
            unsure = False  # of the others nothing is taken
        return False

    def add(self, task: Task) -> None:
        """Have later tasks depend on this one."""
        self._numbers.update(task.numbers)
        unsure = task.unsure
        for funds in task.touches:
            self._touched[funds] = self._touched.get(funds, False) or unsure
            unsure = False


class Plan:
    """The rows of a file as steps.

    Args:
        rows: from where the logbook leaves off.
        floors: what is known of funds.
    """

    def __init__(
        self, rows: Iterator[Read], logbook: Logbook, floors: Floors, settings: Settings
    ) -> None:
        self._rows = rows
        self._logbook = logbook
        self._floors = floors
        self._settings = settings
        self._carried: list[Task] = []
        self._head: Task | None = None
        self._ended = False
        self._clock_us = -1
        self.open: deque[Task] = deque()
        """Tasks in the order of the file, from the first that is not known to be done."""

    def next(self) -> Step | None:
        """Return the next step, which may be without items; None at the end."""
        step = Step()
        dependencies = _Dependencies()
        carried, self._carried = self._carried, []
        for task in carried:
            step.date = task.date
            if task.unsure:
                # Its debit is in the floor already, and all credits before it may be by now.
                task.unsure = self._floors.of(task.touches[0]) < 0
            if dependencies.hinder(task):
                self._carried.append(task)
            else:
                self._place(step, task)
            dependencies.add(task)
        for _ in range(READ_MAX):
            head = self._peek()
            if head is None:
                if self._ended:
                    break
                continue
            if step.date and head.date != step.date:
                step.ends_date = not self._carried
                break
            if (
                len(step.items) + 3 > ARRAY_MAX
                or len(step.opening) + len(head.opening) > ARRAY_MAX
                or len(self.open) >= OPEN_MAX
            ):
                break
            self._judge(head)
            hindered = dependencies.hinder(head)
            if hindered and (_is_urgent(head) or len(self._carried) >= CARRIED_MAX):
                break
            self._head = None
            step.date = head.date
            step.opening += head.opening
            if head.code is not None:
                step.refused.append(head)
                continue
            dependencies.add(head)
            if head.debit_minor:
                self._floors.add(head.touches[0], -head.debit_minor)
            if hindered:
                self._carried.append(head)
                continue
            self._place(step, head)
        if step.ends_date:
            step.items.append(AdvanceClock(f"{step.date}{END_OF_DAY}"))
            step.tasks.append(None)
        if self._ended and not step.items and not step.refused:
            return None
        return step

    def settle(self, task: Task, code: str | None, replayed: bool) -> None:
        """Note a task's outcome: the code of its refusal, or None.

        What was replayed may be in the funds' floors already: those are only lowered by it.
        """
        task.done = True
        task.code = code
        if code is not None:
            if task.debit_minor:
                self._floors.add(task.touches[0], task.debit_minor)
        elif not replayed:
            for funds, amount in task.credits:
                self._floors.add(funds, amount)

    def _place(self, step: Step, task: Task) -> None:
        assert task.command is not None
        if task.at_us > self._clock_us:
            self._clock_us = task.at_us
            step.items.append(AdvanceClock(task.at))
            step.tasks.append(None)
        step.items.append(task.command)
        step.tasks.append(task)

    def _judge(self, task: Task) -> None:
        """Decide whether the task's debit is covered whatever becomes of those before it."""
        if task.debit_minor:
            task.unsure = self._floors.of(task.touches[0]) < task.debit_minor

    def _peek(self) -> Task | None:
        """Return the next task that is to be sent; None if what was read is none, or at the end."""
        if self._head is None and not self._ended:
            read = next(self._rows, None)
            if read is None:
                self._ended = True
                return None
            task = self._task(read)
            self.open.append(task)
            if not task.done:
                self._head = task
        return self._head

    # From rows to tasks.

    def _task(self, read: Read) -> Task:
        row, after = read.said, read.after
        if not isinstance(row, Row):
            return Task(after.line, after, code=row, malformed=True, done=True)
        task = Task(after.line, after, row.reference, row.time, row.at_us)
        task.code = self._open(task, row) or self._relate(task, row)
        # Whom it names is opened all the same, and it is done when they are.
        task.done = task.code is not None and not task.opening
        return task

    def _open(self, task: Task, row: Row) -> Refusal | None:
        """Collect what has to be opened at the first sight of whom the row names."""
        transfer = row.kind == "transfer"
        accounts = (row.payer, row.merchant) if transfer else (row.payer,)
        if any(map(is_internal, accounts)):
            return Refusal.RESERVED_NUMBER
        line, currency, opening = task.line, row.currency, task.opening
        for account in accounts:
            if account and self._logbook.first(f"a/{account}", line, currency) is None:
                opening.append(commands.open_account(account, currency))
                balance = self._settings.opening_balance_minor
                if balance:
                    opening.append(commands.fund_account(account, currency, balance))
                    self._floors.begin(_account(account), balance)
        if transfer:
            return None
        merchant = row.merchant
        if self._logbook.first(f"m/{merchant}", line, currency) is None:
            opening.append(commands.open_merchant(merchant, currency, self._settings.fee_bps))
        if row.kind in {"payment", "hold"}:
            agreement = f"g/{row.payer}/{merchant}"
            if self._logbook.first(agreement, line, "") is None:
                opening.append(commands.sign_agreement(row.payer, merchant))
        return None

    def _relate(self, task: Task, row: Row) -> Refusal | None:
        """Work out the command, and what it depends on; may find that it is refused."""
        kind, amount, merchant = row.kind, row.amount_minor, _merchant(row.merchant)
        if kind == "transfer":
            task.numbers = (f"transfer/{row.payer}/{row.reference}",)
            task.touches = (_account(row.payer), _account(row.merchant))
            task.debit_minor = amount
            task.credits = ((_account(row.merchant), amount),)
        elif kind in {"payment", "hold"}:
            said = f"{row.payer} {row.currency} {row.at_us} {amount}"
            self._logbook.first(f"{kind}/{row.merchant}/{row.reference}", task.line, said)
            task.numbers = (f"original/{row.merchant}/{row.reference}",)
            task.debit_minor = amount
            task.touches = (_account(row.payer),)
            if kind == "payment":
                task.touches = (_account(row.payer), merchant)
                task.credits = ((merchant, amount - fee_minor(amount, self._settings.fee_bps)),)
            task.patient = kind == "payment"
        else:
            return self._follow(task, row)
        task.command = commands.command_of(row, "")
        return None

    def _follow(self, task: Task, row: Row) -> Refusal | None:
        """Work out what a row comes to that belongs to a payment or hold.

        An original of another payer, like one of another merchant, does not exist for the row.
        """
        kind, amount, merchant = row.kind, row.amount_minor, _merchant(row.merchant)
        task.numbers = (
            f"original/{row.merchant}/{row.original}",
            f"{kind}/{row.merchant}/{row.reference}",
        )
        name, said = self._original(row)
        task.command = commands.command_of(row, name)
        if said is None:
            return None  # the merchant will say so, for ever, under the row's number
        payer, currency, at, whole = said.split(" ")
        if row.payer and row.payer != payer:
            held = kind in {"capture", "void", "release"}
            return Refusal.NO_SUCH_HOLD if held else Refusal.NO_SUCH_PAYMENT
        if row.currency != currency:
            return Refusal.CURRENCY_MISMATCH
        at_us = int(at)
        if kind == "capture":
            fee = fee_minor(amount, self._settings.fee_bps)
            task.touches = (merchant,)
            task.credits = ((merchant, amount - fee),)
        elif kind in {"void", "release"}:
            task.touches = (_account(payer),)
            # What a release gives back is not known here; a floor may be too low.
            task.credits = ((_account(payer), int(whole)),) if kind == "void" else ()
        else:
            task.debit_minor = int(whole) if kind == "reversal" else amount
            task.touches = (merchant, _account(payer))
            task.credits = ((_account(payer), task.debit_minor),)
        if kind == "refund":
            task.patient = row.at_us - at_us <= _SURELY_REFUNDABLE_US
        elif kind != "reversal":
            expires_us = at_us + commands.VALID_S * 1_000_000
            end_us = row.at_us - row.at_us % _DAY_US + _DAY_US
            task.patient = not row.at_us < expires_us <= end_us
        return None

    def _original(self, row: Row) -> tuple[str, str | None]:
        """Return what the row's original is, payment or hold, and what its line said.

        Where both bear the number, a refund is the payment's.
        """
        of = f"{row.merchant}/{row.original}"
        if row.kind in {"refund", "reversal"}:
            said = self._logbook.named(f"payment/{of}")
            if said is not None or row.kind == "reversal":
                return "payment", said
        said = self._logbook.named(f"hold/{of}")
        return ("payment" if said is None and row.kind == "refund" else "hold"), said


def _is_urgent(task: Task) -> bool:
    """Return whether its outcome may be another at a later time of its date.

    An account's funds may come free by themselves when a hold ends; a merchant's do not.
    """
    return not task.patient or (task.unsure and task.touches[0].startswith("account/"))


def _account(number: str) -> str:
    return f"account/{number}"


def _merchant(number: str) -> str:
    return f"merchant/{number}"
