"""Pooling by learned gates: in every window a softmax of gates, feature by feature."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.layout import ceil_div
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.statistics import accumulation_dtype


def gated_pool(tensor: Tensor, gates: Tensor, scale: int, key_mask: Tensor | None) -> Tensor:
    """sum_j softmax_j(g_jd) x_jd over the attendable members j of every window of ``scale`` positions.

    A ragged tail is a shorter window; a window gives 0 in a feature without an attendable member whose gate is above -inf.

    Args:
        tensor: (batch, heads, N, D), finite.
        gates: g, likewise.
        scale: window length.
        key_mask: bool (batch or 1, heads or 1, 1, N); None = all attendable.

    Returns:
        (batch, heads, ceil(N / scale), D), in the type of the tensor.

    Example:
        >>> x, gates = torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([[0.0], [0.0], [5.0]])
        >>> gated_pool(x[None, None], gates[None, None], 2, None).flatten().tolist()
        [2.0, 8.0]
    """
    length, wide = tensor.shape[-2], accumulation_dtype(tensor.dtype)
    count = ceil_div(length, scale)
    gates = gates.to(wide)
    if key_mask is not None:
        gates = torch.where(key_mask.transpose(-2, -1), gates, -math.inf)
    filler = (0, 0, 0, count * scale - length)
    if filler[-1]:
        gates, tensor = pad(gates, filler, value=-math.inf), pad(tensor, filler)
    gates = gates.unflatten(-2, (count, scale))
    empty = gates.detach().amax(-2, keepdim=True) == -math.inf
    shares = torch.where(empty, 0.0, torch.where(empty, 0.0, gates).softmax(-2))
    members = tensor.unflatten(-2, (count, scale))
    once = not (shares.requires_grad or members.requires_grad or in_graph() or in_transform())
    return (shares.mul_(members) if once else shares * members).sum(-2).to(tensor.dtype)
