"""A bar over the steps of a run and a line for every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from primaldual.cli.progress import RunProgress
from primaldual.cli.screen import Screen
from primaldual.reporting.numbers import percent, seconds_text
from primaldual.training import Callback, TrainingState

_NAMED = 20
"""Left out files that are named on the screen; the file of results names all."""


class StepNotes(Callback):
    """A bar over the steps and a line for every epoch, on standard error.

    Args:
        shown: False for processes that are not the first one.
    """

    def __init__(self, shown: bool) -> None:
        self._screen = Screen(stderr=True, quiet=not shown)
        self._bar = RunProgress(self._screen, "training")

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def tell(self, words: str) -> None:
        """Say what is under way."""
        self._screen.print(words, soft_wrap=True)

    def tell_left_out(self, names: Sequence[str]) -> None:
        """Name files that cannot be read, of many the first ones."""
        if names:
            self.tell(f"{len(names)} files cannot be read and are left out:")
            for name in names[:_NAMED]:
                self.tell(f"  {name}")
            if len(names) > _NAMED:
                self.tell(f"  and {len(names) - _NAMED} more")

    def on_train_begin(self, state: TrainingState) -> None:
        """Say where a resumed run goes on."""
        done = min(state.total_steps, state.last_step)  # the last epoch counts as a whole one
        if done:
            self.tell(f"Going on after step {done} of {state.last_step}")
        self._bar(done, state.last_step)

    def on_step_end(self, state: TrainingState) -> None:
        """Move on."""
        self._bar(state.total_steps, state.last_step)

    def on_epoch_end(self, state: TrainingState) -> None:
        """One line."""
        record = state.history[-1]
        metric = record["validation_metric"]
        accuracy = "" if metric is None else f", validation accuracy {percent(metric)} %"
        self.tell(
            f"epoch {record['epoch']}/{state.settings.epochs}: loss {record['train_loss']:.3f}{accuracy}, "
            f"{seconds_text(record['seconds'] or 0)}"
        )
