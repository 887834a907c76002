"""A block of queries whose keys are taken by one or two calls of PyTorch's CPU kernel, each with numbers added to scores."""

from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.flash import Outcome, flash_backward, flash_forward
from primaldual.kernels.merged import subtractable


class BlockPart(NamedTuple):
    """Keys that one call of the kernel takes.

    Attributes:
        keys: their numbers.
        bias: what is added to their scores, (batch or 1, heads, 1 or R, keys).
        is_causal: query i takes the first i + 1 of them.
        empty: bool (batch or 1, heads, 1 or R), queries that have none of them; None = no query.
    """

    keys: slice
    bias: Tensor
    is_causal: bool
    empty: Tensor | None


class Block(NamedTuple):
    """A block of queries in some heads.

    Attributes:
        rows: numbers of the queries.
        heads: which heads.
        parts: their keys, in one or two calls.
    """

    rows: slice
    heads: slice
    parts: tuple[BlockPart, ...]

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: float, out: Tensor) -> Tensor:
        """Write the outputs of the queries to ``out``; their log-sum-exps, minus infinity without a key."""
        query, outputs, sums = query[:, self.heads, self.rows], [], []
        for part in self.parts:
            pairs = key[:, self.heads, part.keys], value[:, self.heads, part.keys]
            of_part, total = flash_forward(query, *pairs, part.bias, part.is_causal, scale)
            outputs.append(of_part)
            sums.append(total if part.empty is None else total.masked_fill(part.empty, -torch.inf))
        if len(outputs) == 1:
            out.copy_(outputs[0])
            return sums[0]
        whole = torch.logaddexp(sums[0], sums[1])
        share = (sums[1] - subtractable(whole)).exp().unsqueeze(-1)
        first, second = outputs
        if out.dtype == share.dtype:
            torch.lerp(first, second, share, out=out)
        else:
            out.copy_(torch.lerp(first.to(share.dtype), second.to(share.dtype), share))
        return whole

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
        outcome = out, subtractable(outcome[1][:, self.heads, self.rows])
        for keys, bias, is_causal, _ in self.parts:
            pairs = key[:, self.heads, keys], value[:, self.heads, keys]
            grads = flash_backward(gradient, query, *pairs, outcome, bias, is_causal, scale)
            for into, part, places in zip(found, grads, (self.rows, keys, keys), strict=True):
                into[:, self.heads, places] += part
