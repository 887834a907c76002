"""The sequence that the queries of one process attend: their own keys, and those of others as far as they were pooled.

A position of another process stands there as the mean of its share of a window. Windows over such a sequence have
the means, and under the same mask the members, that they have over the whole one, whoever holds their parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.masks import Attendable
from primaldual.parallel.collectives import gather, gather_masks, tied
from primaldual.parallel.shards import Shards
from primaldual.parallel.window_shares import WindowShares
from primaldual.primal.attention import Attention
from primaldual.primal.decoding.windows import Windows
from primaldual.primal.sources import pick


class Sent(NamedTuple):
    """Key heads that travel alike.

    Attributes:
        windows: those over which means are taken, as far as they lie in a shard; None = every key is sent.
        kv_heads: the key heads.
        heads: the query heads that they serve.
    """

    windows: Windows | None
    kv_heads: list[int]
    heads: list[int]

    def rows(self, span: tuple[int, int]) -> int:
        """How many pairs the shard of these positions sends for each head."""
        return span[1] - span[0] if self.windows is None else WindowShares(self.windows, *span).count


def what_is_sent(attention: Attention, heads: int, kv_heads: int, total: int) -> list[Sent]:
    """The key heads by the windows over which the query heads that they serve pool them.

    Args:
        attention: one that can be sharded.
        heads: query heads.
        kv_heads: key heads.
        total: keys of all processes.

    Example:
        >>> from primaldual import preset
        >>> [(sent.windows, sent.kv_heads) for sent in what_is_sent(preset("sh(1,4)"), 2, 2, total=64)]
        [(None, [0]), (Windows(size=4, prefix=0), [1])]
    """
    found: dict[Windows | None, list[int]] = {}
    for problem, members in attention.problems(heads):
        parts = problem.parts().for_length(total)
        subset = parts.subset
        single = subset.patterned or parts.solver.at_keys  # which attend from the positions of keys, too
        for alike in subset.head_sets(len(members)):
            windows = None if single else subset.windows(alike)
            windows = None if windows is None or windows.size == 1 else windows
            found.setdefault(windows, []).extend(members[head] for head in alike.members)
    groups = heads // kv_heads
    return [
        Sent(windows, sorted({head // groups for head in served}), sorted(served))
        for windows, served in found.items()
    ]


def whole_mask(attendable: Attendable, shards: Shards, device: torch.device) -> Tensor | None:
    """The masks of all processes as one, (batch or 1, heads or 1, 1, Nk); None = there is none."""
    if shards.mask_shape is None:
        return None
    shape = (*shards.mask_shape, 1, shards.lengths[shards.rank])
    own = attendable.keys
    own = torch.ones(shape, dtype=torch.bool, device=device) if own is None else own.expand(shape)
    return gather_masks(own, shards.lengths, shards.group)


def received(
    tensors: Sequence[tuple[Sent, Tensor]], mask: Tensor | None, shards: Shards
) -> list[list[Tensor]]:
    """For every process what it sends of each tensor, this one included.

    Args:
        tensors: of this process, (batch, heads, n, ...), finite where masked, each with how its rows travel.
        mask: the attendable keys of this process, or None.
        shards: how the sequence is split.
    """
    spans = shards.spans
    sent = [_sent(each, rows, mask, spans[shards.rank]) for each, rows in tensors]
    shapes = [
        [(*rows.shape[:2], each.rows(span), *rows.shape[3:]) for each, rows in tensors] for span in spans
    ]
    return gather(sent, shapes, shards.group)


def in_sequence(
    each: Sent, own: Tensor, parts: Sequence[Tensor], shards: Shards, is_causal: bool = False
) -> Tensor:
    """A tensor for all positions, or for those up to this shard's end if causal: (batch, heads, N, ...).

    Args:
        each: how its rows travel.
        own: of this process.
        parts: what every process sent of it.
        shards: how the sequence is split.
        is_causal: whether later positions are left out.
    """
    last = shards.rank + 1 if is_causal else len(parts)
    placed = [_placed(each, part, span) for part, span in zip(parts[:last], shards.spans, strict=False)]
    placed[shards.rank] = tied(own, parts[shards.rank])
    return torch.cat(placed, 2)


def _sent(each: Sent, rows: Tensor, mask: Tensor | None, span: tuple[int, int]) -> Tensor:
    if each.windows is None:
        return rows
    if mask is not None and mask.shape[1] > 1:
        mask = pick(mask, each.kv_heads)
    return WindowShares(each.windows, *span).means(rows, mask)


def _placed(each: Sent, rows: Tensor, span: tuple[int, int]) -> Tensor:
    return rows if each.windows is None else WindowShares(each.windows, *span).spread(rows)
