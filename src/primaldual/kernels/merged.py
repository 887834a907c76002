"""Softmax over several sets of pairs, each by its own kernel, merged exactly.

    out = sum_p exp(l_p) out_p / sum_p exp(l_p),   l_p the log-sum-exp of set p

The backward of every set takes the output and the log-sum-exp of the whole, which makes it exact.
"""

from dataclasses import dataclass
from functools import reduce
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
        calls: each with its own pairs. The first is of all queries, the others of all or of the last ones.
    """

    calls: tuple[MergeableCall, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for call in self.calls for tensor in call.tensors)

    def forward(self, query: Tensor) -> Outcome:
        outcomes = [call.forward(query) for call in self.calls]
        sums = [call.total(outcome[1]) for call, outcome in zip(self.calls, outcomes, strict=True)]
        total = sums[0]
        for each in sums[1:]:
            first = total.shape[-1] - each.shape[-1]
            total = torch.cat([total[..., :first], torch.logaddexp(total[..., first:], each)], -1)
        safe = subtractable(total)
        out = outcomes[0][0] * (sums[0] - safe).exp().unsqueeze(-1)
        for (part, _), each in zip(outcomes[1:], sums[1:], strict=True):
            first = total.shape[-1] - each.shape[-1]
            share = (each - safe[..., first:]).exp().unsqueeze(-1)
            out[:, :, first:].addcmul_(part.to(out.dtype), share)
        return out.to(query.dtype), total

    def total(self, logsumexp: Tensor) -> Tensor:
        return logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        outcome = outcome[0], subtractable(outcome[1])
        found = [call.backward(gradient, query, outcome) for call in self.calls]
        of_query = found[0][0]
        for grads in found[1:]:
            of_query[:, :, query.shape[2] - grads[0].shape[2] :] += grads[0]
        return (of_query, *(grad for grads in found for grad in grads[1:]))


@dataclass(frozen=True)
class SinkCall:
    """A softmax with one more pair, of value 0.

    Attributes:
        call: the other pairs.
        logit: the pair's score, (batch or 1, heads, Nq or 1).
    """

    call: MergeableCall
    logit: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return *self.call.tensors, self.logit

    def forward(self, query: Tensor) -> Outcome:
        out, logsumexp = self.call.forward(query)
        others = self.call.total(logsumexp)
        total = torch.logaddexp(others, self.logit.to(others.dtype))
        return (out * (others - total).exp().unsqueeze(-1)).to(out.dtype), total

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        out, total = outcome
        grads = self.call.backward(gradient, query, outcome)
        share = (self.logit.to(total.dtype) - total).exp()
        of_logit = -share * (gradient.to(total.dtype) * out).sum(-1)
        return *grads, of_logit.sum_to_size(self.logit.shape).to(self.logit.dtype)


@dataclass(frozen=True)
class EarlierKeys:
    """The keys ``lag`` positions and more before each query, by PyTorch's kernel.

    Attributes:
        call: the causal attention of the queries from number ``lag`` on to all keys but the last ``lag``.
        lag: 1 or more.
    """

    call: FlashCall
    lag: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.call.tensors

    def forward(self, query: Tensor) -> Outcome:
        """The outcome of the queries from number ``lag`` on."""
        return self.call.forward(query[:, :, self.lag :])

    def total(self, logsumexp: Tensor) -> Tensor:
        return self.call.total(logsumexp)

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        of_later = outcome[0][:, :, self.lag :], outcome[1][:, :, self.lag :]
        return self.call.backward(gradient[:, :, self.lag :], query[:, :, self.lag :], of_later)


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
        shares = (scores - subtractable(total).unsqueeze(-1)).exp()
        out = shares[..., :1] * self.value if len(self.keys) > 1 else self.value.to(shares.dtype)
        for place in range(1, len(self.keys)):
            out.addcmul_(shares[..., place : place + 1], later(self.value, place).to(out.dtype))
        return out, total

    def total(self, logsumexp: Tensor) -> Tensor:
        return logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        scores, (out, total) = self._scores(query), outcome
        shares, upstream = (scores - total.unsqueeze(-1)).exp(), gradient.to(scores.dtype)
        shift = (out * upstream).sum(-1, keepdim=True)
        of_query, of_value, of_keys = [], [], []
        for place, key in enumerate(self.keys):
            share, value = shares[..., place : place + 1], later(self.value, place)
            slope = share * self.scale * ((value * upstream).sum(-1, keepdim=True) - shift)
            of_query.append(later(key, place).to(scores.dtype) * slope)
            of_keys.append(sooner(query * slope, place).to(key.dtype))
            of_value.append(sooner(share * upstream, place))
        grad_query, grad_value = (reduce(torch.Tensor.add_, parts) for parts in (of_query, of_value))
        return grad_query.to(query.dtype), *of_keys, grad_value.to(self.value.dtype)

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


def subtractable(total: Tensor) -> Tensor:
    """Log-sum-exps that may be subtracted from scores: 0 where there is no pair."""
    return total.masked_fill(total == -torch.inf, 0.0)


def later(rows: Tensor, count: int) -> Tensor:
    """Row i - count at row i, 0 before: (batch, heads, N, D)."""
    return pad(rows, (0, 0, count, 0))[:, :, : rows.shape[2]] if count else rows


def sooner(rows: Tensor, count: int) -> Tensor:
    """Row i + count at row i, 0 behind: (batch, heads, N, D)."""
    return pad(rows[:, :, count:], (0, 0, 0, min(count, rows.shape[2]))) if count else rows


def attention_of(call: SoftmaxCall, query: Tensor) -> Tensor:
    """The output of a call, (batch, heads, Nq, D); differentiable once, in the query and the call's tensors."""
    out: Tensor = _Attention.apply(call, query, *call.tensors)
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: SoftmaxCall, query: Tensor, *tensors: Tensor) -> Tensor:
        out, logsumexp = call.forward(query)
        ctx.call = call
        ctx.save_for_backward(query, out, logsumexp, *tensors)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, out, logsumexp, *_ = ctx.saved_tensors
        return None, *ctx.call.backward(gradient, query, (out, logsumexp))
