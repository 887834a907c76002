"""Composed solvers with a learned share, one number for each head."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import finite
from primaldual.primal.composed_solvers import ComposedSolver


class HeadShares(ComposedSolver):
    """A composed solver that holds a learned number a of each head, created by ``bind``.

    Args:
        start: a at first, of every head.

    Raises:
        ArgumentError: a start that is not a finite number, or use before ``bind``.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = finite("start", start)
        self.share: nn.Parameter | None
        self.register_parameter("share", None)

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.start:g}",)

    def bind(self, heads: int, head_dim: int) -> Self:
        self.share = nn.Parameter(torch.full((heads,), self.start))
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        if self.share is not None:
            self.share = nn.Parameter(self.share.detach()[members], self.share.requires_grad)

    def shares(self, like: Tensor) -> Tensor:
        """(heads, 1, 1), in the type of a tensor."""
        if self.share is None:
            raise ArgumentError(
                f"{self.name} has a number for each head: call problem.bind(heads, head_dim) first"
            )
        return self.share.to(like.dtype)[:, None, None]
