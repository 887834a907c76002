"""Softmax attention through PyTorch's scaled_dot_product_attention, and its pooled causal form."""

import torch
from torch import Tensor
from torch.nn.functional import dropout, pad, scaled_dot_product_attention

from primaldual.kernels.flash import FlashCall, additive, runs_alone
from primaldual.kernels.gradient_layout import gradient_laid_out
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable
from primaldual.kernels.merged import SinkCall, attention_of


def softmax_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attendable: Attendable,
    scale: float,
    dropout_p: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """sum_j softmax_j(scale q_i . k_j) v_j; rows without an attendable key give exactly 0.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D), finite everywhere.
        value: (batch, kv heads, Nk, Dv), finite everywhere.
        attendable: what each query may attend.
        scale: factor on the scores.
        dropout_p: probability of dropping a weight.
        bias: (batch or 1, heads or 1, 1, Nk), added to the scores; or None.
    """
    mask, is_causal = _sdpa_mask(attendable, query.shape[2], key.shape[2], query.device)
    if bias is not None:
        mask = additive(attendable.matrix(query.shape[2], key.shape[2], query.device), query, bias)
        is_causal = False
    # Passed only where it is needed: under dynamic shapes the comparison is not a plain bool.
    grouped = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
        **grouped,
    )
    return gradient_laid_out(out)


def attention_with_sink(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attendable: Attendable,
    scale: float,
    sink: Tensor,
    dropout_p: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """:func:`softmax_attention` with one more pair, of value 0.

    Without PyTorch's own kernel the pair is one more key, 0 but for two features that no other key has and that queries
    hold the score in.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D), finite everywhere.
        value: (batch, kv heads, Nk, Dv), finite everywhere.
        attendable: what each query may attend.
        scale: factor on the scores.
        sink: the pair's score, (batch or 1, heads, Nq or 1).
        dropout_p: probability of dropping a weight.
        bias: (batch or 1, heads or 1, 1, Nk), added to the scores; or None.
    """
    plain = attendable.pairs is None and (not attendable.is_causal or query.shape[2] == key.shape[2])
    learned = bias is not None and bias.requires_grad  # whose gradient the kernel does not give
    if dropout_p == 0 and not learned and runs_alone(query, value):
        key, value = (for_query_heads(part, query.shape[1]) for part in (key, value))
        mask, is_causal = attendable.keys, attendable.is_causal
        if not plain:
            mask, is_causal = attendable.matrix(query.shape[2], key.shape[2], query.device), False
        return attention_of(SinkCall(FlashCall(key, value, scale, mask, is_causal, bias), sink), query)
    score = (sink / scale).unsqueeze(-1).expand(*query.shape[:3], 1)
    high = score.to(query.dtype)
    query = torch.cat([query, high, (score - high.to(score.dtype)).to(query.dtype)], -1)
    alone = key.new_zeros(*key.shape[:2], 1, key.shape[3] + 2)
    alone[..., -2:] = 1
    key = torch.cat([alone, pad(key, (0, 2))], 2)
    allowed = pad(attendable.matrix(query.shape[2], value.shape[2], query.device), (1, 0), value=True)
    return softmax_attention(
        query,
        key,
        pad(value, (0, 0, 1, 0)),
        Attendable(pairs=allowed),
        scale,
        dropout_p,
        None if bias is None else pad(bias, (1, 0)),
    )


def _sdpa_mask(
    attendable: Attendable, query_length: int, key_length: int, device: torch.device
) -> tuple[Tensor | None, bool]:
    """The bool mask SDPA needs, and whether its own top-left causal flag serves instead."""
    plain = attendable.keys is None and attendable.pairs is None
    if plain and (not attendable.is_causal or query_length == 1):
        return None, False
    if plain and query_length == key_length:
        return None, True
    return attendable.matrix(query_length, key_length, device), False


def pooled_prefix_attention(
    query: Tensor,
    pools: tuple[Tensor, Tensor],
    partial: tuple[Tensor, Tensor],
    kept: Tensor,
    present: Tensor,
    own_window: Tensor,
    scale: float,
    dropout_p: float = 0.0,
    sink: Tensor | None = None,
    log_weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Causal softmax attention to complete windows and to the mean of the current partial window.

    Position i attends the windows before its own, which are complete, and the mean of its own
    window up to i: one softmax over both.

    Args:
        query: (batch, heads, Nq, D).
        pools: window means of keys (batch, heads, W, D) and of values (batch, heads, W, Dv).
        partial: own-window means up to each query's position, keys (batch, heads, Nq, D) and values.
        kept: bool (batch or 1, heads or 1, W, 1), windows with a member.
        present: bool (batch or 1, heads or 1, Nq, 1), queries whose own window has a member so far.
        own_window: long (Nq,), the number of each query's window.
        scale: factor on the scores.
        dropout_p: probability of dropping a weight.
        sink: score of one more pair, of value 0: (batch or 1, heads, Nq or 1); None = there is none.
        log_weights: what is added to the scores of the windows, (batch or 1, heads or 1, W, 1), and of the queries'
            own, (batch or 1, heads or 1, Nq, 1); None = nothing.
    """
    before = torch.arange(pools[0].shape[2], device=query.device) < own_window[:, None]
    allowed = torch.cat([(before & kept.transpose(-2, -1)).expand(*present.shape[:2], -1, -1), present], -1)
    scores = torch.cat([query @ pools[0].transpose(-2, -1), (query * partial[0]).sum(-1, keepdim=True)], -1)
    scores = scores * scale
    if log_weights is not None:
        of_pools = log_weights[0].transpose(-2, -1).expand(*scores.shape[:3], -1)
        scores = scores + torch.cat([of_pools, log_weights[1].expand(*scores.shape[:3], 1)], -1)
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    if sink is not None:
        scores = torch.cat([scores, sink.to(scores.dtype).unsqueeze(-1).expand(*scores.shape[:3], 1)], -1)
    weights = torch.where(allowed, scores.softmax(-1)[..., : allowed.shape[-1]], 0.0)
    weights = dropout(weights, dropout_p) if dropout_p else weights
    return weights[..., :-1] @ pools[1] + weights[..., -1:] * partial[1]
