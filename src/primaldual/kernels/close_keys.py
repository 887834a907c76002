"""Variances of a query's few keys that lie close together and far from the centre of all keys, in float64."""

import torch
from torch import Tensor

from primaldual.kernels.modes import in_graph, in_transform

FEW = 64
"""Most keys of a query whose squares are summed again: more of them lie far from their mean somewhere."""

LOST = 64.0
"""Squared distance of the mean of a query's keys from 0, in variances, from which a difference of mean squares loses too
many digits of float64, where no wider type takes its place."""


def summed_anew(variance: Tensor, mean: Tensor, member: Tensor, keys: Tensor, counts: Tensor) -> Tensor:
    """Variances of every query's keys that are differences of mean squares, exact where these nearly cancel in float64.

    Few keys may lie close to one another, or be one alone, and far from 0; their squares are summed again, less their mean.

    Args:
        variance: (batch, heads, Nq, D), mean squares less squared means.
        mean: likewise.
        member: 1 for the keys of a query, else 0, broadcastable to (batch, heads, Nq, N).
        keys: (batch, heads, N, D).
        counts: sums of ``member``, (..., Nq, 1).
    """
    if keys.dtype != torch.float64 or in_graph() or in_transform():
        return variance
    few = (counts <= FEW).squeeze(-1)
    lost = (few & (mean.detach().square() > LOST * variance.detach()).any(-1)).nonzero(as_tuple=True)
    if not len(lost[0]):
        return variance
    number = counts.clamp(min=1).expand(*mean.shape[:3], 1)[lost]
    inside, places = member.expand(*mean.shape[:3], -1)[lost].topk(int(number.max()))
    sequence, head = (each.unsqueeze(-1) for each in lost[:2])
    away = (keys[sequence, head, places] - mean[lost].unsqueeze(1)) * inside.unsqueeze(-1)
    return variance.index_put(lost, away.square().sum(1) / number)
