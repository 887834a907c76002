"""The share of the validation part, and weights of classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from primaldual.errors import ArgumentError

Indices = npt.NDArray[np.int64]


def check_fraction(fraction: object) -> float:
    """The validation fraction as a float.

    Raises:
        ArgumentError: not a number in [0, 1).
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise ArgumentError(f"validation_fraction must lie in [0, 1); got {fraction!r}")
    return float(fraction)


def class_weights(
    labels: Indices, classes: npt.NDArray[np.generic], class_weight: "Mapping[Any, float] | str | None"
) -> npt.NDArray[np.float64]:
    """One weight per class.

    Args:
        labels: (cases,): position of each case's class in ``classes``.
        classes: the class labels.
        class_weight: None for 1 each, "balanced" for cases / (classes * cases of the class), or a mapping
            from label to weight; labels that it leaves out have weight 1.

    Raises:
        ArgumentError: another word, a label that does not occur, or a weight that is not finite and positive.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1]), np.array(["a", "b"]), "balanced").round(2)
        array([0.67, 2.  ])
    """
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, Mapping):
        position = {label: place for place, label in enumerate(classes.tolist())}
        weights = np.ones(len(classes))
        for label, weight in class_weight.items():
            if label not in position:
                raise ArgumentError(
                    f"class_weight names {label!r}; the labels are {', '.join(map(str, position))}"
                )
            if not isinstance(weight, int | float | np.number) or not 0 < weight < np.inf:
                raise ArgumentError(
                    f"class_weight must hold finite positive numbers; got {weight!r} for {label!r}"
                )
            weights[position[label]] = weight
        return weights
    if class_weight == "balanced":
        return len(labels) / (len(classes) * np.bincount(labels, minlength=len(classes)))
    raise ArgumentError(f"class_weight must be None, 'balanced' or a mapping; got {class_weight!r}")
