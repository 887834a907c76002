"""Series and labels as users have them: arrays, masked arrays, torch tensors, data frames of pandas and polars."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from primaldual.data.frames import from_frame, is_case_frame
from primaldual.errors import ArgumentError, DataError, ShapeError


@dataclass(frozen=True)
class Cases:
    """Series and labels in forms that aeon accepts.

    Attributes:
        X: arrays, or what else aeon reads.
        y: labels or targets, None where there are none.
        channel_names: of a data frame whose columns have names.
    """

    X: Any
    y: Any = None
    channel_names: tuple[str, ...] | None = None


def read_cases(X: Any, y: Any = None, channel_names: Sequence[str] | None = None) -> Cases:
    """Series and labels out of whatever holds them.

    Masked values become NaN, tensors become arrays. A data frame with columns case and time, or with numbered time
    points, is read by the names of its columns; its column label is y unless y is given.

    Args:
        X: series.
        y: labels or targets, one for each case.
        channel_names: the order wanted of the channels of a frame; None = its own.

    Raises:
        DataError: a frame that cannot be read, or whose channels are others.

    Example:
        >>> import torch
        >>> cases = read_cases(torch.zeros(2, 1, 5), torch.tensor([0, 1]))
        >>> type(cases.X).__name__, cases.y.tolist()
        ('ndarray', [0, 1])
    """
    if not is_case_frame(X):
        return Cases(_as_arrays(X), as_array(y))
    found = from_frame(X)
    series = found.X
    if channel_names is not None:
        if sorted(channel_names) != sorted(found.channel_names):
            raise DataError(
                f"X must have the channels {', '.join(channel_names)}, as in fit; got {', '.join(found.channel_names)}"
            )
        order = [found.channel_names.index(name) for name in channel_names]
        series = [one[order] for one in series]
    return Cases(series, found.y if y is None else as_array(y), tuple(channel_names or found.channel_names))


def read_weights(sample_weight: Any, cases: int) -> npt.NDArray[np.float64] | None:
    """A weight for each case; None = 1 each.

    Raises:
        ArgumentError: weights that are negative, not finite or no numbers, or all 0.
        ShapeError: another number of weights than cases.

    Example:
        >>> read_weights([1, 0, 2], 3)
        array([1., 0., 2.])
    """
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(as_array(sample_weight), dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"sample_weight must hold numbers; got {type(sample_weight).__name__}") from None
    if weights.ndim == 0:
        weights = np.full(cases, float(weights))
    if weights.shape != (cases,):
        raise ShapeError(
            f"sample_weight must hold {cases} weights, one for each case; got shape {weights.shape}"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ArgumentError("sample_weight must hold finite numbers of at least 0")
    if not weights.any():
        raise ArgumentError("sample_weight must hold a weight above zero; every one is 0")
    return weights


def _as_arrays(X: Any) -> Any:
    if isinstance(X, list | tuple) and any(isinstance(one, np.ma.MaskedArray | Tensor) for one in X):
        return [as_array(one) for one in X]
    return as_array(X)


def as_array(values: Any) -> Any:
    """Tensors as arrays, floating ones as float64; masked values as NaN; all else as it is.

    Example:
        >>> import torch
        >>> as_array(torch.ones(2, dtype=torch.bfloat16, requires_grad=True))
        array([1., 1.])
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    return values
