"""What ``python -m benchmarks.performance`` shows: a bar while it runs, tables afterwards, a page with figures on disk."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.performance import Results, figures, page
from benchmarks.performance.tables import TextTable, tables
from benchmarks.performance.verdicts import count_reached, missed
from primaldual.reporting.files import write_text


class BenchProgress:
    """A bar over the steps, and what is measured now; a context manager that a runner calls before each step.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", table_column=None),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> BenchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __call__(self, words: str, done: int, total: int) -> None:
        """Show the next step."""
        self._bar.update(self._task, description=escape(words), completed=done, total=total)


def show(results: Results, console: Console) -> None:
    """Every table, and the verdict."""
    for table in tables(results):
        console.print(rich_table(table))
    reached, measured = count_reached(results)
    if measured:
        console.print(f"[bold]{reached} of {measured} goals reached.[/]")
        for words in missed(results):
            console.print(f"  missed: {escape(words)}", soft_wrap=True)
    if results.quick:
        console.print("A quick run: too few rounds to judge by.")


def rich_table(table: TextTable) -> Table:
    """The same for the terminal."""
    shown = Table(title=escape(table.title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column(table.headings[0], style="bold", overflow="fold")
    for heading in table.headings[1:]:
        justify: JustifyMethod = "right" if table.numeric else "left"
        shown.add_column(heading, justify=justify, no_wrap=table.numeric)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown


def write_page(results: Results, folder: Path) -> None:
    """The page and its figures."""
    write_text(folder / "performance.md", page(results, ""))
    for name, drawing in figures(results).items():
        write_text(folder / name, drawing)
