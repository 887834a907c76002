"""Softmax attention by a local linear model: weights w_j (1 - (k_j - kbar) . r) for a probe r of every query."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.key_covariance import Covariance, ridge_by_weight
from primaldual.kernels.precision import differentiated_once
from primaldual.kernels.row_pools import excluding


class Slopes(NamedTuple):
    """What local_linear_attention knows beside its tensors.

    Attributes:
        scale: factor on the scores.
        valid: bool (heads or 1, R or 1, n), whether the last n keys may be attended, as all before may; None = all.
        ridge: lambda, where the probe is that of least squares; None = the probe is given.
        dropout_p: probability of dropping a weight.
        short: the type of moments, which may be shorter than that of the tensors.
    """

    scale: float
    valid: Tensor | None
    ridge: float | None
    dropout_p: float
    short: torch.dtype = torch.float64


def local_linear_attention(
    query: Tensor, key: Tensor, value: Tensor, slopes: Slopes, bias: Tensor | None, probe: Tensor | None
) -> Tensor:
    """sum_j w_j (1 - (k_j - kbar) . r) v_j, w the softmax of scale q . k + bias: (heads, R, Dv); differentiable once.

    With a ridge r = -(C + lambda / omega I)^-1 (q - kbar): C the covariance of the keys under w, omega the sum of
    exp(score).

    Args:
        query: (heads, R, D).
        key: (heads, N, D).
        value: (heads, N, Dv).
        slopes: scale, mask, ridge, dropout.
        bias: (heads, R, N), None = 0.
        probe: r, (heads, R, D), None = that of the ridge.

    Raises:
        ArgumentError: a covariance that is not positive definite in this precision.
    """
    out: Tensor = _LocalLinear.apply(slopes, query, key, value, bias, probe)
    return out


class _LocalLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        slopes: Slopes,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        probe: Tensor | None,
    ) -> Tensor:
        weights, total = _softmax(slopes, query, key, bias)
        if slopes.ridge is not None and total is not None:
            ridge = ridge_by_weight(slopes.ridge, total)
            distance = query - weights @ key
            probe = -Covariance.of(key, weights, ridge, distance, slopes.short).solve(distance)
        ctx.slopes, ctx.seed = slopes, int(torch.randint(2**62, ())) if slopes.dropout_p else None
        ctx.save_for_backward(query, key, value, bias, probe)
        assert probe is not None
        tilted = _tilt(weights, _products(probe, key))[0].mul_(weights)
        if ctx.seed is not None:
            tilted *= _kept(tilted, slopes.dropout_p, ctx.seed)
        return tilted @ value

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, probe = ctx.saved_tensors
        slopes: Slopes = ctx.slopes
        weights, total = _softmax(slopes, query, key, bias)
        along = _products(probe, key)
        tilt, mean = _tilt(weights, along)
        of_tilted = _products(gradient, value)
        tilted = weights * tilt
        if ctx.seed is not None:
            kept = _kept(tilted, slopes.dropout_p, ctx.seed)
            tilted, of_tilted = tilted * kept, of_tilted * kept
        of_value = tilted.transpose(-2, -1) @ gradient
        of_along = of_tilted * weights
        of_mean = of_along.sum(-1, keepdim=True)
        of_weights = of_tilted.mul_(tilt).add_(along * of_mean)
        of_along = (weights * of_mean).sub_(of_along)
        of_probe, of_key = of_along @ key, of_along.transpose(-2, -1) @ probe
        of_query, of_total = torch.zeros_like(query), None
        if slopes.ridge is not None and total is not None:
            # By the implicit function: of x = -r, (C + ridge I) x = q - kbar, and with y of (C + ridge I) y = of_x
            # the loss changes by y . d(q - kbar - C x - ridge x), x held.
            ridge = ridge_by_weight(slopes.ridge, total)
            covariance = Covariance.of(key, weights, ridge, query - weights @ key, slopes.short)
            adjoint = covariance.solve(-of_probe)
            across = _products(adjoint, key)
            across_mean = (weights * across).sum(-1, keepdim=True)
            of_query += adjoint
            of_weights += (along - mean) * (across - across_mean) - across
            of_key += (weights * (across - across_mean)).transpose(-2, -1) @ probe
            of_key += (weights * (along - mean - 1)).transpose(-2, -1) @ adjoint
            of_total = -ridge * (ridge == covariance.ridge) * (adjoint * probe).sum(-1, keepdim=True)
            of_probe = None
        of_weights *= weights
        of_scores = of_weights - weights * of_weights.sum(-1, keepdim=True)
        if of_total is not None:
            of_scores += weights * of_total
        of_query += slopes.scale * (of_scores @ key)
        of_key += slopes.scale * (of_scores.transpose(-2, -1) @ query)
        return None, of_query, of_key, of_value, None if bias is None else of_scores, of_probe


def _softmax(slopes: Slopes, query: Tensor, key: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Softmax over the keys, 0 in rows without one; for a ridge the logarithm of the sum of exp(score), (heads, R, 1)."""
    scores = _products(query * slopes.scale, key)
    if bias is not None:
        scores += bias
    if slopes.valid is not None:
        scores[..., -slopes.valid.shape[-1] :] += excluding(slopes.valid, scores.dtype)
    if slopes.ridge is None:
        weights, total = scores.softmax(-1), None
    else:
        largest = scores.amax(-1, keepdim=True)
        weights = scores.sub_(largest).exp_()
        total = weights.sum(-1, keepdim=True)
        weights, total = weights.div_(total), total.log_().add_(largest)
    if slopes.valid is not None and slopes.valid.shape[-1] == key.shape[-2]:
        weights *= slopes.valid.any(-1, keepdim=True)
    return weights, total


def _products(rows: Tensor, key: Tensor) -> Tensor:
    return rows @ key.transpose(-2, -1)


def _tilt(weights: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """1 - (k_j - kbar) . r from k_j . r, and kbar . r."""
    mean = (weights * along).sum(-1, keepdim=True)
    return (1 + mean) - along, mean


def _kept(like: Tensor, dropout_p: float, seed: int) -> Tensor:
    """1 / (1 - p) where a weight is kept, 0 where it is dropped."""
    drawn = torch.empty_like(like).bernoulli_(
        1 - dropout_p, generator=torch.Generator(like.device).manual_seed(seed)
    )
    return drawn.div_(1 - dropout_p)
