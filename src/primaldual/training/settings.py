"""How to train: one frozen object, checked when made."""

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real

from primaldual.errors import ArgumentError
from primaldual.training.augmentation import AUGMENTATIONS
from primaldual.training.optimizers import OPTIMIZERS
from primaldual.training.precision import PRECISIONS
from primaldual.training.schedules import SCHEDULES


@dataclass(frozen=True)
class TrainingSettings:
    """Everything about a training run that is not the model or the data.

    Args:
        epochs: passes over the training part, at most.
        batch_size: cases per step, at most, over all processes; an epoch is cut into even batches.
        learning_rate: the highest learning rate of the schedule.
        weight_decay: decoupled weight decay.
        optimizer: "radam", "adamw", or "adamw_matrices", whose weight decay leaves vectors alone.
        schedule: "cosine", "linear" or "constant".
        warmup_epochs: epochs over which the learning rate grows linearly from zero.
        warmup_steps: steps over which it does, instead of ``warmup_epochs``; None = those of the epochs.
        gradient_clip: largest norm of the gradient; None leaves it alone.
        augmentation: "none", or "series" to shift and scale every series and add noise, anew each time.
        mixed_precision: "no", or "bf16" to run the forward pass under autocast.
        patience: epochs without a better validation metric, or a lower loss at the same metric, before
            training stops; None never stops early.
        steps: most steps, of all epochs together; the schedule ends there. None = those of the epochs.
        ema_decay: evaluate and keep the exponential moving average of the weights with this decay, see
            :class:`primaldual.training.weight_average.WeightAverage`; None = the weights themselves.
        seed: fixes batches and dropout.

    Raises:
        ArgumentError: a value out of range or an unknown name.

    Example:
        >>> TrainingSettings(epochs=10).patience is None
        True
        >>> TrainingSettings(epochs=0)
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: epochs must be an integer of at least 1; got 0
    """

    epochs: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimizer: str = "radam"
    schedule: str = "cosine"
    warmup_epochs: int = 0
    warmup_steps: int | None = None
    gradient_clip: float | None = 1.0
    augmentation: str = "none"
    mixed_precision: str = "no"
    patience: int | None = None
    steps: int | None = None
    ema_decay: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {
            "epochs": 1,
            "batch_size": 1,
            "warmup_epochs": 0,
            "warmup_steps": 0,
            "patience": 1,
            "steps": 1,
        }.items():
            value = getattr(self, name)
            optional = value is None and name in {"patience", "steps", "warmup_steps"}
            if not (_is_whole(value) and value >= least) and not optional:
                raise ArgumentError(f"{name} must be an integer of at least {least}; got {value!r}")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if not (_is_number(value) and value > 0) and not (value is None and name == "gradient_clip"):
                raise ArgumentError(f"{name} must be a positive number; got {value!r}")
        if not (_is_number(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(f"weight_decay must be a number of at least 0; got {self.weight_decay!r}")
        if not (_is_whole(self.seed) and 0 <= self.seed < 2**64):
            raise ArgumentError(f"seed must be an integer from 0 to 2**64 - 1; got {self.seed!r}")
        decay = self.ema_decay
        if decay is not None and not (_is_number(decay) and 0 <= decay < 1):
            raise ArgumentError(f"ema_decay must lie in [0, 1); got {decay!r}")
        tables: dict[str, Collection[str]] = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "augmentation": AUGMENTATIONS,
            "mixed_precision": PRECISIONS,
        }
        for name, table in tables.items():
            value = getattr(self, name)
            if value not in table:
                raise ArgumentError(f"{name} must be one of {', '.join(table)}; got {value!r}")


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)
