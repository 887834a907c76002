"""Key statistics that grow as keys arrive: count, mean and squared deviations, merged without cancellation."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype, centre

Moments = tuple[Tensor | float, Tensor, Tensor]
"""Count, mean and sum of squared deviations."""


@dataclass(frozen=True)
class StreamingStatistics:
    """The state from which mean and biased variance of all keys so far follow.

    Two sets merge as (Chan, Golub and LeVeque, 1979): with d the difference of their means,

        n = n_a + n_b,   mu = mu_a + d n_b / n,   M2 = M2_a + M2_b + d^2 n_a n_b / n.

    Attributes:
        count: attendable keys so far, (batch, 1 or heads, 1, 1), or a number where all rows have as many.
        mean: (batch, heads, 1, D).
        deviations: M2, the sum of squared deviations from the mean, (batch, heads, 1, D).

    Example:
        >>> state = StreamingStatistics.empty(torch.zeros(1, 1, 1, 1))
        >>> for key in (1.0, 3.0, 8.0):
        ...     state = state.update(torch.full((1, 1, 1, 1), key))
        >>> state.statistics().mean.item(), round(state.statistics().variance.item(), 4)
        (4.0, 8.6667)
    """

    count: Tensor | float
    mean: Tensor
    deviations: Tensor

    @classmethod
    def empty(cls, key: Tensor) -> Self:
        """No keys yet, for keys shaped and typed like ``key`` (batch, heads, any length, D)."""
        batch, heads, _, head_dim = key.shape
        dtype = accumulation_dtype(key.dtype)
        mean = torch.zeros(batch, heads, 1, head_dim, dtype=dtype, device=key.device)
        return cls(torch.zeros(batch, 1, 1, 1, dtype=dtype, device=key.device), mean, mean.clone())

    def including(self, key: Tensor) -> Self:
        """The state after one more key (batch, heads, 1, D) in every row, where ``count`` is a number."""
        former = float(self.count)
        count = former + 1
        step = key - self.mean
        deviations = torch.addcmul(self.deviations, step, step, value=former / count)
        return type(self)(count, torch.add(self.mean, step, alpha=1 / count), deviations)

    def update(self, key: Tensor, key_mask: Tensor | None = None) -> Self:
        """The state after more keys (batch, heads, n, D); key_mask is bool (batch, 1 or heads, 1, n)."""
        mean, centred = centre(key, key_mask)
        deviations = (centred * centred).sum(-2, keepdim=True)
        added = key.shape[-2] if key_mask is None else key_mask.sum(-1, keepdim=True).to(mean.dtype)
        return type(self)(*_merge(self._moments(), (added, mean, deviations)))

    def along(self, key: Tensor, kept: Tensor | None = None) -> KeyStatistics:
        """For every i of n more keys, statistics of what was there before, of the kept keys before i, and of key i.

        Args:
            key: (batch, heads, n, D), finite.
            kept: bool (batch or 1, 1, 1, n), which of the new keys later ones see; None = all.

        Example:
            >>> state = StreamingStatistics.empty(torch.zeros(1, 1, 1, 1))
            >>> key, kept = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([False, True, True])
            >>> state.along(key.view(1, 1, 3, 1), kept.view(1, 1, 1, 3)).mean.flatten().tolist()
            [1.0, 3.0, 4.0]
        """
        origin, centred = centre(key)
        weight = (
            torch.ones_like(centred[..., :1]) if kept is None else kept.transpose(-2, -1).to(centred.dtype)
        )
        count = _exclusive(weight)
        mean = _exclusive(centred * weight) / count.clamp(min=1)
        deviations = (_exclusive(centred * centred * weight) - count * mean * mean).clamp(min=0)
        total, running, spread = _merge(self._moments(), (count, mean + origin, deviations))
        total, running, spread = _merge(
            (total, running, spread), (1.0, key.to(running.dtype), torch.zeros_like(spread))
        )
        return KeyStatistics(running, spread / total)

    def statistics(self) -> KeyStatistics:
        """Mean and biased variance of all keys so far; 0 before the first."""
        count = self.count.clamp(min=1) if isinstance(self.count, Tensor) else max(self.count, 1)
        return KeyStatistics(self.mean, self.deviations / count)

    def _moments(self) -> Moments:
        return self.count, self.mean, self.deviations


def _merge(former: Moments, new: Moments) -> Moments:
    """Two sets as one; the mean of an empty set counts for nothing."""
    count = former[0] + new[0]
    share = new[0] / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))
    step = new[1] - former[1]
    return count, former[1] + step * share, former[2] + new[2] + step * step * (former[0] * share)


def _exclusive(values: Tensor) -> Tensor:
    """Sums over the rows before each: (..., n, D)."""
    return pad(values, (0, 0, 1, -1)).cumsum(-2)
