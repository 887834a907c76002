"""Softmax attention inside every block of a band."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual.kernels.bands import Band
from primaldual.kernels.flash import flash_backward, flash_forward
from primaldual.kernels.precision import differentiated_once


def flash_band(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, band: Band, scale: float) -> Tensor:
    """:func:`plain_band` without dropout on the CPU: slabs are views, and never stored for backward."""
    rows = band.rows(key), band.rows(value)
    out: Tensor = _FlashBand.apply(band.blocks(query), *rows, seen, band, scale)
    return band.unblock(out, query.shape[0], query.shape[2])


class _FlashBand(torch.autograd.Function):
    """Flash attention inside every block; slabs are rebuilt in backward, never stored."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor, band: Band, scale: float
    ) -> Tensor:
        keys, values = band.slabs(key), band.slabs(value)
        bias = _Bias(band, seen, query.dtype)
        parts = [
            flash_forward(query[group], keys[group], values[group], bias[group], False, scale)
            for group in band.groups(query.shape[0], bias.elements)
        ]
        out, logsumexp = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        ctx.save_for_backward(query, key, value, seen, out, logsumexp)
        ctx.band, ctx.scale = band, scale
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, seen, out, logsumexp = ctx.saved_tensors
        band: Band = ctx.band
        keys, values = band.slabs(key), band.slabs(value)
        bias = _Bias(band, seen, query.dtype)
        wide = torch.promote_types(key.dtype, torch.float32)
        grad_key, grad_value = (torch.zeros_like(rows, dtype=wide) for rows in (key, value))
        grad_queries = []
        for group in band.groups(query.shape[0], max(bias.elements, keys[:1].numel())):
            grad_query, grad_keys, grad_values = flash_backward(
                grad_out[group],
                query[group],
                keys[group],
                values[group],
                (out[group], logsumexp[group]),
                bias[group],
                False,
                ctx.scale,
            )
            grad_queries.append(grad_query)
            band.add_slabs(grad_key, grad_keys, group)
            band.add_slabs(grad_value, grad_values, group)
        return torch.cat(grad_queries), grad_key.to(key.dtype), grad_value.to(value.dtype), None, None, None


class _Bias:
    """0 where a query may attend and -inf elsewhere, made for a few blocks at a time."""

    def __init__(self, band: Band, seen: Tensor, dtype: torch.dtype) -> None:
        self.inside = _as_bias(band.allowed(seen.device), dtype)
        self.member = _as_bias(seen, dtype)
        self.elements = band.block * band.slab * seen.shape[1]

    def __getitem__(self, group: slice) -> Tensor:
        return self.inside + self.member[group]


def _as_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, -torch.inf)


def plain_band(
    query: Tensor, key: Tensor, value: Tensor, seen: Tensor, band: Band, scale: float, dropout_p: float
) -> Tensor:
    """The same by differentiable public operators: other devices, dropout, compilation.

    Args:
        query: (batch, heads, N, D); key and value alike, with kv heads.
        key: keys on the same positions.
        value: values on the same positions.
        seen: bool (batch * blocks, heads or 1, 1, slab).
        band: the geometry.
        scale: factor on the scores.
        dropout_p: probability of dropping a weight.

    Returns:
        (batch, heads, N, Dv).
    """
    grouped = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}  # no symbol for a flag
    blocks = band.gather_blocks(query)
    mask = (band.allowed(query.device) & seen).expand(-1, query.shape[1], -1, -1)
    out = scaled_dot_product_attention(
        blocks,
        band.gather_slabs(key),
        band.gather_slabs(value),
        attn_mask=mask,
        dropout_p=dropout_p,
        scale=scale,
        **grouped,
    )
    return band.ungather(torch.where(mask.any(-1, keepdim=True), out, 0.0), query)
