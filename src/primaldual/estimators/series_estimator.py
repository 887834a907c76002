"""What all estimators of time series share: data in, one fitted model, outputs out, saved and loaded."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from aeon.base import BaseCollectionEstimator
from torch import Tensor, nn

from primaldual.errors import ShapeError
from primaldual.estimators import folders
from primaldual.estimators.aeon_warnings import without_variance_warnings
from primaldual.estimators.checks import check_case_count, check_series, one_dimensional
from primaldual.estimators.description import apply_description, parameters_from
from primaldual.estimators.inputs import read_cases, read_weights
from primaldual.estimators.networks import Outputs, apply_network, device_of, restore_network
from primaldual.estimators.preparation import Series, SeriesPreparation
from primaldual.models import TimeSeriesTransformer


class SeriesEstimator(BaseCollectionEstimator):  # type: ignore[misc] # aeon has no types
    """Mixin of every classifier and regressor; subclasses fit ``model_`` and add labels and aeon's base class."""

    _tags = {  # noqa: RUF012 - aeon reads a plain dict
        "X_inner_type": ["np-list", "numpy3D"],
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
    }
    _kind: ClassVar[type[nn.Module]] = TimeSeriesTransformer
    _reports: ClassVar[tuple[str, ...]] = ()
    """Fitted attributes that are saved beside the model, JSON values."""

    model_: nn.Module
    channel_names_: tuple[str, ...] | None
    verbose: int
    _preparation: SeriesPreparation
    _model_settings: dict[str, Any]

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Fit to series and their labels or targets.

        Args:
            X: (cases, channels, time points), (cases, time points), or a list of (channels, time points): arrays,
                torch tensors, or a data frame of pandas or polars with columns case and time, as in a file.
            y: (cases,); None = the column label of a data frame, whose cases count in the order in which they occur.
            sample_weight: (cases,), 0 or more: weights of the errors. Cases of weight 0 are left out.

        Raises:
            DataError: series or labels that cannot be used.
            ArgumentError: weights that are negative, not finite, or all 0; a parameter out of range.
            ShapeError: arrays that do not fit together.
        """
        self._fit(*self._training_cases(X, y, sample_weight))
        self.is_fitted = True
        return self

    def score(self, X: Any, y: Any = None, *arguments: Any, **options: Any) -> float:
        """As in aeon: accuracy or R²; y may be left out for a data frame with a column label."""
        cases = read_cases(X, y, getattr(self, "channel_names_", None))
        score: float = super().score(cases.X, one_dimensional(cases.y), *arguments, **options)
        return score

    def prepare(self, X: Any) -> tuple[Tensor, Tensor]:
        """Series exactly as the model gets them: ``model_(values, padding_mask)``.

        Args:
            X: series, as for ``predict``.

        Returns:
            values (cases, time points, channels), float32, and padding mask (cases, time points), True at
            padding, on the model's device.

        Raises:
            NotFittedError: before ``fit``.
            ShapeError: another number of channels than in ``fit``.
        """
        self._check_is_fitted()
        series = self._preprocess_collection(X, store_metadata=False)
        self._check_shape(series)
        return self._model_inputs(series)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator as a folder of safetensors and JSON; whole or not at all.

        Callbacks are not saved. The place may be new, an empty folder, or an earlier saved estimator, which is replaced; any
        other folder or file is left alone.

        Raises:
            NotFittedError: before ``fit``.
            CheckpointError: something else is there, or the place cannot be written.
        """
        self._check_is_fitted()
        folders.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an estimator that `save` wrote.

        Raises:
            CheckpointError: the folder is missing, corrupt or holds something else.
        """
        estimator: Self = folders.read(cls, path)
        return estimator

    @classmethod
    def _from_description(cls, described: Mapping[str, Any], weights: dict[str, Tensor]) -> Self:
        estimator = cls(**parameters_from(described))
        apply_description(estimator, described)
        estimator.model_ = restore_network(estimator._model_settings, weights, cls._kind)
        estimator.is_fitted = True
        return estimator

    def _given(self, names: Sequence[str]) -> dict[str, Any]:
        """Parameters by name; a grid search over a NumPy array gives NumPy numbers, torch wants Python's."""
        values = {name: getattr(self, name) for name in names}
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()
        }

    def _training_cases(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Sequence[Series], npt.NDArray[Any], npt.NDArray[np.float64]]:
        """Checked series, labels and weights above 0, after everything that an earlier fit left is gone."""
        self.reset()
        cases = read_cases(X, y)
        series = self._preprocess_collection(cases.X)
        self.channel_names_ = cases.channel_names
        labels, weights = one_dimensional(cases.y), read_weights(sample_weight, len(series))
        check_case_count(len(series), len(labels))
        if weights is None:
            weights = np.ones(len(series))
        elif not weights.all():
            counting = np.flatnonzero(weights)
            series, labels, weights = [series[case] for case in counting], labels[counting], weights[counting]
        return series, self._check_y(labels, len(series)), weights

    def _model_inputs(self, series: Sequence[Series]) -> tuple[Tensor, Tensor]:
        values, padding = self._preparation.apply(series)
        device = device_of(self.model_)
        return values.to(device), padding.to(device)

    def _outputs(self, series: Sequence[Series]) -> Outputs:
        return apply_network(self.model_, *self._model_inputs(series), progress=bool(self.verbose))

    def _preprocess_collection(self, X: Any, store_metadata: bool = True) -> Any:
        X = read_cases(X, channel_names=getattr(self, "channel_names_", None)).X
        check_series(X)
        with without_variance_warnings():
            return super()._preprocess_collection(X, store_metadata)

    def _check_shape(self, X: Sequence[Series]) -> None:
        expected, given = self._model_settings["channels"], X[0].shape[0]
        if given != expected:
            raise ShapeError(f"X must have {expected} channels, as in fit; got {given}")

    def __getstate__(self) -> dict[str, Any]:
        """The state with the weights as NumPy arrays, which joblib, skops and the like understand."""
        state = dict(super().__getstate__())
        if "model_" in state:
            weights = state.pop("model_").state_dict()
            state["_weights"] = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the model again from its settings and weights."""
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            arrays = {name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()}
            self.model_ = restore_network(self._model_settings, arrays, self._kind)
