"""The covariance of keys under the weights of every query, and systems of it with a ridge."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.cholesky import cholesky

REFINEMENTS = 1
"""Steps by which solutions from a factor in a short type become as exact as their residuals."""

LARGEST_RIDGE = 1e30
"""A ridge that leaves nothing of the slope, within the range of float32."""

SMALLEST_SHARE = {torch.float64: 1e-9, torch.float32: 1e-6}
"""The least ridge of a type, in mean squared distances of the keys from the query."""

NAME = "the covariance of keys with its ridge"


def ridge_by_weight(ridge: float, log_total: Tensor) -> Tensor:
    """lambda / omega from log omega, within the range of the type."""
    return (ridge * (-log_total).clamp(max=80).exp()).clamp(max=LARGEST_RIDGE)


def least_ridge(covariance: Tensor, distance: Tensor, dtype: torch.dtype) -> Tensor:
    """The smallest ridge that a type resolves: a share of the mean squared distance of the keys from the query.

    Args:
        covariance: C, (..., D, D).
        distance: q - kbar, (..., D).
        dtype: of the call, float32 or float64.
    """
    squares = covariance.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) + distance.square().sum(
        -1, keepdim=True
    )
    return (SMALLEST_SHARE[dtype] * squares.detach()).clamp(min=torch.finfo(dtype).tiny ** 0.5)


class Covariance(NamedTuple):
    """C + ridge I of every query: exactly by its products with vectors, and roughly as a Cholesky factor.

    Attributes:
        key: (heads, N, D).
        weights: (heads, R, N).
        ridge: (heads, R, 1).
        factor: (heads, R, D, D), maybe in a shorter type.
    """

    key: Tensor
    weights: Tensor
    ridge: Tensor
    factor: Tensor

    @classmethod
    def of(
        cls, key: Tensor, weights: Tensor, ridge: Tensor, distance: Tensor, short: torch.dtype
    ) -> Covariance:
        """By moments in a short type, or in that of the keys if the matrix is not positive definite in the short one."""
        covariance = _covariance(key, weights, short)
        ridge = torch.maximum(ridge, least_ridge(covariance, distance.to(short), short).to(key.dtype))
        try:
            factor = _factor(covariance, ridge.to(short))
        except ArgumentError:
            if short == key.dtype:
                raise
            factor = _factor(_covariance(key, weights, key.dtype), ridge)
        return cls(key, weights, ridge, factor)

    def solve(self, right: Tensor) -> Tensor:
        """x of (C + ridge I) x = b, (heads, R, D): refined with residuals from the keys themselves."""
        found = self._rough(right)
        for _ in range(REFINEMENTS):
            found = found + self._rough(right - self._times(found))
        return found

    def _times(self, vector: Tensor) -> Tensor:
        along = vector @ self.key.transpose(-2, -1)
        mean = (self.weights * along).sum(-1, keepdim=True)
        return along.sub_(mean).mul_(self.weights) @ self.key + self.ridge * vector

    def _rough(self, right: Tensor) -> Tensor:
        short = right.to(self.factor.dtype).unsqueeze(-1)
        return torch.cholesky_solve(short, self.factor).squeeze(-1).to(right.dtype)


def _covariance(key: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """The covariance of the keys under the weights, (heads, R, D, D).

    Moments are products of the weights with k_a k_b for a <= b: R N D (D + 1) / 2 multiply-adds. Keys are centred on the
    mean of the first row before, which sees nothing that later rows do not: so little cancels.
    """
    key, weights = (key - weights[..., :1, :] @ key).to(dtype), weights.to(dtype)
    mean, dim = weights @ key, key.shape[-1]
    first, second = torch.triu_indices(dim, dim, device=key.device)
    place = torch.empty(dim, dim, dtype=torch.long, device=key.device)
    place[first, second] = place[second, first] = torch.arange(len(first), device=key.device)

    def products(
        rows: Tensor,
    ) -> Tensor:  # (heads, D (D + 1) / 2, N), by rows: columns take ten times as long
        turned = rows.transpose(-2, -1).contiguous()
        return turned.index_select(-2, first).mul_(turned.index_select(-2, second))

    moments = (products(key) @ weights.transpose(-2, -1)).sub_(products(mean))
    covariance = moments.index_select(-2, place.flatten()).transpose(-2, -1).contiguous()
    return covariance.unflatten(-1, (dim, dim))


def _factor(covariance: Tensor, ridge: Tensor) -> Tensor:
    return cholesky(
        covariance + torch.diag_embed(ridge.expand(*ridge.shape[:-1], covariance.shape[-1])), NAME
    )
