"""What the terminal shows while a grid runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from primaldual.cli.screen import words
from primaldual.experiments.grid import Event
from primaldual.experiments.results import Result
from primaldual.experiments.settings import Run


class Bars:
    """Progress bars that a ``with`` statement shows and takes away.

    Args:
        columns: of each bar.
        console: where to write.
        options: of rich's ``Progress``.
    """

    def __init__(self, *columns: ProgressColumn, console: Console, **options: Any) -> None:
        self._bars = Progress(*columns, console=console, transient=True, **options)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bars away."""
        self._bars.stop()


class GridProgress(Bars):
    """A bar over the runs and one over the epochs of each run at work; plain lines without a terminal.

    Args:
        console: where to write.
        runs: runs to do.
        epochs: most epochs of a run.
    """

    def __init__(self, console: Console, runs: int, epochs: int) -> None:
        self._console = console
        self._epochs = epochs
        self._done, self._runs, self._start = 0, runs, time.monotonic()
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("all runs", total=runs, unit="runs  ")
        self._active: dict[Run, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Show an epoch or a result."""
        if isinstance(event, Result):
            self._finish(event)
            return
        task = self._active.get(event.run)
        if task is None:
            name = f"{event.run.attention}, seed {event.run.seed}"
            task = self._bars.add_task(name, total=self._epochs, unit="epochs")
            self._active[event.run] = task
        self._bars.update(task, completed=event.entry["epoch"])

    def _finish(self, result: Result) -> None:
        task = self._active.pop(result.run, None)
        if task is not None:
            self._bars.remove_task(task)
        self._bars.advance(self._all)
        self._done += 1
        self._console.print(
            words(
                ("✓", "green"),
                f" {self._done}/{self._runs}  {result.run.attention}, seed {result.run.seed}: "
                f"accuracy {result.accuracy * 100:.1f} %, {len(result.history)} epochs in {result.seconds:.1f} s",
            )
        )


class RunProgress(Bars):
    """A bar over so many equal steps, with the time that is left; nothing without a terminal.

    Args:
        console: where to write.
        task: what is done.
    """

    def __init__(self, console: Console, task: str) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task(task, total=None)

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        self._bars.update(self._task, completed=done, total=total)
