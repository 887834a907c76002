"""What every step of a state has in common, and what must hold of its tensors."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError


class Sizes(NamedTuple):
    """What every step has in common."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def read(
        cls,
        batch: int,
        heads: int,
        head_dim: int,
        kv_heads: int | None,
        value_dim: int | None,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> Self:
        """The sizes, with what is None filled in.

        Raises:
            ArgumentError: a size that is not an integer 1 or more, kv_heads that do not divide heads, no floating dtype.
        """
        kv_heads = heads if kv_heads is None else kv_heads
        value_dim = head_dim if value_dim is None else value_dim
        dtype = dtype or torch.get_default_dtype()
        given = {
            "batch": batch,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "value_dim": value_dim,
        }
        for name, size in given.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ArgumentError(f"{name} must be an integer 1 or more; got {size!r}")
        if heads % kv_heads:
            raise ArgumentError(f"kv_heads must divide heads; got heads {heads} and kv_heads {kv_heads}")
        if not dtype.is_floating_point:
            raise ArgumentError(f"dtype must be a floating type; got {dtype}")
        # A tensor knows its device with its index, as those of the steps do.
        device = torch.empty(0, device=device).device
        return cls(batch, heads, kv_heads, head_dim, value_dim, dtype, device)


def check_step(sizes: Sizes, query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise unless tensors are of the sizes, the dtype and the device of the state."""
    batch, heads, kv_heads, head_dim, value_dim, dtype, device = sizes
    length = query.shape[2] if query.dim() == 4 else 0
    fits = (
        query.shape == (batch, heads, length, head_dim)
        and key.shape == (batch, kv_heads, length, head_dim)
        and value.shape == (batch, kv_heads, length, value_dim)
        and query.dtype is key.dtype is value.dtype is dtype
        and query.device == key.device == value.device == device
    )
    if not fits:
        _explain(sizes, query, key, value)


def _explain(sizes: Sizes, query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise what :func:`check_step` found."""
    batch, heads, kv_heads, head_dim, value_dim, dtype, device = sizes
    for name, tensor, wanted_heads, width in (
        ("query", query, heads, head_dim),
        ("key", key, kv_heads, head_dim),
        ("value", value, kv_heads, value_dim),
    ):
        shape = tensor.shape
        if len(shape) != 4 or shape != (batch, wanted_heads, query.shape[-2], width):
            raise ShapeError(
                f"{name} must be (batch, heads, n, dim) = ({batch}, {wanted_heads}, n, {width}), as the state, with one n "
                f"for query, key and value; got {tuple(shape)}"
            )
        if tensor.dtype != dtype:
            raise ArgumentError(f"{name} must be {dtype}, as the state; got {tensor.dtype}")
        if tensor.device != device:
            raise ArgumentError(f"{name} must be on {device}, as the state; got {tensor.device}")


def check_valid(valid: Tensor, query: Tensor) -> None:
    """Raise unless ``valid`` is bool (batch, n)."""
    wanted = query.shape[0], query.shape[2]
    if valid.dtype != torch.bool:
        raise ArgumentError(f"valid must be boolean with True = a token; got dtype {valid.dtype}")
    if valid.shape != wanted:
        raise ShapeError(f"valid must be (batch, n) = {wanted}; got {tuple(valid.shape)}")
    if valid.device != query.device:
        raise ArgumentError(f"valid must be on {query.device}, as the query; got {valid.device}")
