"""How many bytes sharded attention moves, beside gathering all keys and beside passing them around a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.parallel.gathered import normalizable
from primaldual.parallel.sequences import what_is_sent
from primaldual.parallel.sharded_call import standardization
from primaldual.parallel.shards import Shards
from primaldual.parallel.summed import summable
from primaldual.primal.attention import Attention
from primaldual.primal.presets import preset


@dataclass(frozen=True)
class HeadTraffic:
    """Bytes that one process receives in the forward for heads that pool alike.

    Attributes:
        heads: the query heads.
        scale: window length of the pairs that travel; 1 = every key, 0 = none, but sums over the keys of each process.
        received: bytes of what travels.
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
        moments: bytes of means and squared deviations, where keys are normalised before they travel.
        gathered: bytes of gathering all keys and values, forward.
        whole: bytes of the keys and values of the whole sequence.
    """

    groups: tuple[HeadTraffic, ...]
    padding: int
    moments: int
    gathered: int
    whole: int

    @property
    def forward(self) -> int:
        """Bytes received in the forward."""
        return sum(group.received for group in self.groups) + self.padding + self.moments

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
    is_causal: bool = False,
    *,
    kv_heads: int | None = None,
    value_dim: int | None = None,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
) -> Traffic:
    """What one process receives in sharded attention, as a function of the problem; nothing is sent for it.

    A head of scale r receives (N - n) (D + Dv) / r numbers for each sequence, and up to one pair more from each process
    whose shard does not start and end with a window; means of half precision are float32. Factored attentions that are not
    causal receive sums of F (Dv + 1) numbers, twice and less one share, as a ring adds up; other small messages (sizes,
    masks, inputs per token) are left out.

    Args:
        problem: a problem or its spec.
        lengths: keys of each process.
        heads: query heads.
        head_dim: D.
        is_causal: whether queries attend no later key.
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
    value_dim = head_dim if value_dim is None else value_dim
    attention = preset(problem).bind(heads, head_dim) if isinstance(problem, str) else problem
    shards, others = Shards(None, rank, tuple(lengths)), len(lengths) - 1
    pair, wide = batch * (head_dim + value_dim) * dtype.itemsize, accumulation_dtype(dtype).itemsize
    moments = 2 * others * batch * kv_heads * head_dim * wide
    gathered, whole = (kv_heads * pair * count for count in (shards.total - lengths[rank], shards.total))
    if choices := summable(attention, heads, head_dim, is_causal):
        by = standardization(choices, heads)
        sums = heads if by is not None and isinstance(by.beta, Tensor) else kv_heads
        sums *= batch * (choices.feature_map.feature_count(head_dim) or 0) * (value_dim + 1) * wide
        group = HeadTraffic(list(range(heads)), 0, 2 * others * sums // len(lengths), gathered)
        return Traffic((group,), 0, moments if by else 0, gathered, whole)
    sent = what_is_sent(attention, heads, kv_heads, shards.total)
    rows = [[len(each.kv_heads) * each.rows(span) for span in shards.spans] for each in sent]
    sizes = [dtype.itemsize if each.windows is None else wide for each in sent]
    groups = tuple(
        HeadTraffic(
            each.heads,
            1 if each.windows is None else each.windows.size,
            pair * size // dtype.itemsize * (sum(counts) - counts[rank]),
            len(each.kv_heads) * gathered // kv_heads,
        )
        for each, counts, size in zip(sent, rows, sizes, strict=True)
    )
    padded = sum(
        pair * size // dtype.itemsize * others * max(map(sum, zip(*alike, strict=True)))
        for size in set(sizes)
        if (alike := [counts for counts, own in zip(rows, sizes, strict=True) if own == size])
    )
    padding = padded - sum(group.received for group in groups)
    by_moments = normalizable(attention, heads, head_dim, is_causal) is not None
    return Traffic(groups, padding, moments if by_moments else 0, gathered, whole)
