"""The regressions that the heads of a trained model solve on one input."""

from __future__ import annotations

from typing import Any

from torch import nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_hooks import AttentionCall, attending, evaluating, watching
from primaldual.kernels.heads import for_query_heads
from primaldual.svr import ImpliedRegression, implied_regression


def head_regressions(
    model: nn.Module, *inputs: Any, relative_epsilon: float = 0.1
) -> dict[str, ImpliedRegression]:
    """Run ``model(*inputs)`` and read every attention layer in it as solved regressions.

    Args:
        model: of torch, timm, transformers or this library; its layers are called with key padding at most.
        inputs: of the model.
        relative_epsilon: half width of the tube over the standard deviation of the layer's values.

    Returns:
        By the layer's path in the model.

    Raises:
        UnsupportedError: no attention layer, heads that solve different problems, a mask or an attention that fits
            every query on keys of its own.

    Example:
        >>> import torch
        >>> from primaldual.nn.multihead import MultiheadAttention
        >>> layer = MultiheadAttention(8, 2, attention="bn", batch_first=True)
        >>> x = torch.randn(1, 5, 8)
        >>> found = head_regressions(layer, x, x, x)[""]
        >>> found.targets.shape, found.C.shape
        (torch.Size([1, 2, 5, 4]), torch.Size([1, 2, 1]))
    """
    found: dict[str, ImpliedRegression] = {}

    def look(seen: AttentionCall) -> None:
        path, attendable = seen.site.path, seen.attendable
        if attendable.pairs is not None or attendable.is_causal:
            raise UnsupportedError(
                f"layer {path!r} is called with attn_mask or is_causal, which fit every query on keys of its own; "
                "accepted is key_padding_mask alone"
            )
        heads = seen.query.shape[1]
        (problem, _), *others = seen.problem.problems(heads)
        if others:
            raise UnsupportedError(f"layer {path!r} has heads that solve different problems")
        keys, values = (for_query_heads(part, heads) for part in seen.source.take(list(range(heads))))
        mask = None if attendable.keys is None else attendable.keys.squeeze(2)
        epsilon = relative_epsilon * float(values.std())
        found[path] = implied_regression(problem, seen.query, keys, values, epsilon, mask=mask)

    with evaluating(model), attending(model) as sites, watching(sites, look):
        model(*inputs)
    return found
