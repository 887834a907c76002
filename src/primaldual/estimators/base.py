"""What the classifier and the regressor share: data in, one trained transformer, outputs out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.estimators.checks import one_dimensional
from primaldual.estimators.inputs import read_cases
from primaldual.estimators.networks import build_network, device_of, restore_network
from primaldual.estimators.preparation import Series, SeriesPreparation
from primaldual.estimators.seeds import seed_from
from primaldual.estimators.series_estimator import SeriesEstimator
from primaldual.estimators.splitting import check_fraction
from primaldual.models import TimeSeriesTransformer
from primaldual.primal.presets import faithful_spec
from primaldual.training import (
    Callback,
    Examples,
    Execution,
    Objective,
    ProgressBar,
    Record,
    TrainingInterrupted,
    TrainingSettings,
    TrainingState,
    train,
)
from primaldual.training.randomness import derive_seed
from primaldual.training.splitting import split_off_validation

_MODEL_PARAMETERS = (
    "embed_dim",
    "num_heads",
    "num_layers",
    "feedforward_dim",
    "dropout",
    "attention",
    "head",
    "embedding",
)
_NOT_PARAMETERS = {"seed", "steps", "warmup_steps", "ema_decay"}
_TRAINING_PARAMETERS = tuple(
    field.name for field in dataclasses.fields(TrainingSettings) if field.name not in _NOT_PARAMETERS
)


@dataclasses.dataclass(frozen=True)
class LabelledSeries:
    """Series with checked labels or targets, as users have them."""

    X: Sequence[Series]
    y: npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Targeted:
    """Series with what the objective compares outputs with, and the weights of their losses."""

    series: Sequence[Series]
    targets: Tensor
    weights: Tensor


class AttentionEstimator(SeriesEstimator):
    """Mixin of `AttentionClassifier` and `AttentionRegressor`: one transformer, trained."""

    _tags = {"algorithm_type": "deeplearning"}  # noqa: RUF012 - aeon reads a plain dict
    _reports = ("history_", "best_epoch_")

    model_: TimeSeriesTransformer
    history_: list[Record]
    best_epoch_: int

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None, validation: Any = None) -> Self:
        """Fit to series and their labels or targets.

        Ctrl-C raises ``KeyboardInterrupt`` as usual and leaves the best epoch so far fitted, if one is finished.

        Args:
            X: (cases, channels, time points), (cases, time points), or a list of (channels, time points): arrays,
                torch tensors, or a data frame of pandas or polars with columns case and time, as in a file.
            y: (cases,); None = the column label of a data frame, whose cases count in the order in which they occur.
            sample_weight: (cases,), 0 or more: factors of the losses. Cases of weight 0 are left out.
            validation: (X, y) in the same forms, or a data frame with a column label: the cases that epochs are
                compared by. None = split off the training cases, see ``validation_fraction``.

        Raises:
            DataError: series or labels that cannot be used.
            ArgumentError: weights that are negative, not finite, or all 0; a parameter out of range.
            ShapeError: arrays that do not fit together.
        """
        series, labels, weights = self._training_cases(X, y, sample_weight)
        held_out = None if validation is None else self._held_out(validation, int(series[0].shape[0]))
        try:
            self._fit(series, labels, weights, held_out)
        finally:
            self.is_fitted = hasattr(self, "model_")
        return self

    def _held_out(self, validation: Any, channels: int) -> LabelledSeries:
        pair = tuple(validation) if isinstance(validation, tuple | list) else (validation, None)
        if len(pair) != 2:
            raise ArgumentError(
                f"validation must be (X, y) or a data frame with a column label; got {len(pair)} parts"
            )
        cases = read_cases(pair[0], pair[1], self.channel_names_)
        series = self._preprocess_collection(cases.X, store_metadata=False)
        if series[0].shape[0] != channels:
            raise ShapeError(f"validation must have {channels} channels, as X; got {series[0].shape[0]}")
        return LabelledSeries(series, self._check_held_out(one_dimensional(cases.y), len(series)))

    def _fit_network(
        self,
        part: Targeted,
        groups: npt.NDArray[np.int64],
        outputs: int,
        objective: Objective,
        held_out: Targeted | None,
    ) -> None:
        if self.checkpoint_dir is not None:
            faithful_spec(self.attention)  # what has no spec has no name that a run could be found by
        seed = seed_from(self.random_state)
        fraction = check_fraction(self.validation_fraction)
        settings = self._settings(derive_seed(seed, 0))
        if held_out is None:
            part, held_out = _split(part, groups, fraction, derive_seed(seed, 1))
        self._preparation = SeriesPreparation.learn(part.series)
        self._model_settings = {
            "channels": int(part.series[0].shape[0]),
            "length": self._preparation.length,
            "outputs": outputs,
            **self._given(_MODEL_PARAMETERS),
        }

        def examples(part: Targeted) -> Examples:
            values, padding = self._preparation.apply(part.series)
            return Examples(values, padding if padding.any() else None, part.targets, part.weights)

        callbacks = [*(self.callbacks or ()), *([ProgressBar()] if self.verbose else ())]
        try:
            state = train(
                build_network(self._model_settings, derive_seed(seed, 2), TimeSeriesTransformer),
                objective,
                settings,
                examples(part),
                None if held_out is None else examples(held_out),
                callbacks,
                Execution(self.device, self.checkpoint_dir),
            )
        except TrainingInterrupted as interrupted:
            self._keep(interrupted.state)
            raise
        self._keep(state)

    def _keep(self, state: TrainingState) -> None:
        self.model_ = restore_network(self._model_settings, state.best_weights, TimeSeriesTransformer).to(
            device_of(state.model)
        )
        self.history_ = state.history
        self.best_epoch_ = state.best_epoch

    def _settings(self, seed: int) -> TrainingSettings:
        callbacks = () if self.callbacks is None else self.callbacks
        if not isinstance(callbacks, Sequence) or not all(isinstance(one, Callback) for one in callbacks):
            raise ArgumentError(f"callbacks must hold Callback objects; got {self.callbacks!r}")
        return TrainingSettings(**self._given(_TRAINING_PARAMETERS), seed=seed)

    def _specs(self) -> dict[str, Any]:
        return {"attention": faithful_spec(self.attention)}


def _split(
    part: Targeted, groups: npt.NDArray[np.int64], fraction: float, seed: int
) -> tuple[Targeted, Targeted | None]:
    """Training and validation part, the latter None where nothing is split off."""
    training, validation = (
        Targeted([part.series[place] for place in places], part.targets[places], part.weights[places])
        for places in split_off_validation(groups, fraction, seed)
    )
    return training, validation if validation.series else None
