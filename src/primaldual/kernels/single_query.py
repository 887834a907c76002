"""Softmax attention of one query per head: a product with the keys and one with the values."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual.kernels.gradient_layout import gradient_laid_out

LONG = 1024
"""Fewest keys from which on two products take less time on the CPU than the flash kernel, made for many queries."""


def attend_one(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """sum_j softmax_j(scale q . k_j) v_j for a single query per head, without gradients.

    Args:
        query: (batch, heads, 1, D).
        key: (batch, kv heads, N, D), N at least 1; kv heads divides heads.
        value: (batch, kv heads, N, Dv).
        scale: factor on the scores.

    Returns:
        (batch, heads, 1, Dv).

    Example:
        >>> value = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)
        >>> attend_one(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 2, 1), value, scale=1.0).item()
        2.0
    """
    batch, heads, _, head_dim = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    full = query.dtype in (torch.float32, torch.float64)
    if length < LONG or query.device.type != "cpu" or not full:
        grouped = heads != kv_heads
        return gradient_laid_out(
            scaled_dot_product_attention(query, key, value, scale=scale, enable_gqa=grouped)
        )
    queries = query.reshape(batch * kv_heads, heads // kv_heads, head_dim)
    nothing = query.new_empty(())
    scores = torch.baddbmm(nothing, queries, key.flatten(0, 1).transpose(1, 2), beta=0, alpha=scale)
    mixed = torch.bmm(torch.softmax(scores, -1), value.flatten(0, 1))
    return mixed.view(batch, heads, 1, value.shape[3])
