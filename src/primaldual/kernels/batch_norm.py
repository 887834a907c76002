"""The query of batch-normalised attention where one set of keys serves all queries, forward and backward fused."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from primaldual.kernels.heads import for_query_heads, sum_over_query_heads
from primaldual.kernels.precision import differentiated_once
from primaldual.kernels.statistics import centre, mean_of_rows

SHORT = 256
"""Most keys that are centred whatever their mean: a pass over them costs less than to look whether they need it."""

FAR = 16.0
"""Squared mean of keys, in variances, from which they are centred; below, it costs them less than a digit."""


def batch_normalized_query(
    query: Tensor, key: Tensor, key_mask: Tensor | None, beta: float | Tensor, eps: float | None
) -> tuple[Tensor, Tensor]:
    """(q - beta mu) / (sigma^2 + eps) and k or k - mu: their products are those of T(q) and T(k) up to a constant in j.

    A single key gets all the weight whatever the scores are: the query is 0 there.

    One autograd node in place of a dozen: the passes over keys and queries are what
    batch-normalised attention costs beyond softmax. It can be differentiated once.

    Args:
        query: (batch, heads, Nq, D), float32 or wider.
        key: (batch, kv heads, Nk, D), finite where masked.
        key_mask: bool broadcastable to (batch, kv heads, 1, Nk), or None.
        beta: a number, or (heads, 1, 1).
        eps: added to the variance; None leaves the variance out.

    Returns:
        The changed query; the keys themselves, or the centred keys where their mean is large or some are masked.
    """
    if key_mask is None and eps is not None and key.device.type == "cpu" and key.shape[2] > SHORT:
        with torch.no_grad():
            moments = _Moments.of(key, torch.empty_like(query))
        if moments.near_origin():
            changed: Tensor = _ScaledQuery.apply(query, key, beta, eps, moments)
            return changed, key
    outputs: tuple[Tensor, Tensor] = _BatchNormalizedQuery.apply(query, key, key_mask, beta, eps)
    return outputs


def recentred(query: Tensor, mean: Tensor, beta: float | Tensor) -> Tensor:
    """q - beta mu."""
    return torch.addcmul(query, mean, -beta) if isinstance(beta, Tensor) else query.sub(mean, alpha=beta)


class _Moments(NamedTuple):
    """Mean and variance (batch, kv heads, 1, D), from sums that are exact to rounding times 1 + mean^2 / variance.

    Attributes:
        mean: mu.
        variance: sigma^2.
        scratch: the place of the squares, which the changed query takes: fresh memory costs as much as arithmetic.
    """

    mean: Tensor
    variance: Tensor
    scratch: Tensor | None

    @classmethod
    def of(cls, key: Tensor, scratch: Tensor) -> Self:
        mean = mean_of_rows(key)
        fits = scratch.shape == key.shape
        squares = torch.mul(key, key, out=scratch if fits else None)
        variance = mean_of_rows(squares).addcmul_(mean, mean, value=-1)
        return cls(mean, variance, scratch if fits else None)

    def near_origin(self) -> bool:
        """Whether no key is so far from 0, in deviations, that it takes centring."""
        return bool((self.mean * self.mean <= FAR * self.variance).all())


class _ScaledQuery(torch.autograd.Function):
    """(q - beta mu) / (sigma^2 + eps) by the moments of the keys, which are differentiated too."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, beta: float | Tensor, eps: float, moments: _Moments
    ) -> Tensor:
        heads = query.shape[1]
        inverse = (moments.variance + eps).reciprocal_()
        offset = for_query_heads(moments.mean * -inverse, heads) * beta
        scale = for_query_heads(inverse, heads)
        changed = torch.addcmul(offset, query, scale, out=moments.scratch)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.save_for_backward(key, changed, inverse, moments.mean, learned)
        return changed

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        key, changed, inverse, mean, learned = ctx.saved_tensors
        beta = ctx.beta if learned is None else learned
        (heads, kv_heads), count = (changed.shape[1], key.shape[1]), key.shape[2]
        scale = for_query_heads(inverse, heads)
        grad_query = gradient * scale
        grad_offset = gradient.sum(-2, keepdim=True) * -scale
        grad_variance = sum_over_query_heads((gradient * changed).sum(-2, keepdim=True) * -scale, kv_heads)
        slope = grad_variance * (2 / count)
        constant = sum_over_query_heads(beta * grad_offset, kv_heads) / count - mean * slope
        grad_key = torch.addcmul(constant, key, slope)
        grad_beta = None
        if ctx.needs_input_grad[2]:
            grad_beta = (grad_offset * for_query_heads(mean, heads)).sum_to_size(beta.shape)
        return grad_query, grad_key, grad_beta, None, None


class _BatchNormalizedQuery(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        key_mask: Tensor | None,
        beta: float | Tensor,
        eps: float | None,
    ) -> tuple[Tensor, Tensor]:
        variance = inverse = None
        if key_mask is None and 1 < key.shape[2] <= SHORT:
            mean = key.mean(-2, keepdim=True)
            centred = key - mean
            variance = (centred * centred).mean(-2, keepdim=True)
        else:
            mean, centred = centre(key, key_mask)
        mean_of_queries = for_query_heads(mean, query.shape[1])
        changed = recentred(query, mean_of_queries, beta)
        if eps is not None and variance is not None:
            inverse = for_query_heads(variance.add_(eps).reciprocal_(), query.shape[1])
        elif eps is not None:
            variance = (centred * centred).sum(-2, keepdim=True) / _count(centred, key_mask)
            inverse = torch.where(_count(centred, key_mask) > 1, 1 / (variance + eps), 0.0)
            inverse = for_query_heads(inverse, query.shape[1])
        if inverse is not None:
            changed *= inverse
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.save_for_backward(centred, inverse, changed, mean_of_queries, learned, key_mask)
        return changed, centred

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_changed: Tensor, grad_centred: Tensor) -> tuple[Tensor | None, ...]:
        centred, inverse, changed, mean, learned, key_mask = ctx.saved_tensors
        beta = ctx.beta if learned is None else learned
        grad_query = grad_changed if inverse is None else grad_changed * inverse
        grad_offset = -grad_query.sum(-2, keepdim=True)
        count = _count(centred, key_mask)
        grad_mean = sum_over_query_heads(beta * grad_offset, centred.shape[1]) / count
        if inverse is None:
            grad_key = grad_centred + grad_mean
        else:
            grad_variance = -(grad_changed * changed).sum(-2, keepdim=True) * inverse
            slope = 2 * sum_over_query_heads(grad_variance, centred.shape[1]) / count
            grad_key = torch.addcmul(grad_centred, centred, slope).add_(grad_mean)
        if key_mask is not None:
            grad_key = torch.where(key_mask.transpose(-2, -1), grad_key, 0.0)
        grad_beta = (grad_offset * mean).sum_to_size(beta.shape) if ctx.needs_input_grad[3] else None
        return grad_query, grad_key, None, grad_beta, None


def _count(centred: Tensor, key_mask: Tensor | None) -> Tensor:
    if key_mask is None:
        return centred.new_tensor(max(centred.shape[-2], 1))
    return key_mask.sum(-1, keepdim=True).clamp(min=1)
