"""cuDNN's attention with its log-sum-exps at hand."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_cudnn_attention, cudnn_sdp_enabled


class Outcome(NamedTuple):
    """What a call gives and its backward takes.

    Attributes:
        out: (batch, heads, Nq, Dv).
        logsumexp: float32 (batch, heads, Nq), contiguous; plus infinity takes a query out of the backward.
        seed: of dropout, which there is none of.
        offset: likewise.
    """

    out: Tensor
    logsumexp: Tensor
    seed: Tensor
    offset: Tensor


def cudnn_serves(query: Tensor, key: Tensor, value: Tensor, is_causal: bool = True) -> bool:
    """Whether SDPA would let cuDNN serve a call."""
    if query.device.type != "cuda" or not cudnn_sdp_enabled():
        return False
    if query.shape[-1] % 8 or value.shape[-1] % 8 or query.shape[1] != key.shape[1]:
        return False
    return can_use_cudnn_attention(SDPAParams(query, key, value, None, 0.0, is_causal, False))


def cudnn_attend(query: Tensor, key: Tensor, value: Tensor, is_causal: bool, scale: float) -> Outcome:
    """sum_j softmax_j(scale q . k_j) v_j, with what :func:`cudnn_gradients` takes.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, heads, Nk, D).
        value: (batch, heads, Nk, Dv).
        is_causal: query i attends the keys 0..i.
        scale: factor on the scores.
    """
    out, logsumexp, _, _, _, _, seed, offset, _ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        query, key, value, None, True, 0.0, is_causal, False, scale=scale
    )
    return Outcome(out, logsumexp, seed, offset)


def cudnn_gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: Outcome,
    is_causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value.

    Args:
        gradient: of the output.
        query: as the forward had it; so key, value, is_causal and scale.
        key: its keys.
        value: its values.
        outcome: what the forward gave.
        is_causal: see there.
        scale: see there.
    """
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        gradient, query, key, value, outcome.out, outcome.logsumexp, outcome.seed, outcome.offset, None, None, None,
        query.shape[2], key.shape[2], 0.0, is_causal, scale=scale,
    )  # fmt: skip
    return found
