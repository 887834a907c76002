"""What classifiers do with labels and regressors with numbers, whatever they fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from primaldual.errors import DataError
from primaldual.estimators.checks import check_case_count, check_labels, check_targets
from primaldual.estimators.description import labels_from_json, labels_to_json


class LabelTargets:
    """Mixin of classifiers: checked labels in ``classes_``, saved with their type."""

    classes_: npt.NDArray[np.generic]

    def _check_y(
        self, y: Any, n_cases: int, update_classes: bool = True, allow_single_class: bool = False
    ) -> npt.NDArray[np.generic]:
        labels = check_labels(y)
        check_case_count(n_cases, len(labels))
        classes = np.unique(labels)
        if len(classes) < 2 and not allow_single_class:
            raise DataError(f"y must hold at least two classes; every label is {classes[0]!r}")
        if update_classes:
            self._remember_classes(classes)
        return labels

    def _describe_targets(self) -> dict[str, Any]:
        return labels_to_json(self.classes_)

    def _apply_targets(self, described: Mapping[str, Any]) -> None:
        self._remember_classes(labels_from_json(described))

    def _remember_classes(self, classes: npt.NDArray[np.generic]) -> None:
        self.classes_ = classes
        self.n_classes_ = len(classes)
        self._class_dictionary = {label: place for place, label in enumerate(classes)}


class NumberTargets:
    """Mixin of regressors: checked targets, standardised for the fit."""

    _target_mean: float
    _target_deviation: float

    def _check_y(self, y: Any, n_cases: int) -> npt.NDArray[np.float64]:
        targets = check_targets(y)
        check_case_count(n_cases, len(targets))
        return targets

    def _standardise(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        self._target_mean = float(y.mean())
        self._target_deviation = float(y.std()) or 1.0
        standardised: npt.NDArray[np.float64] = (y - self._target_mean) / self._target_deviation
        return standardised

    def _describe_targets(self) -> dict[str, Any]:
        return {"mean": self._target_mean, "deviation": self._target_deviation}

    def _apply_targets(self, described: Mapping[str, Any]) -> None:
        self._target_mean = float(described["mean"])
        self._target_deviation = float(described["deviation"])
