"""Attention rollout: which tokens an output draws on, through all layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from primaldual.analysis.attention_maps import LayerMaps
from primaldual.errors import ArgumentError


def attention_rollout(maps: Sequence[LayerMaps]) -> list[Tensor]:
    """The rollout up to every layer, head by head.

        R_(l,h) = (A_(l,h) / 2 + I / 2) R_(l-1),   R_l = mean over h of R_(l,h),   R_0 = I

    A_(l,h) is the map of head h in layer l with rows that sum to 1, and I the residual connection (Abnar and Zuidema,
    ACL 2020, who average the heads of every layer). A row of R_(l,h) says how much of each input token reaches that
    output through head h of layer l and all heads below.

    Args:
        maps: of self-attention layers in the order in which they run, such as `capture_attention` collects.

    Returns:
        For each layer (batch, heads, queries, inputs), in float64, with rows that sum to 1.

    Raises:
        ArgumentError: no maps, maps that are not square, or of different sizes.

    Example:
        >>> even = LayerMaps("layer", torch.full((1, 2, 2, 2), 0.5), torch.ones(1, 2, dtype=torch.bool))
        >>> attention_rollout([even, even])[1][0, 0]
        tensor([[0.6250, 0.3750],
                [0.3750, 0.6250]], dtype=torch.float64)
    """
    shapes = {tuple(one.weights.shape[-2:]) for one in maps}
    if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
        raise ArgumentError(
            f"maps must be square and of one size, from layers of self-attention; got {sorted(shapes) or 'none'}"
        )
    identity = torch.eye(maps[0].weights.shape[-1], dtype=torch.float64, device=maps[0].weights.device)
    found, below = [], identity
    for one in maps:
        weights = one.weights.double()
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        mixed = weights + identity
        mixed = mixed / mixed.sum(-1, keepdim=True)  # 2, and 1 where a token attends nothing
        through = mixed @ (below if below.ndim == 2 else below.unsqueeze(1))
        found.append(through)
        below = through.mean(1)
    return found
