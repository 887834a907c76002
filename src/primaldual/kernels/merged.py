"""Softmax over several sets of pairs, each by its own kernel, merged exactly.

    out = sum_p exp(l_p) out_p / sum_p exp(l_p),   l_p the log-sum-exp of set p

The backward of every set takes the output and the log-sum-exp of the whole, which makes it exact.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.flash import FlashCall, MergeableCall, Outcome, SoftmaxCall
from primaldual.kernels.precision import differentiated_once
from primaldual.kernels.statistics import accumulation_dtype


@dataclass(frozen=True)
class MergedCall:
    """One softmax over the pairs of several calls.

    Attributes:
        calls: each with its own pairs, for the same queries.
    """

    calls: tuple[MergeableCall, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for call in self.calls for tensor in call.tensors)

    def forward(self, query: Tensor) -> Outcome:
        outcomes = [call.forward(query) for call in self.calls]
        sums = [call.total(outcome[1]) for call, outcome in zip(self.calls, outcomes, strict=True)]
        total = torch.stack(sums).logsumexp(0)
        safe = total.masked_fill(total == -torch.inf, 0.0)
        out = torch.zeros_like(query, dtype=total.dtype)
        for (part, _), each in zip(outcomes, sums, strict=True):
            out.addcmul_(part.to(out.dtype), (each - safe).exp().unsqueeze(-1))
        return out.to(query.dtype), safe

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        found = [call.backward(gradient, query, outcome) for call in self.calls]
        of_query = found[0][0]
        for grads in found[1:]:
            of_query = of_query + grads[0]
        return (of_query, *(grad for grads in found for grad in grads[1:]))


@dataclass(frozen=True)
class EarlierKeys:
    """The keys ``lag`` positions and more before each query, by PyTorch's kernel; as many queries as keys.

    Attributes:
        whole: a causal call over all keys.
        lag: 1 or more.
    """

    whole: FlashCall
    lag: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.whole.tensors

    def forward(self, query: Tensor) -> Outcome:
        front = query.new_zeros(*query.shape[:2], min(self.lag, query.shape[2]), query.shape[3])
        sums = query.new_full(front.shape[:3], -torch.inf, dtype=accumulation_dtype(query.dtype))
        if query.shape[2] <= self.lag:
            return front, sums
        call = self._call()
        out, logsumexp = call.forward(query[:, :, self.lag :])
        return torch.cat([front, out], 2), torch.cat([sums, call.total(logsumexp)], 2)

    def total(self, logsumexp: Tensor) -> Tensor:
        return logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        later, end = slice(self.lag, None), slice(None, max(0, query.shape[2] - self.lag))
        grads = [torch.zeros_like(tensor) for tensor in (query, *self.tensors)]
        if query.shape[2] > self.lag:
            of_later = outcome[0][:, :, later], outcome[1][:, :, later]
            found = self._call().backward(gradient[:, :, later], query[:, :, later], of_later)
            for grad, part, rows in zip(grads, found, (later, end, end), strict=True):
                grad[:, :, rows] = part
        return tuple(grads)

    def _call(self) -> FlashCall:
        end, mask = self.whole.key.shape[2] - self.lag, self.whole.key_mask
        return replace(
            self.whole,
            key=self.whole.key[:, :, :end],
            value=self.whole.value[:, :, :end],
            key_mask=None if mask is None else mask[..., :end],
        )


@dataclass(frozen=True)
class RecentKeys:
    """The last m keys up to each query, every one in the form that it has so many positions before a query.

    Attributes:
        keys: m tensors (batch, heads, N, D), the e-th as the query e positions later has them.
        value: (batch, heads, N, D).
        scale: factor on the scores.
        key_mask: bool (batch or 1, heads or 1, 1, N), or None.
    """

    keys: tuple[Tensor, ...]
    value: Tensor
    scale: float
    key_mask: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return *self.keys, self.value

    def forward(self, query: Tensor) -> Outcome:
        scores = self._scores(query)
        total = scores.logsumexp(-1)
        shares = (scores - total.masked_fill(total == -torch.inf, 0.0).unsqueeze(-1)).exp()
        out = shares[..., :1] * self.value
        for place in range(1, len(self.keys)):
            out.addcmul_(shares[..., place : place + 1], later(self.value, place).to(out.dtype))
        return out, total

    def total(self, logsumexp: Tensor) -> Tensor:
        return logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        scores, (out, total) = self._scores(query), outcome
        shares, upstream = (scores - total.unsqueeze(-1)).exp(), gradient.to(scores.dtype)
        grad_query = torch.zeros_like(query, dtype=scores.dtype)
        grad_value, grad_keys = torch.zeros_like(grad_query), []
        for place, key in enumerate(self.keys):
            share = shares[..., place : place + 1]
            difference = later(self.value, place).to(scores.dtype) - out
            slope = share * (difference * upstream).sum(-1, keepdim=True) * self.scale
            grad_query.addcmul_(slope, later(key, place).to(scores.dtype))
            grad_keys.append(sooner(slope * query, place).to(key.dtype))
            grad_value += sooner(share * upstream, place)
        return grad_query.to(query.dtype), *grad_keys, grad_value.to(self.value.dtype)

    def _scores(self, query: Tensor) -> Tensor:
        """scale q_i . k_(i - e), minus infinity where there is no such key: (batch, heads, N, m)."""
        wide = accumulation_dtype(query.dtype)
        scores = [
            (query.to(wide) * later(key.to(wide), place)).sum(-1) for place, key in enumerate(self.keys)
        ]
        return torch.stack(scores, -1) * self.scale + self._missing(scores[0])

    def _missing(self, like: Tensor) -> Tensor:
        """Minus infinity at keys before the first one and at masked ones, else 0: (batch or 1, heads or 1, N, m)."""
        mask = self.key_mask
        if mask is None:
            mask = like.new_ones(1, 1, 1, like.shape[-1], dtype=torch.bool)
        places = range(len(self.keys))
        present = torch.stack(
            [pad(mask[..., 0, :], (place, 0))[..., : like.shape[-1]] for place in places], -1
        )
        return torch.zeros_like(present, dtype=like.dtype).masked_fill_(~present, -torch.inf)


def later(rows: Tensor, count: int) -> Tensor:
    """Row i - count at row i, 0 before: (batch, heads, N, D)."""
    return pad(rows, (0, 0, count, 0))[:, :, : rows.shape[2]] if count else rows


def sooner(rows: Tensor, count: int) -> Tensor:
    """Row i + count at row i, 0 behind: (batch, heads, N, D)."""
    return pad(rows[:, :, count:], (0, 0, 0, min(count, rows.shape[2]))) if count else rows


def attention_of(call: SoftmaxCall | MergeableCall, query: Tensor) -> Tensor:
    """The output of a call, (batch, heads, Nq, D); differentiable once, in the query and the call's tensors."""
    out: Tensor = _Attention.apply(call, query, *call.tensors)
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: SoftmaxCall | MergeableCall, query: Tensor, *tensors: Tensor) -> Tensor:
        out, logsumexp = call.forward(query)
        ctx.call = call
        ctx.save_for_backward(query, out, logsumexp, *tensors)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, out, logsumexp, *_ = ctx.saved_tensors
        return None, *ctx.call.backward(gradient, query, (out, logsumexp))
