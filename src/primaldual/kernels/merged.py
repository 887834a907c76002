"""Softmax over two sets of keys, merged exactly: most keys by the blockwise kernel, a few of every query by hand.

    out = (exp(l_far) out_far + sum_e exp(s_e) v_e) / (exp(l_far) + sum_e exp(s_e)),  l_far the log-sum-exp of the far keys

Each part's backward takes the output and the log-sum-exp of the whole, which makes it exact.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.flash import additive, flash_backward, flash_forward
from primaldual.kernels.precision import differentiated_once
from primaldual.kernels.statistics import accumulation_dtype


def merged_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, scale: float, near: Tensor
) -> Tensor:
    """Query i attends the keys 0 .. i - m, and the last m keys by the scores ``near`` in the place of theirs.

    Args:
        query: (batch, heads, N, D).
        key: (batch, heads, N, D).
        value: (batch, heads, N, D).
        key_mask: bool (batch or 1, heads or 1, 1, N), or None.
        scale: factor on the scores of ``key``.
        near: (batch, heads, N, m), the scores of query i and key i - e at [.., i, e], float32 or wider.

    Returns:
        (batch, heads, N, D); rows without a key give 0. Differentiable once.
    """
    out: Tensor = _Merged.apply(query, key, value, key_mask, scale, near)
    return out


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_mask: Tensor | None,
        scale: float,
        near: Tensor,
    ) -> Tensor:
        count, length = near.shape[-1], query.shape[2]
        near = near + _missing(near, key_mask)
        total = near.logsumexp(-1)
        far = None
        if length > count:
            far, far_sum = flash_forward(*_far(query, key, value, key_mask, count), True, scale)
            if key_mask is not None:  # the kernel has a value of its own for an empty row
                seen = key_mask[..., 0, : length - count].cumsum(-1) > 0
                far_sum = far_sum.masked_fill(~seen, -torch.inf)
            total[..., count:] = torch.logaddexp(total[..., count:], far_sum)
        safe = total.masked_fill(total == -torch.inf, 0.0).unsqueeze(-1)
        shares = (near - safe).exp()
        out = shares[..., :1] * value
        for place in range(1, count):
            out += shares[..., place : place + 1] * later(value, place)
        if far is not None:
            out[:, :, count:].addcmul_((far_sum.unsqueeze(-1) - safe[:, :, count:]).exp(), far.to(out.dtype))
        out = out.to(query.dtype)
        ctx.scale = scale
        ctx.save_for_backward(query, key, value, key_mask, shares, out, safe.squeeze(-1))
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, key_mask, shares, out, total = ctx.saved_tensors
        count, length = shares.shape[-1], query.shape[2]
        upstream = gradient.to(shares.dtype)
        grad_value = torch.zeros_like(value, dtype=shares.dtype)
        grad_near = torch.empty_like(shares)
        for place in range(count):
            share = shares[..., place : place + 1]
            difference = later(value, place).to(shares.dtype) - out
            grad_near[..., place : place + 1] = share * (difference * upstream).sum(-1, keepdim=True)
            grad_value[:, :, : max(0, length - place)] += (share * upstream)[:, :, place:]
        grad_query, grad_key = torch.zeros_like(query), torch.zeros_like(key)
        if length > count:
            far_query, far_key, far_value, bias = _far(query, key, value, key_mask, count)
            # Log-sum-exps lie as the kernel writes them: heads last.
            outcome = out[:, :, count:], total[..., count:].transpose(1, 2).contiguous().transpose(1, 2)
            far = flash_backward(
                gradient[:, :, count:], far_query, far_key, far_value, outcome, bias, True, ctx.scale
            )
            grad_query[:, :, count:] = far[0]
            grad_key[:, :, : length - count] = far[1]
            grad_value[:, :, : length - count] += far[2]
        return grad_query, grad_key, grad_value.to(value.dtype), None, None, grad_near


def later(rows: Tensor, count: int) -> Tensor:
    """Row i - count at row i, 0 before: (batch, heads, N, D)."""
    return pad(rows, (0, 0, count, 0))[:, :, : rows.shape[2]] if count else rows


def _far(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Queries that have far keys, these keys and values, and what is added to their scores."""
    end = query.shape[2] - count
    mask = None if key_mask is None else key_mask[..., :end]
    return query[:, :, count:], key[:, :, :end], value[:, :, :end], additive(mask, query)


def _missing(near: Tensor, key_mask: Tensor | None) -> Tensor:
    """Minus infinity at near keys before the first one, and at masked ones, else 0: (batch or 1, heads or 1, N, m)."""
    length, count = near.shape[-2:]
    mask = near.new_ones(1, 1, 1, length, dtype=torch.bool) if key_mask is None else key_mask
    present = torch.stack([pad(mask[..., 0, :], (place, 0))[..., :length] for place in range(count)], -1)
    return torch.zeros_like(present, dtype=near.dtype).masked_fill_(~present, -torch.inf)


def near_scores(query: Tensor, keys: list[Tensor], scale: float) -> Tensor:
    """scale q_i . k_(i - e) for the e-th of some keys (batch, heads, N, D): (batch, heads, N, m), float32 or wider."""
    wide = accumulation_dtype(query.dtype)
    scores = [(query.to(wide) * later(key.to(wide), place)).sum(-1) for place, key in enumerate(keys)]
    return torch.stack(scores, -1) * scale
