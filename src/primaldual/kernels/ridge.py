"""Kernel ridge regression: by features where they are few, by the kernel matrix of the keys, and query by query."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.cholesky import cholesky
from primaldual.kernels.heads import attendable_only, check_heads
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.prefix_ridge import MOMENTS, plain_prefix_ridge, prefix_ridge
from primaldual.kernels.statistics import widest


def ridge_attention(
    query_features: Tensor,
    key_features: Tensor,
    value: Tensor,
    penalty: float,
    *,
    key_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Ridge regression on features, at the features of the queries: linear in the length.

        out_i = f_i' (lambda I + sum_j g_j g_j')^-1 sum_j g_j v_j'

    over the attendable keys j; with fewer keys than features by the matrix of the keys, which is then the smaller one. A
    row without any key is exactly 0. Half precision is computed in float32; without a causal mask all is computed in
    float64.

    Args:
        query_features: f, (batch, heads, Nq, F).
        key_features: g, (batch, kv heads, Nk, F); kv heads divides heads.
        value: (batch, kv heads, Nk, Dv).
        penalty: lambda, above 0.
        key_mask: bool broadcastable to (batch, heads or kv heads, 1, Nk), True = may attend; masked features and values
            may hold anything, NaN too.
        is_causal: query i is fitted on the keys j <= i + Nk - Nq only, exactly, by chunks.

    Returns:
        (batch, heads, Nq, Dv) in the type of ``value``.

    Raises:
        ShapeError: the tensors do not fit together.
        ArgumentError: second moments that have no Cholesky factor in the type of the features.

    Example:
        >>> ones, value = torch.ones(1, 1, 2, 1), torch.tensor([3.0, 6.0]).reshape(1, 1, 2, 1)
        >>> ridge_attention(ones, ones, value, 1.0, is_causal=True).flatten()
        tensor([1.5000, 3.0000])
    """
    check_heads(query_features, key_features, value)
    heads, query_length = query_features.shape[1:3]
    _, (keys, values) = attendable_only(key_mask, heads, key_features, value)
    kv_heads, key_length, count = keys.shape[1:]
    wide = torch.promote_types(value.dtype, torch.float32) if is_causal else widest(value.device)
    queries, keys, values = (tensor.to(wide) for tensor in (query_features, keys, values))
    penalties = penalty * torch.eye(count, dtype=wide, device=keys.device)
    grouped = queries.unflatten(1, (kv_heads, heads // kv_heads))
    if not is_causal and not in_graph() and key_length < count:
        # (lambda I + G' G)^-1 G' = G' (lambda I + G G')^-1: the smaller matrix, whose errors the penalty does not magnify.
        system = penalty * torch.eye(key_length, dtype=wide, device=keys.device) + keys @ keys.mT
        coefficients = torch.cholesky_solve(values, cholesky(system, regularized_name(penalty)))
        return (grouped @ keys.mT.unsqueeze(2) @ coefficients.unsqueeze(2)).flatten(1, 2).to(value.dtype)
    if not is_causal:
        factor = cholesky(penalties + keys.mT @ keys, MOMENTS)
        weights = torch.cholesky_solve(keys.mT @ values, factor)
        return (grouped @ weights.unsqueeze(2)).flatten(1, 2).to(value.dtype)
    early, missing = max(key_length - query_length, 0), max(query_length - key_length, 0)
    first, first_values = keys[:, :, :early], values[:, :, :early]
    form = plain_prefix_ridge if in_graph() or in_transform() else prefix_ridge
    out = form(
        grouped[..., missing:, :],
        keys[:, :, early:],
        values[:, :, early:],
        penalties + first.mT @ first,
        first.mT @ first_values,
    )
    return pad(out.flatten(1, 2), (0, 0, missing, 0)).to(value.dtype)


def ridge_weights(rows: Tensor, matrix: Tensor, roots: Tensor, penalty: float) -> Tensor:
    """The weights on the values: rows (R K R + lambda I)^-1 R, by definition.

    Args:
        rows: kappa(query_i, key_j) sqrt(w_ij), 0 where hidden, (batch, heads, Nq, Nt).
        matrix: K of the training keys, (batch, heads, Nq or 1, Nt, Nt).
        roots: the diagonal of R, sqrt(w_ij), 0 where hidden, (batch, heads, Nq or 1, Nt).
        penalty: lambda.

    Returns:
        (batch, heads, Nq, Nt).
    """
    system = regularized(matrix, roots, penalty)
    cholesky(
        system.detach(), regularized_name(penalty)
    )  # says what is wrong; solve is differentiated twice in less time
    if system.shape[2] == 1:
        return torch.linalg.solve(system.squeeze(2), rows.mT).mT * roots
    return torch.linalg.solve(system, rows.unsqueeze(-1)).squeeze(-1) * roots


def regularized(matrix: Tensor, roots: Tensor, penalty: float) -> Tensor:
    """R K R + lambda I, with 1 in place of lambda at hidden keys."""
    weighted = roots.unsqueeze(-1) * matrix * roots.unsqueeze(-2)
    diagonal = torch.full_like(roots, penalty).masked_fill(roots == 0, 1.0)
    return weighted + torch.diag_embed(diagonal)


def regularized_name(penalty: float) -> str:
    """What the matrix of :func:`regularized` is, for messages."""
    return f"the kernel matrix of the keys plus {penalty:g} times the identity"
