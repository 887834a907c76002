"""From raw series to what the model reads: scaled by channel, gaps filled, padded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Series = npt.NDArray[np.float64]

FARTHEST = 1e4
"""Deviations from the mean beyond which a value says no more, and float32 would overflow on the way."""


@dataclass(frozen=True)
class SeriesPreparation:
    """Per-channel standardisation learnt from the training part, gap filling and padding.

    x' = (x - mean) / deviation by channel, at most FARTHEST away from 0. A missing value is interpolated linearly
    between its neighbours in time, or repeats the nearest one at the ends; a channel missing from a whole series is
    set to the training mean. A series longer than the longest of the training part is cut to its first ``length``
    time points, as there are no trained positions beyond.

    Args:
        mean: one per channel.
        deviation: one per channel; 1 for channels that are constant.
        length: the longest series of the training part.

    Example:
        >>> preparation = SeriesPreparation.learn([np.array([[0.0, 2.0]]), np.array([[0.0, np.nan, 2.0]])])
        >>> values, padding = preparation.apply([np.array([[0.0, 2.0]]), np.array([[0.0, np.nan, 2.0]])])
        >>> values.squeeze(-1), padding
        (tensor([[-1.,  1.,  0.],
                 [-1.,  0.,  1.]]), tensor([[False, False,  True],
                 [False, False, False]]))
    """

    mean: Series
    deviation: Series
    length: int

    @classmethod
    def learn(cls, series: Sequence[Series]) -> "SeriesPreparation":
        """Statistics of a training part: (channels, time points) each, NaN where missing."""
        joined = np.concatenate([np.asarray(one, dtype=np.float64) for one in series], axis=1)
        known = ~np.isnan(joined)
        count = np.maximum(known.sum(1), 1)
        # By a power of two, which rounds nothing, so that no sum of squares leaves the range of float64.
        size = np.exp2(np.frexp(np.abs(np.where(known, joined, 0.0)).max(1))[1] - 1.0)
        joined = joined / size[:, None]
        mean = np.where(known, joined, 0.0).sum(1) / count
        deviation = np.sqrt(np.square(np.where(known, joined - mean[:, None], 0.0)).sum(1) / count)
        mean, deviation = mean * size, deviation * size
        constant = deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-30)
        return cls(mean, np.where(constant, 1.0, deviation), max(one.shape[1] for one in series))

    def apply(self, series: Sequence[Series]) -> tuple[Tensor, Tensor]:
        """Series as the model reads them.

        Returns:
            values (cases, time points, channels) in float32, and padding (cases, time points), True at
            padding; as long as the longest given series, at most ``length``.
        """
        lengths = np.array([min(one.shape[1], self.length) for one in series])
        values = np.zeros((len(series), int(lengths.max()), len(self.mean)), dtype=np.float32)
        for place, one in enumerate(series):
            scaled = (one[:, : self.length] - self.mean[:, None]) / self.deviation[:, None]
            values[place, : lengths[place]] = _fill_gaps(scaled.clip(-FARTHEST, FARTHEST)).T
        padding = np.arange(values.shape[1]) >= lengths[:, None]
        return torch.from_numpy(values), torch.from_numpy(padding)


def _fill_gaps(series: Series) -> Series:
    missing = np.isnan(series)
    if not missing.any():
        return series
    times = np.arange(series.shape[1])
    filled = np.zeros_like(series)
    for channel, (row, gaps) in enumerate(zip(series, missing, strict=True)):
        if not gaps.all():
            filled[channel] = np.interp(times, times[~gaps], row[~gaps])
    return filled
