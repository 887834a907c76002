"""What the terminal shows while a grid runs."""

from __future__ import annotations

from collections.abc import Callable
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
from primaldual.experiments.places import Epoch
from primaldual.experiments.running import Event, Waiting
from primaldual.experiments.store import Failure, Result
from primaldual.reporting.numbers import seconds_text


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
        epochs: most epochs of a run that was not announced by its start.
        time_left: estimates the seconds that are left; None for no estimate.
    """

    def __init__(
        self,
        console: Console,
        runs: int,
        epochs: int | None = None,
        time_left: Callable[[], float | None] | None = None,
    ) -> None:
        self._console = console
        self._epochs = epochs
        self._time_left = time_left
        self._done, self._runs = 0, runs
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}", justify="right"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("all runs", total=runs, count=f"0/{runs} runs", left="")
        self._active: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Show a start, waiting, an epoch, a result or a failure."""
        if isinstance(event, Result | Failure):
            self._finish(event)
        elif isinstance(event, Epoch):
            bar, epoch = self._bar(event.key, event.title, self._epochs), event.entry["epoch"]
            self._bars.update(bar, completed=epoch, count=f"epoch {epoch}")
        elif isinstance(event, Waiting):
            plural = "s"[: event.cells != 1]
            self._console.print(f"Waiting for {event.cells} run{plural} of other processes.")
        else:
            method = event.cell.method
            self._bar(
                event.cell.key, event.cell.title, method.parameters()["epochs"] if method.by_epochs else None
            )

    def _bar(self, key: str, title: str, epochs: int | None) -> TaskID:
        if key not in self._active:
            self._active[key] = self._bars.add_task(title, total=epochs, count="", left="")
        return self._active[key]

    def _finish(self, ended: Result | Failure) -> None:
        task = self._active.pop(ended.key, None)
        if task is not None:
            self._bars.remove_task(task)
        self._done += 1
        left = None if self._time_left is None else self._time_left()
        shown = "" if left is None else f"about {seconds_text(left)} left"
        self._bars.update(self._all, advance=1, left=shown, count=f"{self._done}/{self._runs} runs")
        count = f" {self._done}/{self._runs}  {ended.title}: "
        if isinstance(ended, Failure):
            self._console.print(words(("✗", "red"), f"{count}{ended.kind}: {ended.message}"))
            return
        ran = len(ended.history)
        epochs = f"{ran} epoch{'s' * (ran > 1)} in " if ran else ""
        seconds = ended.seconds + (0.0 if ended.history else ended.predict_seconds or 0.0)
        warning = ", optimistic" if ended.optimistic else ""
        self._console.print(
            words(
                ("✓", "green"),
                f"{count}accuracy {ended.accuracy * 100:.1f} %{warning}, {epochs}{seconds:.1f} s",
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
