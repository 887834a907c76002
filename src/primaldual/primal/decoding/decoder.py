"""Decoder: how some heads attend token by token."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.new_tokens import NewTokens


class Decoder(Protocol):
    """How some heads attend token by token: what is kept, and the output for new tokens. It holds no token itself.

    Attributes:
        most: most tokens that :meth:`many` takes at once.
    """

    most: int

    def filled(self, memory: Memory, lengths: list[int]) -> list[int]:
        """Slots of the cached sequences that every row has filled after this number of tokens."""

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        """A memory without tokens, for tensors like these of length 0, with room for ``capacity`` tokens."""

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        """The output of the token at a position, above 0, of every row."""

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        """The outputs of n tokens of every row."""

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        """Take in the first n tokens without attending."""
