"""Augmentation: batches that differ a little every epoch, with the targets that they had."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from primaldual.training.examples import Examples

SHIFT = 0.1
"""Largest shift, of the length of the series."""
SCALE = 0.1
"""Deviation of the factor on a whole series."""
NOISE = 0.05
"""Deviation of the noise on every value, in deviations of its channel."""


def of_series(batch: Examples) -> Examples:
    """Series shifted in time, their ends held, scaled, and with noise: x'_i = a x_(i - s) + noise.

    s is uniform up to a tenth of the length either way, a is N(1, 0.1), one of each for every series.

    Example:
        >>> batch = Examples(torch.zeros(2, 5, 1), None, torch.zeros(2), torch.ones(2))
        >>> of_series(batch).values.shape
        torch.Size([2, 5, 1])
    """
    values, device = batch.values, batch.values.device
    lengths = batch.lengths.to(device)
    shift = ((2 * torch.rand(len(batch), device=device) - 1) * SHIFT * lengths).round().long()
    places = torch.arange(values.shape[1], device=device) - shift[:, None]
    places = torch.minimum(places.clamp(min=0), (lengths - 1).clamp(min=0)[:, None])
    moved = values.gather(1, places.unsqueeze(-1).expand_as(values))
    factor = 1 + SCALE * torch.randn(len(batch), 1, 1, device=device)
    return replace(batch, values=factor * moved + NOISE * torch.randn_like(values))


AUGMENTATIONS: Mapping[str, Callable[[Any], Any]] = {
    "none": lambda batch: batch,
    "series": of_series,
}
"""Augmentations of batches by name; data sets may augment what they load by themselves."""
