"""Ridge regression on the keys up to every query, in chunks, exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.causal_sums import causal_sums
from primaldual.kernels.cholesky import check, cholesky
from primaldual.kernels.precision import differentiated_once
from primaldual.kernels.statistics import widest

CHUNK = 64  # positions; a chunk takes products of CHUNK * F * F and a factor of CHUNK * CHUNK numbers
MOMENTS = "the second moments of the keys plus the penalty"
CHUNK_MOMENTS = "I + K P K' of a chunk of keys, P the inverse of the moments before it,"


def prefix_ridge(query: Tensor, key: Tensor, value: Tensor, moments: Tensor, sums: Tensor) -> Tensor:
    """The regression of every position, at its query.

        out_i = f_i' P_i G_i,  P_i = (S_0 + sum_(j <= i) g_j g_j')^-1,  G_i = G_0 + sum_(j <= i) g_j v_j'

    Let K, Q, V be the rows of a chunk, P the inverse and W = P G the weights before it. With I + K P K' = L L',
    Z = L^-1 K P and Y = L^-1 (V - K W) its outputs are Q W + tril(Q Z') Y, because the leading rows of L are the factor
    of the leading keys; then W becomes W + Z' Y and P becomes P - Z' Z. Errors of rounding are those of residuals.

    Args:
        query: f, (batch, kv heads, group, N, F).
        key: g, (batch, kv heads, N, F).
        value: v, (batch, kv heads, N, Dv).
        moments: S_0, symmetric positive definite, (batch, kv heads, F, F).
        sums: G_0, (batch, kv heads, F, Dv).

    Returns:
        (batch, kv heads, group, N, Dv).

    Raises:
        ArgumentError: a matrix that is not positive definite in the type of the keys.
    """
    out: Tensor = _PrefixRidge.apply(query, key, value, moments, sums)
    return out


def extended(
    key: Tensor, value: Tensor, inverse: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Z, Y, and the inverse P and the weights W after some more keys: K (..., n, F) and values (..., n, Dv)."""
    rows = key @ inverse
    matrix = rows @ key.mT
    matrix.diagonal(dim1=-2, dim2=-1).add_(1)
    factor, info = torch.linalg.cholesky_ex(matrix)
    check(info, matrix, CHUNK_MOMENTS)
    both = torch.cat([rows, value - key @ weights], -1)
    moved, left = torch.linalg.solve_triangular(factor, both, upper=False).split(
        [key.shape[-1], value.shape[-1]], -1
    )
    return moved, left, inverse - moved.mT @ moved, weights + moved.mT @ left


def plain_prefix_ridge(query: Tensor, key: Tensor, value: Tensor, moments: Tensor, sums: Tensor) -> Tensor:
    """:func:`prefix_ridge` without a loop or a backward of its own: all chunks at once, in the widest type."""
    length, dtype, wide = key.shape[2], value.dtype, widest(key.device)
    chunks = (
        length + 2 * CHUNK - 1
    ) // CHUNK  # one more than needed, never 1, which a compiler would treat apart
    place = torch.arange(chunks * CHUNK, device=key.device).clamp(max=length - 1)
    keys, values = (
        tensor.to(wide).index_select(2, place).unflatten(2, (-1, CHUNK)) for tensor in (key, value)
    )
    queries = query.to(wide).index_select(3, place).unflatten(3, (-1, CHUNK)).transpose(2, 3).flatten(3, 4)
    before = [
        torch.cat([first.to(wide).unsqueeze(2), of_chunks], 2).cumsum(2)[:, :, :-1]
        for first, of_chunks in ((moments, keys.mT @ keys), (sums, keys.mT @ values))
    ]
    factor = cholesky(before[0], MOMENTS)
    weights = torch.cholesky_solve(before[1], factor)
    white_keys, white_queries = (
        torch.linalg.solve_triangular(factor, rows.mT, upper=False).mT for rows in (keys, queries)
    )
    identity = torch.eye(CHUNK, dtype=wide, device=key.device)
    inner = cholesky(identity + white_keys @ white_keys.mT, CHUNK_MOMENTS)
    both = torch.cat([white_keys, values - keys @ weights], -1)
    both = torch.linalg.solve_triangular(inner, both, upper=False)
    moved, left = both.split([key.shape[-1], value.shape[-1]], -1)
    out = queries @ weights + _masked(white_queries @ moved.mT) @ left
    whole = out.unflatten(3, (-1, CHUNK)).transpose(2, 3).flatten(3, 4)
    return whole.index_select(3, torch.arange(length, device=key.device)).to(dtype)


def _masked(scores: Tensor) -> Tensor:
    """Zero where the key stands after the query, in chunks (..., group * CHUNK, CHUNK)."""
    return scores.unflatten(-2, (-1, CHUNK)).tril().flatten(-3, -2)


class _PrefixRidge(torch.autograd.Function):
    """With W_i = P_i G_i and p_i = P_i f_i: df_i = W_i dout_i, and sums over the positions from each key on.

    dv_j = sum_(i >= j) (p_i . g_j) dout_i,
    dg_j = sum_(i >= j) p_i (dout_i . v_j - df_i . g_j) - df_i (p_i . g_j).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, moments: Tensor, sums: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value, moments, sums)
        out = [
            rows @ step.weights + step.within(rows, step.moved, step.left)
            for rows, step in _steps(query, key, value, moments, sums)
        ]
        return _whole(out, query)

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        query, key, value, moments, sums = ctx.saved_tensors
        solved, pulled = [], []
        for (rows, step), pull in zip(_steps(query, key, value, moments, sums), _chunks(grad), strict=True):
            solved.append(rows @ step.inverse - step.within(rows, step.moved, step.moved))
            pulled.append(pull @ step.weights.mT + step.within(pull, step.left, step.moved))
        of_keys, grad_query = _whole(solved, query), _whole(pulled, query)
        grad_key, grad_value = _from_each_key(key, value, of_keys, grad_query, grad)
        flat = [tensor.flatten(2, 3) for tensor in (of_keys, grad_query, grad)]
        return grad_query, grad_key, grad_value, -flat[0].mT @ flat[1], flat[0].mT @ flat[2]


class _Step:
    """What a chunk of positions finds, and what it adds."""

    def __init__(self, inverse: Tensor, weights: Tensor, moved: Tensor, left: Tensor) -> None:
        self.inverse, self.weights, self.moved, self.left = inverse, weights, moved, left

    @staticmethod
    def within(rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """tril(rows left') right."""
        return _masked(rows @ left.mT) @ right


def _steps(query: Tensor, key: Tensor, value: Tensor, moments: Tensor, sums: Tensor) -> Any:
    """The rows of every chunk, (batch, kv heads, group * CHUNK, F), and its :class:`_Step`."""
    inverse = torch.cholesky_inverse(cholesky(moments, MOMENTS))
    weights = inverse @ sums
    keys, values = (_chunks(tensor.unsqueeze(2)) for tensor in (key, value))
    for rows, chunk_keys, chunk_values in zip(_chunks(query), keys, values, strict=True):
        moved, left, later, later_weights = extended(chunk_keys, chunk_values, inverse, weights)
        yield rows, _Step(inverse, weights, moved, left)
        inverse, weights = later, later_weights


def _from_each_key(
    key: Tensor, value: Tensor, solved: Tensor, pulled: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of keys and values: sums over the positions from each key on, so causal sums backwards."""
    batch, kv_heads, group, length, count = solved.shape
    solved, pulled, grad = (tensor.flip(3).flatten(1, 2) for tensor in (solved, pulled, grad))
    keys, values = (tensor.flip(2).repeat_interleave(group, 1)[:, :, None] for tensor in (key, value))

    def summed(rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
        nothing = left.new_zeros(*left.shape[:2], left.shape[3], right.shape[3])
        return causal_sums(rows, left, right, nothing, nothing[..., 0])[0].squeeze(2)

    by_solved = summed(keys, solved, torch.cat([grad, -pulled], -1))
    by_grad = summed(torch.cat([values, keys], -1), torch.cat([grad, -pulled], -1), solved)
    of_value, of_key = by_solved.split([value.shape[3], count], -1)
    grads = torch.cat([of_key + by_grad, of_value], -1).view(batch, kv_heads, group, length, -1)
    grad_key, grad_value = grads.sum(2).flip(2).split([count, value.shape[3]], -1)
    return grad_key, grad_value


def _chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    """(batch, kv heads, group, N, D) as pieces (batch, kv heads, group * CHUNK, D), 0 behind the end."""
    chunks = -(-tensor.shape[3] // CHUNK)
    whole = pad(tensor, (0, 0, 0, chunks * CHUNK - tensor.shape[3]))
    return whole.unflatten(3, (chunks, CHUNK)).movedim(3, 0).flatten(3, 4).contiguous().unbind()


def _whole(chunks: list[Tensor], like: Tensor) -> Tensor:
    """The inverse of :func:`_chunks`, with the group and the length of ``like``."""
    found = torch.stack(chunks, 2).unflatten(3, (like.shape[2], CHUNK)).transpose(2, 3).flatten(3, 4)
    return found[:, :, :, : like.shape[3]]
