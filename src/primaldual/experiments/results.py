"""What one run gives, and how it is made."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from primaldual.data import Dataset
from primaldual.experiments.settings import ClassifierFactory, OnEpoch, Run


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        run: which one.
        accuracy: share of test cases predicted right, read once, after training.
        balanced_accuracy: mean over the classes of the share of their test cases predicted right.
        seconds: training time, wall clock.
        best_epoch: the epoch whose weights were kept, chosen on the validation split.
        history: one entry per epoch, as the classifier wrote it.
    """

    run: Run
    accuracy: float
    balanced_accuracy: float
    seconds: float
    best_epoch: int
    history: list[dict[str, Any]]


def execute(
    run: Run,
    train: Dataset,
    test: Dataset,
    options: Mapping[str, Any],
    factory: ClassifierFactory,
    models: Path,
    on_epoch: OnEpoch,
) -> Result:
    """Train on the train part, save the model, read the test part once."""
    classifier = factory(run, options, on_epoch)
    start = time.perf_counter()
    classifier.fit(train.X, train.y)
    seconds = time.perf_counter() - start
    models.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(models / run.folder, ignore_errors=True)
    classifier.save(models / run.folder)
    assert test.y is not None
    accuracy, balanced = accuracies(test.y, np.asarray(classifier.predict(test.X)))
    history = [{key: _plain(value) for key, value in epoch.items()} for epoch in classifier.history_]
    return Result(run, accuracy, balanced, seconds, int(classifier.best_epoch_), history)


def accuracies(truth: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Accuracy and balanced accuracy, the mean of the per-class accuracies.

    Example:
        >>> import numpy as np
        >>> accuracies(np.array(["a", "a", "a", "b"]), np.array(["a", "a", "a", "a"]))
        (0.75, 0.5)
    """
    right = predicted == truth
    per_class = [right[truth == label].mean() for label in np.unique(truth)]
    return float(right.mean()), float(np.mean(per_class))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
