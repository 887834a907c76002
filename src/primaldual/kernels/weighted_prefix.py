"""Causal attention to pooled pairs that stand for their members: every window up to each position, by shares.

    share_j = exp(s_j) / sum exp(s),   pair = sum_j share_j (k_j, v_j),   log weight = log sum exp(s) - sum_j share_j s_j

over the members j of a window up to a position; see ``weighted_pooling.anchored_pool``. The pair at the last position of
a window is that of the complete window. No query meets more than the complete windows before its own, and one more pair.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.flash import FlashCall, Gradients, MergeableCall, Outcome
from primaldual.kernels.layout import ceil_div
from primaldual.kernels.merged import MergedCall, RecentKeys
from primaldual.kernels.modes import in_graph
from primaldual.kernels.pooled_prefix import fold, unfold
from primaldual.kernels.row_pools import excluding


class RunningPairs(NamedTuple):
    """The pair of every position: its own window up to there.

    Attributes:
        key: (batch, heads, N, D).
        value: (batch, heads, N, Dv).
        log_weight: (batch or 1, heads or 1, N, 1).
        present: bool (batch or 1, heads or 1, N, 1), whether there is a member.
    """

    key: Tensor
    value: Tensor
    log_weight: Tensor
    present: Tensor

    def ends(self, window: int) -> "RunningPairs":
        """Those at the ends of windows, the last of which may be cut off."""
        length, device = self.key.shape[-2], self.key.device
        rows = (torch.arange(ceil_div(length, window), device=device) + 1) * window - 1
        return RunningPairs(*(part.index_select(-2, rows.clamp(max=length - 1)) for part in self))


def running_pairs(
    key: Tensor, value: Tensor, scores: Tensor, window: int, key_mask: Tensor | None
) -> RunningPairs:
    """The pairs of all positions; what comes after a position has no part in its pair.

    Args:
        key: (batch, heads, N, D), finite everywhere.
        value: (batch, heads, N, Dv), finite everywhere.
        scores: s_j, (batch or 1, heads or 1, N, 1).
        window: length r of a window, 2 or more.
        key_mask: bool (batch or 1, heads or 1, 1, N), or None; masked positions are not members.

    Example:
        >>> rows = torch.tensor([1.0, 3.0, 5.0]).view(1, 1, 3, 1)
        >>> pairs = running_pairs(rows, rows, torch.zeros(1, 1, 3, 1), 2, None)
        >>> pairs.key.flatten().tolist(), pairs.log_weight.exp().flatten().tolist()
        ([1.0, 2.0, 5.0], [1.0, 2.0, 1.0])
    """
    length = key.shape[-2]
    windows = ceil_div(length, window)
    extra = windows * window - length
    rows = torch.arange(length, device=key.device) if in_graph() else None

    def cut(tensor: Tensor) -> Tensor:
        return pad(tensor, (0, 0, 0, extra)).unflatten(-2, (windows, window))

    def joined(
        tensor: Tensor,
    ) -> Tensor:  # in a graph, a slice would be guarded for the lengths where it is a view
        flat = tensor.flatten(-3, -2)
        return flat[..., :length, :] if rows is None else flat.index_select(-2, rows)

    score = cut(scores).squeeze(-1)
    upto = torch.ones(window, window, dtype=torch.bool, device=key.device).tril()
    member = upto.expand(1, 1, windows, -1, -1)
    if key_mask is not None:
        member = cut(key_mask.transpose(-2, -1)).squeeze(-1).unsqueeze(-2) & upto
    local = score.unsqueeze(-2) + excluding(member, score.dtype)
    present = member.any(-1, keepdim=True)
    # As large as the largest score up to each position, not later ones, beside which nothing might be left.
    top = local.detach().amax(-1, keepdim=True) * present
    terms = (local - top).exp() * member
    total = terms.sum(-1, keepdim=True) + ~present
    share = terms / total
    added = top + total.log() - (share * score.unsqueeze(-2)).sum(-1, keepdim=True)
    return RunningPairs(
        joined(share @ cut(key)), joined(share @ cut(value)), joined(added * present), joined(present)
    )


def weighted_prefix_call(pairs: RunningPairs, scale: float, window: int) -> "WithLogWeights":
    """Softmax attention of N queries to the complete windows before their own, and to their own up to them.

    Args:
        pairs: of every position, in float32 or float64, Dv = D.
        scale: factor on the scores.
        window: length r of a window.
    """
    width = pairs.key.shape[-1]
    extra = -(width + 1) % _ALIGNED + 1
    key = torch.cat([pairs.key, pairs.log_weight.expand(*pairs.key.shape[:-1], 1)], -1)
    wide = pairs._replace(key=pad(key, (0, extra - 1)), value=pad(pairs.value, (0, extra)))
    calls: list[MergeableCall] = [RecentKeys((wide.key,), wide.value, 1.0, pairs.present.transpose(-2, -1))]
    if (before := (pairs.key.shape[-2] - 1) // window) > 0:
        ends = wide.ends(window)
        key, value, kept = (part[..., :before, :] for part in (ends.key, ends.value, ends.present))
        calls.append(WindowsBefore(key, value, kept, window))
    return WithLogWeights(MergedCall(tuple(calls)), scale, extra)


_ALIGNED = 8
"""PyTorch's kernel is fastest where features are a multiple of so many."""


@dataclass(frozen=True)
class WindowsBefore:
    """The complete windows before each query's own, for the queries from the second window on.

    Queries at one offset within their windows are an ordinary causal attention of N / r queries to N / r pairs.

    Attributes:
        key: pairs that some query sees, (batch, heads, W, D).
        value: (batch, heads, W, D).
        kept: bool (batch or 1, heads or 1, W, 1), those that have a member.
        window: length r.
    """

    key: Tensor
    value: Tensor
    kept: Tensor
    window: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value

    def forward(self, query: Tensor) -> Outcome:
        """The outcome of the queries from number ``window`` on."""
        out, logsumexp = self._call(query.shape[0]).forward(self._folded(query))
        return self._unfolded(out, query), self._unfolded(logsumexp.unsqueeze(-1), query).squeeze(-1)

    def total(self, logsumexp: Tensor) -> Tensor:
        seen = self.kept.cumsum(-2) > 0
        rows = torch.arange(logsumexp.shape[-1], device=seen.device) // self.window
        return logsumexp.masked_fill(~seen.squeeze(-1)[..., rows], -torch.inf)

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> Gradients:
        batch = query.shape[0]
        of_them = self._folded(outcome[0]), self._folded(outcome[1].unsqueeze(-1)).squeeze(-1)
        grads = self._call(batch).backward(self._folded(gradient), self._folded(query), of_them)
        of_key, of_value = (grad.unflatten(0, (batch, self.window)).sum(1) for grad in grads[1:])
        return self._unfolded(grads[0], query), of_key, of_value

    def _call(self, batch: int) -> FlashCall:
        """Every offset's attention, as sequences of one batch."""
        key, value = (tensor.repeat_interleave(self.window, 0) for tensor in (self.key, self.value))
        mask = self.kept.transpose(-2, -1).expand(batch, -1, -1, -1).repeat_interleave(self.window, 0)
        return FlashCall(key, value, 1.0, mask, is_causal=True)

    def _folded(self, rows: Tensor) -> Tensor:
        """(batch, heads, N, D) -> (batch r, heads, W, D), from the second window on."""
        return fold(rows[:, :, self.window :], self.window).flatten(0, 1)

    def _unfolded(self, folded: Tensor, query: Tensor) -> Tensor:
        return unfold(folded.unflatten(0, (query.shape[0], self.window)), query.shape[2] - self.window)


@dataclass(frozen=True)
class WithLogWeights:
    """A call whose keys have one more feature, the log of what they count, and then features of 0.

    Attributes:
        call: on queries times the scale of the scores.
        scale: that scale.
        extra: features behind those of the queries.
    """

    call: MergedCall
    scale: float
    extra: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.call.tensors

    def forward(self, query: Tensor) -> Outcome:
        out, logsumexp = self.call.forward(self._wide(query))
        return out[..., : -self.extra], logsumexp

    def total(self, logsumexp: Tensor) -> Tensor:
        return self.call.total(logsumexp)

    def without_rows(self, logsumexp: Tensor, count: int) -> Tensor:
        logsumexp[..., :count] = torch.inf
        return logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        gradient, out = (pad(rows, (0, self.extra)) for rows in (gradient, outcome[0]))
        of_query, *rest = self.call.backward(gradient, self._wide(query), (out, outcome[1]))
        return of_query[..., : -self.extra] * self.scale, *rest

    def _wide(self, query: Tensor) -> Tensor:
        return pad(pad(query * self.scale, (0, 1), value=1.0), (0, self.extra - 1))
