"""Something to run: a function with its inputs and the gradient that comes back to its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FORWARD = "forward"
BOTH = "forward+backward"
DIRECTIONS = (FORWARD, BOTH)


@dataclass(frozen=True)
class Program:
    """A function, ready to run.

    Attributes:
        function: of the leaves.
        leaves: inputs, compared between programs by their gradients.
        seed: gradient of the output.
        parameters: tensors whose gradients are computed too.
        state_bytes: bytes that are kept of the tokens so far, where something is kept.
    """

    function: Callable[..., Tensor]
    leaves: tuple[Tensor, ...]
    seed: Tensor
    parameters: tuple[Tensor, ...] = ()
    state_bytes: int | None = None

    def forward(self) -> Tensor:
        """The output, without anything kept for a backward pass."""
        with torch.no_grad():
            return self.function(*self.leaves)

    def both(self) -> tuple[Tensor, ...]:
        """The output, and the gradients of leaves and parameters."""
        out = self.function(*self.leaves)
        return out, *torch.autograd.grad(out, (*self.leaves, *self.parameters), self.seed)

    def task(self, direction: str) -> Callable[[], object]:
        """What is timed."""
        return self.forward if direction == FORWARD else self.both

    def checked(self, backward: bool) -> tuple[Tensor, ...]:
        """What is compared with another program: the output, and gradients of the leaves."""
        return self.both()[: 1 + len(self.leaves)] if backward else (self.forward(),)
