"""Mean and variance of the keys that every query of a band sees."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.bands import Band
from primaldual.kernels.precision import differentiated_once


def plain_moments(key: Tensor, seen: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    """Window means and biased variances, by products of each slab with the band.

    Every slab is centred by the mean of its attendable keys first: a constant shift leaves the
    variance as it is, so the shift needs no gradient.

    Args:
        key: (batch, heads, N, D), finite.
        seen: bool (batch * blocks, heads or 1, 1, slab).
        band: the geometry.

    Returns:
        mean and variance (batch, heads, N, D), 0 over an empty window.
    """
    slabs = band.gather_slabs(key)
    weights, count = _weights(band, seen, key.dtype)
    shift = _centre(slabs.detach(), seen)
    centred = slabs - shift
    mean = weights @ centred
    variance = (weights @ centred.square() - mean.square()).clamp(min=0)
    return band.ungather(mean + shift * (count > 0), key), band.ungather(variance, key)


def _weights(band: Band, seen: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The band's rows divided by their number of attendable keys, and that number."""
    member = (band.allowed(seen.device) & seen).to(dtype)
    count = member.sum(-1, keepdim=True)
    return member / count.clamp(min=1), count


def _centre(slabs: Tensor, seen: Tensor) -> Tensor:
    """Mean of the attendable keys of every slab, (blocks, heads, 1, D)."""
    member = seen.to(slabs.dtype)
    return member @ slabs / member.sum(-1, keepdim=True).clamp(min=1)


def band_moments(key: Tensor, seen: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    """:func:`plain_moments` with memory linear in the length, whatever the radius."""
    moments = _BandMoments.apply(band.rows(key), seen, band)
    mean, variance = (band.unblock(part, key.shape[0], key.shape[2]) for part in moments)
    return mean, variance


class _BandMoments(torch.autograd.Function):
    """The moments of rows a few blocks at a time, keeping only the keys and the means.

    Backward: d mean_i / d k_j = w_ij and d variance_i / d k_j = 2 w_ij (k_j - mean_i).
    """

    @staticmethod
    def forward(ctx: Any, key: Tensor, seen: Tensor, band: Band) -> tuple[Tensor, Tensor]:
        slabs, ctx.band = band.slabs(key), band
        shape = (slabs.shape[0], slabs.shape[1], band.block, slabs.shape[3])
        mean, variance = key.new_empty(shape), key.new_empty(shape)
        for group in band.groups(shape[0], slabs[:1].numel()):
            weights, count = _weights(band, seen[group], key.dtype)
            shift = _centre(slabs[group], seen[group])
            centred = slabs[group] - shift
            first = weights @ centred
            mean[group] = first + shift * (count > 0)
            variance[group] = (weights @ centred.square_()).sub_(first.square_()).clamp_(min=0)
        ctx.save_for_backward(key, seen, mean)
        return mean, variance

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> tuple[Tensor | None, ...]:
        key, seen, mean = ctx.saved_tensors
        band: Band = ctx.band
        slabs, grad = band.slabs(key), torch.zeros_like(key)
        for group in band.groups(slabs.shape[0], slabs[:1].numel()):
            weights, _ = _weights(band, seen[group], key.dtype)
            shift = _centre(slabs[group], seen[group])
            slope = 2 * grad_variance[group]
            constant = grad_mean[group] - slope * (mean[group] - shift)
            back = weights.transpose(-2, -1)
            grad_slabs = (back @ slope).mul_(slabs[group] - shift).add_(back @ constant)
            band.add_slabs(grad, grad_slabs, group)
        return grad, None, None
