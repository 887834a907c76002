"""The subset of the blocks of keys whose mean scores are the largest."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.arguments import MOST_POSITIONS, flag, whole
from primaldual.kernels.masks import Attendable
from primaldual.kernels.top_blocks import top_blocks
from primaldual.primal.subsets import Subset


class ChosenKeys(Subset):
    """The keys that a call has chosen."""

    name = "chosen"
    chosen: Tensor
    """Bool (batch, heads, Nq, Nk)."""

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        del query_length, key_length, device
        return self.chosen


class TopBlocks(Subset):
    """Query i is fitted on the keys of the ``count`` blocks with the largest q_i . mean(k_j), of ``size`` positions each.

    The mean is over the keys of the block that the query may attend, before the input transform; of equal blocks the
    earlier ones are taken. The choice has no gradient. Causal: complete blocks, and the current one as far as it goes. With
    ``last`` the block of the last key that a query may attend is always among them, which is mixture of block attention.

    Scores are compared by float64 numbers, in steps of 2^-30 of the largest, so that rounding chooses nothing. The choice
    is a mask: the attention itself takes the time of softmax under a mask.

    Args:
        count: blocks of every query, 1 or more; with all of them this is the attention without.
        size: positions in a block, 1 or more.
        last: whether the block of the last key is always among them.

    Raises:
        ArgumentError: a count or size below 1.

    Reference: Lu et al., "MoBA: Mixture of Block Attention for Long-Context LLMs", arXiv 2502.13189.

    Example:
        >>> from primaldual import preset
        >>> key = torch.tensor([1.0, 0.0, 5.0, 2.0, 0.0]).view(1, 1, 5, 1)
        >>> (preset("top(1,2)").weights(torch.ones(1, 1, 1, 1), key) > 0).int().tolist()
        [[[[0, 0, 1, 1, 0]]]]
    """

    name = "top"
    summary = "for each query the keys of the blocks with the largest mean scores (MoBA)"
    cost = "that of softmax under a mask"
    examples = ("top(2,3)", "top(2,3,last=true)")

    def __init__(self, count: int = 2, size: int = 64, *, last: bool = False) -> None:
        super().__init__()
        self.count = whole("count", count, 1, MOST_POSITIONS)
        self.size = whole("size", size, 1, MOST_POSITIONS)
        self.last = flag("last", last)

    def arguments(self) -> tuple[object, ...]:
        return (self.count, self.size)

    @property
    def by_scores(self) -> bool:
        return True

    @property
    def placed(self) -> bool:
        return False

    def of_call(self, query: Tensor, key: Tensor, attendable: Attendable) -> Subset:
        chosen = top_blocks(query, key, attendable, self.size, self.count, self.last)
        return ChosenKeys().knowing(chosen=chosen, layout=self.layout)

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        """Every key, since any may be in a block that a call chooses."""
        return torch.ones(query_length, key_length, dtype=torch.bool, device=device)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                rf"\text{{query }} i \text{{ is fitted on the {self.count} blocks of {self.size} keys with the largest }}"
                r" q_i \cdot \bar k"
            ]
        return [f"query i is fitted on the {self.count} blocks of {self.size} keys with the largest q_i · k̄"]
