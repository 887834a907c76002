"""Subsets that leave out keys by position: windows and fixed masks."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.arguments import whole
from primaldual.kernels.masks import Attendable, band_mask
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.subsets import Subset
from primaldual.primal.training_sets import Band, MaskedPairs, TrainingSet


class Window(Subset):
    """Keys at most ``radius`` positions away; with causal masking, the ``radius`` before and the query's own.

    Args:
        radius: positions to each side, 0 or more.

    Raises:
        ArgumentError: a negative or fractional radius.

    Example:
        >>> from primaldual import PrimalProblem
        >>> key = torch.zeros(1, 1, 4, 2)
        >>> PrimalProblem(subset=Window(1)).weights(key, key)[0, 0, 2]
        tensor([0.0000, 0.3333, 0.3333, 0.3333])
    """

    name = "window"
    summary = "keys at most `radius` positions away"
    cost = "O(N radius), memory too"
    examples = ("window(3)",)

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = whole("radius", radius)

    def arguments(self) -> tuple[object, ...]:
        return (self.radius,)

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        return band_mask(query_length, key_length, self.radius, device)

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        if attendable.pairs is not None:
            return super().training_set(source, attendable, heads, query_length)
        attendable = attendable.select(selection(heads.members))
        if query_length == 1 and source.length <= self.radius + 1:
            return MaskedPairs(*source.take(heads.members), query_length, attendable)
        return Band(*source.take(heads.members), query_length, attendable, self.radius)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [rf"\text{{query }} i \text{{ is fitted on the keys }} |i - j| \le {self.radius}"]
        return [f"query i is fitted on the keys with |i − j| ≤ {self.radius}"]

    @property
    def shift_equivariant(self) -> bool:
        return True

    @property
    def reach(self) -> int:
        return self.radius

    @property
    def unbroken(self) -> bool:
        return True


class MaskedKeys(Subset):
    """A fixed sparse pattern: query i is fitted on the keys j with ``mask[..., i, j]``.

    Args:
        mask: bool (Nq, Nk), (heads, Nq, Nk) or (batch, heads, Nq, Nk); True = in the subset.

    Raises:
        ArgumentError: the mask is not a bool tensor with 2 to 4 dimensions.

    Example:
        >>> from primaldual import PrimalProblem
        >>> problem = PrimalProblem(subset=MaskedKeys(torch.eye(3, dtype=torch.bool)))
        >>> key, value = torch.randn(2, 1, 2, 3, 4).unbind(0)
        >>> torch.equal(problem.attend(key, key, value), value)
        True
    """

    name = "masked"

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or not 2 <= mask.dim() <= 4:
            raise ArgumentError(
                "mask must be a bool tensor (Nq, Nk), (heads, Nq, Nk) or (batch, heads, Nq, Nk)"
            )
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def keep_heads(self, members: list[int], heads: int) -> None:
        if self.mask.dim() > 2 and self.mask.shape[-3] == heads:
            self.mask = self.mask[..., members, :, :]

    @property
    def fixed_heads(self) -> int | None:
        heads = self.mask.shape[-3] if self.mask.dim() > 2 else 1
        return heads if heads > 1 else None

    def spec(self) -> str:
        return f"masked({'x'.join(map(str, self.mask.shape))})"

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        if self.mask.shape[-2:] != (query_length, key_length):
            raise ShapeError(
                f"masked keys were given for (Nq, Nk) = {tuple(self.mask.shape[-2:])}; got {(query_length, key_length)}"
            )
        return self.mask.to(device)

    def formula(self, style: str) -> list[str]:
        return (
            [r"\text{query } i \text{ is fitted on the keys of its row of a fixed mask}"]
            if style == "latex"
            else ["query i is fitted on the keys of its row of a fixed mask"]
        )
