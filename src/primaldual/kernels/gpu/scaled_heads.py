"""Softmax attention of heads to keys or their pools, batch-normalised or not, as one differentiable operation.

A backward is left the tensors as they were, the output and statistics, not what entered the softmax: that is formed again.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.gpu.batch_norm_gradients import normalize_backward
from primaldual.kernels.gpu.cudnn import (
    cudnn_attend,
    cudnn_attend_pools,
    cudnn_gradients,
    cudnn_pool_gradients,
    cudnn_serves,
    of_heads,
)
from primaldual.kernels.gpu.entering import Entering, Setting, entering
from primaldual.kernels.gpu.first_rows import first_rows
from primaldual.kernels.gpu.first_rows_gradients import first_rows_backward
from primaldual.kernels.gpu.normalization import Normalization
from primaldual.kernels.gpu.pool_gradients import spread
from primaldual.kernels.gpu.prefix_batch_norm_gradients import prefix_normalized_backward
from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
from primaldual.kernels.gpu.strides import heads_before_features, unit_stride
from primaldual.kernels.precision import differentiated_once

LONG = 8192
"""Queries from which a call of cuDNN for each scale is faster than one launch for all."""


def scaled_heads(
    query: Tensor, key: Tensor, value: Tensor, setting: Setting, valid: Tensor | None = None
) -> Tensor:
    """The attention of every query head to its key head's pairs, (batch, heads, Nq, Dv); differentiable once.

    Args:
        query: (batch, heads, Nq, D); if causal, Nq = Nk, and with a normalisation not float16.
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        setting: pools and normalisation, at least one of them. Causal pools have lengths that divide 64.
        valid: bool (batch, kv heads, Nk), last stride 1: which keys count; None = all. Not if causal.
    """
    beta, eps, gain = setting.normalization or (None, None, None)
    out: Tensor = _ScaledHeads.apply(query, key, value, beta, gain, eps, setting, valid)
    return out


class Outcome(NamedTuple):
    """What the forward gives and the backward takes beside the tensors.

    Attributes:
        out: (batch, heads, Nq, Dv), heads last in memory.
        logsumexp: float32 (batch, heads, Nq).
        statistics: see :func:`primaldual.kernels.gpu.entering.entering`; None without normalisation.
    """

    out: Tensor
    logsumexp: Tensor
    statistics: Tensor | None


class Gradients(NamedTuple):
    """Of query, key and value; of beta, float32 (heads,), and gain, float32 (heads, D), where there are any."""

    query: Tensor
    key: Tensor
    value: Tensor
    beta: Tensor | None = None
    gain: Tensor | None = None


def forward(
    query: Tensor, key: Tensor, value: Tensor, setting: Setting, valid: Tensor | None = None
) -> Outcome:
    """The outputs of :func:`scaled_heads`, and what :func:`backward` takes."""
    query, key, value = unit_stride(query), unit_stride(key), unit_stride(value)
    given, statistics = entering(query, key, value, setting, None, valid)
    if not _by_cudnn(given, key, value, setting.is_causal):
        shape = Shape(setting.scale, setting.is_causal, None, given.windows)
        out, logsumexp = attend(*given[:3], shape, given.members, given.valid)
    elif given.windows:
        out, logsumexp = cudnn_attend_pools(*given[:3], given.windows.runs, setting.scale)
    else:
        found = cudnn_attend(*given[:3], setting.is_causal, setting.scale)
        out, logsumexp = heads_before_features(found.out), found.logsumexp.squeeze(-1)
    if setting.is_causal and setting.normalization:
        first_rows((query, key, value), given.windows, setting.normalization, setting.scale, (out, logsumexp))
    return Outcome(out, logsumexp, statistics)


def backward(
    gradient: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    outcome: Outcome,
    setting: Setting,
    valid: Tensor | None = None,
) -> Gradients:
    """Gradients of all that is differentiated.

    Args:
        gradient: of the output.
        tensors: query, key and value.
        outcome: what the forward gave.
        setting: as the forward had it.
        valid: as the forward had it.
    """
    query, key, value = (unit_stride(tensor) for tensor in tensors)
    gradient, (out, logsumexp, statistics) = unit_stride(gradient), outcome
    given, _ = entering(query, key, value, setting, statistics, valid)
    windows, normalization, parts = given.windows, setting.normalization, None
    if not _by_cudnn(given, key, value, setting.is_causal):
        shape = Shape(setting.scale, setting.is_causal, None, windows)
        *found, parts = gradients(gradient, *given[:3], (out, logsumexp), shape, given.members, given.valid)
    elif windows:
        outcomes = [of_heads(out, logsumexp, run.heads) for run in windows.runs]
        found = list(cudnn_pool_gradients(gradient, *given[:3], outcomes, windows.runs, setting.scale))
    else:
        whole = of_heads(out, logsumexp, slice(None))
        found = list(cudnn_gradients(gradient, *given[:3], whole, setting.is_causal, setting.scale))
    grad_query, grad_key, grad_value = (unit_stride(each) for each in found)
    of_beta = of_gain = None
    if normalization and not setting.is_causal:
        assert statistics is not None
        grad_query, grad_key, of_beta, of_gain = normalize_backward(
            grad_query, grad_key, query, given.key, statistics, windows, normalization, given.valid
        )
    if windows:
        own = None if parts is None else (given.query, gradient, parts)
        grad_key, grad_value = spread(grad_key, grad_value, (key, value), windows, own, valid)
    grad_value = heads_before_features(grad_value)
    if normalization and setting.is_causal:
        assert statistics is not None
        grad_query, grad_key, of_beta, of_gain = prefix_normalized_backward(
            grad_query, grad_key, query, key, statistics, windows, normalization
        )
        written = grad_query, grad_key, grad_value
        more = first_rows_backward(
            gradient, (query, key, value), windows, normalization, setting.scale, written
        )
        of_beta, of_gain = (
            None if behind is None else behind + first.sum(0)
            for behind, first in zip((of_beta, of_gain), more, strict=True)
        )
    return Gradients(grad_query, grad_key, grad_value, of_beta, of_gain)


def _by_cudnn(given: Entering, key: Tensor, value: Tensor, is_causal: bool) -> bool:
    """Whether cuDNN is the fastest kernel that serves: at all lengths, or at large ones with pools of keys and values."""
    if given.valid is not None:
        return False
    if given.windows is None:
        return cudnn_serves(given.query, given.key, given.value, is_causal)
    late = given.members is None and given.query.shape[2] >= LONG
    return late and cudnn_serves(given.query, key, value, is_causal)


class _ScaledHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        beta: float | Tensor | None,
        gain: Tensor | None,
        eps: float | None,
        setting: Setting,
        valid: Tensor | None,
    ) -> Tensor:
        outcome = forward(query, key, value, setting, valid)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.eps, ctx.setting = eps, setting._replace(normalization=None)
        ctx.save_for_backward(query, key, value, learned, gain, valid, *outcome)
        return outcome.out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, learned, gain, valid, *outcome = ctx.saved_tensors
        beta = ctx.beta if learned is None else learned
        normalization = None if beta is None else Normalization(beta, ctx.eps, gain)
        setting = ctx.setting._replace(normalization=normalization)
        found = backward(gradient, (query, key, value), Outcome(*outcome), setting, valid)
        return *found[:3], like(found.beta, learned), like(found.gain, gain), None, None, None


def like(gradient: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    """A gradient in the shape and type of what it belongs to, if that is there."""
    if gradient is None or parameter is None:
        return None
    return gradient.sum_to_size(parameter.shape).to(parameter.dtype)
