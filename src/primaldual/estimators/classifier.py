"""A time series classifier for aeon and scikit-learn."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from aeon.classification import BaseClassifier

from primaldual.estimators.aeon_check_parameters import tiny_parameter_sets
from primaldual.estimators.base import AttentionEstimator, LabelledSeries, Targeted
from primaldual.estimators.networks import Outputs
from primaldual.estimators.preparation import Series
from primaldual.estimators.splitting import class_weights
from primaldual.estimators.targets import LabelTargets
from primaldual.primal.problem import PrimalProblem
from primaldual.training import Callback, Classification


class AttentionClassifier(AttentionEstimator, LabelTargets, BaseClassifier):  # type: ignore[misc] # aeon has no types
    """Classifies time series with a `TimeSeriesTransformer`; any attention of this library.

    Series may have several channels, different lengths and missing values (NaN). Channels are standardised by
    the training part; missing values are interpolated linearly in time, a channel missing from a whole series
    is set to its mean; series longer than the longest in training are cut to that length. A validation part
    is split off the training data, class by class: the weights of the epoch with its highest accuracy, and
    then its lowest loss, are kept, and training stops when neither improves any more. Data too small for a
    validation part is trained for all epochs.

    The same ``random_state`` gives the same model on the same machine, and the global generators of Python,
    NumPy and torch are left as they were.

    ``fit`` also takes ``sample_weight``, factors of the cases' losses beside ``class_weight``, and
    ``validation=(X, y)``, cases of your own in place of those split off.

    Args:
        attention: spec such as "bn(beta=0.8)+sh(1,1,2,4)", or a `PrimalProblem`.
        embed_dim: width; a multiple of num_heads.
        num_heads: attention heads.
        num_layers: transformer blocks.
        feedforward_dim: width inside the feed-forward networks.
        dropout: share of values set to zero while training.
        head: "flatten" gives every time point its own weights and suits series that start together; "mean"
            averages over time and suits series that are shifted against each other.
        embedding: "convolution", which sees shapes of a few time points before the first attention, or "linear".
        augmentation: "series" shifts and scales every series and adds noise, anew each time it is seen in training; "none".
        epochs: passes over the data, at most.
        batch_size: series per step.
        learning_rate: highest learning rate.
        weight_decay: decoupled weight decay.
        optimizer: "radam" or "adamw".
        schedule: "cosine" or "constant".
        warmup_epochs: epochs of linear warm-up.
        gradient_clip: largest gradient norm; None for none.
        mixed_precision: "no" or "bf16".
        validation_fraction: share of the cases used for early stopping; 0 for none.
        patience: epochs without an improvement on the validation part before stopping; None never stops.
        class_weight: None, "balanced", or a mapping from label to weight.
        label_smoothing: share of the target probability spread over all classes.
        device: where to train and predict, such as "cpu" or "cuda"; None for a GPU where there is one.
        checkpoint_dir: folder for checkpoints; the same fit on the same data resumes there.
        callbacks: `primaldual.training.Callback` objects.
        verbose: 0 for silence, 1 for a progress bar on whatever takes longer than two seconds.
        random_state: None, an integer or a RandomState; give an integer under ``accelerate launch``, so that
            all processes split alike.

    Attributes:
        model_: the trained `TimeSeriesTransformer`.
        history_: one record per epoch: epoch, train_loss, validation_loss, validation_metric (accuracy),
            learning_rate, seconds.
        best_epoch_: the epoch whose weights are kept.
        classes_: the labels, sorted.

    Raises:
        DataError: missing labels, a single class, an empty series.
        ArgumentError: a parameter out of range, or a device that is not there.
        SpecError: an attention spec that cannot be read.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(8, 2, 10))
        >>> y = np.array(["down", "up"] * 4)
        >>> classifier = AttentionClassifier("bn", epochs=2, random_state=0).fit(X, y)
        >>> classifier.predict_proba(X).shape
        (8, 2)
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
        augmentation: str = "series",
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
        class_weight: "Mapping[Any, float] | str | None" = None,
        label_smoothing: float = 0.1,
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.device = device
        self.checkpoint_dir = checkpoint_dir
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
        super().__init__()

    def _fit(
        self,
        X: Sequence[Series],
        y: npt.NDArray[np.generic],
        weights: npt.NDArray[np.float64],
        validation: "LabelledSeries | None" = None,
    ) -> Self:
        labels = self._label_numbers(y)
        by_class = class_weights(labels, self.classes_, self.class_weight)
        objective = Classification(self.label_smoothing)
        held_out = None
        if validation is not None:
            numbers = self._label_numbers(validation.y)
            held_out = Targeted(validation.X, torch.from_numpy(numbers), _weights(by_class[numbers]))
        part = Targeted(X, torch.from_numpy(labels), _weights(weights * by_class[labels]))
        self._fit_network(part, labels, len(self.classes_), objective, held_out)
        return self

    def _predict(self, X: Sequence[Series]) -> npt.NDArray[np.generic]:
        predicted: npt.NDArray[np.generic] = self.classes_[self._outputs(X).argmax(1)]
        return predicted

    def _predict_proba(self, X: Sequence[Series]) -> Outputs:
        return torch.from_numpy(self._outputs(X)).softmax(1).numpy()

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        del parameter_set
        return tiny_parameter_sets()


def _weights(numbers: npt.NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(numbers).float()
