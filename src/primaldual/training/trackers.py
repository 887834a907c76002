"""Trackers of Accelerate, such as TensorBoard, as a callback."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.training.callbacks import Callback, TrainingState

_PROJECT = "primaldual"


class Trackers(Callback):
    """Logs the record of every epoch to trackers of Accelerate.

    Args:
        names: such as "tensorboard", "wandb" or "mlflow".
        folder: for trackers that write files.
        config: settings of the run, logged at the start; only numbers, strings and booleans are passed on.

    Raises:
        ArgumentError: a tracker that Accelerate does not know.
        UnsupportedError: a tracker whose package is not installed.

    Example:
        >>> Trackers(["pencil"], "runs", {})
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: tracker must be one of aim, ...; got 'pencil'
    """

    def __init__(
        self, names: Sequence[str], folder: str | os.PathLike[str], config: Mapping[str, Any]
    ) -> None:
        installed = {str(getattr(one, "value", one)) for one in get_available_trackers()}
        for name in names:
            if name not in LOGGER_TYPE_TO_CLASS:
                known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
                raise ArgumentError(f"tracker must be one of {known}; got {name!r}")
            if name in LoggerType.list() and name not in installed:
                raise UnsupportedError(f"tracker {name} needs its package; get it with: pip install {name}")
        self._names, self._folder = list(names), folder
        self._config = {name: one for name, one in config.items() if isinstance(one, str | int | float)}
        self._open: list[Any] = []

    def on_train_begin(self, state: TrainingState) -> None:
        """Open the trackers and log the settings."""
        del state
        for name in self._names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            places = {"logging_dir": self._folder} if kind.requires_logging_directory else {}
            tracker = kind(_PROJECT, **places)
            if hasattr(tracker, "start"):  # older ones start when they are made
                tracker.start()
            tracker.store_init_configuration(self._config)
            self._open.append(tracker)

    def on_epoch_end(self, state: TrainingState) -> None:
        """Log the newest record by its number of steps."""
        record = {name: value for name, value in state.history[-1].items() if value is not None}
        for tracker in self._open:
            tracker.log(record, step=state.total_steps)

    def on_train_end(self, state: TrainingState) -> None:
        """Close the trackers."""
        del state
        for tracker in self._open:
            tracker.finish()
        self._open = []
