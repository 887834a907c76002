"""Key statistics that grow as keys arrive: count, mean and squared deviations, merged without cancellation."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype, centre


@dataclass(frozen=True)
class StreamingStatistics:
    """The state from which mean and biased variance of all keys so far follow.

    Two sets merge as (Chan, Golub and LeVeque, 1979): with d the difference of their means,

        n = n_a + n_b,   mu = mu_a + d n_b / n,   M2 = M2_a + M2_b + d^2 n_a n_b / n.

    Attributes:
        count: attendable keys so far, (batch, 1 or heads, 1, 1).
        mean: (batch, heads, 1, D).
        deviations: M2, the sum of squared deviations from the mean, (batch, heads, 1, D).

    Example:
        >>> state = StreamingStatistics.empty(torch.zeros(1, 1, 1, 1))
        >>> for key in (1.0, 3.0, 8.0):
        ...     state = state.update(torch.full((1, 1, 1, 1), key))
        >>> state.statistics().mean.item(), round(state.statistics().variance.item(), 4)
        (4.0, 8.6667)
    """

    count: Tensor
    mean: Tensor
    deviations: Tensor

    @classmethod
    def empty(cls, key: Tensor) -> Self:
        """No keys yet, for keys shaped and typed like ``key`` (batch, heads, any length, D)."""
        batch, heads, _, head_dim = key.shape
        dtype = accumulation_dtype(key.dtype)
        mean = torch.zeros(batch, heads, 1, head_dim, dtype=dtype, device=key.device)
        return cls(torch.zeros(batch, 1, 1, 1, dtype=dtype, device=key.device), mean, mean.clone())

    def update(self, key: Tensor, key_mask: Tensor | None = None) -> Self:
        """The state after more keys (batch, heads, n, D); key_mask is bool (batch, 1 or heads, 1, n)."""
        mean, centred = centre(key, key_mask)
        if key_mask is None:
            added = torch.full_like(self.count, key.shape[-2])
        else:
            added = key_mask.sum(-1, keepdim=True).to(self.count.dtype)
        count = self.count + added
        step = torch.where(added > 0, mean - self.mean, 0.0)
        share = added / count.clamp(min=1)
        deviations = self.deviations + (centred * centred).sum(-2, keepdim=True)
        return type(self)(count, self.mean + step * share, deviations + step * step * self.count * share)

    def statistics(self) -> KeyStatistics:
        """Mean and biased variance of all keys so far; 0 before the first."""
        return KeyStatistics(self.mean, self.deviations / self.count.clamp(min=1))
