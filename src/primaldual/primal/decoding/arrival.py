"""New tokens of a batch, and the pooled pairs that they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Arrival:
    """n new places in every row of a batch, of which the first ``counts[b]`` hold tokens.

    Attributes:
        starts: tokens that each row had before.
        counts: tokens that each row gets.
        length: n.
        device: where tensors about them are made.
    """

    starts: list[int]
    counts: list[int]
    length: int
    device: torch.device

    @cached_property
    def uniform(self) -> bool:
        """Whether all rows are equally long, and all places hold tokens."""
        return all(count == self.length for count in self.counts) and len(set(self.starts)) == 1

    @cached_property
    def first(self) -> Tensor:
        """Long (rows, 1): ``starts``; a single row stands for all where they are equal."""
        starts = self.starts[:1] if self.uniform else self.starts
        return torch.tensor(starts, device=self.device)[:, None]

    @cached_property
    def members(self) -> Tensor | None:
        """Bool (batch, n): the places that hold tokens; None = all."""
        if self.uniform:
            return None
        counts = torch.tensor(self.counts, device=self.device)
        return torch.arange(self.length, device=self.device) < counts[:, None]

    @cached_property
    def last(self) -> Tensor:
        """Long (batch, 1): the last place that holds a token, 0 where none does."""
        return torch.tensor([max(count - 1, 0) for count in self.counts], device=self.device)[:, None]

    @cached_property
    def rows(self) -> Tensor:
        """Bool (batch, 1, 1, 1): the rows that get a token at all."""
        return torch.tensor([count > 0 for count in self.counts], device=self.device)[:, None, None, None]

    @cached_property
    def fresh(self) -> Tensor:
        """Bool (batch, 1, 1, 1): the rows that get their first token."""
        found = [start == 0 and count > 0 for start, count in zip(self.starts, self.counts, strict=True)]
        return torch.tensor(found, device=self.device)[:, None, None, None]


@dataclass(frozen=True)
class Windows:
    """Windows of ``scale`` tokens behind ``prefix`` lone ones: a pair for each, complete with its last token.

    Example:
        >>> windows = Windows(scale=3, prefix=1)
        >>> [windows.complete(length) for length in range(8)]
        [0, 1, 1, 1, 2, 2, 2, 3]
    """

    scale: int = 1
    prefix: int = 0

    def complete(self, length: int) -> int:
        """How many complete windows there are among so many tokens."""
        if length <= self.prefix:
            return length
        return self.prefix + (length - self.prefix) // self.scale

    def offset(self, position: int) -> int:
        """How many tokens of its own window stand before a position."""
        return 0 if position < self.prefix else (position - self.prefix) % self.scale

    def closes(self, position: int) -> bool:
        """Whether a position is the last of its window."""
        return position < self.prefix or (position - self.prefix) % self.scale == self.scale - 1

    def of(self, arrival: Arrival) -> NewPairs:
        """The pairs that new tokens make."""
        return NewPairs(self, arrival)


@dataclass(frozen=True)
class NewPairs:
    """The pair that each new token makes: the mean of its own window up to it.

    A token's training pairs are the complete windows before its own, and this one. Later tokens see it
    only if its window is complete.

    Attributes:
        windows: which tokens make a window.
        arrival: the new tokens.
    """

    windows: Windows
    arrival: Arrival

    @cached_property
    def former(self) -> Tensor:
        """Long (rows, 1): complete windows before the new tokens."""
        complete = [self.windows.complete(start) for start in self.arrival.starts]
        return torch.tensor(complete[:1] if self.arrival.uniform else complete, device=self.arrival.device)[
            :, None
        ]

    @cached_property
    def position(self) -> Tensor:
        """Long (rows, n): where the tokens stand in their sequences."""
        return self.arrival.first + torch.arange(self.arrival.length, device=self.arrival.device)

    @cached_property
    def offset(self) -> Tensor:
        """Long (rows, n): tokens of the own window that stand before."""
        body = self.position - self.windows.prefix
        return torch.where(body < 0, 0, body % self.windows.scale)

    @cached_property
    def window(self) -> Tensor:
        """Long (rows, n): the number of the own window."""
        body = self.position - self.windows.prefix
        return torch.where(body < 0, self.position, self.windows.prefix + body // self.windows.scale)

    @cached_property
    def kept(self) -> Tensor | None:
        """Bool (rows, n): tokens that complete their window; None = all."""
        members = self.arrival.members
        if self.windows.scale == 1:
            return members
        complete = (self.offset == self.windows.scale - 1) | (self.position < self.windows.prefix)
        return complete if members is None else complete & members

    @cached_property
    def visible(self) -> Tensor:
        """Bool (rows, 1, n, n): the new pairs that each new token sees."""
        size, device = self.arrival.length, self.arrival.device
        earlier = torch.ones(size, size, dtype=torch.bool, device=device).tril(-1)[None, None]
        if self.kept is not None:
            earlier = earlier & self.kept[:, None, None, :]
        return earlier | torch.eye(size, dtype=torch.bool, device=device)

    def means(self, tokens: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs (batch, heads, n, D), and the sum of the window that is not complete yet.

        Args:
            tokens: (batch, heads, n, D).
            partial: the sum of the former tokens of the current window, (batch, heads, 1, D).
        """
        offset = self.offset[:, None, :, None]
        index = torch.arange(self.arrival.length, device=tokens.device)[:, None]
        sums = tokens + torch.where(offset > index, partial, 0.0)
        for back in range(1, min(self.windows.scale, self.arrival.length)):
            sums[:, :, back:] += torch.where(offset[:, :, back:] >= back, tokens[:, :, :-back], 0.0)
        last = self.arrival.last[:, None, :, None].expand(-1, sums.shape[1], -1, sums.shape[3])
        left = torch.where(self.arrival.rows, sums.gather(2, last), partial)
        return sums / (offset + 1), left
