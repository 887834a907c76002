"""cuDNN's attention with its log-sum-exps at hand."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_cudnn_attention, cudnn_sdp_enabled

from primaldual.kernels.gpu.keys import Run
from primaldual.kernels.gradient_layout import laid_out_as


class Outcome(NamedTuple):
    """What a call gives and its backward takes.

    Attributes:
        out: (batch, heads, Nq, Dv).
        logsumexp: float32 (batch, heads, Nq, 1), contiguous; plus infinity takes a query out of the backward.
        seed: of dropout, which there is none of.
        offset: likewise.
    """

    out: Tensor
    logsumexp: Tensor
    seed: Tensor
    offset: Tensor


@cache
def _no_seed(device: torch.device) -> Tensor:
    return torch.zeros((), dtype=torch.int64, device=device)


def of_heads(out: Tensor, logsumexp: Tensor, heads: slice) -> Outcome:
    """What another kernel gives for some heads as cuDNN has it: out (batch, heads, Nq, Dv), logsumexp (batch, heads, Nq).

    ``slice(None)`` takes all heads.
    """
    seed = _no_seed(out.device)
    if heads.start is not None:
        out, logsumexp = out[:, heads], logsumexp[:, heads].contiguous()
    return Outcome(out, logsumexp.unsqueeze(-1), seed, seed)


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
    gradient = laid_out_as(gradient, outcome.out)  # see gradient_laid_out
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        gradient, query, key, value, outcome.out, outcome.logsumexp, outcome.seed, outcome.offset, None, None, None,
        query.shape[2], key.shape[2], 0.0, is_causal, scale=scale,
    )  # fmt: skip
    return found


def cudnn_attend_pools(
    query: Tensor, key: Tensor, value: Tensor, runs: tuple[Run, ...], scale: float
) -> tuple[Tensor, Tensor]:
    """The attention of every head to its pools, heads that pool alike together; and log-sum-exps (batch, heads, Nq).

    Args:
        query: (batch, heads, Nq, D).
        key: pools (batch, 1, total, D) of as many heads, contiguous.
        value: the same with Dv.
        runs: which heads and pools belong together.
        scale: factor on the scores.
    """
    found = [cudnn_attend(query[:, run.heads], _of(run, key), _of(run, value), False, scale) for run in runs]
    out = torch.cat([part.out.transpose(1, 2) for part in found], 2).transpose(1, 2)
    return out, torch.cat([part.logsumexp.squeeze(-1) for part in found], 1)


def cudnn_pool_gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    outcomes: list[Outcome],
    runs: tuple[Run, ...],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries and of pools.

    Args:
        gradient: of the output.
        query: as the forward had it; so key, value, runs and scale.
        key: pools of keys.
        value: pools of values.
        outcomes: what the forward gave.
        runs: see there.
        scale: see there.
    """
    found = [
        cudnn_gradients(
            gradient[:, run.heads], query[:, run.heads], _of(run, key), _of(run, value), outcome, False, scale
        )
        for run, outcome in zip(runs, outcomes, strict=True)
    ]
    grad_query = torch.cat([part[0].transpose(1, 2) for part in found], 2).transpose(1, 2)
    grad_key, grad_value = (
        torch.cat([part[place].flatten(1, 2).unsqueeze(1) for part in found], 2) for place in (1, 2)
    )
    return grad_query, grad_key, grad_value


def _of(run: Run, pools: Tensor) -> Tensor:
    """The pools of neighbouring heads, (batch, heads, pools, width)."""
    heads = run.heads.stop - run.heads.start
    return pools[:, 0, run.pools].unflatten(1, (heads, -1))
