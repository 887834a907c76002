"""The regressions that the heads of a trained model solve on one input."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from primaldual.analysis.watching import watch_layers
from primaldual.errors import UnsupportedError
from primaldual.nn.inputs import batch_first, clean, read_masks
from primaldual.nn.multihead import MultiheadAttention
from primaldual.nn.projection import split_heads
from primaldual.svr import ImpliedRegression, implied_regression


def head_regressions(
    model: nn.Module, *inputs: Any, relative_epsilon: float = 0.1
) -> dict[str, ImpliedRegression]:
    """Run ``model(*inputs)`` and read every MultiheadAttention in it as solved regressions.

    Args:
        model: holds MultiheadAttention layers that are called with key padding at most.
        inputs: of the model.
        relative_epsilon: half width of the tube over the standard deviation of the layer's values.

    Returns:
        By the layer's path in the model.

    Raises:
        ArgumentError: the model has no MultiheadAttention.
        UnsupportedError: a mask or an attention that fits every query on keys of its own.

    Example:
        >>> import torch
        >>> layer = MultiheadAttention(8, 2, attention="bn", batch_first=True)
        >>> x = torch.randn(1, 5, 8)
        >>> found = head_regressions(layer, x, x, x)[""]
        >>> found.targets.shape, found.C.shape
        (torch.Size([1, 2, 5, 4]), torch.Size([1, 2, 1]))
    """
    found: dict[str, ImpliedRegression] = {}

    def look(name: str, layer: MultiheadAttention, call: inspect.BoundArguments) -> None:
        given = call.arguments
        widths = (layer.embed_dim, layer.k_proj.in_features, layer.v_proj.in_features)
        query, key, value = batch_first(
            (given["query"], given["key"], given["value"]), widths, layer.batch_first
        )
        size = (query.shape[0], layer.num_heads, query.shape[1], key.shape[1])
        if given.get("attn_mask") is not None or given.get("is_causal"):
            raise UnsupportedError(
                f"layer {name!r} is called with attn_mask or is_causal, which fit every query on keys of its own; "
                "accepted is key_padding_mask alone"
            )
        attendable = read_masks(given.get("key_padding_mask"), None, False, size)
        query, key, value = clean((query, key, value), attendable)
        projected = (
            split_heads(project(tensor), layer.head_dim)
            for project, tensor in ((layer.q_proj, query), (layer.k_proj, key), (layer.v_proj, value))
        )
        queries, keys, values = projected
        mask = None if attendable.keys is None else attendable.keys.squeeze(2)
        epsilon = relative_epsilon * float(values.std())
        found[name] = implied_regression(layer.problem, queries, keys, values, epsilon, mask=mask)

    watch_layers(model, inputs, look)
    return found
