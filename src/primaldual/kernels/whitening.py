"""The covariance of keys, shrunk, as a metric: of all keys, and for queries that each have the keys up to their own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from primaldual.kernels.cholesky import cholesky
from primaldual.kernels.statistics import accumulation_dtype, widest

BLOCK_NUMBERS = 2**21
"""Numbers of covariances that are held at a time, where every query has its own."""


NAME = "the shrunk covariance of the keys"


class Shrinkage(NamedTuple):
    """Sigma' = (1 - share) Sigma + share diag(Sigma) + eps I."""

    share: float
    eps: float

    def of(self, covariance: Tensor) -> Tensor:
        """Sigma' of (..., D, D)."""
        diagonal = covariance.diagonal(dim1=-2, dim2=-1) * self.share + self.eps
        return covariance * (1 - self.share) + torch.diag_embed(diagonal)


def centred_and_factor(
    key: Tensor, key_mask: Tensor | None, shrinkage: Shrinkage
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (batch, heads, 1, D) of keys, the keys less it, and the Cholesky factor (batch, heads, D, D) of Sigma'.

    Args:
        key: (batch, heads, N, D).
        key_mask: bool (batch or 1, heads or 1, 1, N), or None.
        shrinkage: Sigma' from Sigma.

    Returns:
        Mean and factor in float64 where there is one; centred keys, 0 where masked, in float32 or wider.
    """
    present = None if key_mask is None else key_mask.transpose(-2, -1)
    count = key.shape[2] if present is None else present.sum(-2, keepdim=True).clamp(min=1)
    wide = key.to(
        widest(key.device)
    )  # gradients of keys and mean cancel before they leave the range of half precision
    kept = wide if present is None else torch.where(present, wide, 0.0)
    mean = kept.sum(-2, keepdim=True) / count
    exact = wide - mean if present is None else torch.where(present, wide - mean, 0.0)
    factor = cholesky(shrinkage.of(exact.transpose(-2, -1) @ exact / count), NAME)
    return mean, exact.to(accumulation_dtype(key.dtype)), factor


def prefix_whitened(
    query: Tensor, key: Tensor, key_mask: Tensor | None, shrinkage: Shrinkage, first: int
) -> Tensor:
    """(q - mu) Sigma'^-1 for the keys up to the position of each query, the last one at the last key; 0 before ``first``.

    Moments are running sums, of a block of queries at a time.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, N, D), near 0, in the type of the queries.
        key_mask: bool (batch or 1, kv heads or 1, 1, N), or None.
        shrinkage: Sigma' from Sigma.
        first: the first query that counts.
    """
    (batch, kv_heads, length, dim), rows = key.shape, query.shape[2]
    before = length - rows
    grouped = query.unflatten(1, (kv_heads, -1))
    present = _present(key, key_mask).expand(-1, -1, length, -1)
    key = key * present
    begin = max(first, -before)
    seen, counts = key[:, :, : begin + before], present[:, :, : begin + before]
    state = seen.transpose(-2, -1) @ seen, seen.sum(-2, keepdim=True), counts.sum(-2, keepdim=True)
    size = max(1, BLOCK_NUMBERS // max(1, batch * kv_heads * dim * dim))
    outputs = [torch.zeros_like(grouped[:, :, :, :begin])]
    for start in range(begin, rows, size):
        stop = min(start + size, rows)
        block = slice(start + before, stop + before)
        taken = grouped[:, :, :, start:stop], key[:, :, block], present[:, :, block], shrinkage, *state
        again = torch.is_grad_enabled()
        out, *rest = checkpoint(_block, *taken, use_reentrant=False) if again else _block(*taken)
        state = rest[0], rest[1], rest[2]
        outputs.append(out)
    return torch.cat(outputs, 3).flatten(1, 2)


def _block(
    query: Tensor,
    key: Tensor,
    present: Tensor,
    shrinkage: Shrinkage,
    moments: Tensor,
    sums: Tensor,
    counts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries (batch, kv heads, groups, R, D) of a block, and moments, sums and counts of all keys up to its end."""
    running = moments.unsqueeze(2) + (key.unsqueeze(-1) * key.unsqueeze(-2)).cumsum(2)
    totals, seen = sums + key.cumsum(2), counts + present.cumsum(2)
    mean = totals / seen.clamp(min=1)
    covariance = running / seen.clamp(min=1).unsqueeze(-1) - mean.unsqueeze(-1) * mean.unsqueeze(-2)
    factor = cholesky(shrinkage.of(covariance), NAME)
    right = (query - mean.unsqueeze(2)).permute(0, 1, 3, 4, 2)
    out = torch.cholesky_solve(right, factor).permute(0, 1, 4, 2, 3)
    return out, running[:, :, -1], totals[:, :, -1:], seen[:, :, -1:]


def _present(key: Tensor, key_mask: Tensor | None) -> Tensor:
    """1 where a key counts, else 0: (batch or 1, kv heads or 1, N, 1)."""
    if key_mask is None:
        return key.new_ones(1, 1, key.shape[2], 1)
    return key_mask.transpose(-2, -1).to(key.dtype)
