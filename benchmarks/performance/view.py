"""What ``python -m benchmarks.performance`` shows: a bar while it runs, tables afterwards, a page with figures on disk."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from benchmarks.performance import Results, figures, page
from benchmarks.performance.tables import tables
from benchmarks.performance.verdicts import count_reached, missed
from primaldual.cli.progress import Bars
from primaldual.cli.tables import table_of
from primaldual.reporting.files import write_text


class BenchProgress(Bars):
    """A bar over the steps, and what is measured now; a context manager that a runner calls before each step.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", table_column=None),
            console=console,
        )
        self._task = self._bars.add_task("starting", total=None)

    def __call__(self, words: str, done: int, total: int) -> None:
        """Show the next step."""
        self._bars.update(self._task, description=escape(words), completed=done, total=total)


def show(results: Results, console: Console) -> None:
    """Every table, and the verdict."""
    for table in tables(results):
        console.print(table_of(table.title, table.headings, table.rows, table.numeric))
    reached, measured = count_reached(results)
    if measured:
        console.print(f"[bold]{reached} of {measured} goals reached.[/]")
        for words in missed(results):
            console.print(f"  missed: {escape(words)}", soft_wrap=True)
    if results.quick:
        console.print("A quick run: too few rounds to judge by.")


def write_page(results: Results, folder: Path) -> None:
    """The page and its figures."""
    write_text(folder / "performance.md", page(results, ""))
    for name, drawing in figures(results).items():
        write_text(folder / name, drawing)
