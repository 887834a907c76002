"""How one cell is made, and what it gives."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from primaldual.data import Dataset
from primaldual.experiments.cell import Cell
from primaldual.experiments.methods import Hear
from primaldual.experiments.tuning import tune


@dataclass(frozen=True)
class Outcome:
    """What a finished cell gives.

    Attributes:
        accuracy: share of test cases predicted right.
        balanced_accuracy: mean over the classes of the share of their test cases predicted right.
        seconds: training time, wall clock, a search for settings included.
        cpu_seconds: the same as processor time of all threads.
        predict_seconds: processor time of predicting the test part.
        best_epoch: the epoch whose weights were kept; None without epochs.
        history: one entry per epoch, as the classifier wrote it.
        labels: the classes.
        confusion: test cases by true (rows) and predicted class.
        wrong: indices of the test cases that were predicted wrong; None where they were not kept.
        measures: operations, parameters and the like, where the method has them.
        chosen: settings that a search chose.
        machine: processor and system.
    """

    accuracy: float
    balanced_accuracy: float
    seconds: float
    cpu_seconds: float | None
    predict_seconds: float | None
    best_epoch: int | None
    history: list[dict[str, Any]]
    labels: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    wrong: list[int] | None = None
    measures: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    machine: str = ""


@dataclass(frozen=True)
class Job:
    """A cell with its data.

    Args:
        cell: what to do.
        train: train part.
        test: test part.
        models: folder to save the model in; None for none.
        code: the code version that the cell's key was made with.
    """

    cell: Cell
    train: Dataset
    test: Dataset
    models: Path | None
    code: str


def execute(job: Job, hear: Hear) -> Outcome:
    """Train on the train part, save the model, read the test part.

    Args:
        job: cell and data.
        hear: hears of every epoch.
    """
    cell, train, test = job.cell, job.train, job.test
    assert test.y is not None
    chosen: dict[str, Any] = {}
    method = cell.method
    method.warm_up()
    wall, cpu = time.perf_counter(), time.process_time()
    if cell.tuning is not None:
        method, chosen = tune(method, cell.tuning, train, cell.seed, cell.threads)
    chooser = test if cell.protocol.optimistic else None
    fitted = method.fit(train, cell.seed, cell.threads, hear, chooser)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    if job.models is not None:
        job.models.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(job.models / cell.folder, ignore_errors=True)
        fitted.save(job.models / cell.folder)
    start = time.process_time()
    predicted = np.asarray(fitted.predict(method.series(test, train))).astype(str)
    predict_seconds = time.process_time() - start
    accuracy, balanced = accuracies(test.y, predicted)
    labels = sorted({*train.class_names, *test.class_names})
    return Outcome(
        accuracy,
        balanced,
        seconds,
        cpu_seconds,
        predict_seconds,
        int(fitted.best_epoch_) if method.by_epochs else None,
        [_plain(epoch) for epoch in getattr(fitted, "history_", ())],
        labels,
        _confusion(test.y, predicted, labels),
        np.flatnonzero(predicted != test.y).tolist(),
        method.measures(fitted, test),
        chosen,
        f"{platform.system()} {platform.machine()}",
    )


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


def _confusion(truth: Any, predicted: Any, labels: list[str]) -> list[list[int]]:
    rows = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(rows, (np.searchsorted(labels, truth), np.searchsorted(labels, predicted)), 1)
    return rows.tolist()


def _plain(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.item() if hasattr(value, "item") else value for key, value in epoch.items()}
