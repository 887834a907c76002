"""Softmax attention with a number added to every score that depends on head and distance alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.kernels.flash import Outcome, additive, flash_backward, flash_forward

BLOCK_ROWS = 256
"""Queries that one call of the kernel takes: the numbers added are formed for so many, and serve all others too."""


@dataclass(frozen=True)
class BiasedCall:
    """sum_j softmax_j(scale q_i . k_j + b(p_i - j)) v_j by PyTorch's CPU kernel, block by block of queries.

    Attributes:
        key: (batch, heads, Nk, D).
        value: (batch, heads, Nk, D).
        scale: factor on the scores.
        bias: b for queries at 0 .. R - 1 and keys at -Nk .. , (1, heads, R, Nk + R or more), minus infinity
            where a key may not be attended; it is not differentiated. The last query stands at the last key.
        key_mask: bool (batch or 1, heads or 1, 1 or Nq, Nk), or None.
    """

    key: Tensor
    value: Tensor
    scale: float
    bias: Tensor
    key_mask: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value

    def forward(self, query: Tensor) -> Outcome:
        parts = [
            flash_forward(
                query[:, :, rows], self.key[:, :, :end], self.value[:, :, :end], bias, False, self.scale
            )
            for rows, end, bias in self._blocks(query)
        ]
        out, logsumexp = (torch.cat(each, 2) for each in zip(*parts, strict=True))
        return out, logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        of_query, of_key, of_value = (torch.zeros_like(tensor) for tensor in (query, *self.tensors))
        for rows, end, bias in self._blocks(query):
            found = flash_backward(
                gradient[:, :, rows], query[:, :, rows], self.key[:, :, :end], self.value[:, :, :end],
                (outcome[0][:, :, rows], outcome[1][:, :, rows]), bias, False, self.scale,
            )  # fmt: skip
            of_query[:, :, rows] = found[0]
            of_key[:, :, :end] += found[1]
            of_value[:, :, :end] += found[2]
        return of_query, of_key, of_value

    def _blocks(self, query: Tensor) -> Iterator[tuple[slice, int, Tensor]]:
        """Queries, how many keys they may see, and what is added to their scores."""
        length, key_length = query.shape[2], self.key.shape[2]
        before, block = key_length - length, self.bias.shape[2]
        for start in range(0, length, block):
            rows = slice(start, min(start + block, length))
            ahead = self.bias.shape[3] - key_length  # keys from the first query on that are in the bias
            end = max(1, min(key_length, start + before + ahead))
            first = key_length - start - before
            bias = self.bias[:, :, : rows.stop - start, first : first + end]
            if (mask := self.key_mask) is not None:
                seen = additive((mask if mask.shape[2] == 1 else mask[:, :, rows])[..., :end], query)
                assert seen is not None
                bias = bias + seen
            yield rows, end, bias
