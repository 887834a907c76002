"""Means over the keys that each query may attend."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.masks import Attendable


def attended_means(numbers: Tensor, attendable: Attendable, query_length: int) -> Tensor:
    """The mean over the keys of every query, 0 where there are none.

    Args:
        numbers: (batch, heads, Nk, 1), 0 or more, in float32 or wider.
        attendable: the masks.
        query_length: Nq; under a causal mask these are the last positions.

    Returns:
        (batch, heads, Nq, 1), or (batch, heads, 1, 1) where all queries may attend the same keys.

    Example:
        >>> numbers = torch.tensor([1.0, 3.0, 8.0]).view(1, 1, 3, 1)
        >>> attended_means(numbers, Attendable(is_causal=True), 2).flatten().tolist()
        [2.0, 4.0]
    """
    length = numbers.shape[2]
    if attendable.pairs is not None:
        allowed = attendable.matrix(query_length, length, numbers.device).to(numbers.dtype)
        return (allowed @ numbers) / allowed.sum(-1, keepdim=True).clamp(min=1)
    used = torch.ones_like(numbers)
    if attendable.keys is not None:
        used = torch.where(attendable.keys.mT, used, 0.0)
    numbers = numbers * used
    if not attendable.is_causal:
        return numbers.sum(2, keepdim=True) / used.sum(2, keepdim=True).clamp(min=1)
    first = length - query_length
    sums, counts = (each.cumsum(2)[:, :, max(0, first) :] for each in (numbers, used))
    means = sums / counts.clamp(min=1)
    return torch.cat([means.new_zeros(*means.shape[:2], -first, 1), means], 2) if first < 0 else means
