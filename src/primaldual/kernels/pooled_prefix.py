"""Causal attention to pooled pairs by blockwise softmax: the complete windows, and the own one so far, merged.

Queries at one offset within their windows are an ordinary causal attention of N / r queries to the N / r
window means before them. To it comes one pair of their own, the mean of their window up to them; the two
are merged by their log-sum-exps. Nothing of size N x N / r is formed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from primaldual.kernels.flash import Gradients, Outcome, additive, flash_backward, flash_forward
from primaldual.kernels.pooling import pool
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

    def forward(self, query: Tensor) -> Outcome:
        """The output and, beside it, the log-sum-exp over the complete windows alone."""
        pools = _Pools.of(self, query)
        out = torch.empty_like(query)
        sums = query.new_full(query.shape[:3], -torch.inf, dtype=accumulation_dtype(query.dtype))
        for own in self._offsets():
            scores = own.scores(query, self.scale)
            if own.complete:
                far, sums[:, :, own.later] = pools.forward(query[:, :, own.later], own.complete)
            far_sum = sums[:, :, own.rows].unsqueeze(-1)
            near = _share_of(scores, far_sum) * own.share
            torch.mul(own.value[:, :, :1], near[:, :, :1], out=out[:, :, own.first])
            if own.complete:
                far = far.to(near.dtype) * _share_of(far_sum, scores)[:, :, 1:]
                torch.addcmul(far, own.value[:, :, 1:], near[:, :, 1:], out=out[:, :, own.later])
        return out, sums

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> Gradients:
        pools = _Pools.of(self, query)
        out, sums = outcome
        grad_query = torch.empty_like(query)
        grad_key = torch.empty_like(self.key, dtype=sums.dtype)
        grad_value = torch.empty_like(self.value, dtype=sums.dtype)
        for own in self._offsets():
            rows, later = own.rows, own.later
            upstream = gradient[:, :, rows].to(sums.dtype)
            scores, far_sum = own.scores(query, self.scale), sums[:, :, rows].unsqueeze(-1)
            near = _share_of(scores, far_sum) * own.share
            # One difference, exactly 0 where the own pair is the only one.
            beyond = (own.value * own.share).sub_(out[:, :, rows])
            slope = beyond.mul_(upstream).sum(-1, keepdim=True) * near * self.scale
            # Gradients of the running sums, for now; each holds all members up to it.
            torch.mul(upstream, near, out=grad_value[:, :, rows])
            torch.mul(query[:, :, rows], slope, out=grad_key[:, :, rows])
            torch.mul(own.key, slope, out=grad_query[:, :, rows])
            if own.complete:
                upstream = (upstream[:, :, 1:] * _share_of(far_sum, scores)[:, :, 1:]).to(query.dtype)
                outcome = out[:, :, later], sums[:, :, later]
                grad_query[:, :, later] += pools.backward(upstream, query[:, :, later], outcome, own.complete)
        whole = slice(self.window - 1, None, self.window)
        grad_key[:, :, whole] += pools.grad_key * pools.share
        grad_value[:, :, whole] += pools.grad_value * pools.share
        self._to_members(grad_key)
        self._to_members(grad_value)
        return grad_query, grad_key.to(self.key.dtype), grad_value.to(self.value.dtype)

    def _offsets(self) -> Iterator["_Own"]:
        """The queries at each offset, with the running sums, which the next one overwrites."""
        length, window = self.key.shape[2], self.window
        dtype = accumulation_dtype(self.key.dtype)
        key, value = (tensor[:, :, ::window].to(dtype, copy=True) for tensor in (self.key, self.value))
        counts = member = None
        if self.key_mask is not None:
            member = self.key_mask.transpose(-2, -1)
            counts = member[:, :, ::window].to(dtype, copy=True)
        for start in range(min(window, length)):
            rows = slice(start, None, window)
            windows = len(range(start, length, window))
            key, value = key[:, :, :windows], value[:, :, :windows]
            counts = None if counts is None else counts[:, :, :windows]
            if start:
                key += self.key[:, :, rows]
                value += self.value[:, :, rows]
                if counts is not None and member is not None:
                    counts += member[:, :, rows]
            yield _Own(start, window, key, value, counts)

    def _to_members(self, gradient: Tensor) -> None:
        """From gradients of running sums to those of what is summed."""
        for start in range(min(self.window, gradient.shape[2]) - 2, -1, -1):
            following = gradient[:, :, start + 1 :: self.window]
            gradient[:, :, start :: self.window][:, :, : following.shape[2]] += following
        if self.key_mask is not None:
            gradient.masked_fill_(~self.key_mask.transpose(-2, -1), 0.0)


class _Own(NamedTuple):
    """The queries at one offset, and the sums of the members of their own windows up to them.

    Attributes:
        start: the offset.
        window: r.
        key: (batch, heads, windows, D), sums of keys.
        value: sums of values.
        counts: members so far (batch or 1, heads or 1, windows, 1); None = start + 1.
    """

    start: int
    window: int
    key: Tensor
    value: Tensor
    counts: Tensor | None

    @property
    def rows(self) -> slice:
        return slice(self.start, None, self.window)

    @property
    def first(self) -> slice:
        return slice(self.start, self.start + 1)

    @property
    def later(self) -> slice:
        return slice(self.start + self.window, None, self.window)

    @property
    def complete(self) -> int:
        """How many complete windows the last of the queries sees."""
        return self.key.shape[2] - 1

    @property
    def share(self) -> float | Tensor:
        return 1 / (self.start + 1) if self.counts is None else 1 / self.counts.clamp(min=1)

    def scores(self, query: Tensor, scale: float) -> Tensor:
        """scale q . mean, minus infinity without a member: (batch, heads, windows, 1)."""
        scores = (query[:, :, self.rows] * self.key).sum(-1, keepdim=True) * (self.share * scale)
        return scores if self.counts is None else scores.masked_fill(self.counts == 0, -torch.inf)


class _Pools(NamedTuple):
    """Means of the complete windows, and their gradients, which ``backward`` adds up."""

    key: Tensor
    value: Tensor
    share: float | Tensor
    mask: Tensor | None
    scale: float
    grad_key: Tensor
    grad_value: Tensor

    @classmethod
    def of(cls, call: PooledPrefixCall, query: Tensor) -> Self:
        window, dtype = call.window, accumulation_dtype(call.key.dtype)
        whole = call.key.shape[2] // window * window
        mask = None if call.key_mask is None else call.key_mask[..., :whole]
        share: float | Tensor = 1 / window
        kept = None
        if mask is not None:
            counts = mask.unflatten(-1, (-1, window)).sum(-1).to(dtype)
            share, kept = 1 / counts.clamp(min=1).transpose(-2, -1), counts > 0
        key, value = (
            pool(tensor[:, :, :whole].to(dtype), window, mask)[0] for tensor in (call.key, call.value)
        )
        grads = torch.zeros_like(key), torch.zeros_like(value)
        return cls(key.to(query.dtype), value.to(query.dtype), share, kept, call.scale, *grads)

    def forward(self, query: Tensor, count: int) -> Outcome:
        """Output and log-sum-exp (batch, heads, count), minus infinity where no window is kept."""
        out, logsumexp = flash_forward(query, *self._first(count, query), True, self.scale)
        if self.mask is not None:
            logsumexp = logsumexp.masked_fill(self.mask[:, :, 0, :count].cumsum(-1) == 0, -torch.inf)
        return out, logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome, count: int) -> Tensor:
        """Gradient of the query; ``gradient`` is that of the whole output times the share of the windows in it."""
        key, value, bias = self._first(count, query)
        out, logsumexp = outcome
        if self.mask is not None:  # the kernel's own value for an empty row
            logsumexp = logsumexp.masked_fill(logsumexp == -torch.inf, 0.0)
        grads = flash_backward(gradient, query, key, value, (out, logsumexp), bias, True, self.scale)
        self.grad_key[:, :, :count] += grads[1]
        self.grad_value[:, :, :count] += grads[2]
        return grads[0]

    def _first(self, count: int, query: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        bias = None if self.mask is None else additive(self.mask[..., :count], query)
        return self.key[:, :, :count], self.value[:, :, :count], bias


def _share_of(part: Tensor, rest: Tensor) -> Tensor:
    """exp(part) / (exp(part) + exp(rest)), 0 where both are minus infinity; adds up to 1 with that of the rest."""
    return torch.sigmoid(part - rest).nan_to_num_(0.0)
