"""Causal attention to pooled pairs by blockwise softmax: the complete windows, and the own one so far, merged.

Positions are folded by their offset within a window: (batch, heads, N, D) -> (batch, r, heads, N / r, D). The
queries at one offset then are an ordinary causal attention of N / r queries to the N / r window means before
them, all offsets one batch. To it comes one pair of their own, the mean of their window up to them; the two are
merged by their log-sum-exps. Nothing of size N x N / r is formed.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.flash import Gradients, Outcome, additive, flash_backward, flash_forward
from primaldual.kernels.layout import ceil_div
from primaldual.kernels.statistics import accumulation_dtype


@dataclass(frozen=True)
class PooledPrefixCall:
    """Query i attends the means of the windows before its own, and the mean of its own window up to i.

    Attributes:
        key: (batch, heads, N, D), as many positions as queries; 0 where masked.
        value: (batch, heads, N, D), likewise.
        scale: factor on the scores.
        window: length r of a window, 2 or more.
        key_mask: bool (batch or 1, heads or 1, 1, N), or None; masked members are in no mean.
    """

    key: Tensor
    value: Tensor
    scale: float
    window: int
    key_mask: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value

    def forward(self, query: Tensor) -> Outcome:
        """The output and, beside it, the log-sum-exp over the complete windows alone, folded."""
        folded = _Folded.of(self, query)
        own = folded.own_scores(self.scale)
        far_sum = torch.full_like(own, -torch.inf)
        if folded.complete:
            far, far_sum[..., 1:, :] = folded.far(self.scale)
        out = folded.value * (_share_of(own, far_sum) * folded.share)
        if folded.complete:
            out[..., 1:, :].addcmul_(far.to(out.dtype), _share_of(far_sum, own)[..., 1:, :])
        return unfold(out, query.shape[2]).to(query.dtype), far_sum

    def without_rows(self, logsumexp: Tensor, count: int) -> Tensor:
        logsumexp[..., : count // self.window, :] = torch.inf
        return logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> Gradients:
        folded = _Folded.of(self, query)
        out, far_sum = fold(outcome[0], self.window), outcome[1]
        upstream = fold(gradient, self.window).to(far_sum.dtype)
        own = folded.own_scores(self.scale)
        near = _share_of(own, far_sum) * folded.share
        # One difference, exactly 0 where the own pair is the only one.
        slope = ((folded.value * folded.share).sub_(out)).mul_(upstream).sum(-1, keepdim=True)
        slope = slope * near * self.scale
        # Gradients of the running sums, each of which holds all members up to it.
        grad_query, grad_key, grad_value = folded.key * slope, folded.query * slope, upstream * near
        if folded.complete:
            upstream = upstream[..., 1:, :] * _share_of(far_sum, own)[..., 1:, :]
            far = folded.far_backward(upstream, out[..., 1:, :], far_sum[..., 1:, :], self.scale)
            grad_query[..., 1:, :] += far[0]
            grad_key[:, -1, :, :-1] += far[1]
            grad_value[:, -1, :, :-1] += far[2]
        for grad in (grad_key, grad_value):
            for offset in range(self.window - 2, -1, -1):
                grad[:, offset] += grad[:, offset + 1]
        length = query.shape[2]
        of_query, of_key, of_value = (
            unfold(grad, length).to(query.dtype) for grad in (grad_query, grad_key, grad_value)
        )
        if self.key_mask is None:
            return of_query, of_key, of_value
        masked = ~self.key_mask.transpose(-2, -1)
        return of_query, of_key.masked_fill(masked, 0.0), of_value.masked_fill(masked, 0.0)


class _Folded(NamedTuple):
    """Queries, and the running sums of the keys and values of every window up to each position, folded.

    Attributes:
        query: (batch, r, heads, windows, D).
        key: running sums of keys, float32 or wider.
        value: running sums of values.
        share: 1 / members so far, (r, 1, 1, 1) or (batch or 1, r, heads or 1, windows, 1).
        counts: members so far if there is a mask.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    share: Tensor
    counts: Tensor | None

    @classmethod
    def of(cls, call: PooledPrefixCall, query: Tensor) -> Self:
        window, dtype = call.window, accumulation_dtype(query.dtype)
        key, value = (_running(fold(tensor, window).to(dtype)) for tensor in (call.key, call.value))
        if call.key_mask is None:
            counts = None
            share = (
                torch.arange(1, window + 1, dtype=dtype, device=key.device).reciprocal_().view(-1, 1, 1, 1)
            )
        else:
            counts = _running(fold(call.key_mask.transpose(-2, -1).to(dtype), window))
            share = counts.clamp(min=1).reciprocal()
        return cls(fold(query, window), key, value, share, counts)

    @property
    def complete(self) -> int:
        """How many complete windows the last queries see."""
        return self.query.shape[3] - 1

    def own_scores(self, scale: float) -> Tensor:
        """scale q . mean, minus infinity without a member: (batch, r, heads, windows, 1)."""
        scores = (self.query * self.key).sum(-1, keepdim=True) * (self.share * scale)
        return scores if self.counts is None else scores.masked_fill(self.counts == 0, -torch.inf)

    def far(self, scale: float) -> Outcome:
        """Attention to complete windows, and its log-sum-exp, minus infinity where none is kept."""
        query, key, value, bias = self._far_inputs()
        out, logsumexp = flash_forward(query, key, value, bias, True, scale)
        logsumexp = self._split(logsumexp).unsqueeze(-1)
        if self.counts is not None:
            kept = self.counts[:, -1:, :, :-1] > 0
            logsumexp = logsumexp.masked_fill(kept.cumsum(-2) == 0, -torch.inf)
        return self._split(out), logsumexp

    def far_backward(self, upstream: Tensor, out: Tensor, far_sum: Tensor, scale: float) -> Gradients:
        """Gradients of the queries, and of the running sums of keys and values at the ends of windows."""
        query, key, value, bias = self._far_inputs()
        if self.counts is not None:  # the kernel's own value for an empty row
            far_sum = far_sum.masked_fill(far_sum == -torch.inf, 0.0)
        outcome = out.to(query.dtype).flatten(0, 1), far_sum.squeeze(-1).flatten(0, 1)
        grads = flash_backward(
            upstream.to(query.dtype).flatten(0, 1), query, key, value, outcome, bias, True, scale
        )
        share = self.share[-1] if self.counts is None else self.share[:, -1, :, :-1]
        key_grad, value_grad = (self._split(grad).sum(1, dtype=self.key.dtype) * share for grad in grads[1:])
        return self._split(grads[0]), key_grad, value_grad

    def _far_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """From the second window on: queries, means of the windows before, one batch for all offsets."""
        share = self.share[..., -1:, :, :, :]
        offsets = self.query.shape[1]
        pools = []
        for sums in (self.key, self.value):
            means = (sums[:, -1:] * share)[..., :-1, :].to(self.query.dtype)
            pools.append(means.expand(-1, offsets, -1, -1, -1).flatten(0, 1))
        bias = None
        if self.counts is not None:
            kept = (self.counts[:, -1:, :, :-1] > 0).transpose(-2, -1)
            kept = kept.expand(self.query.shape[0], offsets, -1, -1, -1)
            bias = additive(kept.flatten(0, 1), self.query)
        return self.query[..., 1:, :].flatten(0, 1), pools[0], pools[1], bias

    def _split(self, tensor: Tensor) -> Tensor:
        return tensor.unflatten(0, self.query.shape[:2])


def fold(tensor: Tensor, window: int) -> Tensor:
    """(batch, heads, N, D) -> (batch, r, heads, ceil(N / r), D), a copy with 0 after the end."""
    length = tensor.shape[2]
    windows = ceil_div(length, window)
    extra = windows * window - length
    tensor = pad(tensor, (0, 0, 0, extra)) if extra else tensor
    folded = tensor.unflatten(2, (windows, window)).permute(0, 3, 1, 2, 4)
    return folded.clone(memory_format=torch.contiguous_format)


def unfold(tensor: Tensor, length: int) -> Tensor:
    """The first ``length`` positions of a folded tensor: (batch, heads, N, D)."""
    return tensor.permute(0, 2, 3, 1, 4).flatten(2, 3)[:, :, :length]


def _running(folded: Tensor) -> Tensor:
    """Running sums over the offsets, in place."""
    for offset in range(1, folded.shape[1]):
        folded[:, offset] += folded[:, offset - 1]
    return folded


def _share_of(part: Tensor, rest: Tensor) -> Tensor:
    """exp(part) / (exp(part) + exp(rest)), 0 where both are minus infinity; adds up to 1 with that of the rest."""
    return torch.sigmoid(part - rest).nan_to_num_(0.0)
