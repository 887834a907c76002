"""Attention on pairs that every query forms for itself, some queries at a time, each in the precision that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from primaldual.kernels.layout import ceil_div
from primaldual.kernels.row_scores import FormedPairs, JoinedPairs, row_attention
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype, apart, widest
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.transforms import Transform

Formed = FormedPairs | JoinedPairs
AttendRows = Callable[[Tensor, Formed, KeyStatistics | None], Tensor]

BLOCK_NUMBERS = 2**19
"""Numbers in a matrix of queries and keys that are taken at a time on the CPU: few enough for its caches."""

LARGE_BLOCK_NUMBERS = 2**24
"""The same on other devices, where calls cost more than memory."""

WITH_GRADIENTS = 4
"""Times as many where gradients are recorded, of which every block adds those of all keys."""

FEWEST_ROWS = 32
"""Queries of a product of matrices, below which it takes longer than its work."""


class RowSet(Protocol):
    """Training pairs that every query forms of what it may attend."""

    @property
    def key(self) -> Tensor: ...

    @property
    def shift(self) -> Tensor | None: ...

    @property
    def cut(self) -> bool: ...

    def to(self, dtype: torch.dtype) -> Self:
        """The same pairs in another type."""

    def of_sequences(self, batch: slice) -> Self:
        """The pairs of some sequences."""

    def of_rows(self, rows: slice) -> Self:
        """The pairs of some consecutive queries."""

    def picked(self, rows: Tensor) -> Self:
        """The pairs of some queries, given by number, of a set from :meth:`of_rows`."""

    def formed(self) -> Formed:
        """The pairs of a set from :meth:`of_rows` as operations on scores and weights."""


def softmax_by_rows(
    pairs: RowSet,
    query: Tensor,
    transform: Transform,
    heads: HeadSet,
    scale: float,
    dropout_p: float,
    sink: Tensor | None = None,
) -> Tensor:
    """The softmax attention to pairs whose scores are linear in the keys: (batch, heads, Nq, Dv).

    Args:
        pairs: those of all queries.
        query: (batch, heads, Nq, D), as :meth:`Transform.into_scores` gives it, like the pairs.
        transform: T.
        heads: which heads these are.
        scale: factor on the scores.
        dropout_p: probability of dropping a weight.
        sink: score of one more pair, of value 0, (batch or 1, heads, 1); None = there is none.
    """
    last = transform.steps()[-1]  # those before it have changed queries and keys

    def attend(rows: Tensor, formed: Formed, found: KeyStatistics | None) -> Tensor:
        logit = sink
        if found is not None:
            rows, lacking = last.of_statistics(rows, found, heads)
            logit = None if sink is None else sink - scale * lacking
        return row_attention(rows * scale, formed, dropout_p, logit)

    return by_rows(pairs, attend, query, last.variance_floor if last.uses_statistics else None, 1)


def by_rows(
    pairs: RowSet,
    attend: AttendRows,
    query: Tensor,
    variance_floor: float | None,
    width: int,
) -> Tensor:
    """What ``attend`` gives for some queries at a time, in float32 or wider, formed again in the backward.

    Args:
        pairs: those of all queries.
        attend: from queries, their pairs, and the statistics of these, to outputs.
        query: (batch, heads, Nq, D).
        variance_floor: what is added to the variances in these statistics; None = they are not needed.
        width: numbers that are formed for each pair of query and key.
    """
    dtype, (batch, heads, length, _) = query.dtype, query.shape
    wide, recorded = accumulation_dtype(query.dtype), torch.is_grad_enabled()
    pairs, query = pairs.to(wide), query.to(wide)
    numbers = BLOCK_NUMBERS if query.device.type == "cpu" else LARGE_BLOCK_NUMBERS
    if recorded:
        numbers *= WITH_GRADIENTS
    row = max(1, heads * pairs.key.shape[2] * (1 if pairs.cut else batch))
    few = max(1, min(length, max(FEWEST_ROWS // width, numbers // (row * width))))
    # Blocks alike, or the last one may be hardly worth its calls.
    few = ceil_div(length, ceil_div(length, few)) if length else few
    size = few if recorded or variance_floor is None else max(few, min(length, numbers // row))
    sequences = max(1, numbers // (row * width * few)) if pairs.cut else max(1, batch)

    def attend_block(rows: Tensor, some: RowSet, block: slice) -> Tensor:
        if variance_floor is None:
            return attend(rows, some.of_rows(block).formed(), None)
        return _by_precision(rows, some, block, few, attend, variance_floor)

    whole = size >= length and sequences >= batch
    outputs = []
    for first in range(0, batch, sequences):
        some, parts = pairs.of_sequences(slice(first, first + sequences)), []
        for start in range(0, length, size):
            block = slice(start, min(start + size, length))
            taken = query[first : first + sequences, :, block], some, block
            again = recorded and not whole
            part = checkpoint(attend_block, *taken, use_reentrant=False) if again else attend_block(*taken)
            parts.append(part.to(dtype))
        outputs.append(torch.cat(parts, 2))
    return torch.cat(outputs, 0)


def _by_precision(
    rows: Tensor, some: RowSet, block: slice, few: int, attend: AttendRows, floor: float
) -> Tensor:
    """What ``attend`` gives, in float64 for queries whose keys lie far from 0, measured in their deviations, or are few.

    The statistics of the block are taken at once; it is attended ``few`` queries at a time.
    """
    taken = some.of_rows(block)
    formed = taken.formed()
    found = formed.moments()
    exact = [False] * rows.shape[2]
    if rows.dtype != widest(rows.device):
        exact = apart(found, floor, formed.most_members).expand(len(exact)).tolist()
    found = _moved(found, taken)
    if few >= len(exact):
        return _by_precision_of(rows, taken, formed, found, exact, attend)
    parts = []
    for start in range(0, len(exact), few):
        end = min(start + few, len(exact))
        taken = some.of_rows(slice(block.start + start, block.start + end))
        given = rows[:, :, start:end], taken, taken.formed(), _between(found, start, end), exact[start:end]
        parts.append(_by_precision_of(*given, attend))
    return torch.cat(parts, 2)


def _by_precision_of(
    rows: Tensor, block: RowSet, formed: Formed, found: KeyStatistics, exact: list[bool], attend: AttendRows
) -> Tensor:
    """What ``attend`` gives, in float64 for the queries that are to be ``exact``."""
    exactly = None
    if any(exact):
        far = torch.tensor([number for number, one in enumerate(exact) if one], device=rows.device)
        wide = widest(rows.device)
        chosen = block.picked(far).to(wide)
        pairs = chosen.formed()
        taken = rows.index_select(2, far).to(wide)
        exactly = attend(taken, pairs, _moved(pairs.moments(), chosen)).to(rows.dtype)
        if all(exact):
            return exactly
    out = attend(rows, formed, found)
    return out if exactly is None else out.index_copy(2, far, exactly)


def _between(found: KeyStatistics, start: int, end: int) -> KeyStatistics:
    """The statistics of some of the queries."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor if tensor.shape[2] == 1 else tensor[:, :, start:end]

    seen = cut(found.seen) if isinstance(found.seen, Tensor) else found.seen
    return found._replace(mean=cut(found.mean), variance=cut(found.variance), seen=seen)


def _moved(found: KeyStatistics, block: RowSet) -> KeyStatistics:
    """The statistics of the keys before a vector was taken off them."""
    if block.shift is None:
        return found
    shift = block.shift.to(found.mean.dtype)
    return found._replace(mean=found.mean + shift, shift=shift)
