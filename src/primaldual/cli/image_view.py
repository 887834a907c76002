"""What the terminal shows of ``train images``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.table import Table

from primaldual.cli.progress import RunProgress
from primaldual.cli.screen import Screen
from primaldual.reporting.numbers import count_text, percent, seconds_text
from primaldual.training import Callback, TrainingState

if TYPE_CHECKING:
    from primaldual.images.runs import PreparedRun

_NAMED = 20
"""Left out files that are named on the screen; the file of results names all."""


class Notes(Callback):
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

    def begin(self, run: PreparedRun) -> None:
        """Say what will be trained on what."""
        parts, config = run.parts, run.config
        held_out = 0 if parts.validation is None else len(parts.validation)
        self.tell(
            f"{config['data']}: {len(parts.training)} images of {len(config['classes'])} classes to train on, "
            f"{held_out} to choose the epoch by, {len(parts.test)} to test"
        )
        for note in parts.notes:
            self.tell(f"Note: {note}.")
        if run.left_out:
            self.tell(f"{len(run.left_out)} files cannot be read and are left out:")
            for name in run.left_out[:_NAMED]:
                self.tell(f"  {name}")
            if len(run.left_out) > _NAMED:
                self.tell(f"  and {len(run.left_out) - _NAMED} more")
        self.tell(
            f"{config['model']} with {config['attention']}, recipe {config['recipe']}, in {run.folder.path}"
        )

    def on_train_begin(self, state: TrainingState) -> None:
        """Say where a resumed run goes on."""
        done = min(
            state.total_steps, state.last_step
        )  # the last epoch counts as whole where steps end within it
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


def told(numbers: Mapping[str, Any], page: Path) -> None:
    """The results in a table and the place of the report."""
    screen, test, training = Screen(), numbers["test"], numbers["training"]
    table = Table(title=f"{test['images']} test images", show_header=False)
    rows = {
        "top-1 accuracy": f"{percent(test['scores']['top1'])} %",
        "top-5 accuracy": f"{percent(test['scores']['top5'])} %",
        "calibration error": f"{percent(test['scores']['calibration_error'])} %",
        "images per second, training": count_text(training["images_per_second"]),
        "images per second, testing": count_text(test["throughput"]),
        "share of loading in training": f"{percent(training['loading_share'])} %",
    }
    for kind, found in test["corrupted"].items():
        shown = ", ".join(percent(value) for value in found.values())
        rows[f"top-1 under {kind} of severity {', '.join(map(str, found))}"] = f"{shown} %"
    for name, value in rows.items():
        table.add_row(name, value)
    screen.print(table)
    screen.print(f"Report: {page}", soft_wrap=True)
