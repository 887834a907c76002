"""What the classifier and the regressor share: data in, one trained transformer, outputs out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.estimators.networks import build_network, device_of, restore_network
from primaldual.estimators.preparation import Series, SeriesPreparation
from primaldual.estimators.seeds import seed_from
from primaldual.estimators.series_estimator import SeriesEstimator
from primaldual.estimators.splitting import check_fraction, split_off_validation
from primaldual.models import TimeSeriesTransformer
from primaldual.primal.presets import faithful_spec
from primaldual.training import Callback, Examples, Objective, ProgressBar, Record, TrainingSettings, train
from primaldual.training.randomness import derive_seed

_MODEL_PARAMETERS = (
    "embed_dim",
    "num_heads",
    "num_layers",
    "feedforward_dim",
    "dropout",
    "attention",
    "head",
)
_TRAINING_PARAMETERS = tuple(
    field.name for field in dataclasses.fields(TrainingSettings) if field.name != "seed"
)


class AttentionEstimator(SeriesEstimator):
    """Mixin of `AttentionClassifier` and `AttentionRegressor`: one transformer, trained."""

    _tags = {"algorithm_type": "deeplearning"}  # noqa: RUF012 - aeon reads a plain dict
    _reports = ("history_", "best_epoch_")

    model_: TimeSeriesTransformer
    history_: list[Record]
    best_epoch_: int

    def _fit_network(
        self,
        series: Sequence[Series],
        targets: Tensor,
        groups: npt.NDArray[np.int64],
        weights: Tensor,
        outputs: int,
        objective: Objective,
    ) -> None:
        if self.checkpoint_dir is not None:
            faithful_spec(self.attention)  # what has no spec has no name that a run could be found by
        seed = seed_from(self.random_state)
        fraction = check_fraction(self.validation_fraction)
        settings = self._settings(derive_seed(seed, 0))
        in_training, in_validation = split_off_validation(groups, fraction, derive_seed(seed, 1))
        self._preparation = SeriesPreparation.learn([series[place] for place in in_training])
        self._model_settings = {
            "channels": int(series[0].shape[0]),
            "length": self._preparation.length,
            "outputs": outputs,
            **self._given(_MODEL_PARAMETERS),
        }

        def examples(places: npt.NDArray[np.int64]) -> Examples:
            values, padding = self._preparation.apply([series[place] for place in places])
            chosen = torch.from_numpy(places)
            return Examples(values, padding if padding.any() else None, targets[chosen], weights[chosen])

        callbacks = [*(self.callbacks or ()), *([ProgressBar()] if self.verbose else ())]
        state = train(
            build_network(self._model_settings, derive_seed(seed, 2), TimeSeriesTransformer),
            objective,
            settings,
            examples(in_training),
            examples(in_validation) if len(in_validation) else None,
            callbacks,
            self.checkpoint_dir,
        )
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
