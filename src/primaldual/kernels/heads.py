"""Heads that share keys, and keys that nobody may attend."""

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError


def for_query_heads(tensor: Tensor, query_heads: int) -> Tensor:
    """Repeat each head (batch, kv heads, ...) for the query heads that share it; no copy if none do.

    Example:
        >>> for_query_heads(torch.tensor([[1, 2]]), 4).tolist()
        [[1, 1, 2, 2]]
    """
    groups = query_heads // tensor.shape[1]
    return tensor if groups <= 1 else tensor.repeat_interleave(groups, 1)


def sum_over_query_heads(gradient: Tensor, kv_heads: int) -> Tensor:
    """The gradient of :func:`for_query_heads`: those of query heads that share a key head are added up."""
    groups = gradient.shape[1] // kv_heads
    return gradient if groups == 1 else gradient.unflatten(1, (kv_heads, groups)).sum(2)


def check_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Check (batch, heads, Nq, D), (batch, kv heads, Nk, D) and (batch, kv heads, Nk, Dv).

    Raises:
        ShapeError: they are not that.
    """
    shapes = f"got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if {query.dim(), key.dim(), value.dim()} != {4}:
        raise ShapeError(f"query, key and value must be (batch, heads, length, head_dim); {shapes}")
    if query.shape[3] != key.shape[3]:
        raise ShapeError(f"query and key must share head_dim; {shapes}")
    if query.shape[0] != key.shape[0] or key.shape[:3] != value.shape[:3]:
        raise ShapeError(
            f"query, key and value must share the batch, key and value heads and length; {shapes}"
        )
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise ShapeError(f"the number of key heads must divide that of query heads; {shapes}")


def attendable_only(
    key_mask: Tensor | None, heads: int, *tensors: Tensor
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Zero the keys (and values) that a mask excludes, so that NaN or inf there cannot leak.

    A mask that differs between query heads of one shared key head gives each query head its own copy.

    Args:
        key_mask: bool broadcastable to (batch, heads or kv heads, 1, Nk), True = may attend, or None.
        heads: number of query heads.
        *tensors: each (batch, kv heads, Nk, any).

    Returns:
        The mask as (batch or 1, heads or 1, 1, Nk), and the tensors, with kv heads or heads heads.

    Raises:
        ArgumentError: the mask is not boolean.
        ShapeError: the mask does not broadcast.
    """
    if key_mask is None:
        return None, tensors
    batch, kv_heads, length = tensors[0].shape[:3]
    if key_mask.dtype != torch.bool:
        raise ArgumentError(f"key_mask must be boolean with True = may attend; got dtype {key_mask.dtype}")
    shape = tuple(key_mask.shape)
    accepted = (1, batch), (1, heads, kv_heads), (1,), (1, length)
    if len(shape) != 4 or any(given not in sizes for given, sizes in zip(shape, accepted, strict=True)):
        raise ShapeError(
            f"key_mask must broadcast to (batch, heads or key heads, 1, Nk) = "
            f"({batch}, {heads} or {kv_heads}, 1, {length}); got {shape}"
        )
    key_mask = key_mask.expand(-1, -1, -1, length)
    if shape[1] == heads != kv_heads:
        tensors = tuple(tensor.repeat_interleave(heads // kv_heads, 1) for tensor in tensors)
    member = key_mask.transpose(-2, -1)
    tensors = tuple(torch.where(member, tensor, 0.0) for tensor in tensors)
    if shape[1] == kv_heads:
        key_mask = key_mask.repeat_interleave(heads // kv_heads, 1)
    return key_mask, tensors
