"""What all estimators of time series share: data in, one fitted model, outputs out, saved and loaded."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from aeon.base import BaseCollectionEstimator
from torch import Tensor, nn

from primaldual.errors import ShapeError
from primaldual.estimators import folders
from primaldual.estimators.aeon_warnings import without_variance_warnings
from primaldual.estimators.checks import check_series, with_gaps
from primaldual.estimators.description import apply_description, parameters_from
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
    verbose: int
    _preparation: SeriesPreparation
    _model_settings: dict[str, Any]

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

        Callbacks are not saved. An earlier saved estimator at the same place is replaced; any other folder or
        file is left alone.

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

    def _model_inputs(self, series: Sequence[Series]) -> tuple[Tensor, Tensor]:
        values, padding = self._preparation.apply(series)
        device = device_of(self.model_)
        return values.to(device), padding.to(device)

    def _outputs(self, series: Sequence[Series]) -> Outputs:
        return apply_network(self.model_, *self._model_inputs(series), progress=bool(self.verbose))

    def _preprocess_collection(self, X: Any, store_metadata: bool = True) -> Any:
        X = with_gaps(X)
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
