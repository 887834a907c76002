"""Callbacks: what a user can watch and stop, epoch by epoch."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from primaldual.training.settings import TrainingSettings

Record = dict[str, float | int | None]
"""One epoch: epoch, train_loss, validation_loss, validation_metric, learning_rate, and three times: seconds of all,
training_seconds without validation, and loading_seconds, those of training that went into waiting for data."""


@dataclass
class TrainingState:
    """What a callback sees.

    Attributes:
        model: the model in training.
        settings: how it is trained.
        epoch: epochs finished.
        step: steps finished of the epoch under way.
        steps: steps of an epoch.
        last_step: number of the step that ends training, of all epochs together.
        loss_sums: of the epoch under way, over all processes: weighted losses and weights.
        times: of the epoch under way: seconds of training, and those of them that data took.
        history: one record per finished epoch.
        best_epoch: the epoch whose weights are kept, 0 before the first.
        best_weights: these weights, on the CPU.
        stopped: True once anyone asked to stop.
    """

    model: nn.Module
    settings: TrainingSettings
    epoch: int = 0
    step: int = 0
    steps: int = 0
    last_step: int = 0
    loss_sums: tuple[float, float] = (0.0, 0.0)
    times: tuple[float, float] = (0.0, 0.0)
    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    stopped: bool = False

    @property
    def total_steps(self) -> int:
        """Steps finished since the first epoch began."""
        return self.epoch * self.steps + self.step

    def stop(self) -> None:
        """Finish training after this epoch."""
        self.stopped = True

    def newest_is_best(self) -> bool:
        """Whether the last epoch has a higher metric than the best one, or a lower loss at the same metric.

        Without a validation part every epoch counts as better than those before.
        """
        return self.best_epoch == 0 or _rank(self.history[-1]) > _rank(self.history[self.best_epoch - 1])


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C after an epoch was finished.

    Attributes:
        state: as it was; ``best_weights`` holds the weights of the best epoch so far.
    """

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self.state = state


class Callback:
    """Base of callbacks; every method does nothing until a subclass says otherwise.

    Example:
        >>> class StopAtFive(Callback):
        ...     def on_epoch_end(self, state):
        ...         if state.epoch == 5:
        ...             state.stop()
    """

    def on_train_begin(self, state: TrainingState) -> None:
        """Before the first epoch; after a resumed state has been read."""

    def on_step_end(self, state: TrainingState) -> None:
        """After every step of the optimizer."""

    def on_epoch_end(self, state: TrainingState) -> None:
        """After every epoch, when its record is in ``state.history``; ``state.stop()`` ends training."""

    def on_train_end(self, state: TrainingState) -> None:
        """After the last epoch, also when training was interrupted."""


def _rank(record: Record) -> tuple[float, float]:
    metric, loss = record["validation_metric"], record["validation_loss"]
    if metric is None or loss is None:
        return float(record["epoch"] or 0), 0.0
    return metric, -loss
