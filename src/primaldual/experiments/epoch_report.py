"""Report the epochs of a training run while a grid of runs is under way."""

from __future__ import annotations

from primaldual.experiments.settings import OnEpoch
from primaldual.training import Callback, TrainingState


class EpochReport(Callback):
    """Calls a function with the record of every finished epoch.

    Args:
        on_epoch: the function.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        self._on_epoch = on_epoch

    def on_epoch_end(self, state: TrainingState) -> None:
        """Pass the newest record on."""
        self._on_epoch(state.history[-1])
