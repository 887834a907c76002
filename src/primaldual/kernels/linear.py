"""Factored attention on given features: linear in the length, causal by chunks."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.causal_sums import causal_sums, plain_causal_sums
from primaldual.kernels.heads import attendable_only, check_heads
from primaldual.kernels.modes import in_graph
from primaldual.kernels.precision import differentiated_once


def linear_attention(
    query_features: Tensor,
    key_features: Tensor,
    value: Tensor,
    *,
    key_mask: Tensor | None = None,
    is_causal: bool = False,
    normalize: bool = True,
) -> Tensor:
    """Attention with the kernel phi(q) . phi(k), by summing over the keys first.

        out_i = sum_j (f_i . g_j) v_j / sum_j (f_i . g_j)

    over the attendable keys j; without the denominator when ``normalize`` is False. A row whose
    denominator is exactly zero (no attendable key) is exactly 0. Half precision is summed in float32.

    Args:
        query_features: f, (batch, heads, Nq, F).
        key_features: g, (batch, kv heads, Nk, F); kv heads divides heads, query head h uses kv head
            ``h // (heads // kv heads)``.
        value: (batch, kv heads, Nk, Dv).
        key_mask: bool broadcastable to (batch, heads or kv heads, 1, Nk), True = may attend; masked
            features and values may hold anything, NaN too.
        is_causal: query i attends the keys j <= i + Nk - Nq only.
        normalize: divide by the sum of the kernels.

    Returns:
        (batch, heads, Nq, Dv) in the type of ``value``.

    Raises:
        ShapeError: the tensors do not fit together.

    Example:
        >>> ones, value = torch.ones(1, 1, 3, 1), torch.tensor([2.0, 4.0, 9.0]).reshape(1, 1, 3, 1)
        >>> linear_attention(ones, ones, value, is_causal=True).flatten().tolist()
        [2.0, 3.0, 5.0]
    """
    check_heads(query_features, key_features, value)
    heads, query_length = query_features.shape[1:3]
    _, (keys, values) = attendable_only(key_mask, heads, key_features, value)
    kv_heads, key_length = keys.shape[1], keys.shape[2]
    wide = torch.promote_types(value.dtype, torch.float32)
    queries, keys, values = (tensor.to(wide) for tensor in (query_features, keys, values))
    queries = torch.unflatten(queries, 1, (kv_heads, heads // kv_heads))
    if is_causal:
        # Lengths that a compiler has found equal stay one symbol, and its sums stay simple.
        missing = 0 if query_length == key_length else max(query_length - key_length, 0)
        sums, totals = _causal(queries[..., missing:, :], keys, values, normalize)
    else:
        missing = 0
        sums, totals = _everywhere(queries, keys, values, normalize)
    if totals is not None:
        # Not multiplied by 1 / totals, which overflows where the totals are subnormal.
        sums = sums / torch.where(totals != 0, totals, torch.inf)
    out = sums.flatten(1, 2).to(value.dtype)
    return pad(out, (0, 0, missing, 0)) if missing else out


def _everywhere(
    queries: Tensor, keys: Tensor, values: Tensor, normalize: bool
) -> tuple[Tensor, Tensor | None]:
    """sum_j (f_i . g_j) v_j and sum_j f_i . g_j over all keys, queries (batch, kv heads, group, Nq, F)."""
    group = queries.shape[2:4]
    arguments = queries.flatten(2, 3), keys, values
    if in_graph():
        sums, totals = _plain_sums(*arguments)[:2]
    else:
        sums, totals = _Sums.apply(*arguments)
    return torch.unflatten(sums, 2, group), torch.unflatten(totals, 2, group) if normalize else None


def _plain_sums(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    state, total = keys.transpose(-2, -1) @ values, keys.sum(-2)
    totals = torch.einsum("bhnf,bhf->bhn", queries, total).unsqueeze(-1)
    return queries @ state, totals, state, total


class _Sums(torch.autograd.Function):
    """:func:`_plain_sums` whose backward adds its two parts within the products."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        sums, totals, state, total = _plain_sums(queries, keys, values)
        ctx.save_for_backward(queries, keys, values, state, total)
        return sums, totals

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_sums: Tensor, grad_totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, values, state, total = ctx.saved_tensors
        grad_queries = (grad_sums @ state.transpose(-2, -1)).addcmul_(grad_totals, total.unsqueeze(-2))
        pull = queries.transpose(-2, -1) @ grad_sums
        pull_total = torch.einsum("bhnf,bhn->bhf", queries, grad_totals.squeeze(-1))
        grad_keys = (values @ pull.transpose(-2, -1)).add_(pull_total.unsqueeze(-2))
        return grad_queries, grad_keys, keys @ pull


def _causal(queries: Tensor, keys: Tensor, values: Tensor, normalize: bool) -> tuple[Tensor, Tensor | None]:
    """The same over the keys up to each query; keys before all queries enter as the first state."""
    early = keys.shape[2] - queries.shape[3]
    former = keys[:, :, :early].transpose(-2, -1) @ values[:, :, :early]
    former_total = keys[:, :, :early].sum(-2)
    arguments = queries, keys[:, :, early:], values[:, :, early:], former, former_total
    causal = plain_causal_sums if in_graph() else causal_sums
    sums, totals = causal(*arguments)
    return sums, totals if normalize else None
