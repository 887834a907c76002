"""Callbacks of a grid's training runs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch

from primaldual.data import Dataset
from primaldual.experiments.methods.method import Hear
from primaldual.training import Callback, TrainingState

_BATCH = 64


class EpochReport(Callback):
    """Calls a function with the record of every finished epoch.

    Args:
        hear: the function.
    """

    def __init__(self, hear: Hear) -> None:
        self._hear = hear

    def on_epoch_end(self, state: TrainingState) -> None:
        """Pass the newest record on."""
        self._hear(state.history[-1])


class BestOnTest(Callback):
    """Keeps the weights of the epoch with the highest test accuracy: the optimistic protocol of published tables.

    Args:
        classifier: the AttentionClassifier in training.
        test: the part to read after every epoch.
    """

    def __init__(self, classifier: Any, test: Dataset) -> None:
        self._classifier, self._test = classifier, test
        self._best, self._epoch = -1.0, 0
        self._weights: dict[str, torch.Tensor] = {}

    def on_epoch_end(self, state: TrainingState) -> None:
        """Predict the test part."""
        values, padding = self._classifier._preparation.apply(list(self._test.X))
        model = state.model
        training = model.training
        model.eval()
        with torch.no_grad():
            batches = zip(values.split(_BATCH), padding.split(_BATCH), strict=True)
            outputs = torch.cat([model(*batch).argmax(1) for batch in batches])
        model.train(training)
        accuracy = float(np.mean(self._classifier.classes_[outputs.numpy()] == self._test.y))
        if accuracy > self._best:
            self._best, self._epoch = accuracy, state.epoch
            self._weights = deepcopy(model.state_dict())

    def put_back(self, classifier: Any) -> None:
        """Give a fitted classifier the weights that were kept."""
        classifier.model_.load_state_dict(self._weights)
        classifier.best_epoch_ = self._epoch
