"""Softmax attention inside every block of a band."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual.kernels.bands import Band
from primaldual.kernels.flash import Outcome, flash_backward, flash_forward
from primaldual.kernels.gradient_layout import gradient_laid_out


@dataclass(frozen=True)
class BandCall:
    """Softmax inside every block of a band, on the CPU: slabs are views, formed again in the backward.

    Attributes:
        key: (batch, heads, N, D), as many positions as queries.
        value: (batch, heads, N, D).
        band: the geometry.
        scale: factor on the scores.
        key_mask: bool (batch or 1, heads or 1, 1, N), or None.
    """

    key: Tensor
    value: Tensor
    band: Band
    scale: float
    key_mask: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value

    def forward(self, query: Tensor) -> Outcome:
        band, queries = self.band, self.band.blocks(query)
        keys, values = (band.slabs(band.rows(tensor)) for tensor in self.tensors)
        bias = self._bias(query.dtype)
        parts = [
            flash_forward(queries[group], keys[group], values[group], bias[group], False, self.scale)
            for group in band.groups(queries.shape[0], bias.elements)
        ]
        out, logsumexp = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        batch, length = query.shape[0], query.shape[2]
        return band.unblock(out, batch, length), band.unblock(logsumexp.unsqueeze(-1), batch, length).squeeze(
            -1
        )

    def total(self, logsumexp: Tensor) -> Tensor:
        if self.key_mask is None:
            return logsumexp
        seen = self.band.unblock(
            (self.band.allowed(logsumexp.device) & self._seen()).any(-1, keepdim=True),
            logsumexp.shape[0],
            logsumexp.shape[2],
        )
        return logsumexp.masked_fill(~seen.squeeze(-1), -torch.inf)

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        band, wide = self.band, torch.promote_types(query.dtype, torch.float32)
        queries, outs, upstream = (band.blocks(tensor) for tensor in (query, outcome[0], gradient))
        sums = band.blocks(outcome[1].unsqueeze(-1)).squeeze(-1)
        rows = [band.rows(tensor) for tensor in self.tensors]
        keys, values = map(band.slabs, rows)
        bias = self._bias(query.dtype)
        grad_key, grad_value = (torch.zeros_like(each, dtype=wide) for each in rows)
        grad_queries = []
        for group in band.groups(queries.shape[0], max(bias.elements, keys[:1].numel())):
            grad_query, grad_keys, grad_values = flash_backward(
                upstream[group],
                queries[group],
                keys[group],
                values[group],
                (outs[group], sums[group]),
                bias[group],
                False,
                self.scale,
            )
            grad_queries.append(grad_query)
            band.add_slabs(grad_key, grad_keys, group)
            band.add_slabs(grad_value, grad_values, group)
        batch, length = query.shape[0], query.shape[2]
        of_query = band.unblock(torch.cat(grad_queries), batch, length)
        return of_query, *(
            band.unrows(grad, tensor).to(tensor.dtype)
            for grad, tensor in zip((grad_key, grad_value), self.tensors, strict=True)
        )

    def _seen(self) -> Tensor:
        return self.band.seen(self.key, self.key_mask)

    def _bias(self, dtype: torch.dtype) -> "_Bias":
        return _Bias(self.band, self._seen(), dtype)


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
    out = gradient_laid_out(out)
    return band.ungather(torch.where(mask.any(-1, keepdim=True), out, 0.0), query)
