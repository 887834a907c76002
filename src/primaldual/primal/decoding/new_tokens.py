"""The tokens that one step brings to every sequence of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class NewTokens:
    """Room for ``length`` new tokens in every row of a batch; row b fills the first ``counts[b]`` of it.

    Attributes:
        starts: tokens that each row had before.
        counts: tokens that each row gets.
        length: n.
        device: where tensors about them are made.
        inputs: what the parts need of them, by name, (batch, heads, n, width).
    """

    starts: list[int]
    counts: list[int]
    length: int
    device: torch.device
    inputs: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def ends(self) -> list[int]:
        """Tokens that each row has afterwards."""
        return [start + count for start, count in zip(self.starts, self.counts, strict=True)]

    def piece(self, first: int, length: int) -> NewTokens:
        """The tokens first, ..., first + length - 1 of them, behind those before."""
        return NewTokens(
            [start + min(count, first) for start, count in zip(self.starts, self.counts, strict=True)],
            [min(max(count - first, 0), length) for count in self.counts],
            length,
            self.device,
            {name: tensor[:, :, first : first + length] for name, tensor in self.inputs.items()},
        )

    @cached_property
    def uniform(self) -> bool:
        """Whether all rows had equally many tokens, and all get n."""
        return all(count == self.length for count in self.counts) and len(set(self.starts)) == 1

    @cached_property
    def first(self) -> Tensor:
        """Long (rows, 1): ``starts``; a single row stands for all where they are equal."""
        starts = self.starts[:1] if self.uniform else self.starts
        return torch.tensor(starts, device=self.device)[:, None]

    @cached_property
    def members(self) -> Tensor | None:
        """Bool (batch, n): True = a token, False = padding; None = all are tokens."""
        if self.uniform:
            return None
        counts = torch.tensor(self.counts, device=self.device)
        return torch.arange(self.length, device=self.device) < counts[:, None]

    @cached_property
    def last(self) -> Tensor:
        """Long (batch, 1): the index of the last token, 0 where there is none."""
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
