"""Consecutive windows of tokens, and the training pairs that new tokens make of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from primaldual.primal.decoding.new_tokens import NewTokens


@dataclass(frozen=True)
class Windows:
    """Windows of ``size`` consecutive tokens behind ``prefix`` single ones, each the mean of one training pair.

    Example:
        >>> windows = Windows(size=3, prefix=1)
        >>> [windows.complete(length) for length in range(8)]
        [0, 1, 1, 1, 2, 2, 2, 3]
    """

    size: int = 1
    prefix: int = 0

    def complete(self, length: int) -> int:
        """How many windows are complete after ``length`` tokens."""
        if length <= self.prefix:
            return length
        return self.prefix + (length - self.prefix) // self.size

    def offset(self, position: int) -> int:
        """How many tokens of its own window precede the token at a position."""
        return 0 if position < self.prefix else (position - self.prefix) % self.size

    def closes(self, position: int) -> bool:
        """Whether the token at a position completes its window."""
        return position < self.prefix or (position - self.prefix) % self.size == self.size - 1


@dataclass(frozen=True)
class NewPairs:
    """The training pair that each new token makes: the mean of its own window up to it.

    A token sees the complete windows before its own, and this pair. Later tokens see the pair only if the
    token completes its window.

    Attributes:
        windows: which tokens make a window.
        tokens: the new tokens.
    """

    windows: Windows
    tokens: NewTokens

    @cached_property
    def former(self) -> Tensor:
        """Long (rows, 1): windows that were complete before the new tokens."""
        starts = self.tokens.starts[:1] if self.tokens.uniform else self.tokens.starts
        return torch.tensor([self.windows.complete(start) for start in starts], device=self.tokens.device)[
            :, None
        ]

    @cached_property
    def position(self) -> Tensor:
        """Long (rows, n): the positions of the tokens in their sequences."""
        return self.tokens.first + torch.arange(self.tokens.length, device=self.tokens.device)

    @cached_property
    def offset(self) -> Tensor:
        """Long (rows, n): how many tokens of its own window precede each token."""
        body = self.position - self.windows.prefix
        return torch.where(body < 0, 0, body % self.windows.size)

    @cached_property
    def window(self) -> Tensor:
        """Long (rows, n): the number of the own window, which is also how many complete ones precede it."""
        body = self.position - self.windows.prefix
        return torch.where(body < 0, self.position, self.windows.prefix + body // self.windows.size)

    @cached_property
    def kept(self) -> Tensor | None:
        """Bool (rows, n): tokens that complete their window; None = all."""
        members = self.tokens.members
        if self.windows.size == 1:
            return members
        complete = (self.offset == self.windows.size - 1) | (self.position < self.windows.prefix)
        return complete if members is None else complete & members

    @cached_property
    def visible(self) -> Tensor:
        """Bool (rows, 1, n, n): the new pairs that each new token sees."""
        size, device = self.tokens.length, self.tokens.device
        earlier = torch.ones(size, size, dtype=torch.bool, device=device).tril(-1)[None, None]
        if self.kept is not None:
            earlier = earlier & self.kept[:, None, None, :]
        return earlier | torch.eye(size, dtype=torch.bool, device=device)

    def means(self, inputs: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs (batch, heads, n, D), and the sum of the window that is still incomplete.

        Args:
            inputs: keys or values of the tokens, (batch, heads, n, D).
            partial: the sum over the former tokens of the current window, (batch, heads, 1, D).
        """
        offset = self.offset[:, None, :, None]
        index = torch.arange(self.tokens.length, device=inputs.device)[:, None]
        sums = inputs + torch.where(offset > index, partial, 0.0)
        for back in range(1, min(self.windows.size, self.tokens.length)):
            sums[:, :, back:] += torch.where(offset[:, :, back:] >= back, inputs[:, :, :-back], 0.0)
        last = self.tokens.last[:, None, :, None].expand(-1, sums.shape[1], -1, sums.shape[3])
        left = torch.where(self.tokens.rows, sums.gather(2, last), partial)
        return sums / (offset + 1), left
