"""A progress bar for the terminal and for notebooks."""

from tqdm.auto import tqdm

from primaldual.training.callbacks import Callback, TrainingState

DELAY = 2.0
"""Seconds before a bar appears, so that short runs stay quiet."""


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
