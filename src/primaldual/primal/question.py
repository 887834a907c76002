"""What decides on the form of a call: sizes and conditions, no tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch

EAGER, GRAPH, TRANSFORM = "eager", "graph", "transform"


class Question(NamedTuple):
    """The facts of one call.

    Attributes:
        batch: sequences.
        heads: query heads.
        kv_heads: key heads.
        query_length: Nq.
        key_length: Nk.
        head_dim: D.
        value_dim: Dv.
        groups: sets of heads that pool alike.
        key_mask: some keys are masked for every query.
        pairs: a mask differs from query to query.
        is_causal: queries attend no later key.
        dropout: weights are dropped.
        dtype: of the tensors.
        device: type of their device.
        mode: EAGER, GRAPH (compiled, exported or traced) or TRANSFORM (torch.func, forward-mode differentiation, shapes
            alone on the device ``meta``).
        portable: the graph is exported or traced, and may run where this library is not.
    """

    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int
    value_dim: int
    groups: int = 1
    key_mask: bool = False
    pairs: bool = False
    is_causal: bool = False
    dropout: bool = False
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    mode: str = EAGER
    portable: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is no query, or no key."""
        return 0 in (self.batch, self.query_length, self.key_length)

    @property
    def square(self) -> bool:
        """Whether queries and keys are as many."""
        return self.query_length == self.key_length

    @property
    def elements(self) -> int:
        """Numbers of a tensor that holds D for each query and key of every head."""
        return self.batch * self.heads * self.query_length * self.key_length * self.head_dim
