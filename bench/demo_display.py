"""What the demo shows: a line where it runs, a bar while it does, and a summary at the end."""

from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench import bar
from bench.demo_report import Finished, Planned, Progressed
from bench.shopping import FIRST_DATE
from bench.tally import Tally


class Bar(bar.Bar):
    """The demo's progress bar: purchases done, of all that are to be replayed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "reading the data set")
        self._shopping = False

    def planned(self, planned: Planned) -> None:
        """Learn how much there is to do."""
        self.begin(planned.payments + planned.holds, planned.purchases_before)

    def progressed(self, progressed: Progressed) -> None:
        """Move on by one array."""
        self._shopping = self._shopping or progressed.purchases > 0
        where = progressed.business_date if self._shopping else "opening accounts"
        self.advance(progressed.purchases, where, progressed.refused)


def summary(
    tally: Tally,
    planned: Planned,
    finished: Finished,
    refused: Mapping[str, int],
    wrong: list[str],
) -> RenderableType:
    """Return the summary that a run ends with.

    Args:
        refused: code → count.
        wrong: what did not come out as it should, one sentence each.
    """
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column()
    baskets = tally.payments + tally.holds + planned.skipped_zero
    rows = [
        ("Baskets", f"{baskets:,}, {FIRST_DATE} to {planned.last_date}"),
        ("Payments", f"{tally.payments:,}"),
        ("At the pump", f"{tally.holds:,} holds, {tally.captures:,} captures"),
        ("Skipped", f"{planned.skipped_zero:,} baskets of {dollars(0)}"),
        ("Refused", codes(refused) or "nothing"),
        ("Settled", f"[bold]{dollars(tally.amount_minor)}[/bold]"),
        ("Day cuts", f"{tally.day_cuts:,}; {tally.business_date} is open"),
    ]
    if tally.biggest is not None:
        big = tally.biggest
        store, purchases = tally.by_merchant.most_common(1)[0]
        bought = f"by {big.payer} at {big.merchant_no} on {big.business_date}"
        rows += [
            ("Busiest store", f"{store}, {purchases:,} purchases"),
            ("Biggest basket", f"{dollars(big.amount_minor)} {bought}"),
        ]
    for name, value in rows:
        facts.add_row(name, value)
    parts: list[RenderableType] = [facts, Text(), _money(tally), Text(), _speed(tally, finished)]
    if not wrong:
        proof = (
            f"✓ {tally.postings:,} postings verified: every balance is the sum of its own, every"
            " date comes to zero, and the chain over them is unbroken."
        )
        parts += [Text(), Text(proof, "green")]
    parts += [Text(f"✗ {each}", "bold red") for each in wrong]
    title = "[bold]A year of shopping" if tally.day_cuts >= 365 else "[bold]Shopping"
    style = "red" if wrong else "green"
    return Panel(Group(*parts), title=title, border_style=style, expand=False, padding=(1, 3))


def _money(tally: Tally) -> Table:
    """Return where the money is, and that it comes to zero: double entry, bank-wide."""
    balanced = not tally.total_minor
    style = "green" if balanced else "red"
    proof = "not a cent lost or invented" if balanced else "money was lost or invented"
    table = Table(box=None, pad_edge=False, show_footer=True, header_style="dim")
    table.add_column("Where the money is", footer="all together")
    table.add_column("", justify="right", footer=Text(dollars(tally.total_minor), f"bold {style}"))
    table.add_column("", footer=Text(proof, style))
    table.add_row("clearing", dollars(tally.clearing_minor), "what has come into the bank")
    table.add_row(f"{tally.accounts:,} accounts", dollars(tally.accounts_minor), "unspent")
    table.add_row(f"{tally.merchants:,} merchants", dollars(tally.merchants_minor), "earned")
    if tally.fees_minor:
        table.add_row("fees", dollars(tally.fees_minor))
    table.add_row("messages on their way", dollars(tally.messages_minor))
    return table


def _speed(tally: Tally, finished: Finished) -> Text:
    if finished.p50_ms is None or finished.p99_ms is None:
        return Text(f"Everything was there already; {tally.commits:,} commits.", "dim")
    rate = finished.purchases / finished.seconds
    again = f" {finished.replayed:,} commands were there already." if finished.replayed else ""
    return Text(
        f"{finished.purchases:,} purchases in {finished.seconds:.1f} s: {rate:,.0f} a second, each"
        f" durable before it was answered, in {tally.commits:,} commits.{again} From sending an"
        f" array of up to 1,000 commands to having its answer: p50 {finished.p50_ms:,.0f} ms,"
        f" p99 {finished.p99_ms:,.0f} ms.",
        "dim",
    )


def codes(refused: Mapping[str, int]) -> str:
    """Return how many were refused with which code, for people; empty without any."""
    return ", ".join(f"{code} {count:,}" for code, count in sorted(refused.items()))


def dollars(amount_minor: int) -> str:
    """Return cents as dollars, for people."""
    whole, cents = divmod(abs(amount_minor), 100)
    return f"{'-' if amount_minor < 0 else ''}${whole:,}.{cents:02d}"
