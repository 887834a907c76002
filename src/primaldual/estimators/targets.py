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

    def _check_held_out(self, y: Any, n_cases: int) -> npt.NDArray[np.generic]:
        """Checked labels of cases that are not trained on.

        Raises:
            DataError: a label that does not occur in training.
        """
        labels = check_labels(y)
        check_case_count(n_cases, len(labels))
        unseen = np.setdiff1d(labels, self.classes_)
        if len(unseen):
            raise DataError(
                f"validation has the label {unseen[0]!s}, which never occurs in training; "
                f"labels there: {', '.join(map(str, self.classes_[:12]))}"
            )
        return labels

    def _label_numbers(self, y: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        """Place of every label in ``classes_``."""
        return np.searchsorted(self.classes_, y).astype(np.int64)

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

    def _check_held_out(self, y: Any, n_cases: int) -> npt.NDArray[np.float64]:
        return self._check_y(y, n_cases)

    def _learn_standards(self, y: npt.NDArray[np.float64]) -> None:
        self._target_mean = float(y.mean())
        self._target_deviation = float(y.std()) or 1.0

    def _standardised(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        standardised: npt.NDArray[np.float64] = (y - self._target_mean) / self._target_deviation
        return standardised

    def _describe_targets(self) -> dict[str, Any]:
        return {"mean": self._target_mean, "deviation": self._target_deviation}

    def _apply_targets(self, described: Mapping[str, Any]) -> None:
        self._target_mean = float(described["mean"])
        self._target_deviation = float(described["deviation"])
