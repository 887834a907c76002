"""Progress bars for the terminal and for notebooks."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm.auto import tqdm

from primaldual.training.callbacks import Callback, TrainingState

DELAY = 2.0
"""Seconds before a bar appears, so that short runs stay quiet."""


Item = TypeVar("Item")


def with_progress(items: Sequence[Item], description: str, shown: bool) -> Iterable[Item]:
    """The items, behind a bar if it is to be shown and takes longer than two seconds.

    Example:
        >>> list(with_progress([1, 2], "predicting", shown=False))
        [1, 2]
    """
    bar: Iterable[Item] = tqdm(items, desc=description, unit="batch", delay=DELAY, disable=not shown)
    return bar


class ProgressBar(Callback):
    """One bar over the epochs, shown when training takes longer than two seconds."""

    def on_train_begin(self, state: TrainingState) -> None:
        """Open the bar at the epoch that training starts from."""
        self._bar = tqdm(
            total=state.settings.epochs, initial=state.epoch, desc="training", unit="epoch", delay=DELAY
        )

    def on_epoch_end(self, state: TrainingState) -> None:
        """Move on by one epoch and show its losses."""
        record = state.history[-1]
        shown = {"loss": record["train_loss"], "validation": record["validation_metric"]}
        numbers = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
        self._bar.set_postfix(numbers, refresh=False)
        self._bar.update()

    def on_train_end(self, state: TrainingState) -> None:
        """Close the bar."""
        del state
        self._bar.close()
