"""Softmax attention of one query per head: a product with the keys and one with the values."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attend_one(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """sum_j softmax_j(scale q . k_j) v_j for a single query per head, without gradients.

    On the CPU two products take less time than the flash kernel, which is made for many queries.

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
    kv_heads = key.shape[1]
    if query.device.type != "cpu" or query.dtype not in (torch.float32, torch.float64):
        return scaled_dot_product_attention(query, key, value, scale=scale, enable_gqa=heads != kv_heads)
    if heads != kv_heads:
        query = query.reshape(batch, kv_heads, heads // kv_heads, head_dim)
    weights = torch.softmax((query * scale) @ key.transpose(2, 3), -1)
    mixed = weights @ value
    return mixed if heads == kv_heads else mixed.reshape(batch, heads, 1, value.shape[3])
