"""Attention maps of a model as it runs, and how much the heads of a layer differ."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.analysis.watching import watch_layers
from primaldual.nn.multihead import MultiheadAttention


@dataclass(frozen=True)
class LayerMaps:
    """Attention maps of one layer.

    Attributes:
        name: the layer's path inside the model.
        weights: (batch, heads, queries, keys); rows sum to 1 for a normalised attention.
        valid: (batch, keys), True where a position is data and not padding.
    """

    name: str
    weights: Tensor
    valid: Tensor


def capture_attention(model: nn.Module, *inputs: Any) -> list[LayerMaps]:
    """Run ``model(*inputs)`` in evaluation mode and recompute the maps of every MultiheadAttention in it.

    The fast kernels never form the maps, so each layer's inputs are caught by a forward hook and its
    weights computed a second time. Model and outputs are left as they were.

    Raises:
        ArgumentError: the model has no MultiheadAttention.

    Example:
        >>> import torch
        >>> from primaldual.nn.multihead import MultiheadAttention
        >>> layer = MultiheadAttention(8, 2, attention="softmax", batch_first=True)
        >>> x = torch.zeros(1, 3, 8)
        >>> capture_attention(layer, x, x, x)[0].weights.shape
        torch.Size([1, 2, 3, 3])
    """
    caught: list[LayerMaps] = []

    def look(name: str, layer: MultiheadAttention, call: inspect.BoundArguments) -> None:
        call.arguments.update(need_weights=True, average_attn_weights=False)
        weights = layer.forward(*call.args, **call.kwargs)[1]
        assert weights is not None
        weights = weights if weights.dim() == 4 else weights[None]
        valid = weights.new_ones(weights.shape[0], weights.shape[3], dtype=torch.bool)
        padding = call.arguments.get("key_padding_mask")
        if padding is not None:
            blocked = padding if padding.dtype == torch.bool else padding == float("-inf")
            valid = ~blocked.view_as(valid)
        caught.append(LayerMaps(name, weights, valid))

    watch_layers(model, inputs, look)
    return caught


def head_distances(maps: LayerMaps) -> float:
    """Mean pairwise L2 distance between the heads' maps; padding is left out. Small means redundant heads.

        mean over cases and pairs g < h of  || A_g - A_h ||_F

    Rows and columns of padding count 0. One head has no pairs: the result is NaN.

    Example:
        >>> import torch
        >>> identity, uniform = torch.eye(2), torch.full((2, 2), 0.5)
        >>> both = torch.stack([identity, uniform])[None]
        >>> head_distances(LayerMaps("layer", both, torch.ones(1, 2, dtype=torch.bool)))
        1.0
    """
    weights = maps.weights.double()
    heads, queries = weights.shape[1:3]
    if heads < 2:
        return float("nan")
    rows = maps.valid if queries == maps.valid.shape[1] else maps.valid.new_ones(len(weights), queries)
    inside = rows[:, None, :, None] & maps.valid[:, None, None, :]
    flat = torch.where(inside, weights, 0.0).flatten(2)
    first, second = torch.triu_indices(heads, heads, offset=1)
    return float((flat[:, first] - flat[:, second]).norm(dim=-1).mean())
