"""How many bytes sharded attention moves, beside gathering all keys and beside passing them around a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from primaldual.errors import ArgumentError
from primaldual.parallel.sequences import what_is_sent
from primaldual.parallel.shards import Shards
from primaldual.primal.attention import Attention
from primaldual.primal.presets import preset


@dataclass(frozen=True)
class HeadTraffic:
    """Bytes of keys and values that one process receives in the forward, for heads that pool alike.

    Attributes:
        heads: the query heads.
        scale: window length of the pairs that travel; 1 = every key.
        received: bytes as they are pooled.
        unpooled: bytes of all keys and values of the same key heads.
    """

    heads: list[int]
    scale: int
    received: int
    unpooled: int


@dataclass(frozen=True)
class Traffic:
    """Bytes of keys, values and their gradients that one process receives.

    The backward of a gathering sends every gradient to the process that has the key, which moves as much as the forward.
    A ring passes keys and values on in the forward, and once more in the backward, where gradients go the whole round.

    Attributes:
        groups: the heads by how they pool.
        padding: bytes by which the shorter messages are filled up.
        gathered: bytes of gathering all keys and values, forward.
        whole: bytes of the keys and values of the whole sequence.
    """

    groups: tuple[HeadTraffic, ...]
    padding: int
    gathered: int
    whole: int

    @property
    def forward(self) -> int:
        """Bytes received in the forward."""
        return sum(group.received for group in self.groups) + self.padding

    @property
    def total(self) -> int:
        """Bytes received in forward and backward."""
        return 2 * self.forward

    @property
    def gathered_total(self) -> int:
        """The same where all keys and values are gathered as they are."""
        return 2 * self.gathered

    @property
    def ring_total(self) -> int:
        """The same where they go around a ring."""
        return 2 * self.gathered + self.whole


def traffic(
    problem: Attention | str,
    lengths: Sequence[int],
    heads: int,
    head_dim: int,
    *,
    kv_heads: int | None = None,
    value_dim: int | None = None,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
) -> Traffic:
    """What one process receives in sharded attention, as a function of the problem; nothing is sent for it.

    A head of scale r receives (N - n) (D + Dv) / r numbers for each sequence, and up to one pair more from each process
    whose shard does not start and end with a window.

    Args:
        problem: a problem or its spec.
        lengths: keys of each process.
        heads: query heads.
        head_dim: D.
        kv_heads: key heads; default ``heads``.
        value_dim: Dv; default ``head_dim``.
        batch: sequences.
        dtype: of keys and values.
        rank: the process that receives.

    Raises:
        ArgumentError: a rank that has no length, or key heads that do not divide the heads.

    Example:
        >>> moved = traffic("sh(1,1,2,4)", lengths=[1024] * 4, heads=4, head_dim=64)
        >>> [(group.scale, group.received, group.unpooled) for group in moved.groups]
        [(1, 3145728, 3145728), (2, 786432, 1572864), (4, 393216, 1572864)]
        >>> moved.total / moved.gathered_total, round(moved.total / moved.ring_total, 3)
        (0.6875, 0.412)
    """
    kv_heads = heads if kv_heads is None else kv_heads
    if not 0 <= rank < len(lengths):
        raise ArgumentError(f"rank must be one of the {len(lengths)} processes that lengths has; got {rank}")
    if kv_heads < 1 or heads % kv_heads:
        raise ArgumentError(f"kv_heads must divide heads; got {kv_heads} and {heads}")
    attention = preset(problem) if isinstance(problem, str) else problem
    shards = Shards(None, rank, tuple(lengths))
    pair = batch * (head_dim + (value_dim or head_dim)) * dtype.itemsize
    others = [span for number, span in enumerate(shards.spans) if number != rank]
    elsewhere = shards.total - lengths[rank]
    sent = what_is_sent(attention, heads, kv_heads, shards.total)
    groups = tuple(
        HeadTraffic(
            each.heads,
            1 if each.windows is None else each.windows.size,
            len(each.kv_heads) * pair * sum(map(each.rows, others)),
            len(each.kv_heads) * pair * elsewhere,
        )
        for each in sent
    )
    messages = [pair * sum(len(each.kv_heads) * each.rows(span) for each in sent) for span in shards.spans]
    padded = max(messages) * len(others)
    received = sum(group.received for group in groups)
    return Traffic(groups, padded - received, kv_heads * pair * elsewhere, kv_heads * pair * shards.total)
