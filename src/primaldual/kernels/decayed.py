"""Causal softmax attention with c_i - c_j added to the score of query i and key j.

Queries are taken in blocks. A block attends its own positions with a matrix of differences, and all keys before with
c at its first position less c_j, one number per key, in a call of its own; the two are merged by log-sum-exp. So every
difference is rounded relative to itself, however large the sums c are. Keys whose weights are 0 whatever their scores
are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.flash import Outcome, flash_backward, flash_forward
from primaldual.kernels.statistics import accumulation_dtype

BLOCK_ROWS = 256
"""Queries of a block."""

WIDTH_STEP = 8
"""Head dims are multiples of this where a feature is added."""


@dataclass(frozen=True)
class DecayedCall:
    """sum_(j <= i) softmax_j(scale q_i . k_j + c_i - c_j) v_j by PyTorch's CPU kernel; rows without a key give 0.

    Attributes:
        key: (batch, heads, Nk, D).
        value: (batch, heads, Nk, D).
        sums: c, (1 or batch, heads, Nk), float64. The last query stands at the last key; Nq is at most Nk.
        scale: factor on the scores.
        key_mask: bool (batch or 1, heads or 1, 1, Nk), or None.
        learned: whether the sums have a gradient.
    """

    key: Tensor
    value: Tensor
    sums: Tensor
    scale: float
    key_mask: Tensor | None = None
    learned: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value, self.sums

    def forward(self, query: Tensor) -> Outcome:
        out = torch.empty_like(query)
        logsumexp = torch.empty(query.shape[:3], dtype=accumulation_dtype(query.dtype))
        for piece in self._pieces(query):
            part, total = piece.forward(query, self.key, self.value, self.scale)
            out[:, piece.heads, piece.rows], logsumexp[:, piece.heads, piece.rows] = part, total
        return out, logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        tensors, width = [gradient, query, self.key, self.value, outcome[0]], query.shape[3]
        if self.learned:
            # The gradient of one more feature, 1 in every query and 0 in every key, is the sum over a key's scores.
            tensors = [_widened(tensor) for tensor in tensors]
            tensors[1][..., width] = 1.0
        gradient, query, key, value, out = tensors
        wide = accumulation_dtype(query.dtype)
        found = [torch.zeros_like(tensor, dtype=wide) for tensor in (query, key, value)]
        for piece in self._pieces(query[..., :width]):
            piece.backward(gradient, query, key, value, (out, outcome[1]), self.scale, found)
        of_sums = torch.zeros_like(self.sums)
        if self.learned:
            of_sums -= (found[1][..., width].to(of_sums.dtype) / self.scale).sum_to_size(of_sums.shape)
        return *(part[..., :width].to(query.dtype) for part in found), of_sums

    def _pieces(self, query: Tensor) -> Iterator["_Piece"]:
        """Blocks of queries, of all heads or of those that leave out as many keys."""
        length, key_length = query.shape[2], self.key.shape[2]
        before = key_length - length
        wide = accumulation_dtype(query.dtype)
        for start in range(0, length, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, length))
            own = slice(rows.start + before, rows.stop + before)
            for heads, begin in self._begins(query[:, :, rows], own.start):
                sums = self.sums[:, heads]
                at_own, at_first = sums[..., own], sums[..., own.start, None]
                mask = self.key_mask
                if mask is not None and mask.shape[1] > 1:
                    mask = mask[:, heads]
                yield _Piece(
                    rows, heads, own, slice(begin, own.start),
                    (at_own.unsqueeze(-1) - at_own.unsqueeze(-2)).to(wide),
                    (at_first - sums[..., begin : own.start]).to(wide).unsqueeze(-2),
                    (at_own - at_first).to(wide),
                    mask,
                )  # fmt: skip

    def _begins(self, query: Tensor, first: int) -> list[tuple[slice, int]]:
        """For heads of a block whose first query stands at ``first``, the first key that may have a weight."""
        heads = query.shape[1]
        if first < BLOCK_ROWS:
            return [(slice(0, heads), 0)]
        # Weights are at most exp(c_nearest - c_j + twice the largest score), with the attended key of the least c.
        spread = 2 * self.scale * query.norm(dim=-1).amax(-1) * self._largest_key
        limit = (self._least[..., first] + spread.to(self.sums.dtype) + self._range).unsqueeze(-1)
        begins = (self.sums[..., :first] <= limit).to(torch.uint8).argmax(-1).amin(0)
        found: list[int] = (begins // BLOCK_ROWS * BLOCK_ROWS).tolist()
        cuts = [0, *(head for head in range(1, heads) if found[head] != found[head - 1]), heads]
        return [(slice(start, stop), found[start]) for start, stop in pairwise(cuts)]

    @cached_property
    def _largest_key(self) -> Tensor:
        """The largest norm of a key, (batch, heads)."""
        return self.key.norm(dim=-1).amax(-1)

    @cached_property
    def _least(self) -> Tensor:
        """The least c of the keys up to each that may be attended, (batch or 1, heads, Nk); infinite before the first."""
        sums = self.sums
        if self.key_mask is not None:
            sums = sums.where(self.key_mask.squeeze(-2), torch.inf)
        return sums.cummin(-1).values

    @property
    def _range(self) -> float:
        """How far below 0 the logarithm of a number is that is 0 in the type in which weights are computed."""
        return 104.0 if accumulation_dtype(self.key.dtype) == torch.float32 else 746.0


@dataclass(frozen=True)
class _Piece:
    """A block of queries in some heads.

    Attributes:
        rows: numbers of the queries.
        heads: which heads.
        own: the positions of the queries.
        earlier: the keys before that may have a weight.
        of_own: c_i - c_j of these positions, (batch or 1, heads, R, R).
        of_earlier: c at the first of them less c_j of the earlier keys, (batch or 1, heads, 1, keys).
        shift: c_i less c at the first, (batch or 1, heads, R).
        mask: bool (batch or 1, heads or 1, 1, Nk), or None.
    """

    rows: slice
    heads: slice
    own: slice
    earlier: slice
    of_own: Tensor
    of_earlier: Tensor
    shift: Tensor
    mask: Tensor | None

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Outcome:
        """Outputs and log-sum-exps of the queries; minus infinity without a key."""
        query = query[:, self.heads, self.rows]
        out, total = flash_forward(
            query, *self._pairs(self.own, key, value), self._bias(self.own), True, scale
        )
        if self.mask is not None:
            total = total.masked_fill(self.mask[..., 0, self.own].cumsum(-1) == 0, -torch.inf)
        if self.earlier.start == self.earlier.stop:
            return out, total
        pairs = self._pairs(self.earlier, key, value)
        of_earlier, more = flash_forward(query, *pairs, self._bias(self.earlier), False, scale)
        more = more + self.shift
        if self.mask is not None:
            more = more.masked_fill(~self.mask[..., self.earlier].any(-1), -torch.inf)
        whole = torch.logaddexp(total, more)
        safe = _safe(whole)
        shares = ((part - safe).exp().unsqueeze(-1) for part in (total, more))
        return out * next(shares) + of_earlier * next(shares), whole

    def backward(
        self,
        gradient: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        outcome: Outcome,
        scale: float,
        found: list[Tensor],
    ) -> None:
        """Add the gradients of query, key and value to ``found``."""
        gradient, query, out = (each[:, self.heads, self.rows] for each in (gradient, query, outcome[0]))
        total = _safe(outcome[1][:, self.heads, self.rows])
        for keys, logsumexp in ((self.own, total), (self.earlier, total - self.shift)):
            if keys.start == keys.stop:
                continue
            grads = flash_backward(
                gradient, query, *self._pairs(keys, key, value), (out, logsumexp), self._bias(keys),
                keys is self.own, scale,
            )  # fmt: skip
            for into, part, places in zip(found, grads, (self.rows, keys, keys), strict=True):
                into[:, self.heads, places] += part

    def _pairs(self, keys: slice, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return key[:, self.heads, keys], value[:, self.heads, keys]

    def _bias(self, keys: slice) -> Tensor:
        """What is added to the scores of these keys."""
        bias = self.of_own if keys is self.own else self.of_earlier
        return bias if self.mask is None else bias.masked_fill(~self.mask[..., keys], -torch.inf)


def _safe(total: Tensor) -> Tensor:
    """Log-sum-exps that may be subtracted from scores: 0 where there is no pair."""
    return total.masked_fill(total == -torch.inf, 0.0)


def _widened(tensor: Tensor) -> Tensor:
    """The tensor with features of 0 behind its own."""
    width = tensor.shape[-1]
    return pad(tensor, (0, WIDTH_STEP - width % WIDTH_STEP))
