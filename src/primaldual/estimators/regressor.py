"""A time series regressor for aeon and scikit-learn."""

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from aeon.regression import BaseRegressor

from primaldual.estimators.aeon_check_parameters import tiny_parameter_sets
from primaldual.estimators.base import AttentionEstimator, LabelledSeries, Targeted
from primaldual.estimators.networks import Outputs
from primaldual.estimators.preparation import Series
from primaldual.estimators.targets import NumberTargets
from primaldual.primal.problem import PrimalProblem
from primaldual.training import Callback, Regression


class AttentionRegressor(AttentionEstimator, NumberTargets, BaseRegressor):  # type: ignore[misc] # aeon has no types
    """Predicts a number from a time series with a `TimeSeriesTransformer`; any attention of this library.

    The target is standardised by the training part and the squared error is minimised; everything else is as
    in `AttentionClassifier`, and so are the arguments, but that series are not augmented: a scale or shift may change
    the target.

    Attributes:
        model_: the trained `TimeSeriesTransformer`; its output is the standardised target.
        history_: one record per epoch: epoch, train_loss, validation_loss, validation_metric (minus the root
            mean squared error in units of the target), learning_rate, seconds.
        best_epoch_: the epoch whose weights are kept.

    Raises:
        DataError: targets that are not finite, an empty series.
        ArgumentError: a parameter out of range, or a device that is not there.
        SpecError: an attention spec that cannot be read.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(8, 2, 10))
        >>> regressor = AttentionRegressor("bn", epochs=2, random_state=0).fit(X, X.mean((1, 2)))
        >>> regressor.predict(X).shape
        (8,)
    """

    def __init__(
        self,
        attention: "str | PrimalProblem" = "softmax",
        *,
        embed_dim: int = 64,
        num_heads: int = 4,
        num_layers: int = 2,
        feedforward_dim: int = 128,
        dropout: float = 0.1,
        head: str = "flatten",
        embedding: str = "convolution",
        augmentation: str = "none",
        epochs: int = 50,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        optimizer: str = "radam",
        schedule: str = "cosine",
        warmup_epochs: int = 0,
        gradient_clip: float | None = 1.0,
        mixed_precision: str = "no",
        validation_fraction: float = 0.1,
        patience: int | None = 25,
        device: str | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: "int | np.random.RandomState | None" = None,
    ) -> None:
        self.attention = attention
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.feedforward_dim = feedforward_dim
        self.dropout = dropout
        self.head = head
        self.embedding = embedding
        self.augmentation = augmentation
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.gradient_clip = gradient_clip
        self.mixed_precision = mixed_precision
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.checkpoint_dir = checkpoint_dir
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
        super().__init__()

    def _fit(
        self,
        X: Sequence[Series],
        y: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        validation: "LabelledSeries | None" = None,
    ) -> Self:
        self._learn_standards(y)
        held_out = None
        if validation is not None:
            held_out = Targeted(validation.X, self._targets(validation.y), torch.ones(len(validation.y)))
        part = Targeted(X, self._targets(y), torch.from_numpy(weights).float())
        groups = np.zeros(len(y), dtype=np.int64)
        self._fit_network(part, groups, 1, Regression(self._target_deviation), held_out)
        return self

    def _targets(self, y: npt.NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(self._standardised(y)).float()

    def _predict(self, X: Sequence[Series]) -> Outputs:
        return self._outputs(X)[:, 0] * self._target_deviation + self._target_mean

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        del parameter_set
        return tiny_parameter_sets()
