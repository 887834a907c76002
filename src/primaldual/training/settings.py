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
        batch_size: series per step and process, at most; an epoch is cut into even batches.
        learning_rate: the highest learning rate of the schedule.
        weight_decay: decoupled weight decay.
        optimizer: "radam" or "adamw".
        schedule: "cosine" or "constant".
        warmup_epochs: epochs over which the learning rate grows linearly from zero.
        gradient_clip: largest norm of the gradient; None leaves it alone.
        augmentation: "none", or "series" to shift and scale every series and add noise, anew each time, see
            :func:`primaldual.training.augmentation.of_series`.
        mixed_precision: "no", or "bf16" to run the forward pass under autocast.
        patience: epochs without a better validation metric, or a lower loss at the same metric, before
            training stops; None never stops early.
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
    gradient_clip: float | None = 1.0
    augmentation: str = "none"
    mixed_precision: str = "no"
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "batch_size": 1, "warmup_epochs": 0, "patience": 1}.items():
            value = getattr(self, name)
            if not (_is_whole(value) and value >= least) and not (value is None and name == "patience"):
                raise ArgumentError(f"{name} must be an integer of at least {least}; got {value!r}")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if not (_is_number(value) and value > 0) and not (value is None and name == "gradient_clip"):
                raise ArgumentError(f"{name} must be a positive number; got {value!r}")
        if not (_is_number(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(f"weight_decay must be a number of at least 0; got {self.weight_decay!r}")
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
